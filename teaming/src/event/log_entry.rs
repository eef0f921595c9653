//! The strings of an entry of the System event log, which the Event Viewer puts into the text of the message table.
//!
//! `%1` of a text is the name that the I/O manager inserts, `%2` the switch, `%3` and so on the fields of the kind
//! (ns-wdm-_io_error_log_packet.md). The build script of the driver makes the texts, `message` of `src/build/messages.rs`.

use crate::event::text::Text;
use crate::event::{Event, FIELD_LONGEST};

/// Room for strings in UTF-16 units, terminators included. An entry has less than ERROR_LOG_MAXIMUM_SIZE (240) bytes, of
/// which the structure itself takes 48.
pub const UNITS: usize = 95;

/// The strings, one after the other, each with its terminator.
pub struct Strings {
    units: [u16; UNITS],
    len: usize,
    pub count: u16,
}

impl Strings {
    /// The strings of an event on a switch, whose name is cut to what the fields leave.
    pub fn new(event: &Event, switch: &[u16]) -> Self {
        let mut strings = Self { units: [0; UNITS], len: 0, count: 0 };
        let values = event.values();
        let mut fields = 0_usize;
        for value in &values {
            fields = fields.saturating_add(written(value).bytes().len()).saturating_add(1);
        }
        let room = UNITS.saturating_sub(fields).saturating_sub(1);
        let name = switch.iter().copied().take_while(|&unit| unit != 0).take(room);
        strings.push(name);
        for value in &values {
            strings.push(written(value).bytes().iter().map(|&byte| u16::from(byte)));
        }
        strings
    }

    fn push(&mut self, units: impl Iterator<Item = u16>) {
        for unit in units.chain([0]) {
            if let Some(place) = self.units.get_mut(self.len) {
                *place = unit;
                self.len = self.len.saturating_add(1);
            }
        }
        self.count = self.count.saturating_add(1);
    }

    pub fn units(&self) -> &[u16] {
        self.units.get(..self.len).unwrap_or_default()
    }
}

#[inline(never)] // a frame of its own
fn written(value: &crate::event::Value) -> Text<FIELD_LONGEST> {
    let mut text = Text::EMPTY;
    value.write(&mut text);
    text
}
