//! The rules of flags.

use super::Severity::Warning;
use super::{Rule, cost, dormant, error, not, switch, warning};

/// Group FLAGS.
pub const FLAGS: &[Rule] = &[
    error(
        "FLAGS-01",
        "SWITCH_SINGLE_SOURCE of a send is set only if all packets of the chain have one source port.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    cost(
        "FLAGS-02",
        "SWITCH_SINGLE_SOURCE that came with a chain is kept when it, or a part of it, is passed on.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    error(
        "FLAGS-03",
        "An own packet joins a chain of one source only with the same source port.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    error(
        "FLAGS-04",
        "SWITCH_SINGLE_SOURCE of a completion is set only if all its packets have one source; else a port \
         reference leaks.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    error(
        "FLAGS-05",
        "SWITCH_SINGLE_SOURCE of an indication is set only if all its packets have one source, and kept \
         when it came.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    error(
        "FLAGS-06",
        "SWITCH_SINGLE_SOURCE of a return is set only if all its packets have one source.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    error(
        "FLAGS-07",
        "SWITCH_DESTINATION_GROUP is set only if all packets of the chain have the same destinations.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    error(
        "FLAGS-08",
        "SWITCH_DESTINATION_GROUP is not set for packets with several destinations.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    cost(
        "FLAGS-09",
        "SWITCH_DESTINATION_GROUP is set when all packets of a chain go to one and the same destination.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    switch(
        "FLAGS-10",
        "The switch takes DESTINATION_GROUP off a send and sets the receive flag by its own grouping.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    error(
        "FLAGS-11",
        "SWITCH_DESTINATION_GROUP of an indication is true for the chain that is passed up.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    error(
        "FLAGS-12",
        "NDIS_RECEIVE_FLAGS_RESOURCES is not set in the stack of the switch, which returns packets by \
         FilterReturn all the same.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    error(
        "FLAGS-13",
        "An indicated packet is not touched until FilterReturn brings it back.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    error("FLAGS-14", "A DISPATCH_LEVEL flag is set only at DISPATCH_LEVEL.", "dispatch-irql-tracking"),
    not(
        "FLAGS-15",
        Warning,
        "The IRQL is not read for the sake of a DISPATCH_LEVEL flag.",
        "dispatch-irql-tracking",
        "the driver imports no function that reads the IRQL",
    ),
    dormant(
        "FLAGS-16",
        "The DISPATCH_LEVEL flag of a call is not used after the IRQL changed, nor on another thread.",
        "dispatch-irql-tracking",
        "every send, completion and return happens inside the call that brought the packet",
    ),
    error(
        "FLAGS-17",
        "Flags are translated between sends, completions and returns; bits that a call does not define are \
         not set.",
        "ndis/nblsend.h",
    ),
    warning(
        "FLAGS-18",
        "Flags of a foreign chain that mean nothing here are passed on, and not set on own packets.",
        "sending-data-from-a-filter-driver",
    ),
    switch(
        "FLAGS-19",
        "SWITCH_SINGLE_SOURCE may be missing on a chain of one source: nothing may depend on it.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
];
