//! The frame that tells the network where an address is: a RARP request of a station for itself (RFC 903), which needs no IP
//! address and which nobody answers. Switches learn from its source address.

use crate::ids::MacAddr;

/// The shortest frame without its check sequence (IEEE 802.3, 3.2.8).
pub const LENGTH: usize = 60;

/// EtherType, hardware type Ethernet, protocol type IPv4, lengths of their addresses, request reverse.
const HEADER: [u8; 10] = [0x80, 0x35, 0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x03];

/// The frame for an address, without a tag. Both IP addresses in it are 0.
pub fn announcement(mac: MacAddr) -> [u8; LENGTH] {
    let mut frame = [0; LENGTH];
    let mut write = |at: usize, bytes: &[u8]| {
        for (place, byte) in frame.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    };
    write(0, &MacAddr::BROADCAST.0);
    write(6, &mac.0);
    write(12, &HEADER);
    // Sender and target.
    write(22, &mac.0);
    write(32, &mac.0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_has_the_bytes_and_the_check_sequence_of_the_published_one() {
        let frame = announcement(MacAddr([0x00, 0x15, 0x5d, 0x00, 0x01, 0x02]));
        let mut expected = std::vec![0xff; 6];
        expected.extend([0x00, 0x15, 0x5d, 0x00, 0x01, 0x02, 0x80, 0x35, 0x00, 0x01]);
        expected.extend([0x08, 0x00, 0x06, 0x04, 0x00, 0x03, 0x00, 0x15, 0x5d, 0x00, 0x01, 0x02, 0, 0, 0, 0]);
        expected.extend([0x00, 0x15, 0x5d, 0x00, 0x01, 0x02]);
        expected.resize(LENGTH, 0);
        assert_eq!(frame[..], expected);
        assert_eq!(crc32fast::hash(&frame), 0x83A2_77AF);
    }
}
