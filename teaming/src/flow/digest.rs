//! The digest of a frame: 64 bits over what is still the same when the frame comes back from the physical network.
//!
//! In: the VLAN in effect, both MAC addresses, further tags without priority, the EtherType, and the protocol's bytes
//! up to its own length, at most `CONTENT_MAX`. Out: padding, the priority, the DSCP and ECN bits, the IPv4 header
//! checksum and the checksums of TCP, UDP, ICMP and IGMP, which adapters fill in (ns-nblchecksum-...) and switches re-mark
//! or recompute. A time to live is in: a switch does not change it.
//!
//! Keyed by a secret of the switch's own, so that no guest can make frames with equal digests. `forward::arrival`
//! computes it for frames for many, for frames to unknown addresses, and for unicast that is watched.

use core::num::NonZeroU64;

use crate::flow::hash::mix;
use crate::frame::{
    ETHERNET_HEADER, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, EXTENSIONS_MAX,
    PROTOCOL_TCP, PROTOCOL_UDP, TAGS_MAX, extension, is_tag,
};
use crate::ids::VlanId;

/// Bytes from the EtherType on that count: what a window holds of a frame with a tag before its EtherType.
const CONTENT_MAX: usize = crate::frame::WINDOW_MAX - ADDRESSES - TAG;
const ADDRESSES: usize = ETHERNET_HEADER - ETHERTYPE;
const ETHERTYPE: usize = 2;
const TAG: usize = 4;
/// A shorter frame is padded by the sending adapter (IEEE 802.3: 64 octets with the check sequence, and a tag).
const SHORT: usize = 64;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_IGMP: u8 = 2;
const PROTOCOL_ICMPV6: u8 = 58;
/// Values up to it are the length of an LLC frame (IEEE 802.3, 3.2.6).
const LENGTH_MAX: u16 = 1500;

/// Two random words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secret([u64; 2]);

impl Secret {
    pub const fn new(words: [u64; 2]) -> Self {
        Self(words)
    }

    /// The next secret: digests from before are those of no frame any more.
    #[must_use]
    pub const fn next(self) -> Self {
        let [one, two] = self.0;
        Self([mix(one ^ two, two), two])
    }

    /// The digest of a frame whose first bytes are `window`. `vlan` is the one in effect; `in_bytes`: it is in the
    /// outermost tag of the frame's bytes. `None` for what has no addresses, and for an IP packet of length 0, which an
    /// adapter will segment.
    pub fn digest(self, window: &[u8], vlan: Option<VlanId>, in_bytes: bool) -> Option<NonZeroU64> {
        let (addresses, content) = window.split_first_chunk::<ADDRESSES>()?;
        let is_short = window.len() < SHORT;
        let content = without_own_tag(content, in_bytes)?;
        let content = content.get(..CONTENT_MAX).unwrap_or(content);
        let mut sum = Sum { state: self.0[0], key: self.0[1] };
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = *addresses;
        let vlan = vlan.map_or(0, VlanId::get).to_le_bytes();
        sum.add_words(
            u64::from_le_bytes([d0, d1, d2, d3, d4, d5, vlan[0], vlan[1]]),
            u64::from_le_bytes([s0, s1, s2, s3, s4, s5, 0, 0]),
        );
        sum.add_content(content, is_short)?;
        NonZeroU64::new(sum.state).or(NonZeroU64::new(1))
    }
}

/// The bytes from the EtherType on, without the tag of the VLAN in effect and without a priority tag.
fn without_own_tag(content: &[u8], in_bytes: bool) -> Option<&[u8]> {
    let (ethertype, rest) = read_ethertype(content)?;
    if ethertype != ETHERTYPE_VLAN {
        return Some(content);
    }
    let tag = rest.first_chunk::<2>().map_or(0, |tag| u16::from_be_bytes(*tag));
    if in_bytes || tag & 0x0fff == 0 { content.get(TAG..) } else { Some(content) }
}

fn read_ethertype(content: &[u8]) -> Option<(u16, &[u8])> {
    let (ethertype, rest) = content.split_first_chunk::<ETHERTYPE>()?;
    Some((u16::from_be_bytes(*ethertype), rest))
}

struct Sum {
    state: u64,
    key: u64,
}

impl Sum {
    fn add_words(&mut self, one: u64, two: u64) {
        self.state = mix(one ^ self.key, two ^ self.state);
    }

    /// The bytes and how many they are.
    fn add(&mut self, bytes: &[u8]) {
        let (pairs, rest) = bytes.as_chunks::<16>();
        for pair in pairs {
            let [a, b, c, d, e, f, g, h, tail @ ..] = *pair;
            self.add_words(u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes(tail));
        }
        let mut last = [0_u8; 16];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let [a, b, c, d, e, f, g, h, tail @ ..] = last;
        self.add_words(u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes(tail));
        self.add_words(bytes.len() as u64, self.key);
    }

    /// Bytes of which those at `holes` do not count.
    fn add_without<const N: usize>(&mut self, bytes: &[u8; N], holes: &[usize]) {
        let mut kept = *bytes;
        for hole in holes {
            if let Some(byte) = kept.get_mut(*hole) {
                *byte = 0;
            }
        }
        self.add(&kept);
    }

    fn add_content(&mut self, content: &[u8], is_short: bool) -> Option<()> {
        let (mut ethertype, mut packet) = read_ethertype(content)?;
        for _ in 0..TAGS_MAX {
            if !is_tag(ethertype) {
                break;
            }
            let Some(([high, low], inner)) = packet.split_first_chunk::<2>() else { break };
            self.add_words(u64::from(ethertype), u64::from(u16::from_be_bytes([*high & 0x0f, *low])));
            let Some((next, rest)) = read_ethertype(inner) else { break };
            (ethertype, packet) = (next, rest);
        }
        self.add_words(u64::from(ethertype), self.key);
        match ethertype {
            ETHERTYPE_IPV4 => self.add_ipv4(packet),
            ETHERTYPE_IPV6 => self.add_ipv6(packet),
            ETHERTYPE_ARP => {
                let sizes = packet.get(4..6).and_then(|sizes| sizes.first_chunk::<2>());
                let length = sizes.map_or(packet.len(), |[hardware, protocol]| {
                    8_usize.saturating_add(
                        usize::from(*hardware).saturating_add(usize::from(*protocol)).saturating_mul(2),
                    )
                });
                self.add(up_to(packet, length));
                Some(())
            }
            length @ ..=LENGTH_MAX => {
                self.add(up_to(packet, usize::from(length)));
                Some(())
            }
            // Whatever its length is: padding is zeros.
            _ if is_short => {
                let end = packet.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
                self.add(up_to(packet, end));
                Some(())
            }
            _ => {
                self.add(packet);
                Some(())
            }
        }
    }

    /// `None` for a packet that an adapter will segment: it carries no length.
    fn add_ipv4(&mut self, packet: &[u8]) -> Option<()> {
        let Some(fixed) = packet.first_chunk::<20>() else {
            self.add(packet);
            return Some(());
        };
        let [lead, _, l0, l1, _, _, f0, f1, _, protocol, ..] = *fixed;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length == 0 {
            return None;
        }
        let packet = up_to(packet, length);
        // Type of service; header checksum.
        self.add_without(fixed, &[1, 10, 11]);
        let header = usize::from(lead & 0x0f).saturating_mul(4).max(fixed.len());
        self.add(packet.get(fixed.len()..header).unwrap_or_default());
        let is_first = u16::from_be_bytes([f0, f1]) & 0x1fff == 0;
        self.add_segment(packet.get(header..).unwrap_or_default(), if is_first { protocol } else { 0 });
        Some(())
    }

    /// `None` as for IPv4.
    fn add_ipv6(&mut self, packet: &[u8]) -> Option<()> {
        let Some(fixed) = packet.first_chunk::<40>() else {
            self.add(packet);
            return Some(());
        };
        let [b0, b1, _, _, l0, l1, next, ..] = *fixed;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length == 0 {
            return None;
        }
        let packet = up_to(packet, length.saturating_add(fixed.len()));
        // The traffic class lies across two bytes.
        let mut kept = *fixed;
        [kept[0], kept[1]] = [b0 & 0xf0, b1 & 0x0f];
        self.add(&kept);
        let mut rest = packet.get(fixed.len()..).unwrap_or_default();
        let mut protocol = next;
        for _ in 0..EXTENSIONS_MAX {
            let Some((after, length)) = extension(protocol, rest) else { break };
            self.add(up_to(rest, length));
            rest = rest.get(length..).unwrap_or_default();
            protocol = after;
        }
        self.add_segment(rest, protocol);
        Some(())
    }

    /// What IP carries; the checksum of these protocols is left out.
    fn add_segment(&mut self, segment: &[u8], protocol: u8) {
        let checksum: usize = match protocol {
            PROTOCOL_TCP => 16,
            PROTOCOL_UDP => 6,
            PROTOCOL_ICMP | PROTOCOL_IGMP | PROTOCOL_ICMPV6 => 2,
            _ => return self.add(segment),
        };
        let after = checksum.saturating_add(2);
        self.add(up_to(segment, checksum));
        self.add(segment.get(after..).unwrap_or_default());
    }
}

fn up_to(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(..length).unwrap_or(bytes)
}
