//! What the product guarantees beyond the rules of the switch.

use super::Severity::Error;
use super::{Rule, error, not};

/// Groups EGR, STA, RST, ACCOUNT and SWITCH.
pub const OWN: &[Rule] = &[
    error(
        "EGR-5",
        "A packet for a known vNIC reaches it, and a flood reaches everyone that may have it.",
        "own guarantee",
    ),
    error(
        "EGR-6",
        "News from outside is never dropped: only copies, own frames, other VLANs, groups of the link, what is \
         for nobody.",
        "own guarantee",
    ),
    error(
        "EGR-7",
        "Frames to a group that a bridge keeps on its link do not cross the external port, unless the setting \
         says so.",
        "own guarantee",
    ),
    error("EGR-8", "No frame of this host that came back is delivered.", "own guarantee"),
    error(
        "EGR-9",
        "What was sent outside once is delivered once, by whichever members it comes.",
        "own guarantee",
    ),
    error(
        "EGR-10",
        "A learned address is behind its port until it is heard outside, and outside from then on; an announced one \
         stays.",
        "own guarantee",
    ),
    error("EGR-11", "Unicast for an address that is known to be outside goes outside only.", "own guarantee"),
    error("EGR-12", "Nobody gets what has its own address as the source.", "own guarantee"),
    error(
        "EGR-13",
        "An address that adapters of one VM take over from each other (AllowTeaming) is reached at the adapter that \
         sent from it last.",
        "own guarantee",
    ),
    error(
        "EGR-14",
        "AllowTeaming gives an adapter no address of another VM's adapter, and none of one that may not be teamed.",
        "ns-ntddndis-_ndis_switch_port_property_security",
    ),
    error(
        "EGR-15",
        "A list of the extension's own has the bytes of its frame, or all but the 802.1Q tag; then its out-of-band data \
         has the tag and says where the headers are.",
        "ns-nbl8021q-ndis_net_buffer_list_8021q_info",
    ),
    error(
        "EGR-16",
        "A frame with another tag behind that of its VLAN goes to no port without tags, which would read the former.",
        "own guarantee",
    ),
    error("STA-1", "No packet is committed to a member that is known to be down.", "own guarantee"),
    error(
        "RST-4",
        "The record of a NIC counts what it has sent, here and on the hosts before.",
        "own guarantee",
    ),
    error(
        "ACCOUNT",
        "Every frame has an end: delivered, dropped with a reason, or lost with a link.",
        "own guarantee",
    ),
    error("SWITCH-DUPLICATE", "The physical switch gets no frame twice.", "own guarantee"),
    error(
        "SWITCH-FLAP",
        "An address stays on its port of the physical switch, unless a change of the team explains its move.",
        "own guarantee",
    ),
    error(
        "SWITCH-PHANTOM",
        "In the name of a vNIC on a trunk port, an extension speaks only in VLANs in which that was heard.",
        "own guarantee",
    ),
    error(
        "SWITCH-QUERIER",
        "The extension asks nobody but its own host's machines for the groups that they listen to.",
        "rfc3376, 6.6.2: what the election of a querier is for",
    ),
    error("SWITCH-LOOP", "No frame of an external host comes back to the physical switch.", "own guarantee"),
    not(
        "SWITCH-VLAN-LEAK",
        Error,
        "No frame leaves in a VLAN that the port of the physical switch does not carry.",
        "own guarantee",
        "no scenario limits the VLANs that a port of the physical switch carries",
    ),
];
