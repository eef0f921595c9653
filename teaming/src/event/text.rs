//! Text of bounded length without `core::fmt`, whose functions can panic and are kept out of the image.

/// Bytes of ASCII in a fixed buffer. What does not fit is cut off.
#[derive(Debug, Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub const EMPTY: Self = Self { bytes: [0; N], len: 0 };

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The same as a string; empty if somebody has written other bytes than ASCII and one of them was cut.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    pub fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len = self.len.saturating_add(1);
        }
    }

    #[inline(never)] // called from everywhere
    pub fn str(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.byte(byte));
    }

    /// In decimal.
    #[inline(never)] // as above
    pub fn number(&mut self, number: u64) {
        /// Of `u64::MAX`.
        const DIGITS: u32 = 20;
        let mut leading = true;
        for power in (0..DIGITS).rev() {
            let unit = 10_u64.checked_pow(power).unwrap_or(u64::MAX);
            let digit = number.checked_div(unit).unwrap_or(0).checked_rem(10).unwrap_or(0);
            leading &= digit == 0 && power != 0;
            if !leading {
                self.byte(b'0'.saturating_add(u8::try_from(digit).unwrap_or(0)));
            }
        }
    }

    /// `0x` and eight digits.
    #[inline(never)] // as above
    pub fn hex(&mut self, number: u32) {
        self.str("0x");
        number.to_be_bytes().into_iter().for_each(|byte| self.hex_byte(byte));
    }

    /// Two digits.
    pub fn hex_byte(&mut self, byte: u8) {
        for digit in [byte >> 4, byte & 15] {
            self.byte(match digit {
                0..=9 => b'0'.saturating_add(digit),
                _ => b'A'.saturating_add(digit).saturating_sub(10),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    fn written(write: impl Fn(&mut Text<24>)) -> std::string::String {
        let mut text = Text::EMPTY;
        write(&mut text);
        text.as_str().into()
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        let powers = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit]);
        let tens = (0..20).flat_map(|power| [10_u64.pow(power) - 1, 10_u64.pow(power)]);
        for number in powers.chain(tens).chain([u64::MAX]) {
            assert_eq!(written(|text| text.number(number)), format!("{number}"));
            let low = number as u32;
            assert_eq!(written(|text| text.hex(low)), format!("{low:#010X}").replace('X', "x"));
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let text = written(|text| {
            text.str("a word of 21 letters, ");
            text.number(4_711);
            text.str("!");
        });
        assert_eq!(text, "a word of 21 letters, 47");
    }
}
