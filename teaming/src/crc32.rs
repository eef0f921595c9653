//! CRC-32 (IEEE 802.3) of what is saved, a table lookup an octet. Own code: `crc32fast` leaves its AVX paths in the image
//! even where it never takes them, brings 16 KiB of tables, and indexes in ways that can panic; this image has no room
//! for any of it. Tests hold it against that crate.

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut octet = 0_u32;
    #[expect(clippy::indexing_slicing, reason = "evaluated at compile time; 256 octets, 256 places")]
    while octet < 256 {
        let mut value = octet;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[octet as usize] = value;
        octet += 1;
    }
    table
};

pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, octet| {
        let [low, ..] = crc.to_le_bytes();
        crc >> 8 ^ TABLE.get(usize::from(low ^ octet)).copied().unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_crc_that_another_implementation_gives() {
        for length in 0..600_u32 {
            let bytes: std::vec::Vec<u8> =
                (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            assert_eq!(super::crc32(&bytes), crc32fast::hash(&bytes));
        }
    }
}
