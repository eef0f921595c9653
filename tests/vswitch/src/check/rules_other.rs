//! The rules of flags and of the module's life, every one, and whether it is checked.

use super::Severity::{Note, Warning};
use super::{Rule, cost, dormant, error, not, switch, warning};

/// Group FLAGS of the rule book.
pub const FLAGS: &[Rule] = &[
    error("FLAGS-01"),
    cost("FLAGS-02"),
    error("FLAGS-03"),
    error("FLAGS-04"),
    error("FLAGS-05"),
    error("FLAGS-06"),
    error("FLAGS-07"),
    error("FLAGS-08"),
    cost("FLAGS-09"),
    switch("FLAGS-10"),
    error("FLAGS-11"),
    error("FLAGS-12"),
    error("FLAGS-13"),
    error("FLAGS-14"),
    not("FLAGS-15", Warning, "the driver imports no function that reads the IRQL"),
    dormant("FLAGS-16", "every send, completion and return happens inside the call that brought the packet"),
    error("FLAGS-17"),
    warning("FLAGS-18"),
    switch("FLAGS-19"),
];

/// Group STATE of the rule book.
pub const STATE: &[Rule] = &[
    error("STATE-01"),
    error("STATE-02"),
    error("STATE-03"),
    error("STATE-04"),
    dormant("STATE-05", "the handlers of revision 1 are asked for, so there is no place for another"),
    error("STATE-06"),
    error("STATE-07"),
    error("STATE-08"),
    error("STATE-09"),
    error("STATE-10"),
    error("STATE-11"),
    error("STATE-12"),
    error("STATE-13"),
    error("STATE-14"),
    error("STATE-15"),
    error("STATE-16"),
    error("STATE-17"),
    error("STATE-18"),
    error("STATE-19"),
    error("STATE-20"),
    error("STATE-21"),
    error("STATE-22"),
    error("STATE-23"),
    error("STATE-24"),
    not("STATE-25", Note, "an announcement that may be ignored"),
    error("STATE-26"),
    error("STATE-27"),
    switch("STATE-28"),
    switch("STATE-29"),
    error("STATE-30"),
    error("STATE-31"),
];
