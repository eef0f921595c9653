//! The rules of the packet path: ownership, forwarding contexts, sources, destinations.

use super::Severity::Switch;
use super::{Rule, cost, dormant, error, not, switch, warning};

/// Group DATA, up to the destinations.
pub const DATA: &[Rule] = &[
    error(
        "DATA-01",
        "Each list that FilterSend gets leaves once: sent on, or completed with \
         NdisFSendNetBufferListsComplete.",
        "nc-ndis-filter_send_net_buffer_lists",
    ),
    error(
        "DATA-02",
        "Each list that FilterReceive gets leaves once: indicated on, or returned with \
         NdisFReturnNetBufferLists.",
        "nc-ndis-filter_receive_net_buffer_lists",
    ),
    error(
        "DATA-03",
        "What was sent or indicated belongs to others until it comes back: lists, buffers, MDLs and \
         out-of-band data are not touched.",
        "nf-ndis-ndisfsendnetbufferlists",
    ),
    error(
        "DATA-04",
        "An own list is never completed or returned to another driver; when it is back, it goes to its own \
         pool.",
        "nc-ndis-filter_send_net_buffer_lists_complete",
    ),
    error(
        "DATA-05",
        "A foreign list that comes back in FilterSendComplete or FilterReturn is passed on, or held only \
         while its clones are out.",
        "nc-ndis-filter_send_net_buffer_lists_complete",
    ),
    error(
        "DATA-06",
        "Lists may be regrouped, but a completed list holds the NET_BUFFERs with which it came, in their \
         order.",
        "nf-ndis-ndisfsendnetbufferlistscomplete",
    ),
    error(
        "DATA-07",
        "What was changed in a foreign list (data start, context space) is undone before it is completed \
         or returned.",
        "nc-ndis-filter_send_net_buffer_lists",
    ),
    error(
        "DATA-08",
        "A chain ends in NULL, and every list in it belongs to the caller and stands in no other chain.",
        "sample code",
    ),
    warning("DATA-09", "Who completes a send writes the Status of each list.", "pausing-a-filter-module"),
    error(
        "DATA-10",
        "PortNumber of a send or an indication is NDIS_DEFAULT_PORT_NUMBER, never a number of a switch port.",
        "overview-of-hyper-v-extensible-switch-ports",
    ),
    error(
        "DATA-11",
        "NumberOfNetBufferLists of an indication is the length of its chain.",
        "nf-ndis-ndisfindicatereceivenetbufferlists",
    ),
    switch(
        "DATA-12",
        "A packet's egress leg returns through FilterReturn before its ingress leg completes through \
         FilterSendComplete.",
        "packet-flow-through-the-extensible-switch-data-path",
    ),
    switch(
        "DATA-13",
        "Completions and returns come in other chains than the sends: merged, split and reordered.",
        "nf-ndis-ndisfsendnetbufferlists",
    ),
    error(
        "DATA-14",
        "FilterCancelSend completes queued lists of the id with NDIS_STATUS_SEND_ABORTED and calls \
         NdisFCancelSendNetBufferLists.",
        "canceling-a-send-request-in-a-filter-driver",
    ),
    error(
        "DATA-15",
        "A list may hold several NET_BUFFERs, which share its destinations: they are judged as one, or \
         split into own lists.",
        "Open vSwitch",
    ),
    error(
        "DATA-16",
        "An own list gets its forwarding context before any handler of the switch is called for it, and \
         before it is sent.",
        "managing-the-hyper-v-extensible-switch-forwarding-context",
    ),
    error(
        "DATA-17",
        "SourceHandle of an own list is the filter handle when its context is allocated and when it is sent.",
        "nc-ndis-ndis_switch_allocate_net_buffer_list_forwarding_context",
    ),
    error("DATA-18", "SourceHandle of a foreign list is never changed.", "nf-ndis-ndisfsendnetbufferlists"),
    error(
        "DATA-19",
        "The handlers for contexts and destinations see only the first list of a chain: they are called \
         for each list.",
        "nc-ndis-ndis_switch_allocate_net_buffer_list_forwarding_context",
    ),
    error(
        "DATA-20",
        "A forwarding context is freed once, after the send completed and before its list is freed or used \
         again.",
        "nc-ndis-ndis_switch_free_net_buffer_list_forwarding_context",
    ),
    error(
        "DATA-21",
        "The context of a foreign list is neither allocated nor freed.",
        "managing-the-hyper-v-extensible-switch-forwarding-context",
    ),
    error(
        "DATA-22",
        "NET_BUFFER_LIST_CONTEXT space on a foreign list is freed by the module that took it before the \
         list is given back.",
        "net-buffer-list-context-structure",
    ),
    error(
        "DATA-23",
        "Handlers get the NdisSwitchContext that this very module was given.",
        "nf-ndis-ndisfgetoptionalswitchhandlers",
    ),
    error(
        "DATA-24",
        "A destination array is valid while its list is owned, and until Grow returns another.",
        "nc-ndis-ndis_switch_get_net_buffer_list_destinations",
    ),
    error(
        "DATA-25",
        "Of the forwarding detail only IsPacketDataSafe of an own list is written by hand.",
        "ns-ndis-_ndis_switch_forwarding_detail_net_buffer_list_info",
    ),
    not(
        "DATA-26",
        Switch,
        "A list without context has no forwarding detail: it is not read before the context is there.",
        "nf-ndis-net_buffer_list_switch_forwarding_detail",
        "the detail of a list without context is read by nobody: the driver asks for a context before \
         anything else",
    ),
    dormant(
        "DATA-27",
        "SetNetBufferListSource is called for own lists only, never for a packet of the switch.",
        "nc-ndis-ndis_switch_set_net_buffer_list_source",
        "no packet gets another source: own lists take their parent's",
    ),
    dormant(
        "DATA-28",
        "The source that an own list gets is a connected NIC, or stays 0/0.",
        "nc-ndis-ndis_switch_set_net_buffer_list_source",
        "no packet gets another source: own lists take their parent's",
    ),
    warning(
        "DATA-29",
        "A source of 0/0 is trusted and passes by ACL and QoS: an own packet names the port for which it \
         is sent.",
        "modifying-a-packet-s-extensible-switch-source-port-data",
    ),
    error(
        "DATA-30",
        "A packet with source port 0 is trusted: no port's policy applies to it, but it needs destinations \
         as any other.",
        "modifying-a-packet-s-extensible-switch-source-port-data",
    ),
    switch(
        "DATA-31",
        "SourceNicIndex is the physical adapter's for packets of the external port, and 0 for all others.",
        "teaming-provider-extensions",
    ),
    error(
        "DATA-32",
        "Out-of-band data is in receive format if the source is the external port, else in send format, on \
         both legs.",
        "packet-management-guidelines-for-the-extensible-switch-data-path",
    ),
    error(
        "DATA-33",
        "Every packet that is not native leaves ingress with at least one destination, or is dropped.",
        "adding-extensible-switch-destination-port-data-to-a-packet",
    ),
    cost(
        "DATA-34",
        "A single destination is added with one AddNetBufferListDestination, without an update.",
        "nc-ndis-ndis_switch_add_net_buffer_list_destination",
    ),
    error(
        "DATA-35",
        "Several destinations are written from index NumDestinations on and committed by one update that \
         counts them.",
        "adding-extensible-switch-destination-port-data-to-a-packet",
    ),
    error(
        "DATA-36",
        "An update commits no more destinations than NumAvailableDestinations.",
        "nc-ndis-ndis_switch_update_net_buffer_list_destinations",
    ),
    warning(
        "DATA-37",
        "AddNetBufferListDestination may be refused where no slot is free: to grow the array first is safe.",
        "sample code",
    ),
    cost(
        "DATA-38",
        "The array is grown only when it has too few free slots, and only by the difference.",
        "adding-extensible-switch-destination-port-data-to-a-packet",
    ),
    error(
        "DATA-39",
        "Grow may fail: then the packet is dropped and reported, or goes to fewer; the old array has no \
         more room.",
        "adding-extensible-switch-destination-port-data-to-a-packet",
    ),
    error("DATA-40", "What was written into the array is committed before it is grown.", "Open vSwitch"),
    error(
        "DATA-41",
        "A destination that Add or Update refused is not there: without another one the packet is dropped \
         and reported.",
        "nc-ndis-ndis_switch_add_net_buffer_list_destination",
    ),
    error(
        "DATA-42",
        "A committed destination stays; only its IsExcluded may change.",
        "managing-the-hyper-v-extensible-switch-forwarding-context",
    ),
    error(
        "DATA-43",
        "A destination is a NIC that is connected when it is committed.",
        "ns-ndis-_ndis_switch_port_destination",
    ),
    error(
        "DATA-44",
        "NicIndex of a destination that is not the external port is 0.",
        "adding-extensible-switch-destination-port-data-to-a-packet",
    ),
    error(
        "DATA-45",
        "A destination on the external port names a member that exists; with one adapter the index may be \
         0 or 1.",
        "forwarding-packets-to-physical-network-adapters",
    ),
    error(
        "DATA-46",
        "The external port is a destination only while one of its physical adapters is connected.",
        "managing-physical-network-adapter-connection-status",
    ),
    error(
        "DATA-47",
        "A new destination has IsExcluded and Reserved at 0.",
        "adding-extensible-switch-destination-port-data-to-a-packet",
    ),
    error(
        "DATA-48",
        "A destination is zeroed before it is filled: what stood in the slot does not show.",
        "sample code",
    ),
    warning("DATA-49", "No destination stands twice in one packet.", "inference"),
    error(
        "DATA-50",
        "A packet does not go back to its source, and none from one member leaves through another.",
        "sample code",
    ),
    error(
        "DATA-51",
        "Destinations are added on ingress only, never on egress.",
        "forwarding-packets-to-hyper-v-extensible-switch-ports",
    ),
    warning(
        "DATA-52",
        "Packets need no references: a committed destination keeps its port and NIC until the packet \
         completes.",
        "nc-ndis-ndis_switch_reference_switch_nic",
    ),
    switch(
        "DATA-53",
        "While a packet has a destination, its port and its NIC are not deleted.",
        "nc-ndis-ndis_switch_update_net_buffer_list_destinations",
    ),
    error(
        "DATA-54",
        "Once NIC_DISCONNECT was passed down, no packet is committed to that NIC.",
        "adding-extensible-switch-destination-port-data-to-a-packet",
    ),
    switch(
        "DATA-55",
        "On egress a packet may have destinations that the extension did not choose, such as a mirror port.",
        "packet-flow-through-the-extensible-switch-data-path",
    ),
    switch(
        "DATA-56",
        "Packets come in without destinations and with some free slots, perhaps none.",
        "packet-flow-through-the-extensible-switch-data-path",
    ),
];
