//! The rules of the packet path: native packets, bytes, clones, drops, policies.

use super::Severity::{Error, Note};
use super::{Rule, cost, dormant, error, not, switch, warning};

/// Group DATA, from the native packets on.
pub const DATA: &[Rule] = &[
    error(
        "DATA-57",
        "A packet with NativeForwardingRequired gets no destinations: it is passed on unchanged, or dropped.",
        "hybrid-forwarding",
    ),
    error(
        "DATA-58",
        "A native packet without destinations is not dropped for having none.",
        "forwarding-packets-to-hyper-v-extensible-switch-ports",
    ),
    error(
        "DATA-59",
        "A chain that holds a native packet is not sent with DESTINATION_GROUP.",
        "hyper-v-extensible-switch-send-and-receive-flags",
    ),
    switch(
        "DATA-60",
        "A native packet may be encapsulated on ingress and bare on egress: the two legs are not matched \
         by headers.",
        "packet-flow-through-the-extensible-switch-data-path",
    ),
    error(
        "DATA-61",
        "An extension for NDIS 6.40 or later passes native packets on instead of completing them.",
        "hyper-v-extensible-switch-interface",
    ),
    error(
        "DATA-62",
        "A packet of an external virtual subnet without NativeForwardingRequired is the extension's to \
         forward.",
        "hybrid-forwarding",
    ),
    error(
        "DATA-63",
        "The bytes of a packet of the switch are not modified; on ingress a clone may be.",
        "packet-management-guidelines-for-the-extensible-switch-data-path",
    ),
    error(
        "DATA-64",
        "Bytes beyond the safe ones may change under the reader: a decision rests on one copy of them.",
        "ns-ndis-_ndis_switch_forwarding_detail_net_buffer_list_info",
    ),
    switch(
        "DATA-65",
        "SafePacketDataSize counts from the start of the packet and means something only while \
         IsPacketDataSafe is 0.",
        "ns-ndis-_ndis_switch_forwarding_detail_net_buffer_list_info",
    ),
    error(
        "DATA-66",
        "IsPacketDataSafe of an own list is 1 if its memory is its own, and 0 while an MDL of it is \
         another's.",
        "originating-packet-traffic",
    ),
    error(
        "DATA-67",
        "A clone is made in order: SourceHandle, context, CopyNetBufferListInfo, then destinations and \
         source.",
        "cloning-or-duplicating-packet-traffic",
    ),
    error(
        "DATA-68",
        "A clone takes its parent's out-of-band data and source by CopyNetBufferListInfo.",
        "packet-management-guidelines-for-the-extensible-switch-data-path",
    ),
    error(
        "DATA-69",
        "A clone for ingress does not take the parent's destinations; one for egress takes them.",
        "cloning-or-duplicating-packet-traffic",
    ),
    error(
        "DATA-70",
        "ParentNetBufferList of a clone is the original, which is held until every clone is back.",
        "cloning-or-duplicating-packet-traffic",
    ),
    error(
        "DATA-71",
        "New packets are injected on ingress, by NdisFSendNetBufferLists, not indicated.",
        "originating-packet-traffic",
    ),
    error(
        "DATA-72",
        "What was changed in data, source or destinations goes on as a new packet on ingress, not on egress.",
        "cloning-or-duplicating-packet-traffic",
    ),
    error(
        "DATA-73",
        "An own packet has destinations when it is sent: no forwarding below chooses any.",
        "originating-packet-traffic",
    ),
    dormant(
        "DATA-74",
        "No own packet goes from or to a NIC that is not connected; the switch's packets over such a NIC \
         are passed on.",
        "oid-switch-nic-create",
        "no packet gets another source: own lists take their parent's",
    ),
    error("DATA-75", "Own lists are counted: a pause completes only when every one is back.", "sample code"),
    not(
        "DATA-76",
        Error,
        "A packet's switch context is the extension's to free, is not copied to clones and may be missing \
         on egress.",
        "nc-ndis-ndis_switch_set_net_buffer_list_switch_context",
        "contexts of packets belong to handlers of revision 2, which this switch does not return",
    ),
    error(
        "DATA-77",
        "Mapping a packet's memory may fail: then the packet is dropped and reported.",
        "sample code",
    ),
    error(
        "DATA-78",
        "A dropped packet is reported with ReportFilteredNetBufferLists before it is completed or returned.",
        "excluding-packet-delivery-to-extensible-switch-destination-ports",
    ),
    error(
        "DATA-79",
        "The lists of one report share the port and the reason.",
        "nc-ndis-ndis_switch_report_filtered_net_buffer_lists",
    ),
    error(
        "DATA-80",
        "A report with IS_INCOMING names the source port of its packets, one without it a destination port.",
        "nc-ndis-ndis_switch_report_filtered_net_buffer_lists",
    ),
    error(
        "DATA-81",
        "NumberOfNetBufferLists of a report is the length of its chain.",
        "nc-ndis-ndis_switch_report_filtered_net_buffer_lists",
    ),
    error(
        "DATA-82",
        "A report carries the extension's GUID and friendly name as strings that stay valid.",
        "nc-ndis-ndis_switch_report_filtered_net_buffer_lists",
    ),
    error(
        "DATA-83",
        "An exclusion on egress takes IsExcluded, an update of 0 destinations and a report that names the \
         port.",
        "excluding-packet-delivery-to-extensible-switch-destination-ports",
    ),
    error(
        "DATA-84",
        "An exclusion is not taken back.",
        "excluding-packet-delivery-to-extensible-switch-destination-ports",
    ),
    warning(
        "DATA-85",
        "A packet all of whose destinations are excluded is returned, not indicated.",
        "excluding-packet-delivery-to-extensible-switch-destination-ports",
    ),
    not(
        "DATA-86",
        Note,
        "On ingress a port is excluded by not adding it; only a packet that is dropped as a whole is \
         reported.",
        "excluding-packet-delivery-to-extensible-switch-destination-ports",
        "advice; the report of a whole packet is DATA-78",
    ),
    cost(
        "DATA-87",
        "Calls are batched: one report and one completion for each port and reason, one send for each \
         destination.",
        "adding-extensible-switch-destination-port-data-to-a-packet",
    ),
    error(
        "DATA-88",
        "A standard port policy that the extension accepted is enforced by it.",
        "forwarding-extensions",
    ),
    error(
        "DATA-89",
        "PruneVlanIdArray takes VLANs away from TrunkVlanIdArray.",
        "ns-ntddndis-_ndis_switch_port_property_vlan",
    ),
    error(
        "DATA-90",
        "Without AllowMacSpoofing the source address is the NIC's own, or with AllowTeaming one of the \
         same VM's.",
        "ns-ntddndis-_ndis_switch_port_property_security",
    ),
];
