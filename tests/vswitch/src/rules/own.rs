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
        "Of a team that the physical switches know nothing of, one copy of a flooded frame comes in, and \
         no frame of this host.",
        "own guarantee",
    ),
    error(
        "EGR-7",
        "Frames to a group that a bridge keeps on its link do not cross the external port, unless the setting \
         says so.",
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
    error("SWITCH-LOOP", "No frame of an external host comes back to the physical switch.", "own guarantee"),
    not(
        "SWITCH-VLAN-LEAK",
        Error,
        "No frame leaves in a VLAN that the port of the physical switch does not carry.",
        "own guarantee",
        "no scenario limits the VLANs that a port of the physical switch carries",
    ),
];
