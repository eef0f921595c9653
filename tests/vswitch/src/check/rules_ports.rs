//! The rules of ports, network adapters and properties, every one, and whether it is checked.

use crate::check::Severity::{Error, Switch, Warning};
use crate::check::{Rule, error, not, switch, warning};

const NONE_OF_OURS: &str = "the extension declares no property and no feature status of its own";

/// Group PORTNIC of the rule book.
pub const PORTNIC: &[Rule] = &[
    switch("PORTNIC-01"),
    switch("PORTNIC-02"),
    error("PORTNIC-03"),
    error("PORTNIC-04"),
    error("PORTNIC-05"),
    warning("PORTNIC-06"),
    error("PORTNIC-07"),
    error("PORTNIC-08"),
    warning("PORTNIC-09"),
    error("PORTNIC-10"),
    error("PORTNIC-11"),
    error("PORTNIC-12"),
    switch("PORTNIC-13"),
    error("PORTNIC-14"),
    error("PORTNIC-15"),
    error("PORTNIC-16"),
    error("PORTNIC-17"),
    error("PORTNIC-18"),
    error("PORTNIC-19"),
    error("PORTNIC-20"),
    not("PORTNIC-21", Error, "the extension does not look at MTUs"),
    not("PORTNIC-22", Error, "what overflows is MEM-02; the field is filled to its end in every scenario"),
    error("PORTNIC-23"),
    error("PORTNIC-24"),
    error("PORTNIC-25"),
    switch("PORTNIC-26"),
    switch("PORTNIC-27"),
    error("PORTNIC-28"),
    not("PORTNIC-29", Warning, "in this switch a NIC is of its port's type"),
    error("PORTNIC-30"),
    error("PORTNIC-31"),
    error("PORTNIC-32"),
    error("PORTNIC-33"),
    switch("PORTNIC-34"),
    error("PORTNIC-35"),
];

/// Group PROP of the rule book.
pub const PROP: &[Rule] = &[
    switch("PROP-01"),
    error("PROP-02"),
    error("PROP-03"),
    error("PROP-04"),
    error("PROP-05"),
    error("PROP-06"),
    error("PROP-07"),
    error("PROP-08"),
    error("PROP-09"),
    error("PROP-10"),
    error("PROP-11"),
    not("PROP-12", Error, NONE_OF_OURS),
    error("PROP-13"),
    error("PROP-14"),
    error("PROP-15"),
    error("PROP-16"),
    error("PROP-17"),
    error("PROP-18"),
    error("PROP-19"),
    error("PROP-20"),
    not("PROP-21", Switch, "a matter of the package, which has tests of its own"),
    error("PROP-22"),
    error("PROP-23"),
];
