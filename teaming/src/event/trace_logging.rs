//! An event as a self-describing ETW event (TraceLogging). The layout is that of TraceLoggingProvider.h, as the crates
//! `tracelogging` and `tracelogging_dynamic` 1.2.4 (github.com/microsoft/tracelogging) write it:
//!
//! ```text
//! provider metadata   u16 length of all of it ; name, NUL
//! event metadata      u16 length of all of it ; u8 0 (no tag) ; name, NUL ; for each field: name, NUL, type [, output type]
//! event data          the values in the same order, little-endian, unaligned; text ends with NUL
//! ```
//!
//! An output type follows where bit 7 of the type is set. Before the fields of its kind each event has `Switch`, `Time` (of
//! the event itself, in 100 ns of unbiased interrupt time) and its text in three parts, `What`, `Why` and `Next`.

use crate::event::catalog::FieldType;
use crate::event::{Event, FieldText, Value};
use crate::ids::Ticks;

/// The provider's GUID as it lies in memory: {86DE98F1-7A8E-5707-86D8-5CDBCA9C13A5}, which tools make of the name `lbfoext`
/// (SHA-1 of a fixed prefix and the name in capitals, `Guid::from_name` of `tracelogging`).
pub const PROVIDER_ID: [u8; 16] =
    [0xF1, 0x98, 0xDE, 0x86, 0x8E, 0x7A, 0x07, 0x57, 0x86, 0xD8, 0x5C, 0xDB, 0xCA, 0x9C, 0x13, 0xA5];

/// Provider metadata.
pub const PROVIDER_METADATA: [u8; 10] = *b"\x0A\0lbfoext\0";

/// Bytes that hold the metadata of every event, and its data; a test comes near them.
pub const METADATA_MOST: usize = 104;
pub const DATA_MOST: usize = 400;
/// Units of the switch's name that are written, in UTF-16.
const NAME_MOST: usize = 32;

/// Types of fields (`TlgIn*`), and the bit that announces an output type.
const IN_U32: u8 = 8;
const IN_U64: u8 = 10;
const IN_HEX32: u8 = 20;
const IN_UTF16: u8 = 1;
const IN_8_BIT: u8 = 2;
const HAS_OUT: u8 = 0x80;
/// The output type of a status (`TlgOutNTSTATUS`).
const OUT_NTSTATUS: u8 = 14;

/// Lengths of what was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    pub metadata: usize,
    pub data: usize,
}

/// Encodes an event on a switch, whose name is UTF-16. `None` if it does not fit; it does fit `METADATA_MOST` and `DATA_MOST`
/// bytes.
pub fn encode(
    event: &Event,
    at: Ticks,
    switch: &[u16],
    metadata: &mut [u8],
    data: &mut [u8],
) -> Option<Lengths> {
    let kind = event.kind();
    let (mut metadata, mut data) = (Bytes::new(metadata), Bytes::new(data));
    metadata.bytes(&[0; 3])?;
    metadata.name(kind.name)?;

    metadata.field("Switch", IN_UTF16, None)?;
    let mut title = switch.iter().take_while(|&&unit| unit != 0).take(NAME_MOST).chain(&[0]);
    title.try_for_each(|unit| data.bytes(&unit.to_le_bytes()))?;

    metadata.field("Time", IN_U64, None)?;
    data.bytes(&at.get().to_le_bytes())?;

    for (number, name) in ["What", "Why", "Next"].into_iter().enumerate() {
        metadata.field(name, IN_8_BIT, None)?;
        data.line(event, number)?;
    }
    for (&(name, of), value) in kind.fields.iter().zip(&event.values()) {
        match of {
            FieldType::U32 => metadata.field(name, IN_U32, None)?,
            FieldType::U64 => metadata.field(name, IN_U64, None)?,
            FieldType::Hex | FieldType::Members => metadata.field(name, IN_HEX32, None)?,
            FieldType::Status => metadata.field(name, IN_HEX32, Some(OUT_NTSTATUS))?,
            FieldType::Text => metadata.field(name, IN_8_BIT, None)?,
        }
        data.value(value)?;
    }
    let length = u16::try_from(metadata.len).ok()?;
    let lengths = Lengths { metadata: metadata.len, data: data.len };
    metadata.len = 0;
    metadata.bytes(&length.to_le_bytes())?;
    Some(lengths)
}

/// Bytes that are written one after the other into a place of fixed length.
struct Bytes<'a> {
    place: &'a mut [u8],
    len: usize,
}

impl<'a> Bytes<'a> {
    fn new(place: &'a mut [u8]) -> Self {
        Self { place, len: 0 }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        let place = self.place.get_mut(self.len..end)?;
        place.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        self.len = end;
        Some(())
    }

    fn name(&mut self, name: &str) -> Option<()> {
        self.bytes(name.as_bytes())?;
        self.bytes(&[0])
    }

    fn field(&mut self, name: &str, of: u8, shown: Option<u8>) -> Option<()> {
        self.name(name)?;
        match shown {
            Some(shown) => self.bytes(&[of | HAS_OUT, shown]),
            None => self.bytes(&[of]),
        }
    }

    /// Of ASCII alone, which every code page has.
    fn text(&mut self, text: &[u8]) -> Option<()> {
        self.bytes(text)?;
        self.bytes(&[0])
    }

    #[inline(never)] // a frame of its own
    fn line(&mut self, event: &Event, number: usize) -> Option<()> {
        let mut line = FieldText::EMPTY;
        event.line(number, &mut line);
        self.text(line.bytes())
    }

    #[inline(never)] // a frame of its own
    fn value(&mut self, value: &Value) -> Option<()> {
        match *value {
            Value::U32(number) | Value::Hex(number) => self.bytes(&number.to_le_bytes()),
            Value::U64(number) => self.bytes(&number.to_le_bytes()),
            Value::Status(status) => self.bytes(&status.to_le_bytes()),
            Value::Members(members) => self.bytes(&members.bits().to_le_bytes()),
            Value::Word(_)
            | Value::Given(_)
            | Value::Allowed(_)
            | Value::Different(_)
            | Value::Adapter(_)
            | Value::Record(_)
            | Value::Answer { .. } => {
                let mut text = FieldText::EMPTY;
                value.write(&mut text);
                self.text(text.bytes())
            }
        }
    }
}
