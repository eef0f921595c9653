//! The message table of the image (MESSAGE_RESOURCE_DATA of winnt.h, resource type RT_MESSAGETABLE) as a compiled resource
//! that every linker for Windows takes. The build script runs this on the build host; nothing of it is in the image, and
//! tests read the table back from there. Who includes it has the table of kinds as `catalog` beside it.

use super::catalog::EventKind;

/// RT_MESSAGETABLE, and the name and language with which mc.exe makes it.
const MESSAGE_TABLE: u32 = 11;
const NAME: u32 = 1;
const ENGLISH: u16 = 0x0409;
/// MOVEABLE and PURE, as resource compilers state.
const MEMORY_FLAGS: u16 = 0x30;
/// MESSAGE_RESOURCE_UNICODE.
const UNICODE: u16 = 1;

/// The text of a kind for the Event Viewer: `%2` is the switch, `%3` and so on are the fields of the kind.
pub fn message(kind: &EventKind) -> String {
    let [what, why, next] = kind.text;
    let mut text = format!("Switch %2: {what}\r\n{why}\r\n{next}\r\n");
    for (position, (name, _)) in kind.fields.iter().enumerate() {
        text = text.replace(&format!("{{{name}}}"), &format!("%{}", position + 3));
    }
    text
}

/// The message table: a block for each run of statuses without a gap, in ascending order.
pub fn table(kinds: &[EventKind]) -> Vec<u8> {
    let mut rows: Vec<(u32, String)> = kinds
        .iter()
        .filter(|kind| kind.in_system_log)
        .map(|kind| (kind.error_code(), message(kind)))
        .collect();
    rows.sort();
    let runs: Vec<&[(u32, String)]> = rows.chunk_by(|a, b| a.0 + 1 == b.0).collect();
    let mut entries = Vec::new();
    let mut blocks = u32_bytes(runs.len());
    let first_entry = 4 + 12 * runs.len();
    for run in &runs {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        blocks.extend(first.0.to_le_bytes());
        blocks.extend(last.0.to_le_bytes());
        blocks.extend(u32_bytes(first_entry + entries.len()));
        for (_, text) in *run {
            entries.extend(entry(text));
        }
    }
    blocks.extend(entries);
    blocks
}

/// MESSAGE_RESOURCE_ENTRY: its length, its character set, the text with a terminator, padded to 32 bits.
fn entry(text: &str) -> Vec<u8> {
    let mut units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    units.resize(units.len().next_multiple_of(2), 0);
    let length = (4 + 2 * units.len()) as u16;
    let header = [length, UNICODE];
    header.into_iter().chain(units).flat_map(u16::to_le_bytes).collect()
}

/// The table as the contents of a .res file: an empty resource, which marks the format, and the table.
pub fn resource(kinds: &[EventKind]) -> Vec<u8> {
    let mut file = resource_header(0, 0, 0, 0, 0);
    let table = table(kinds);
    file.extend(resource_header(table.len(), MESSAGE_TABLE, NAME, MEMORY_FLAGS, ENGLISH));
    file.extend(table);
    file.resize(file.len().next_multiple_of(4), 0);
    file
}

/// RESOURCEHEADER with a type and a name that are numbers.
fn resource_header(data: usize, kind: u32, name: u32, flags: u16, language: u16) -> Vec<u8> {
    /// 0xFFFF in front of a number.
    const ORDINAL: u32 = 0xFFFF;
    const LENGTH: usize = 32;
    let mut header = u32_bytes(data);
    header.extend(u32_bytes(LENGTH));
    for ordinal in [kind, name] {
        header.extend((ORDINAL | ordinal << 16).to_le_bytes());
    }
    header.extend(0_u32.to_le_bytes()); // DataVersion
    header.extend(flags.to_le_bytes());
    header.extend(language.to_le_bytes());
    header.extend([0; 8]); // Version, Characteristics
    header
}

fn u32_bytes(number: usize) -> Vec<u8> {
    (number as u32).to_le_bytes().to_vec()
}
