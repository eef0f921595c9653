//! The rules of status indications.

use super::Severity::{Note, Warning};
use super::{Rule, error, not, switch, warning};

/// Group STATUS.
pub const STATUS: &[Rule] = &[
    error(
        "STATUS-01",
        "Every indication is passed up, unless it is dropped or replaced on purpose; unknown codes always \
         are.",
        "filter-module-status-indications",
    ),
    error(
        "STATUS-02",
        "A filtered indication is passed up inside FilterStatus, not later from a queue.",
        "forwarding-ndis-status-indications-from-physical-network-adapters",
    ),
    error(
        "STATUS-03",
        "A received indication is not edited; if a duplicate is indicated, the original is not.",
        "hyper-v-extensible-switch-control-path-for-ndis-status-indications",
    ),
    error(
        "STATUS-04",
        "An own envelope is NDIS_STATUS_SWITCH_NIC_STATUS with valid headers, sizes and SourceHandle, and \
         Flags 0.",
        "ns-ndis-_ndis_switch_nic_status_indication",
    ),
    error(
        "STATUS-05",
        "What one member can do is read and replaced by what the team can; of the only adapter it is passed \
         on, and nothing replaces it.",
        "sample code",
    ),
    error(
        "STATUS-06",
        "An indication about the team's offloads has the external port's index 0 as source and destination \
         0/0.",
        "originating-ndis-status-indications-from-physical-network-adapters",
    ),
    error(
        "STATUS-07",
        "An indication about a partition's resources has the partition's NIC as destination and source 0/0.",
        "originating-ndis-status-indications-from-physical-network-adapters",
    ),
    error(
        "STATUS-08",
        "The NIC that an own envelope names is referenced until NdisFIndicateStatus returned.",
        "originating-ndis-status-indications-from-physical-network-adapters",
    ),
    error(
        "STATUS-09",
        "Nothing is indicated for a NIC before its CONNECT or after its DISCONNECT.",
        "ndis-status-switch-port-remove-vf",
    ),
    error(
        "STATUS-10",
        "REMOVE_VF carries no data, names one NIC as destination and is sent only if that has a virtual \
         function.",
        "ndis-status-switch-port-remove-vf",
    ),
    not(
        "STATUS-11",
        Note,
        "Only a forwarding extension originates or modifies envelopes.",
        "originating-ndis-status-indications-from-physical-network-adapters",
        "the driver is a forwarding extension",
    ),
    error(
        "STATUS-12",
        "Nothing is indicated while attaching or after FilterDetach returned.",
        "nf-ndis-ndisfindicatestatus",
    ),
    warning(
        "STATUS-13",
        "What is advertised for the team can be served by some member.",
        "originating-ndis-status-indications-from-physical-network-adapters",
    ),
    switch(
        "STATUS-14",
        "The switch unwraps envelopes: destination 0/0 is for the drivers above, a VM's NIC for itself.",
        "ndis-status-switch-nic-status",
    ),
    error(
        "STATUS-15",
        "FilterStatus does not wait, and keeps no pointer to the indication after it returned.",
        "nc-ndis-filter_status",
    ),
    error("STATUS-16", "No lock is held across NdisFIndicateStatus: those above may call back.", "inference"),
    error("STATUS-17", "A damaged or short envelope is passed up untouched and not read.", "sample code"),
    not(
        "STATUS-18",
        Warning,
        "Link state is learned from indications, not by asking periodically.",
        "nc-ndis-filter_status",
        "the driver polls nothing: its timer sends no request",
    ),
];
