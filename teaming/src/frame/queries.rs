//! General queries of IGMPv3 (RFC 3376) and MLDv2 (RFC 3810): whoever gets one reports which groups it listens to.
//!
//! They are for machines of this host, and no router sends them: the IPv4 source is 0.0.0.0, which takes part in no election of
//! a querier (RFC 4541, 2.1.1); the IPv6 source is link-local, because a host takes no other (RFC 3810, 5.1.14).

use crate::ids::MacAddr;

/// Bytes of the longer one.
pub const LENGTH: usize = 90;
/// The shortest frame without its check sequence (IEEE 802.3, 3.2.8).
const SHORTEST: usize = 60;

/// Source of the queries: a locally administered address that no station has.
pub const QUERIER: MacAddr = MacAddr([0x02, 0x4c, 0x42, 0x46, 0x4f, 0x00]);

/// Reports are to come within 100 ms: in tenths of a second for IGMP, in milliseconds for MLD.
const IGMP_RESPONSE: u8 = 1;
const MLD_RESPONSE: u8 = 100;
/// Routers that hear it change no timer (S), and the robustness variable and query interval by default (RFC 3376, 4.1.5 to
/// 4.1.7 and 8).
const SUPPRESS_AND_ROBUSTNESS: u8 = 0x08 | 2;
const INTERVAL_S: u8 = 125;

/// IGMP for IPv4, MLD for IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    Igmp,
    Mld,
}

/// A frame and how many of its bytes are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryFrame {
    bytes: [u8; LENGTH],
    length: usize,
}

impl QueryFrame {
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

const IGMP: QueryFrame = igmp();
const MLD: QueryFrame = mld();

/// The query of a protocol, without a tag.
pub const fn general_query(protocol: GroupProtocol) -> &'static QueryFrame {
    match protocol {
        GroupProtocol::Igmp => &IGMP,
        GroupProtocol::Mld => &MLD,
    }
}

/// Made when the driver is compiled, so that an index that is wrong is an error then.
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated at compile time only"
)]
const fn put<const N: usize>(mut frame: [u8; LENGTH], at: usize, bytes: [u8; N]) -> [u8; LENGTH] {
    let mut n = 0;
    while n < N {
        frame[at + n] = bytes[n];
        n += 1;
    }
    frame
}

/// The sum of 16-bit words of the frame.
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated at compile time only"
)]
const fn sum(frame: &[u8; LENGTH], from: usize, to: usize) -> u32 {
    let (mut sum, mut at) = (0, from);
    while at < to {
        sum += u16::from_be_bytes([frame[at], frame[at + 1]]) as u32;
        at += 2;
    }
    sum
}

/// The Internet check sum (RFC 1071) of what has this sum.
#[expect(clippy::arithmetic_side_effects, reason = "evaluated at compile time only")]
const fn checksum(mut sum: u32) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}

const fn ethernet(to: [u8; 6], ethertype: [u8; 2]) -> [u8; LENGTH] {
    put(put(put([0; LENGTH], 0, to), 6, QUERIER.0), 12, ethertype)
}

const fn igmp() -> QueryFrame {
    let frame = ethernet([0x01, 0x00, 0x5e, 0, 0, 1], [0x08, 0x00]);
    // 24 bytes of header, Internetwork Control, 36 in all, TTL 1, IGMP.
    let frame = put(frame, 14, [0x46, 0xc0, 0, 36, 0, 0, 0, 0, 1, 2]);
    // From nobody to all systems, with the Router Alert option.
    let frame = put(frame, 30, [224, 0, 0, 1, 0x94, 4, 0, 0]);
    let frame = put(frame, 24, checksum(sum(&frame, 14, 38)));
    // Membership query of no group.
    let frame = put(frame, 38, [0x11, IGMP_RESPONSE]);
    let frame = put(frame, 46, [SUPPRESS_AND_ROBUSTNESS, INTERVAL_S]);
    let frame = put(frame, 40, checksum(sum(&frame, 38, 50)));
    QueryFrame { bytes: frame, length: SHORTEST }
}

const fn mld() -> QueryFrame {
    let frame = ethernet([0x33, 0x33, 0, 0, 0, 1], [0x86, 0xdd]);
    // 36 bytes behind the header, which begin with hop-by-hop options; hop limit 1.
    let frame = put(frame, 14, [0x60, 0, 0, 0, 0, 36, 0, 1]);
    let [a, b, c, d, e, f] = QUERIER.0;
    let frame = put(frame, 22, [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    let frame = put(frame, 38, [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    // ICMPv6 next; Router Alert for MLD, and padding.
    let frame = put(frame, 54, [58, 0, 5, 2, 0, 0, 1, 0]);
    // Multicast listener query of no group.
    let frame = put(frame, 62, [130, 0, 0, 0, 0, MLD_RESPONSE]);
    let frame = put(frame, 86, [SUPPRESS_AND_ROBUSTNESS, INTERVAL_S]);
    // With a pseudo header of both addresses, the length and the protocol (RFC 8200, 8.1).
    let (addresses, message) = (sum(&frame, 22, 54), sum(&frame, 62, LENGTH));
    let frame = put(frame, 64, checksum(addresses.wrapping_add(message).wrapping_add(28 + 58)));
    QueryFrame { bytes: frame, length: LENGTH }
}

const _: () = assert!(SHORTEST <= LENGTH);

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of a right message with its check sum is all ones.
    fn sum(words: &[u8]) -> u32 {
        let sum: u32 = words.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
        (sum & 0xffff) + (sum >> 16)
    }

    #[test]
    fn the_queries_have_right_check_sums_and_go_no_further_than_a_link() {
        let igmp = general_query(GroupProtocol::Igmp).bytes();
        assert_eq!((igmp.len(), sum(&igmp[14..38]), sum(&igmp[38..50])), (60, 0xffff, 0xffff));
        assert_eq!((igmp[22], &igmp[26..30]), (1, &[0; 4][..]));
        let mld = general_query(GroupProtocol::Mld).bytes();
        let pseudo = [&mld[22..54], &[0, 0, 0, 28, 0, 0, 0, 58], &mld[62..]].concat();
        assert_eq!((mld.len(), sum(&pseudo), mld[21]), (90, 0xffff, 1));
    }
}
