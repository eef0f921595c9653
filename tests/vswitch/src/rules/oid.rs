//! The rules of requests.

use super::Severity::{Error, Warning};
use super::{Rule, error, not, switch};

/// Group OID.
pub const OID: &[Rule] = &[
    error(
        "OID-01",
        "A request from above and all it points to is read-only, but for the answers that a rule names.",
        "receiving-oid-requests-about-hyper-v-extensible-switch-configuration-changes",
    ),
    error(
        "OID-02",
        "A request is passed on as a clone made with NdisAllocateCloneOidRequest, never as the original.",
        "filtering-oid-requests-in-an-ndis-filter-driver",
    ),
    error(
        "OID-03",
        "A request completes once: by the status that FilterOidRequest returns, or after PENDING by \
         NdisFOidRequestComplete.",
        "nf-ndis-ndisfoidrequestcomplete",
    ),
    error(
        "OID-04",
        "NdisFOidRequestComplete gets the original request and a final status.",
        "nf-ndis-ndisfoidrequestcomplete",
    ),
    error(
        "OID-05",
        "If NdisFOidRequest does not return PENDING, the work of the completion is done at once.",
        "generating-oid-requests-from-an-ndis-filter-driver",
    ),
    error(
        "OID-06",
        "After PENDING a clone may be complete and freed: it is not touched any more.",
        "nf-ndis-ndisfoidrequest",
    ),
    error(
        "OID-07",
        "The results below are copied to the original by its type.",
        "filtering-oid-requests-in-an-ndis-filter-driver",
    ),
    error(
        "OID-08",
        "A clone is freed with NdisFreeCloneOidRequest before its original completes; own requests are not \
         freed so.",
        "nc-ndis-filter_oid_request_complete",
    ),
    error(
        "OID-09",
        "FilterOidRequestComplete tells own requests apart and completes none of them upwards.",
        "generating-oid-requests-from-an-ndis-filter-driver",
    ),
    error(
        "OID-10",
        "SourceReserved of a clone is its issuer's; NdisReserved and MiniportReserved are not touched.",
        "ndis/oidrequest.h",
    ),
    switch(
        "OID-11",
        "A module gets one request from above at a time; its own requests run concurrently.",
        "filtering-oid-requests-in-an-ndis-filter-driver",
    ),
    error(
        "OID-12",
        "FilterOidRequest waits for nothing that needs another request, a pause or a later restart than the first.",
        "hyper-v-extensible-switch-control-path-for-oid-requests",
    ),
    not(
        "OID-13",
        Error,
        "A restart asked for with NdisFRestartFilter is not waited for inside a request: it waits for \
         pending ones.",
        "hyper-v-extensible-switch-control-path-for-oid-requests",
        "the driver imports no NdisFRestartFilter",
    ),
    error(
        "OID-14",
        "A forwarded request keeps type, OID, lengths, RequestId, RequestHandle, PortNumber and Timeout.",
        "nf-ndis-ndisallocatecloneoidrequest",
    ),
    not(
        "OID-15",
        Warning,
        "Who answers a request with success says how much was read or written.",
        "nc-ndis-filter_oid_request",
        "the results that are answered are judged by OID-07 and OID-51",
    ),
    error(
        "OID-16",
        "A short buffer is answered with BytesNeeded of the union's right arm; a set's lies over a \
         method's MethodId.",
        "ndis/oidrequest.h",
    ),
    error(
        "OID-17",
        "A request that means nothing to the extension is passed down and its result up, unchanged.",
        "filtering-oid-requests-in-an-ndis-filter-driver",
    ),
    error(
        "OID-18",
        "A payload is read only after its header and length were checked; newer revisions are accepted, \
         short ones passed on.",
        "sample code",
    ),
    error(
        "OID-19",
        "What a request changed in the extension is undone when a driver below fails it.",
        "receiving-oid-requests-about-hyper-v-extensible-switch-configuration-changes",
    ),
    not(
        "OID-20",
        Warning,
        "FilterCancelOidRequest ends a held request with NDIS_STATUS_REQUEST_ABORTED, or cancels the clone \
         that went down.",
        "nc-ndis-filter_cancel_oid_request",
        "nothing is held; a cancelled request that completes twice is OID-03",
    ),
    error(
        "OID-21",
        "NdisFCancelOidRequest names a request that this module sent and that is still out.",
        "nf-ndis-ndisfcanceloidrequest",
    ),
    error("OID-22", "No lock is held across NdisFOidRequest and NdisFOidRequestComplete.", "inference"),
    error(
        "OID-23",
        "Own requests are sent neither while attaching nor after FilterDetach returned.",
        "generating-oid-requests-from-an-ndis-filter-driver",
    ),
    error(
        "OID-24",
        "An own request has a valid header, its type and its arm of the union, and a buffer that lives \
         until it completes.",
        "nf-ndis-ndisfoidrequest",
    ),
    error(
        "OID-25",
        "An own request is waited for at PASSIVE_LEVEL only, and not inside requests, indications or \
         packet handlers.",
        "Open vSwitch",
    ),
    error(
        "OID-26",
        "The result of a request that completes at once is what NdisFOidRequest returns.",
        "generating-oid-requests-from-an-ndis-filter-driver",
    ),
    error("OID-27", "Own requests are counted: FilterDetach returns when none is out.", "sample code"),
    error(
        "OID-28",
        "The switch's own requests (ports, NICs, properties, save and restore) are never originated by an \
         extension.",
        "hyper-v-extensible-switch-oids",
    ),
    error(
        "OID-29",
        "Of the switch's OIDs an extension sends parameters and arrays as queries, enumerations and \
         NIC_REQUEST as methods.",
        "hyper-v-extensible-switch-oids",
    ),
    error(
        "OID-30",
        "Arrays and properties are asked for only when the switch is known to be active.",
        "querying-the-hyper-v-extensible-switch-configuration",
    ),
    error(
        "OID-31",
        "The buffer of an array or of parameters has its header filled in before the query.",
        "Open vSwitch",
    ),
    error(
        "OID-32",
        "A query that was too short is repeated with BytesNeeded, as often as the configuration grows.",
        "oid-switch-port-array",
    ),
    error(
        "OID-33",
        "Arrays are walked by FirstElementOffset and ElementSize of the answer, not by the size of a \
         structure.",
        "ntddndis.h",
    ),
    switch(
        "OID-34",
        "With 0 elements, FirstElementOffset means nothing.",
        "ns-ntddndis-_ndis_switch_nic_array",
    ),
    error(
        "OID-35",
        "A port's properties are enumerated under a reference of the port, which is given up after the \
         request completed.",
        "oid-switch-port-property-enum",
    ),
    error(
        "OID-36",
        "An enumeration of properties that comes from above is passed on, never answered.",
        "oid-switch-port-property-enum",
    ),
    not(
        "OID-37",
        Error,
        "Only a forwarding extension originates encapsulated sets; others originate queries.",
        "forwarding-oid-requests-to-physical-network-adapters",
        "the driver is a forwarding extension",
    ),
    error(
        "OID-38",
        "An own NIC_REQUEST is a method request with a complete NDIS_SWITCH_NIC_OID_REQUEST of its \
         documented size.",
        "oid-switch-nic-request",
    ),
    error(
        "OID-39",
        "Flags of a NIC_REQUEST are 0 in own envelopes and copied in redirected ones.",
        "ns-ntddndis-_ndis_switch_nic_oid_request",
    ),
    error(
        "OID-40",
        "A NIC_REQUEST that is passed on unchanged keeps source, destination and inner request.",
        "forwarding-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OID-41",
        "A redirected NIC_REQUEST has an envelope of its own with a connected member as destination and \
         the switch's source.",
        "forwarding-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OID-42",
        "A NIC_REQUEST for the extension's own purpose has source 0/0.",
        "forwarding-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OID-43",
        "An own offload request names the partition's NIC, both are referenced; what it allocated for one \
         that has left it frees from 0/0.",
        "managing-hardware-offload-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OID-44",
        "An own offload request is sent only in place of the same request from above, which then does not \
         go down.",
        "managing-hardware-offload-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OID-45",
        "A redirected or own NIC_REQUEST is sent under a reference of its destination, or not to that NIC.",
        "forwarding-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OID-46",
        "Each reference of a NIC_REQUEST is given up once, when the request has completed.",
        "forwarding-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OID-47",
        "After DISCONNECT only a request under a reference from before goes to that NIC.",
        "oid-switch-nic-disconnect",
    ),
    switch(
        "OID-48",
        "ReferenceSwitchNic may fail at any time: its return value alone says whether the NIC is there.",
        "nc-ndis-ndis_switch_reference_switch_nic",
    ),
    error(
        "OID-49",
        "A filtered NIC_REQUEST goes down on the thread of FilterOidRequest, before that returns.",
        "forwarding-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OID-50",
        "Own NIC_REQUESTs are sent with NdisFOidRequest in the states Paused, Restarting, Running and \
         Pausing.",
        "forwarding-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OID-51",
        "Results of a cloned inner request are copied to the switch's inner request before the outer one \
         completes.",
        "sample code",
    ),
    error(
        "OID-52",
        "When a NIC_REQUEST completes, it points to the switch's own envelope again.",
        "sample code",
    ),
    error(
        "OID-53",
        "A NIC_REQUEST to 0/0 is there to be read: it is passed on unchanged, neither redirected nor \
         answered.",
        "forwarding-oid-requests-from-a-hyper-v-child-partition",
    ),
    switch(
        "OID-54",
        "Offload requests come with the external port's index 0 as destination and the partition's NIC, or \
         0/0, as source.",
        "oid-switch-nic-request",
    ),
    error(
        "OID-55",
        "An inner request is known by its OID and its type: allocations are methods, frees are sets.",
        "ntddndis.h",
    ),
    error(
        "OID-56",
        "Own and filtered requests are out at once: each completion finds its own original.",
        "sample code",
    ),
    error(
        "OID-57",
        "Index 0 addresses the whole team; what is meant for one adapter names its index.",
        "managing-hardware-offload-oid-requests-to-physical-network-adapters",
    ),
    error(
        "OID-58",
        "Memory that a request points to is non-paged and lives until it completes.",
        "inference",
    ),
];
