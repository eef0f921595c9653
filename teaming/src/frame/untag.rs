//! What changes of a frame's out-of-band words when the 802.1Q tag in its bytes comes off: offsets of headers behind the
//! tag become four less, and the tag goes into the word for 802.1Q data.
//!
//! Offsets count from the beginning of the packet (ns-nblchecksum-ndis_tcp_ip_checksum_net_buffer_list_info.md,
//! ns-nbllso-ndis_tcp_large_send_offload_net_buffer_list_info.md,
//! ns-nbluso-ndis_udp_segmentation_offload_net_buffer_list_info.md,
//! ns-ndis-_ndis_tcp_send_offloads_supplemental_net_buffer_list_info.md). Only lists in send format have them.

use super::ETHERNET_HEADER;
use crate::ids::VlanId;

/// Length of a tag, in bytes.
pub const TAG: usize = 4;
/// Bytes in front of a tag: the addresses.
pub const ADDRESSES: usize = 12;
/// The shortest frame with a tag: no header can begin before this offset.
pub const TAGGED_HEADER: usize = ETHERNET_HEADER + TAG;

/// An 802.1Q tag with a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Priority in bits 13 to 15, drop eligibility (formerly the format of addresses) in bit 12, VLAN in bits 0 to 11.
    control: u16,
}

impl Tag {
    /// The tag in the four bytes after the addresses; `None` if these are no 802.1Q tag (0x8100) with a VLAN from 1 to
    /// 4094.
    pub fn read(bytes: [u8; TAG]) -> Option<Self> {
        let [t0, t1, high, low] = bytes;
        let control = u16::from_be_bytes([high, low]);
        let is_vlan = u16::from_be_bytes([t0, t1]) == super::ETHERTYPE_VLAN;
        (is_vlan && VlanId::new(control & 0x0fff).is_some()).then_some(Self { control })
    }

    /// The word for 802.1Q data with this tag: priority in bits 0 to 2, format in bit 3, VLAN in bits 4 to 15
    /// (ns-nbl8021q-ndis_net_buffer_list_8021q_info.md). Reserved bits stay.
    pub fn into_word(self, word: u64) -> u64 {
        let control = u64::from(self.control);
        word & !0xffff | control >> 13 | (control >> 12 & 1) << 3 | (control & 0x0fff) << 4
    }
}

/// TcpIpChecksumNetBufferListInfo: TcpHeaderOffset.
pub const fn checksum(word: u64) -> u64 {
    moved(word, 16, 0x3ff)
}

/// TcpLargeSendNetBufferListInfo of both versions: TcpHeaderOffset.
pub const fn large_send(word: u64) -> u64 {
    moved(word, 20, 0x3ff)
}

/// UdpSegmentationOffloadInfo: UdpHeaderOffset.
pub const fn udp_segmentation(word: u64) -> u64 {
    moved(word, 20, 0x3ff)
}

/// TcpSendOffloadsSupplementalNetBufferListInfo: InnerFrameOffset, if the offsets are valid. The others count from it.
pub const fn encapsulated(word: u64) -> u64 {
    const VALID: u64 = 1 << 1;
    if word & VALID == 0 { word } else { moved(word, 2, 0xff) }
}

/// With the offset at `shift` four less, if it leads behind a tag; 0 says nothing.
const fn moved(word: u64, shift: u32, mask: u64) -> u64 {
    let offset = word.wrapping_shr(shift) & mask;
    if offset < TAGGED_HEADER as u64 { word } else { word.wrapping_sub((TAG as u64).wrapping_shl(shift)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every word of a kind: function, first bit and number of bits of its offset, other bits that it needs.
    type Kind = (fn(u64) -> u64, u32, u32, u64);
    const KINDS: [Kind; 4] = [
        (checksum, 16, 10, 0),
        (large_send, 20, 10, 0),
        (udp_segmentation, 20, 10, 0),
        (encapsulated, 2, 8, 2),
    ];

    #[test]
    fn every_offset_behind_a_tag_becomes_four_less_and_no_other_bit_changes() {
        for (change, shift, bits, valid) in KINDS {
            let mask = (1_u64 << bits) - 1;
            for others in [0, u64::MAX, 0x5555_5555_5555_5555] {
                let others = others & !(mask << shift) | valid;
                for offset in 0..=mask {
                    let expected = if offset >= 18 { offset - 4 } else { offset };
                    assert_eq!(
                        change(others | offset << shift),
                        others | expected << shift,
                        "{offset} at {shift}"
                    );
                }
            }
        }
    }

    #[test]
    fn offsets_that_are_not_valid_stay() {
        for word in [0, 1 | 50 << 2, !2] {
            assert_eq!(encapsulated(word), word);
        }
    }

    #[test]
    fn a_tag_goes_into_the_word_whole() {
        for control in 0..=u16::MAX {
            let [high, low] = control.to_be_bytes();
            let tag = Tag::read([0x81, 0, high, low]);
            let vlan = control & 0xfff;
            assert_eq!(tag.is_some(), vlan != 0 && vlan != 4095, "{control:x}");
            for word in [0, 5, u64::MAX] {
                let Some(got) = tag.map(|tag| tag.into_word(word)) else { continue };
                assert_eq!((got & 7, got >> 3 & 1), (u64::from(control >> 13), u64::from(control >> 12 & 1)));
                assert_eq!((got >> 4 & 0xfff, got >> 16), (u64::from(vlan), word >> 16));
            }
        }
        for other in [[0x88, 0xa8, 0, 5], [0x91, 0, 0, 5], [8, 0, 0, 5]] {
            assert_eq!(Tag::read(other), None);
        }
    }
}
