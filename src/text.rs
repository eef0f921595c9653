//! Conversion of ASCII constants to UTF-16, at compile time.

/// `text` in UTF-16 code units.
pub const fn utf16<const N: usize>(text: &[u8; N]) -> [u16; N] {
    let mut units = [0; N];
    let mut at = 0;
    #[expect(clippy::indexing_slicing, reason = "evaluated at compile time; both arrays have length N")]
    while at < N {
        units[at] = text[at] as u16;
        at += 1;
    }
    units
}

/// The 16 bytes of a GUID as it lies in memory, from its text `{6E3C2C0F-...}`. Data1, Data2 and Data3 are
/// little-endian.
pub const fn guid(text: &[u16; 38]) -> [u8; 16] {
    /// Index in the text of the first of each byte's two digits.
    const PLACES: [usize; 16] = [7, 5, 3, 1, 12, 10, 17, 15, 20, 22, 25, 27, 29, 31, 33, 35];
    let mut bytes = [0; 16];
    let mut at = 0;
    #[expect(clippy::indexing_slicing, reason = "evaluated at compile time; places lie in the text")]
    while at < 16 {
        bytes[at] = digit(text[PLACES[at]]) << 4 | digit(text[PLACES[at] + 1]);
        at += 1;
    }
    bytes
}

const fn digit(unit: u16) -> u8 {
    let [unit, _] = unit.to_le_bytes();
    match unit {
        b'0'..=b'9' => unit - b'0',
        b'A'..=b'F' => unit - b'A' + 10,
        _ => 0,
    }
}
