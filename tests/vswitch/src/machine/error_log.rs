//! The I/O manager's error log: entries that a driver allocates, fills in and writes (ioallocateerrorlogentry,
//! iowriteerrorlogentry), and what the Event Viewer shows of them with the message table of their source.

use crate::exports;
use crate::machine::fault;
use crate::machine::memory::{AllocationKind, MemoryState};
use crate::machine::verify;
use crate::machine::world::{self, World};
use crate::mutation::Mutation;
use lbfoext::ndis::raw::ErrorLogPacket;
use parking_lot::Mutex;
use std::ffi::c_void;
use std::ptr;

/// ERROR_LOG_MAXIMUM_SIZE on 64-bit systems: ERROR_LOG_LIMIT_SIZE of wdm.h, which is the smaller of the two limits there.
const MOST: usize = 0xF0;
const HEADER: usize = size_of::<ErrorLogPacket>();
const KIND: AllocationKind = AllocationKind::Other("error log entry");
/// `Customer` of a status (ntstatus.h): the status is not Microsoft's. The facility of I/O errors is 4.
const CUSTOMER: u32 = 1 << 29;
const FACILITY: u32 = 0x0FFF_0000;
const FACILITY_IO: u32 = 4 << 16;

/// An entry as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    pub at: u64,
    pub code: u32,
    pub unique: u32,
    pub strings: Vec<String>,
}

impl LogEntry {
    /// The event id that the Event Viewer shows.
    pub const fn id(&self) -> u16 {
        (self.code & 0xFFFF) as u16
    }

    /// Information, Warning or Error.
    pub const fn severity(&self) -> &'static str {
        match self.code >> 30 {
            0 | 1 => "Information",
            2 => "Warning",
            _ => "Error",
        }
    }

    /// What the Event Viewer shows: the text of this code in a message table, `%1` replaced by the name that the I/O
    /// manager inserts and the others by the entry's strings.
    pub fn shown(&self, table: &[u8]) -> Option<String> {
        let template = message(table, self.code)?;
        let mut shown = String::new();
        let mut rest = template.as_str();
        while let Some((before, after)) = rest.split_once('%') {
            let digits = after.chars().take(2).take_while(char::is_ascii_digit).count();
            let number: usize = after[..digits].parse().ok()?;
            shown += before;
            shown += match number {
                1 => r"\Driver\lbfoext",
                number => self.strings.get(number.checked_sub(2)?)?,
            };
            rest = &after[digits..];
            // What follows in exclamation marks would be a format.
            if rest.starts_with('!') {
                return None;
            }
        }
        Some(shown + rest)
    }
}

/// The text of a status in MESSAGE_RESOURCE_DATA (winnt.h): blocks of statuses, each with its first and last one and the
/// place of its entries, which have a length and a character set in front.
pub fn message(table: &[u8], code: u32) -> Option<String> {
    let long = |at: usize| Some(u32::from_le_bytes(table.get(at..at + 4)?.try_into().ok()?));
    let short = |at: usize| Some(u16::from_le_bytes(table.get(at..at + 2)?.try_into().ok()?));
    for block in 0..long(0)? as usize {
        let at = 4 + 12 * block;
        let (low, high) = (long(at)?, long(at + 4)?);
        if !(low..=high).contains(&code) {
            continue;
        }
        let mut entry = long(at + 8)? as usize;
        for _ in low..code {
            entry += usize::from(short(entry)?);
        }
        let (length, flags) = (usize::from(short(entry)?), short(entry + 2)?);
        if flags != 1 || !length.is_multiple_of(4) {
            return None;
        }
        let units = (entry + 4..entry + length).step_by(2).map_while(short);
        let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        return String::from_utf16(&units).ok();
    }
    None
}

/// What has been written, in order.
#[derive(Default)]
struct Written(Mutex<Vec<LogEntry>>);

impl World {
    /// The entries that were written to the System event log.
    pub fn error_log(&self) -> Vec<LogEntry> {
        self.part::<Written>().0.lock().clone()
    }
}

/// The entry in its memory, or what is wrong with it.
fn read(bytes: &[u8], packet: &ErrorLogPacket) -> Result<(u32, Vec<String>), String> {
    let dump = usize::from(packet.dump_data_size);
    let from = usize::from(packet.string_offset);
    if !dump.is_multiple_of(4) || HEADER + dump > bytes.len() {
        return Err(format!("{dump} bytes of dump data in an entry of {}", bytes.len()));
    }
    let code = packet.error_code.cast_unsigned();
    if code & CUSTOMER == 0 || code & FACILITY != FACILITY_IO {
        return Err(format!("{code:#x} is a status of others"));
    }
    let mut strings = Vec::new();
    let mut rest = bytes.get(from..).filter(|_| from >= HEADER + dump && from.is_multiple_of(2));
    for number in 0..packet.number_of_strings {
        let units = rest.ok_or(format!("strings at {from}"))?.chunks_exact(2);
        let units: Vec<u16> = units.map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        let end = units.iter().position(|unit| *unit == 0).ok_or(format!("string {number} has no end"))?;
        strings.push(String::from_utf16(&units[..end]).map_err(|error| error.to_string())?);
        rest = rest.map(|rest| &rest[2 * (end + 1)..]);
    }
    match rest {
        Some([]) => Ok((code, strings)),
        _ => Err("bytes that belong to no string".to_owned()),
    }
}

exports! {
    pub extern "win64" fn IoAllocateErrorLogEntry(object: *mut c_void, size: u8) -> *mut c_void where irql <= DISPATCH {
        let world = world::current();
        let bytes = usize::from(size);
        let known = matches!(world.place(object.cast()), MemoryState::Live(AllocationKind::Switch));
        let fits = (HEADER..=MOST).contains(&bytes);
        verify::rule(&world, "MEM-10", known && fits, || {
            format!("an entry of {bytes} bytes for {}", if known { "the driver" } else { "an object that is none" })
        });
        if !fits || fault::fails("IoAllocateErrorLogEntry") {
            return ptr::null_mut();
        }
        let entry = world.alloc(KIND, bytes, 0, "error log entry");
        // SAFETY: fresh memory of that size.
        unsafe { entry.write_bytes(0, bytes) };
        entry.cast()
    }

    pub extern "win64" fn IoWriteErrorLogEntry(entry: *mut c_void) where irql <= DISPATCH {
        let world = world::current();
        let live = world.live().into_iter().find(|live| live.kind == KIND && live.key == entry.addr());
        let Some(live) = live else {
            world.violate("MEM-02", "IoWriteErrorLogEntry of what is no entry");
            return;
        };
        // SAFETY: an entry from above, of as many bytes, at least a header; the driver is done with it.
        let (bytes, mut packet) = unsafe {
            let bytes = std::slice::from_raw_parts(entry.cast::<u8>(), live.bytes).to_vec();
            (bytes, entry.cast::<ErrorLogPacket>().read_unaligned())
        };
        world.free(KIND, entry.cast(), 0);
        if world.mutation() == Some(Mutation::ManyStrings) && world.spend_mutation() {
            packet.number_of_strings += 1;
        }
        let read = read(&bytes, &packet);
        verify::rule(&world, "MEM-10", read.is_ok(), || read.clone().err().unwrap_or_default());
        if let Ok((code, strings)) = read {
            world.log(|| format!("System event log: {code:#010x} {}", strings.join(", ")));
            let entry = LogEntry { at: world.now(), code, unique: packet.unique_error_value, strings };
            world.part::<Written>().0.lock().push(entry);
        }
    }
}

/// A driver that logs one error as it should; for the tests of mutations.
#[cfg(test)]
pub fn behave() {
    let world = world::current();
    let object = world.alloc(AllocationKind::Switch, 336, 0, "driver object");
    let strings: Vec<u8> = "a\0bc\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let packet = ErrorLogPacket {
        number_of_strings: 2,
        string_offset: HEADER as u16,
        error_code: 0xA004_0001_u32.cast_signed(),
        ..ErrorLogPacket::ZERO
    };
    // SAFETY: the entry has room for both.
    unsafe {
        let entry = IoAllocateErrorLogEntry(object.cast(), (HEADER + strings.len()) as u8);
        entry.cast::<ErrorLogPacket>().write_unaligned(packet);
        ptr::copy_nonoverlapping(strings.as_ptr(), entry.cast::<u8>().add(HEADER), strings.len());
        IoWriteErrorLogEntry(entry);
    }
    world.free(AllocationKind::Switch, object, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::world::Config;

    fn rules_of(config: Config, body: impl FnOnce(&World) + Send) -> Vec<&'static str> {
        let world = World::new(config);
        world.enter(|| body(&world)).expect("it ends");
        world.check_memory();
        world.violations().iter().map(|v| v.rule).collect()
    }

    #[test]
    fn an_entry_is_kept_with_its_strings() {
        let rules = rules_of(Config::default(), |world| {
            behave();
            let [entry] = &world.error_log()[..] else { panic!("one entry") };
            assert_eq!((entry.code, entry.id(), entry.severity()), (0xA004_0001, 1, "Warning"));
            assert_eq!(entry.strings, ["a", "bc"]);
            assert!(world.live().is_empty());
        });
        assert_eq!(rules, [""; 0]);
    }

    #[test]
    fn an_entry_that_is_too_long_too_short_or_of_nobody_is_found() {
        let refused = |object: bool, size| {
            rules_of(Config::default(), |world| {
                let driver = world.alloc(AllocationKind::Switch, 336, 0, "driver object");
                let object = if object { driver.cast() } else { ptr::null_mut() };
                // SAFETY: only the arguments are looked at.
                let entry = unsafe { IoAllocateErrorLogEntry(object, size) };
                if !entry.is_null() {
                    world.free(KIND, entry.cast(), 0);
                }
                world.free(AllocationKind::Switch, driver, 0);
            })
        };
        assert_eq!(refused(true, 240), [""; 0]);
        for (object, size) in [(true, 241), (true, 47), (false, 48)] {
            assert_eq!(refused(object, size), ["MEM-10"], "{size}");
        }
    }

    #[test]
    fn strings_outside_the_entry_bytes_of_none_and_statuses_of_others_are_found() {
        let packet = ErrorLogPacket {
            number_of_strings: 1,
            string_offset: HEADER as u16,
            error_code: 0x6004_0007,
            ..ErrorLogPacket::ZERO
        };
        let bytes = |strings: &[u8]| [&[0; HEADER][..], strings].concat();
        assert_eq!(read(&bytes(b"a\0\0\0"), &packet), Ok((0x6004_0007, vec!["a".to_owned()])));
        for (wrong, strings) in [
            (packet, &b"a\0"[..]),
            (packet, b"a\0\0\0b\0"),
            (ErrorLogPacket { number_of_strings: 2, ..packet }, b"a\0\0\0"),
            (ErrorLogPacket { string_offset: 40, ..packet }, b"a\0\0\0"),
            (ErrorLogPacket { string_offset: 49, ..packet }, b"a\0\0\0\0"),
            (ErrorLogPacket { dump_data_size: 2, ..packet }, b"a\0\0\0"),
            (ErrorLogPacket { dump_data_size: 8, ..packet }, b"a\0\0\0"),
            (ErrorLogPacket { error_code: 0x4004_0007, ..packet }, b"a\0\0\0"),
            (ErrorLogPacket { error_code: 0x6000_0007, ..packet }, b"a\0\0\0"),
        ] {
            assert!(read(&bytes(strings), &wrong).is_err(), "{strings:?}");
        }
    }

    #[test]
    fn an_entry_that_finds_no_memory_is_null() {
        let config = Config { fault: Some(1), ..Config::default() };
        rules_of(config, |world| {
            let driver = world.alloc(AllocationKind::Switch, 336, 0, "driver object");
            // SAFETY: as above.
            assert!(unsafe { IoAllocateErrorLogEntry(driver.cast(), 48) }.is_null());
            world.free(AllocationKind::Switch, driver, 0);
        });
    }

    /// Two blocks: statuses 5 and 6, and 9; written out by hand.
    fn table() -> Vec<u8> {
        let entry = |text: &str| {
            let mut units: Vec<u16> = text.encode_utf16().chain([0]).collect();
            units.resize(units.len().next_multiple_of(2), 0);
            let length = 4 + 2 * units.len() as u16;
            [length, 1].into_iter().chain(units).flat_map(u16::to_le_bytes).collect::<Vec<u8>>()
        };
        let texts = [entry("one %2"), entry("%3 and %2 of %1"), entry("%12!s! bad")];
        let mut table: Vec<u8> = 2_u32.to_le_bytes().to_vec();
        let second = 28 + texts[0].len() + texts[1].len();
        for word in [5, 6, 28, 9, 9, second as u32] {
            table.extend(word.to_le_bytes());
        }
        table.extend(texts.concat());
        table
    }

    #[test]
    fn a_message_table_is_read_and_its_places_are_filled() {
        let shown = |code, strings: &[&str]| {
            let strings = strings.iter().map(|text| (*text).to_owned()).collect();
            LogEntry { at: 0, code, unique: 0, strings }.shown(&table())
        };
        assert_eq!(shown(5, &["x"]).as_deref(), Some("one x"));
        assert_eq!(shown(6, &["x", "y"]).as_deref(), Some(r"y and x of \Driver\lbfoext"));
        assert_eq!(shown(6, &["x"]), None, "a string is missing");
        assert_eq!(shown(9, &["x"; 20]), None, "a format");
        assert_eq!(shown(7, &["x"]), None, "no such text");
        assert_eq!(message(&table()[..40], 6), None);
    }
}
