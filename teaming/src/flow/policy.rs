//! The hash policies: one table of their numbers and names.
//!
//! What a policy's key is made of is decided in `flow`, by matches that name every policy.

/// Makes the enum, the list of all policies and what is said of each from one row each.
macro_rules! hash_policies {
    ($(
        $(#[$doc:meta])+
        $policy:ident { number: $number:literal, name: $name:literal, lbfo: $lbfo:literal, words: $words:literal, help: $help:literal }
    )+) => {
        /// What the distribution keeps together.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum HashPolicy {
            $($(#[$doc])+ $policy,)+
        }

        /// All policies in the order of their numbers.
        pub const POLICIES: [HashPolicy; HashPolicy::CHOICES.len()] = [$(HashPolicy::$policy),+];

        impl HashPolicy {
            /// Values of `LoadBalancingAlgorithm` and the words for them.
            pub const CHOICES: &[(u64, &str)] = &[$(($number, $name)),+];

            pub const fn row(self) -> PolicyRow {
                match self {
                    $(Self::$policy => {
                        PolicyRow { number: $number, name: $name, lbfo: $lbfo, words: $words, help: $help }
                    })+
                }
            }
        }
    };
}

/// What is said of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyRow {
    /// In the registry and in saved data.
    pub number: u8,
    pub name: &'static str,
    /// LBFO's `LoadBalancingAlgorithm` has this number and name.
    pub lbfo: bool,
    /// The name in a sentence.
    pub words: &'static str,
    /// What stays together, in one line.
    pub help: &'static str,
}

hash_policies! {
    /// By addresses and ports, or the security index; else by addresses; else by the pair of MAC addresses.
    TransportPorts {
        number: 0, name: "TransportPorts", lbfo: true, words: "transport ports", help: "Addresses and ports"
    }
    /// By the pair of IP addresses; else by the pair of MAC addresses.
    IpAddresses {
        number: 2, name: "IPAddresses", lbfo: true, words: "IP addresses", help: "The pair of IP addresses"
    }
    /// By the pair of MAC addresses.
    MacAddresses {
        number: 3, name: "MacAddresses", lbfo: true, words: "MAC addresses", help: "The pair of MAC addresses"
    }
    /// Everything of one virtual NIC stays together.
    HyperVPort {
        number: 4, name: "HyperVPort", lbfo: true, words: "Hyper-V port", help: "The virtual machine's adapter"
    }
    /// Everything that one MAC address sends in one VLAN stays together.
    VlanSourceMac {
        number: 6, name: "VlanSourceMac", lbfo: false, words: "VLAN and source MAC",
        help: "MAC address and VLAN of the sender"
    }
    /// As `TransportPorts`, of the innermost headers of a tunnel that is understood.
    Encapsulated {
        number: 7, name: "Encapsulated", lbfo: false, words: "encapsulated",
        help: "Addresses and ports inside tunnels"
    }
}

impl HashPolicy {
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    pub const fn number(self) -> u8 {
        self.row().number
    }

    pub fn from_number(number: u64) -> Option<Self> {
        POLICIES.into_iter().find(|policy| u64::from(policy.number()) == number)
    }

    /// All frames of one MAC address in one VLAN take one member, so that a physical switch which does not know of the
    /// team sees the address on one of its ports.
    pub const fn keeps_an_address_on_one_member(self) -> bool {
        match self {
            Self::HyperVPort | Self::VlanSourceMac => true,
            Self::TransportPorts | Self::IpAddresses | Self::MacAddresses | Self::Encapsulated => false,
        }
    }

    /// The key is made of both ends of a flow, so that `symmetric` can put them in order.
    pub const fn names_both_ends(self) -> bool {
        match self {
            Self::TransportPorts | Self::IpAddresses | Self::MacAddresses | Self::Encapsulated => true,
            Self::HyperVPort | Self::VlanSourceMac => false,
        }
    }

    /// The key is made of the innermost headers of a tunnel (`frame::parse_innermost`), not of the frame's own.
    #[inline]
    pub const fn wants_innermost_headers(self) -> bool {
        match self {
            Self::Encapsulated => true,
            Self::TransportPorts
            | Self::IpAddresses
            | Self::MacAddresses
            | Self::HyperVPort
            | Self::VlanSourceMac => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lbfo_s_policies_have_its_numbers_and_names_and_no_other_has_one_of_its_numbers() {
        // LoadBalancingAlgorithm of MSFT_NetLbfoTeam.
        let lbfo = [
            (0, "TransportPorts"),
            (2, "IPAddresses"),
            (3, "MacAddresses"),
            (4, "HyperVPort"),
            (5, "Dynamic"),
        ];
        for policy in POLICIES {
            let PolicyRow { number, name, lbfo: is_lbfo, .. } = policy.row();
            assert_eq!(lbfo.contains(&(number, name)), is_lbfo, "{name}");
            assert_eq!(number <= 5, is_lbfo, "{name}");
        }
    }

    #[test]
    fn numbers_ascend_and_lead_back_to_their_policies() {
        assert!(POLICIES.map(HashPolicy::number).is_sorted_by(|one, next| one < next));
        for policy in POLICIES {
            assert_eq!(HashPolicy::from_number(policy.number().into()), Some(policy));
        }
        assert_eq!([1, 5, 256, u64::MAX].map(HashPolicy::from_number), [None; 4]);
    }
}
