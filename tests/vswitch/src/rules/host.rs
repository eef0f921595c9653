//! Rules that hosts enforce. Those that no check here does yet say why.

use super::Severity::Error;
use super::{Rule, error, not, switch};

/// Group HOST.
pub const HOST: &[Rule] = &[
    error(
        "HOST-01",
        "Who drops for the policy of a destination reports without IS_INCOMING and names the destination's \
         port.",
        "nc-ndis-ndis_switch_report_filtered_net_buffer_lists",
    ),
    not(
        "HOST-02",
        Error,
        "A timer that was cancelled too late is waited for by other means than its own function, which may \
         still run.",
        "nf-ndis-ndiscanceltimerobject",
        "STATE-32 says the same and is checked: modules are detached at every yield point, timers due",
    ),
    not(
        "HOST-03",
        Error,
        "A reader-writer lock is not fair: how long a writer waits is bounded by the readers, not by the \
         lock.",
        "nf-ndis-ndisallocaterwlock",
        "a fact of the lock: half of all scenarios run on one whose readers come first; who starves a writer there \
         breaks LOCK-06",
    ),
    not(
        "HOST-04",
        Error,
        "A handler, timer or lock hold takes at most 100 microseconds at DISPATCH_LEVEL, on the largest \
         host too.",
        "guidelines-for-writing-dpc-routines",
        "computing takes no virtual time: LOCK-HOLD counts what one hold commits, and `cargo bench -p perf --bench \
         holds` the instructions of all three",
    ),
    not(
        "HOST-05",
        Error,
        "Rundown protection is completed before it is set up again, and taken in a critical region or from \
         APC_LEVEL up.",
        "run-down-protection",
        "LOCK-07 and LOCK-08 say the same and are checked",
    ),
    error(
        "HOST-06",
        "Who derives lists keeps ChildRefCount of their parent.",
        "relationships-between-net-buffer-list-generations",
    ),
    error(
        "HOST-07",
        "Reserved bits of out-of-band data are zero whenever others own the list.",
        "ns-nbl8021q-ndis_net_buffer_list_8021q_info",
    ),
    error(
        "HOST-08",
        "NIC_CREATE may be the first of a NIC's life or not, and its VM have joined groups: NIC_INITIALIZING tells \
         which.",
        "ns-ntddndis-_ndis_switch_nic_parameters",
    ),
    error(
        "HOST-09",
        "A failure excuses the refused call and what it was about; an hour later a running module knows the \
         switch as it is.",
        "inference",
    ),
    error(
        "HOST-10",
        "Multicast requests inform: they are no complete list of what a VM listens to.",
        "forwarding-oid-requests-from-a-hyper-v-child-partition",
    ),
    error(
        "HOST-11",
        "A save does not demand room that the request's buffer already has.",
        "oid-switch-nic-save",
    ),
    error(
        "HOST-12",
        "A request that names a virtual port or queue goes to the member that holds it, or to nobody.",
        "managing-hardware-offload-oid-requests-to-physical-network-adapters",
    ),
    switch(
        "HOST-13",
        "A module whose FilterRestart fails is detached, and its stack goes on without it; it may attach again.",
        "starting-a-filter-module",
    ),
    switch(
        "HOST-14",
        "NetEventSwitchActivate comes once for each activation; requests come before it, in it and after it.",
        "querying-the-hyper-v-extensible-switch-configuration",
    ),
    error(
        "HOST-15",
        "Who handles a set request says in which revision of its structure, and how many bytes were read.",
        "filtering-oid-requests-in-an-ndis-filter-driver",
    ),
    error(
        "HOST-16",
        "Who sends a request in another's stead keeps SwitchId, VPortId and Flags of its second revision.",
        "ns-oidrequest-ndis_oid_request",
    ),
    error(
        "HOST-17",
        "What was allocated before the attachment, and one member alone lists for a partition, is asked of that member.",
        "oid-receive-filter-enum-queues",
    ),
];
