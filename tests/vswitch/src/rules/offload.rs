//! The rules of offloads.

use super::Severity::Warning;
use super::{Rule, error, not, switch, warning};

/// Group OFFLOAD.
pub const OFFLOAD: &[Rule] = &[
    switch(
        "OFFLOAD-01",
        "Offload requests arrive encapsulated; others to the adapter are not shown to extensions.",
        "managing-hardware-offload-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OFFLOAD-02",
        "Requests about security associations (IPsec offload v2) are never refused.",
        "managing-hardware-offload-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OFFLOAD-03",
        "Requests that clear, free, delete or complete are neither refused nor changed, only redirected; with \
         nothing left to do they succeed.",
        "managing-hardware-offload-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OFFLOAD-04",
        "An allocation is refused with a failure; it is not answered with success unless an adapter did it.",
        "managing-hardware-offload-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OFFLOAD-05",
        "The extension frees or clears only what it allocated itself.",
        "managing-hardware-offload-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OFFLOAD-06",
        "What the extension allocated is freed before the adapter's NIC_DELETE and before detach.",
        "freeing-a-vm-queue",
    ),
    error(
        "OFFLOAD-07",
        "Every later request about a queue, filter, port, function or association goes to the member that \
         has it.",
        "oid-receive-filter-set-filter",
    ),
    error(
        "OFFLOAD-08",
        "Numbers of queues, filters and virtual ports are unique only within one adapter.",
        "oid-receive-filter-allocate-queue",
    ),
    error(
        "OFFLOAD-09",
        "With one member for all partitions, no two live resources of a switch have one number, if adapters \
         list what they hold.",
        "inference",
    ),
    switch(
        "OFFLOAD-10",
        "The switch allocates a queue, sets its filters, completes the allocation, clears all filters and \
         frees it.",
        "queue-states-and-operations",
    ),
    error("OFFLOAD-11", "A queue is not freed while a filter is set on it.", "queue-states-and-operations"),
    error(
        "OFFLOAD-12",
        "QUEUE_ALLOCATION_COMPLETE for queues of several members reaches each of them, and each queue gets \
         its own status.",
        "oid-receive-filter-queue-allocation-complete",
    ),
    error(
        "OFFLOAD-13",
        "The default queue 0 is always there: it is neither allocated nor freed.",
        "freeing-a-vm-queue",
    ),
    error(
        "OFFLOAD-14",
        "Only who allocated a queue sets its filters and parameters; only who set a filter clears it.",
        "oid-receive-filter-set-filter",
    ),
    error(
        "OFFLOAD-15",
        "The number that the adapter returned is the one that the caller sees.",
        "oid-receive-filter-set-filter",
    ),
    switch(
        "OFFLOAD-16",
        "A MAC filter of the switch without a VLAN takes untagged frames and those with VLAN 0.",
        "setting-a-vmq-filter",
    ),
    switch(
        "OFFLOAD-17",
        "When a VM's NIC goes, the switch frees its resources, before or after DISCONNECT, and \
         deletes the NIC last.",
        "oid-switch-nic-delete",
    ),
    error(
        "OFFLOAD-18",
        "Packets of a queue are not held back: the free of the queue waits for them.",
        "oid-receive-filter-free-queue",
    ),
    error(
        "OFFLOAD-19",
        "A virtual function passes by the switch: where policy must hold, it is refused or taken away.",
        "ns-ntddndis-_ndis_switch_nic_parameters",
    ),
    not(
        "OFFLOAD-20",
        Warning,
        "Queues and virtual ports of one adapter are not advertised together: virtual ports take the \
         queues' place.",
        "nondefault-virtual-ports-and-vmq",
        "the driver advertises what members say, and no more",
    ),
    warning(
        "OFFLOAD-21",
        "No allocation goes to a member that cannot serve it while another could.",
        "managing-hardware-offload-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OFFLOAD-22",
        "Nothing is placed on a member that is gone; what the switch has there is not freed by the \
         extension.",
        "oid-switch-nic-disconnect",
    ),
    error(
        "OFFLOAD-23",
        "An OffloadHandle goes only to the adapter that gave it; lists with handles of several members are \
         split.",
        "oid-tcp-task-ipsec-offload-v2-add-sa",
    ),
    error(
        "OFFLOAD-24",
        "If the chosen member cannot be referenced, an allocation fails and a free goes to index 0, unless \
         the only adapter would misread it.",
        "inference",
    ),
    not(
        "OFFLOAD-25",
        Warning,
        "PortId in the parameters of a queue agrees with the source port of the envelope.",
        "ntddndis.h",
        "own requests carry the switch's payload as it came",
    ),
    error(
        "OFFLOAD-26",
        "What reads or changes a queue, a virtual port or a virtual function goes to the adapter that \
         allocated it.",
        "oid-sriov-reset-vf",
    ),
    error(
        "OFFLOAD-27",
        "A request whose NDIS_OID_REQUEST targets a virtual port goes to the adapter that has the port.",
        "ns-oidrequest-ndis_oid_request",
    ),
    error(
        "OFFLOAD-28",
        "New parameters of a queue that has copies on several members reach each of them.",
        "oid-receive-filter-queue-parameters",
    ),
    error(
        "OFFLOAD-29",
        "A packet with the handle of a security association leaves by an adapter that has it, or by none; the only \
         adapter there has been fails it.",
        "sending-network-data-with-ipsec-offload-version-2",
    ),
];
