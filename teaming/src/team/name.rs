//! The name that the operating system shows of a physical adapter: bounded, and fit to be printed on one line.

use core::fmt;

/// UTF-16 code units of a name.
pub const UNITS: usize = 63;
/// Code units of either end of a name that is too long; one more is the sign between them. Adapters of one kind differ in
/// the last characters.
const END: usize = UNITS / 2;
const CUT: char = '\u{2026}';

/// A name in UTF-16. Whatever a screen or a log would not show as one character in its place (control characters, marks
/// that change the direction of writing or have no width, unpaired surrogates, numbers that are no characters) is U+FFFD
/// in it, so two adapters cannot look alike by invisible means. A longer name has its middle cut out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AdapterName {
    units: [u16; UNITS],
    length: u16,
}

impl AdapterName {
    /// Not known yet.
    pub const NONE: Self = Self { units: [0; UNITS], length: 0 };

    /// Takes the name of an `IF_COUNTED_STRING`, UTF-16 in little-endian bytes. It ends at a zero, which the length should
    /// not include (ns-ntddndis-_ndis_switch_nic_parameters.md); half a unit at the end is left out.
    pub fn set(&mut self, bytes: &[u8]) {
        *self = Self::NONE;
        let length = chars(bytes).fold(0_usize, |sum, char| sum.saturating_add(char.len_utf16()));
        if length <= UNITS {
            chars(bytes).for_each(|char| self.push(char));
            return;
        }
        let mut at = 0_usize;
        let mut cut = false;
        for char in chars(bytes) {
            let end = at.saturating_add(char.len_utf16());
            if end <= END || at >= length.saturating_sub(END) {
                self.push(char);
            } else if !cut {
                cut = true;
                self.push(CUT);
            }
            at = end;
        }
    }

    fn push(&mut self, char: char) {
        let offset = u32::from(char).wrapping_sub(0x1_0000);
        match u16::try_from(u32::from(char)) {
            Ok(unit) => self.push_unit(unit),
            Err(_) => {
                self.push_unit(0xD800 | u16::try_from(offset >> 10 & 0x3FF).unwrap_or(0));
                self.push_unit(0xDC00 | u16::try_from(offset & 0x3FF).unwrap_or(0));
            }
        }
    }

    fn push_unit(&mut self, unit: u16) {
        if let Some(place) = self.units.get_mut(usize::from(self.length)) {
            *place = unit;
            self.length = self.length.wrapping_add(1);
        }
    }

    /// The name in UTF-16 code units.
    pub fn units(&self) -> &[u16] {
        self.units.get(..usize::from(self.length)).unwrap_or_default()
    }

    pub const fn is_known(&self) -> bool {
        self.length != 0
    }
}

impl Default for AdapterName {
    fn default() -> Self {
        Self::NONE
    }
}

/// The characters of the bytes, each fit to be printed.
fn chars(bytes: &[u8]) -> impl Iterator<Item = char> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).take_while(|unit| *unit != 0);
    char::decode_utf16(units).map(|char| match char {
        Ok(char) if is_seen(char) => char,
        Ok(_) | Err(_) => char::REPLACEMENT_CHARACTER,
    })
}

/// A character that takes a place of its own on a line.
fn is_seen(char: char) -> bool {
    let hidden = matches!(
        char,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    let is_none = u32::from(char) & 0xFFFE == 0xFFFE || matches!(char, '\u{fdd0}'..='\u{fdef}');
    !hidden && !is_none && !char.is_control()
}

impl fmt::Display for AdapterName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        char::decode_utf16(self.units().iter().copied())
            .try_for_each(|char| out.write_char(char.unwrap_or(char::REPLACEMENT_CHARACTER)))
    }
}

impl fmt::Debug for AdapterName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn name(units: impl IntoIterator<Item = u16>) -> AdapterName {
        let bytes: Vec<u8> = units.into_iter().flat_map(u16::to_le_bytes).collect();
        let mut name = AdapterName::NONE;
        name.set(&bytes);
        name
    }

    fn text(text: &str) -> String {
        name(text.encode_utf16()).to_string()
    }

    #[test]
    fn a_name_that_fits_is_kept_and_of_a_longer_one_both_ends() {
        for whole in ["", "Slot 3 Port 1", "Netzwerkkarte \u{fc}ber \u{1f50c}", &"x".repeat(UNITS)] {
            assert_eq!(text(whole), whole);
        }
        let long = std::format!("{} #2", "Ethernet ".repeat(12));
        let cut = text(&long);
        assert_eq!(cut.chars().count(), UNITS);
        assert!(cut.starts_with(&long[..END]) && cut.ends_with(&long[long.len() - END..]), "{cut}");
        // A pair at either cut is kept whole or left out.
        for shift in 0..4 {
            let pairs = std::format!("{}{}", "a".repeat(shift), "\u{1f50c}".repeat(60));
            let cut = name(pairs.encode_utf16());
            assert!(!cut.to_string().contains(char::REPLACEMENT_CHARACTER), "{cut}");
            assert!((UNITS - 2..=UNITS).contains(&cut.units().len()), "{cut}");
        }
    }

    #[test]
    fn what_is_not_seen_is_shown_as_such() {
        for hidden in ['\u{1}', '\n', '\r', '\u{1b}', '\u{7f}', '\u{85}', '\u{200b}', '\u{202e}', '\u{2066}']
            .into_iter()
            .chain(['\u{feff}', '\u{fffe}', '\u{ffff}', '\u{e0041}', '\u{ad}', '\u{2028}', '\u{fdd0}'])
        {
            assert_eq!(text(&std::format!("NIC{hidden}1")), "NIC\u{fffd}1", "{hidden:?}");
        }
    }

    #[test]
    fn surrogates_without_a_partner_a_zero_and_half_a_unit_do_no_harm() {
        let (high, low, a) = (0xD83D, 0xDD0C, u16::from(b'a'));
        assert_eq!(name([high, a]).to_string(), "\u{fffd}a");
        assert_eq!(name([low, high]).to_string(), "\u{fffd}\u{fffd}");
        assert_eq!(name([a, high]).to_string(), "a\u{fffd}");
        assert_eq!(name([a, 0, a]).to_string(), "a");
        assert_eq!(name([0, a]), AdapterName::NONE);
        let mut odd = AdapterName::NONE;
        odd.set(&[b'a', 0, b'b']);
        assert_eq!(odd.to_string(), "a");
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_bounded_line_of_characters(
            before in prop::collection::vec(any::<u8>(), 0..520),
            bytes in prop::collection::vec(any::<u8>(), 0..520),
        ) {
            let mut name = AdapterName::NONE;
            name.set(&before);
            name.set(&bytes);
            let mut fresh = AdapterName::NONE;
            fresh.set(&bytes);
            prop_assert_eq!(name, fresh);
            prop_assert!(name.units().len() <= UNITS);
            let text = String::from_utf16(name.units());
            prop_assert_eq!(text.ok(), Some(name.to_string()));
            prop_assert!(name.to_string().chars().all(is_seen));
            // What is fit stays as it is.
            let again: Vec<u8> = name.units().iter().flat_map(|unit| unit.to_le_bytes()).collect();
            fresh.set(&again);
            prop_assert_eq!(name, fresh);
        }
    }
}
