//! ASCII constants as the UTF-16 text that Windows wants.

/// `text` in UTF-16 code units, at compile time.
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
