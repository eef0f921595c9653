//! The rules of ports and network adapters.

use super::Severity::{Error, Warning};
use super::{Rule, error, not, switch, warning};

/// Group PORTNIC.
pub const PORTNIC: &[Rule] = &[
    switch(
        "PORTNIC-01",
        "A port is created, its NIC created, connected, disconnected and deleted, perhaps again; then torn \
         down and deleted.",
        "hyper-v-extensible-switch-port-and-network-adapter-states",
    ),
    switch(
        "PORTNIC-02",
        "The external NIC's index 0 is created and connected before its members, and goes after them.",
        "managing-physical-network-adapter-connection-status",
    ),
    error(
        "PORTNIC-03",
        "Each NIC, by port and index, has a state of its own: a created one is not used.",
        "oid-switch-nic-create",
    ),
    error(
        "PORTNIC-04",
        "PORT_CREATE is passed on or refused; the extension does not complete it with success.",
        "oid-switch-port-create",
    ),
    error(
        "PORTNIC-05",
        "NIC_CREATE is passed on, or refused for index 0; the extension does not complete it with success.",
        "oid-switch-nic-create",
    ),
    warning(
        "PORTNIC-06",
        "A creation is refused with NDIS_STATUS_DATA_NOT_ACCEPTED; other failures may be tried again.",
        "oid-switch-nic-create",
    ),
    error(
        "PORTNIC-07",
        "Updates, connects, disconnects, tear-downs and deletes are passed on: the result is that of the \
         drivers below.",
        "oid-switch-nic-connect",
    ),
    error(
        "PORTNIC-08",
        "The parameters of ports and NICs are read-only, but for the MTU of PORTNIC-20.",
        "oid-switch-nic-create",
    ),
    warning(
        "PORTNIC-09",
        "A NIC is a destination only after its CONNECT completed with success.",
        "oid-switch-nic-connect",
    ),
    error(
        "PORTNIC-10",
        "A NIC that is created but not connected gets no own packet, request, indication or reference.",
        "oid-switch-nic-create",
    ),
    error(
        "PORTNIC-11",
        "After NIC_DISCONNECT the NIC gets no own packet, no new reference and nothing without one.",
        "oid-switch-nic-disconnect",
    ),
    error(
        "PORTNIC-12",
        "A port reference taken while NIC_DISCONNECT is held is given up before the request goes down.",
        "adding-extensible-switch-destination-port-data-to-a-packet",
    ),
    switch(
        "PORTNIC-13",
        "A NIC is deleted when its packets, requests and references are gone, a port when its references \
         and requests are.",
        "oid-switch-nic-delete",
    ),
    error(
        "PORTNIC-14",
        "Each successful reference is given up once, under the same numbers, and a failed one never.",
        "nc-ndis-ndis_switch_reference_switch_nic",
    ),
    error(
        "PORTNIC-15",
        "A reference is held no longer than its request or indication takes.",
        "overview-of-hyper-v-extensible-switch-network-adapters",
    ),
    error(
        "PORTNIC-16",
        "A port is referenced while it is created and not torn down, and for whatever needs it active.",
        "nc-ndis-ndis_switch_reference_switch_port",
    ),
    error(
        "PORTNIC-17",
        "After PORT_TEARDOWN went down there are no packets, requests or new references for the port.",
        "oid-switch-port-teardown",
    ),
    error(
        "PORTNIC-18",
        "A deleted port or NIC is forgotten: its number may be another VM's at once.",
        "oid-switch-port-delete",
    ),
    error(
        "PORTNIC-19",
        "NIC_UPDATED is taken over: addresses, names, MTU, NUMA node and VFAssigned.",
        "oid-switch-nic-updated",
    ),
    error(
        "PORTNIC-20",
        "The MTU of an initializing synthetic NIC may be lowered in NIC_CREATE, never raised; no other is \
         changed.",
        "ns-ntddndis-_ndis_switch_nic_parameters",
    ),
    not(
        "PORTNIC-21",
        Error,
        "A NIC's MTU is read from NIC_CONNECT and NIC_UPDATED: it may change.",
        "ns-ntddndis-_ndis_switch_nic_parameters",
        "the extension does not look at MTUs",
    ),
    not(
        "PORTNIC-22",
        Error,
        "Fields of MAC addresses have 32 bytes, of which 6 count.",
        "ntddndis.h",
        "what overflows is MEM-02; the field is filled to its end in every scenario",
    ),
    error(
        "PORTNIC-23",
        "Names are counted strings without a terminator: what lies behind their length means nothing.",
        "oid-switch-nic-array",
    ),
    error(
        "PORTNIC-24",
        "VmName and VMMacAddress mean something for VMs' NICs only, NetCfgInstanceId for external and \
         internal ones.",
        "ns-ntddndis-_ndis_switch_nic_parameters",
    ),
    error(
        "PORTNIC-25",
        "A validation port is there to check its properties: nothing is reserved for it or forwarded to it.",
        "validation-ports",
    ),
    switch(
        "PORTNIC-26",
        "A validation port is deleted soon and never gets a NIC.",
        "hyper-v-extensible-switch-live-migration-support",
    ),
    switch(
        "PORTNIC-27",
        "Several internal NICs, several NICs of a VM and a switch without an external network are legal.",
        "overview-of-the-hyper-v-extensible-switch",
    ),
    error(
        "PORTNIC-28",
        "Members have indexes 1 to 32, with gaps, and they may come again: an index is no position.",
        "network-adapter-index-values",
    ),
    not(
        "PORTNIC-29",
        Warning,
        "Unknown port types are accepted; what is external is told by the NIC's type.",
        "ntddndis.h",
        "in this switch a NIC is of its port's type",
    ),
    error(
        "PORTNIC-30",
        "A port or NIC whose creation failed below is forgotten: no DELETE follows.",
        "sample code",
    ),
    error(
        "PORTNIC-31",
        "A NIC that stands in the array and comes by NIC_CREATE too is one NIC.",
        "sample code",
    ),
    error(
        "PORTNIC-32",
        "A NIC that the array shows as created only is not used.",
        "ne-ntddndis-_ndis_switch_nic_state",
    ),
    error(
        "PORTNIC-33",
        "A DISCONNECT without a CONNECT, or a repeated one, miscounts nothing.",
        "sample code",
    ),
    switch(
        "PORTNIC-34",
        "PORT_UPDATED may come at any time of a port's life and changes only its friendly name.",
        "oid-switch-port-updated",
    ),
    error("PORTNIC-35", "Unknown flags of ports and NICs are ignored, not refused.", "ntddndis.h"),
];
