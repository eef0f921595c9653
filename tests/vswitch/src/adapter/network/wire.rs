//! A frame on the cable: what adapters and switches change of it, and what stays.

use crate::switch::ports::Mac;

/// The shortest frame without its check sequence (IEEE 802.3, 3.2.8).
pub const SHORTEST: usize = 60;

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xDD];
const ARP: [u8; 2] = [0x08, 0x06];
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const IGMP: u8 = 2;
const ICMP_V6: u8 = 58;

/// A frame in its VLAN; the tag is not among its bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Wire {
    pub vid: u16,
    pub bytes: Vec<u8>,
}

/// Where the parts of an IP packet lie.
struct Ip {
    version: u8,
    /// Of the upper header, if it is there in full view: no later fragment.
    upper: Option<(u8, usize)>,
    end: usize,
}

impl Wire {
    /// A frame of a list: VLAN id of its out-of-band tag, and its bytes, in which its tag may lie instead.
    pub fn of(bytes: &[u8], out_of_band: u16) -> Self {
        match bytes.get(12..16) {
            Some(&[0x81, 0x00, high, low]) if out_of_band == 0 => {
                let bytes = [&bytes[..12], &bytes[16..]].concat();
                Self { vid: u16::from_be_bytes([high & 0x0F, low]), bytes }
            }
            _ => Self { vid: out_of_band, bytes: bytes.to_vec() },
        }
    }

    pub fn to(&self) -> Mac {
        self.mac(0)
    }

    pub fn from(&self) -> Mac {
        self.mac(6)
    }

    fn mac(&self, at: usize) -> Mac {
        self.bytes.get(at..at + 6).and_then(|m| m.try_into().ok()).unwrap_or_default()
    }

    /// As a list has it that an adapter receives: the bytes with the tag in them.
    pub fn tagged_bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if self.vid != 0 && bytes.len() >= 12 {
            let [high, low] = self.vid.to_be_bytes();
            bytes.splice(12..12, [0x81, 0x00, high, low]);
        }
        bytes
    }

    fn ip(&self) -> Option<Ip> {
        let bytes = &self.bytes;
        let word = |at: usize| Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
        let kind: [u8; 2] = bytes.get(12..14)?.try_into().ok()?;
        match kind {
            IPV4 if bytes.get(14)? >> 4 == 4 => {
                let header = usize::from(bytes[14] & 0x0F) * 4;
                let end = 14 + word(16)?;
                let later = word(20)? & 0x1FFF != 0;
                let well = header >= 20 && end >= 14 + header && end <= bytes.len();
                let upper = (!later).then_some((*bytes.get(23)?, 14 + header));
                well.then_some(Ip { version: 4, upper, end })
            }
            IPV6 if bytes.get(14)? >> 4 == 6 => {
                let (mut next, mut at) = (*bytes.get(20)?, 54);
                let end = at + word(18)?;
                if next == 0 && end >= at + 8 {
                    // Hop-by-hop options, as MLD has them.
                    next = *bytes.get(at)?;
                    at += 8 + 8 * usize::from(*bytes.get(at + 1)?);
                }
                (end <= bytes.len() && at <= end).then_some(Ip { version: 6, upper: Some((next, at)), end })
            }
            _ => None,
        }
    }

    /// Offset of the check sum of the upper header.
    fn upper_sum(ip: &Ip) -> Option<usize> {
        let (protocol, at) = ip.upper?;
        let sum = match (protocol, ip.version) {
            (TCP, _) => at + 16,
            (UDP, _) => at + 6,
            (ICMP, 4) | (ICMP_V6, 6) | (IGMP, 4) => at + 2,
            _ => return None,
        };
        (sum + 2 <= ip.end).then_some(sum)
    }

    /// What an adapter does to each frame: check sums that it was left, and padding.
    pub fn leave(&mut self) {
        self.fill_sums();
        if self.bytes.len() < SHORTEST {
            self.bytes.resize(SHORTEST, 0);
        }
    }

    fn fill_sums(&mut self) {
        let Some(ip) = self.ip() else { return };
        if ip.version == 4 {
            let header = usize::from(self.bytes[14] & 0x0F) * 4;
            self.bytes[24..26].fill(0);
            let sum = folded(&self.bytes[14..14 + header], 0);
            self.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let (Some(at), Some((protocol, start))) = (Self::upper_sum(&ip), ip.upper) else { return };
        let fragment = ip.version == 4 && self.bytes[20] & 0x20 != 0;
        if fragment {
            return;
        }
        self.bytes[at..at + 2].fill(0);
        let addresses = if ip.version == 4 { 26..34 } else { 22..54 };
        let pseudo = match protocol {
            ICMP | IGMP => 0,
            _ => sum_of(&self.bytes[addresses]) + u32::from(protocol) + (ip.end - start) as u32,
        };
        let sum = match folded(&self.bytes[start..ip.end], pseudo) {
            0 if protocol == UDP => 0xFFFF,
            sum => sum,
        };
        self.bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// The segments of a large send, of so many bytes of payload each.
    pub fn segments(&self, size: usize) -> Vec<Self> {
        let Some(ip) = self.ip().filter(|_| size > 0) else { return vec![self.clone()] };
        let Some((protocol, at)) = ip.upper else { return vec![self.clone()] };
        let payload = match protocol {
            TCP if at + 20 <= ip.end => at + usize::from(self.bytes[at + 12] >> 4) * 4,
            UDP => at + 8,
            _ => return vec![self.clone()],
        };
        if payload >= ip.end {
            return vec![self.clone()];
        }
        let mut sent = 0_u32;
        let pieces = self.bytes[payload..ip.end].chunks(size).zip(0_u16..);
        let pieces = pieces.map(|(piece, n)| {
            let mut bytes = [&self.bytes[..payload], piece].concat();
            let whole = bytes.len() - 14;
            if ip.version == 4 {
                bytes[16..18].copy_from_slice(&(whole as u16).to_be_bytes());
                let id = u16::from_be_bytes([bytes[18], bytes[19]]).wrapping_add(n);
                bytes[18..20].copy_from_slice(&id.to_be_bytes());
            } else {
                bytes[18..20].copy_from_slice(&(whole as u16 - 40).to_be_bytes());
            }
            if protocol == TCP {
                let sequence = u32::from_be_bytes(bytes[at + 4..at + 8].try_into().unwrap_or_default());
                bytes[at + 4..at + 8].copy_from_slice(&sequence.wrapping_add(sent).to_be_bytes());
            } else {
                let length = (bytes.len() - at) as u16;
                bytes[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
            }
            sent += piece.len() as u32;
            Self { vid: self.vid, bytes }
        });
        pieces.collect()
    }

    /// A router or switch sets the class of the traffic; the header's check sum follows.
    pub fn remark(&mut self, class: u8) {
        let Some(ip) = self.ip() else { return };
        if ip.version == 4 {
            self.bytes[15] = class << 2;
            let header = usize::from(self.bytes[14] & 0x0F) * 4;
            self.bytes[24..26].fill(0);
            let sum = folded(&self.bytes[14..14 + header], 0);
            self.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        } else {
            self.bytes[14] = 0x60 | class >> 2;
            self.bytes[15] = class << 6 | self.bytes[15] & 0x3F;
        }
    }

    /// Bytes behind the end of the protocol, where it says where it ends.
    pub fn pad(&mut self, count: usize) {
        if self.protocol_end().is_some() {
            self.bytes.resize(self.bytes.len() + count, 0);
        }
    }

    fn protocol_end(&self) -> Option<usize> {
        match self.bytes.get(12..14)?.try_into().ok()? {
            ARP => (self.bytes.len() >= 42).then_some(42),
            _ => self.ip().map(|ip| ip.end),
        }
    }

    /// The upper protocol of an IP packet and its bytes.
    fn message(&self) -> Option<(u8, &[u8])> {
        let ip = self.ip()?;
        let (protocol, at) = ip.upper?;
        Some((protocol, self.bytes.get(at..ip.end)?))
    }

    /// The groups that a report says somebody listens to, by their addresses on the cable: IGMP of all versions (RFC 2236, RFC
    /// 3376, 4.2) and MLD (RFC 2710, RFC 3810, 5.2).
    pub fn reports(&self) -> Vec<Mac> {
        let v4 = |g: &[u8]| [0x01, 0x00, 0x5E, g[1] & 0x7F, g[2], g[3]];
        let v6 = |g: &[u8]| [0x33, 0x33, g[12], g[13], g[14], g[15]];
        match self.message() {
            Some((IGMP, [0x12 | 0x16, _, _, _, group @ ..])) if group.len() >= 4 => vec![v4(group)],
            Some((ICMP_V6, [131, _, _, _, _, _, _, _, group @ ..])) if group.len() >= 16 => vec![v6(group)],
            Some((IGMP, [0x22, _, _, _, _, _, _, _, records @ ..])) => {
                listened(records, 4).into_iter().map(v4).collect()
            }
            Some((ICMP_V6, [143, _, _, _, _, _, _, _, records @ ..])) => {
                listened(records, 16).into_iter().map(v6).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A query for groups: only who asks for a link sends it.
    pub fn is_query(&self) -> bool {
        matches!(self.message(), Some((IGMP, [0x11, ..]) | (ICMP_V6, [130, ..])))
    }

    /// What no adapter and no switch changes: two frames with the same are the same to whoever receives them.
    pub fn content(&self) -> Self {
        let mut same = self.clone();
        match self.protocol_end() {
            Some(end) => same.bytes.truncate(end),
            // Padding that no protocol tells from its own bytes.
            None if same.bytes.len() <= SHORTEST => {
                let end = same.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                same.bytes.truncate(end.max(14).min(same.bytes.len()));
            }
            None => {}
        }
        let Some(ip) = self.ip() else { return same };
        if ip.version == 4 {
            same.bytes[15] = 0;
            same.bytes[24..26].fill(0);
        } else {
            same.bytes[14] = 0x60;
            same.bytes[15] &= 0x0F;
        }
        if let Some(at) = Self::upper_sum(&ip) {
            same.bytes[at..at + 2].fill(0);
        }
        same
    }
}

/// The groups of records (type, length of auxiliary data in words, number of sources, group, sources) that say of somebody
/// that it listens; `size` is that of an address.
fn listened(mut records: &[u8], size: usize) -> Vec<&[u8]> {
    let mut groups = Vec::new();
    while let [kind, aux, high, low, rest @ ..] = records {
        let sources = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((group, rest)) = rest.split_at_checked(size) else { break };
        // Includes of nothing are the end of a membership; old sources that are blocked say nothing about others.
        if matches!(kind, 2 | 4) || matches!(kind, 1 | 3 | 5) && sources > 0 {
            groups.push(group);
        }
        let Some((_, next)) = rest.split_at_checked(sources * size + usize::from(*aux) * 4) else { break };
        records = next;
    }
    groups
}

fn sum_of(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w.get(1).copied().unwrap_or(0))).sum()
}

/// The complement of the folded sum (RFC 1071).
fn folded(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start + sum_of(bytes);
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::frames;
    use crate::scenario::guest::{Flow, host_mac, vm_mac};

    fn wire() -> Wire {
        Wire::of(&Flow::new(vm_mac(0), host_mac(0), 1).frame(1, 60), 7)
    }

    #[test]
    fn what_stays_is_the_same_after_padding_check_sums_and_marks() {
        for short in [4, 60] {
            let plain = Wire::of(&Flow::new(vm_mac(0), host_mac(0), 1).frame(1, short), 0);
            let mut changed = plain.clone();
            changed.leave();
            changed.remark(0x2E);
            changed.pad(9);
            assert_ne!(changed, plain);
            assert_eq!(changed.content(), plain.content());
        }
    }

    #[test]
    fn two_frames_that_differ_in_one_byte_are_two() {
        let one = wire();
        let mut other = one.clone();
        *other.bytes.last_mut().unwrap() ^= 1;
        assert_ne!(one.content(), other.content());
        assert_ne!(one.content(), Wire { vid: 8, ..one.clone() }.content());
    }

    #[test]
    fn reports_of_every_version_name_their_groups_and_queries_are_none() {
        let of = |frame: Vec<u8>| Wire::of(&frame, 0);
        let vm = vm_mac(0);
        assert_eq!(of(frames::igmp_report(vm, [239, 129, 2, 3])).reports(), [[1, 0, 0x5E, 1, 2, 3]]);
        let groups = [[239, 1, 1, 1], [239, 1, 1, 2]];
        let mut report = frames::igmp_v3_report(vm, &groups);
        assert_eq!(of(report.clone()).reports(), [[1, 0, 0x5E, 1, 1, 1], [1, 0, 0x5E, 1, 1, 2]]);
        // The first group is left: an include of nothing.
        let first = report.len() - 16;
        report[first] = 3;
        assert_eq!(of(report).reports(), [[1, 0, 0x5E, 1, 1, 2]]);
        assert_eq!(of(frames::mld_v2_report(vm, 0x1_0203)).reports(), [[0x33, 0x33, 0, 1, 2, 3]]);
        assert!(of(frames::igmp_query(vm)).is_query() && of(frames::igmp_query(vm)).reports().is_empty());
        assert!(!of(frames::igmp_report(vm, [239, 1, 2, 3])).is_query());
    }

    #[test]
    fn check_sums_are_those_of_their_bytes() {
        let mut wire = wire();
        wire.leave();
        assert_eq!(folded(&wire.bytes[14..34], 0), 0);
        let pseudo = sum_of(&wire.bytes[26..34]) + 17 + (wire.bytes.len() - 34) as u32;
        assert_eq!(folded(&wire.bytes[34..], pseudo), 0);
    }

    #[test]
    fn a_tag_in_the_bytes_is_the_vlan_on_the_wire() {
        let one = wire();
        assert_eq!(Wire::of(&one.tagged_bytes(), 0), one);
    }

    #[test]
    fn a_large_send_leaves_in_segments_with_lengths_of_their_own() {
        let large = Wire::of(&Flow::new(vm_mac(0), host_mac(0), 1).frame(1, 2_500), 0);
        let segments = large.segments(1_000);
        let lengths: Vec<usize> = segments.iter().map(|s| s.bytes.len() - 42).collect();
        assert_eq!(lengths, [1_000, 1_000, 500]);
        assert!(segments.iter().all(|s| s.ip().is_some_and(|ip| ip.end == s.bytes.len())));
    }
}
