//! The message table that the build script makes, and the one in the image as another library reads it.

use object::LittleEndian as LE;
use object::read::pe::{PeFile64, ResourceDirectory, ResourceDirectoryEntryData, ResourceDirectoryTable};
use std::{fs, path::Path};
use teaming::event::catalog::{self, KINDS};
use vswitch::machine::error_log::message;

#[path = "../../src/build/messages.rs"]
mod build;

/// RT_MESSAGETABLE.
const MESSAGE_TABLE: u16 = 11;

/// What is below an id, in a table of the resource tree.
fn below<'a>(
    directory: &ResourceDirectory<'a>,
    table: &ResourceDirectoryTable<'a>,
    id: u16,
) -> Option<ResourceDirectoryEntryData<'a>> {
    let entry = table.entries.iter().find(|entry| entry.name_or_id().id() == Some(id))?;
    entry.data(*directory).ok()
}

/// The message table in US English, by its type, name and language.
fn table_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let pe = PeFile64::parse(bytes).expect("a PE32+ file");
    let sections = pe.section_table();
    let directory = pe.data_directories().resource_directory(bytes, &sections).expect("readable")?;
    let mut table = directory.root().expect("a root");
    for id in [MESSAGE_TABLE, 1] {
        table = below(&directory, &table, id)?.table()?;
    }
    assert_eq!(table.entries.len(), 1, "one language");
    let entry = below(&directory, &table, 0x0409)?.data()?;
    let data = sections.pe_data_at(bytes, entry.offset_to_data.get(LE))?;
    data.get(..entry.size.get(LE) as usize).map(<[u8]>::to_vec)
}

#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn the_image_has_the_text_of_every_event_of_the_event_log_and_no_other() {
    let image = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(::image::IMAGE)).expect("the image");
    let table = table_of(&image).expect("a message table");
    assert!(table == build::table(KINDS), "the image has another table than the build script makes");
    for kind in KINDS {
        let expected = kind.in_system_log.then(|| build::message(kind));
        assert_eq!(message(&table, kind.error_code()), expected, "{}", kind.name);
    }
}

#[test]
fn a_text_has_the_switch_and_every_field_in_its_place() {
    let down = KINDS.iter().find(|kind| kind.name == "MemberDown").expect("it is one");
    let text = "Switch %2: Member %3 of the team is down; members up: %5.\r\nReason: %4.\r\n\
                Check the adapter, its cable and the port of the physical switch.\r\n";
    assert_eq!(build::message(down), text);
    for kind in KINDS.iter().filter(|kind| kind.in_system_log) {
        let text = build::message(kind);
        let places: Vec<usize> = text
            .split('%')
            .skip(1)
            .map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>())
            .map(|digits| digits.parse().expect("a number"))
            .collect();
        let all = 2..=kind.fields.len() + 2;
        assert!(all.clone().all(|place| places.contains(&place)), "{text}");
        assert!(places.iter().all(|place| all.contains(place)), "{text}");
        // Exclamation marks behind a place would be a format.
        assert!(!text.contains(['{', '}', '!']), "{text}");
    }
}

/// As resource compilers write it: an empty resource, then the table as type 11, name 1, US English.
#[test]
fn the_resource_file_has_two_headers_and_the_table() {
    let file = build::resource(KINDS);
    let words = |at: usize, count: usize| -> Vec<u32> {
        let words = file[at..at + 4 * count].chunks(4);
        words.map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect()
    };
    assert_eq!(words(0, 8), [0, 32, 0xFFFF, 0xFFFF, 0, 0, 0, 0]);
    let table = build::table(KINDS);
    let length = table.len() as u32;
    assert_eq!(words(32, 8), [length, 32, 0x000B_FFFF, 0x0001_FFFF, 0, 0x0409_0030, 0, 0]);
    assert_eq!(file[64..], table);
    assert!(file.len().is_multiple_of(4));
}
