//! Records of link types other than Ethernet, as frames. Linux' "any" interface and tunnels record IP packets without an
//! Ethernet header, or with half of one: the missing addresses are made from the IP addresses, so that each address is an
//! adapter of its own. Layouts: <https://www.tcpdump.org/linktypes.html>.

/// The record as a frame.
pub enum Framed {
    /// As it was recorded.
    As(Vec<u8>),
    /// With an Ethernet header that was made.
    Made(Vec<u8>),
    /// It is none.
    Useless,
}

/// How a link type's records are laid out.
#[derive(Clone, Copy)]
pub enum Link {
    Ethernet,
    /// An IP packet.
    Raw,
    /// A protocol family of four bytes, then an IP packet.
    Loopback,
    /// Linux cooked capture: the EtherType, then the packet, at these positions.
    Cooked {
        ether_type: usize,
        payload: usize,
    },
    Other,
}

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xDD];

impl Link {
    pub fn of(link: u32) -> Self {
        match link {
            1 => Self::Ethernet,
            // RAW as recorders number it, RAW, IPV4, IPV6.
            12 | 14 | 101 | 228 | 229 => Self::Raw,
            // NULL, LOOP.
            0 | 108 => Self::Loopback,
            // LINUX_SLL, LINUX_SLL2.
            113 => Self::Cooked { ether_type: 14, payload: 16 },
            276 => Self::Cooked { ether_type: 0, payload: 20 },
            _ => Self::Other,
        }
    }

    pub fn frame(self, record: Vec<u8>) -> Framed {
        let (ether_type, packet) = match self {
            Self::Ethernet => return Framed::As(record),
            Self::Other => return Framed::Useless,
            Self::Raw => (None, record.get(..)),
            Self::Loopback => (None, record.get(4..)),
            Self::Cooked { ether_type, payload } => {
                (record.get(ether_type..ether_type + 2), record.get(payload..))
            }
        };
        let Some(packet) = packet.filter(|packet| !packet.is_empty()) else { return Framed::Useless };
        let inner = match (ether_type, packet.first().map(|first| first >> 4)) {
            (Some(known), _) if known != IPV4 && known != IPV6 => return Framed::Useless,
            (_, Some(4)) => IPV4,
            (_, Some(6)) => IPV6,
            _ => return Framed::Useless,
        };
        Framed::Made([&header(inner, packet), packet].concat())
    }
}

/// Destination, source, EtherType.
fn header(ether_type: [u8; 2], packet: &[u8]) -> [u8; 14] {
    let (from, to) = if ether_type == IPV4 { (12..16, 16..20) } else { (8..24, 24..40) };
    let [to, from] = [to, from].map(|at| packet.get(at).map_or([0xFF; 6], adapter));
    let mut header = [0; 14];
    header[..6].copy_from_slice(&to);
    header[6..12].copy_from_slice(&from);
    // Who sends is one adapter, whatever its address says.
    header[6] &= 0xFE;
    header[12..].copy_from_slice(&ether_type);
    header
}

/// An address for the adapter with an IP address: of groups by RFC 1112 and RFC 2464, else locally administered.
fn adapter(address: &[u8]) -> [u8; 6] {
    match *address {
        [255, 255, 255, 255] => [0xFF; 6],
        [a, b, c, d] if a & 0xF0 == 0xE0 => [0x01, 0x00, 0x5E, b & 0x7F, c, d],
        [a, b, c, d] => [0x02, 0x00, a, b, c, d],
        [0xFF, .., a, b, c, d] => [0x33, 0x33, a, b, c, d],
        _ => {
            // FNV-1a: 16 bytes do not fit.
            let digest = address.iter().fold(0xCBF2_9CE4_8422_2325_u64, |digest, byte| {
                (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
            });
            let [a, b, c, d, e, ..] = digest.to_be_bytes();
            [0x06, a, b, c, d, e]
        }
    }
}

/// Number and name.
pub fn name(link: u32) -> String {
    let known = match link {
        105 => "IEEE 802.11",
        127 => "802.11 with radiotap",
        119 => "802.11 with Prism header",
        189 | 220 => "USB",
        187 | 201 => "Bluetooth",
        9 => "PPP",
        192 => "PPI",
        _ => return link.to_string(),
    };
    format!("{link} ({known})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
        packet.extend(from.into_iter().chain(to).chain([0; 8]));
        packet
    }

    #[test]
    fn an_ip_packet_gets_a_header_by_which_its_addresses_are_adapters() {
        let packet = ipv4([10, 0, 0, 5], [192, 0, 2, 7]);
        let cooked: Vec<u8> =
            [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0].into_iter().chain(packet.clone()).collect();
        let second: Vec<u8> = [8, 0].into_iter().chain([0; 18]).chain(packet.clone()).collect();
        let null: Vec<u8> = [2, 0, 0, 0].into_iter().chain(packet.clone()).collect();
        let expected: Vec<u8> =
            [2, 0, 192, 0, 2, 7, 2, 0, 10, 0, 0, 5, 8, 0].into_iter().chain(packet.clone()).collect();
        for (link, record) in [(101, packet.clone()), (228, packet), (113, cooked), (276, second), (0, null)]
        {
            let Framed::Made(frame) = Link::of(link).frame(record) else { panic!("link type {link}") };
            assert_eq!(frame, expected, "link type {link}");
        }
    }

    #[test]
    fn groups_and_broadcasts_stay_what_they_are() {
        for (to, expected) in [
            ([255; 4], [0xFF; 6]),
            ([224, 0, 0, 251], [1, 0, 0x5E, 0, 0, 251]),
            ([239, 255, 255, 250], [1, 0, 0x5E, 0x7F, 255, 250]),
        ] {
            let Framed::Made(frame) = Link::Raw.frame(ipv4([10, 0, 0, 5], to)) else { panic!("{to:?}") };
            assert_eq!(frame[..6], expected);
        }
    }

    #[test]
    fn what_is_no_ip_packet_is_no_frame() {
        for (link, record) in [(105, vec![1; 40]), (101, vec![0x55; 40]), (101, vec![]), (113, vec![0; 10])] {
            assert!(matches!(Link::of(link).frame(record), Framed::Useless), "link type {link}");
        }
    }
}
