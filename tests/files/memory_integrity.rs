//! What memory integrity (HVCI) demands of a driver, as far as its image shows it (implement-hvci-compatible-code.md).
//!
//! What it demands of calls, the simulated kernel checks in every run: memory of the pool is never executable, and a
//! mapping says so (MEM-01). A host with memory integrity also takes no unsigned image, not even with test signing.

use std::collections::BTreeSet;

use object::{LittleEndian as LE, pe};

use super::image_checks::{Fault, Faults, Image, in_directory, in_file, in_headers, patch};

const PAGE: u32 = 0x1000;
/// Functions of the kernel and of NDIS that the page lists: they may give executable memory.
const IMPACTED: [&str; 20] = [
    "ExAllocatePool",
    "ExAllocatePoolWithQuota",
    "ExAllocatePoolWithQuotaTag",
    "ExAllocatePoolWithTag",
    "ExAllocatePoolWithTagPriority",
    "ExInitializeNPagedLookasideList",
    "ExInitializeLookasideListEx",
    "MmAllocateContiguousMemory",
    "MmAllocateContiguousMemorySpecifyCache",
    "MmAllocateContiguousMemorySpecifyCacheNode",
    "MmAllocateContiguousNodeMemory",
    "MmCopyMemory",
    "MmMapIoSpace",
    "MmMapLockedPages",
    "MmMapLockedPagesSpecifyCache",
    "MmProtectMdlSystemAddress",
    "ZwAllocateVirtualMemory",
    "ZwCreateSection",
    "ZwMapViewOfSection",
    "NdisAllocateMemoryWithTagPriority",
];
/// Of these, what the driver calls all the same: with `MdlMappingNoExecute`, which MEM-01 demands.
const CHECKED_ELSEWHERE: [&str; 1] = ["MmMapLockedPagesSpecifyCache"];

/// (name, characteristics, first address, address behind it) of each section.
fn sections_of(image: &Image) -> Vec<(String, u32, u32, u32)> {
    let pe = image.pe();
    let section = |section: &pe::ImageSectionHeader| {
        let name = String::from_utf8_lossy(section.raw_name()).into_owned();
        let start = section.virtual_address.get(LE);
        (name, section.characteristics.get(LE), start, start + section.virtual_size.get(LE))
    };
    pe.section_table().iter().map(section).collect()
}

/// No section can be written and executed, and what is executed cannot be written.
fn sections(image: &Image) -> Faults {
    let mut faults = Faults::new();
    for (name, flags, ..) in sections_of(image) {
        if flags & pe::IMAGE_SCN_MEM_WRITE != 0 && flags & pe::IMAGE_SCN_MEM_EXECUTE != 0 {
            faults.push(format!("{name} is writable and executable"));
        }
        if flags & pe::IMAGE_SCN_CNT_CODE != 0 && flags & pe::IMAGE_SCN_MEM_EXECUTE == 0 {
            faults.push(format!("{name} holds code and is not executable"));
        }
    }
    faults
}

/// Sections begin at pages, which alone have a protection.
fn alignment(image: &Image) -> Faults {
    let alignment = image.headers().optional_header.section_alignment.get(LE);
    let mut faults = Faults::new();
    if alignment == 0 || !alignment.is_multiple_of(PAGE) {
        faults.push(format!("sections are aligned to {alignment:#x} bytes"));
    }
    let unaligned = sections_of(image).into_iter().filter(|(_, _, start, _)| !start.is_multiple_of(PAGE));
    faults.extend(unaligned.map(|(name, _, start, _)| format!("{name} begins at {start:#x}")));
    faults
}

/// The system writes the addresses of imports into a table, which can be no part of the code.
fn import_table(image: &Image) -> Faults {
    let pe = image.pe();
    let Some(table) = pe.data_directory(pe::IMAGE_DIRECTORY_ENTRY_IAT) else {
        return vec!["no imports".into()];
    };
    let (start, size) = (table.virtual_address.get(LE), table.size.get(LE));
    let (end, sections) = (start.saturating_add(size), sections_of(image));
    let Some((name, flags, ..)) = sections.iter().find(|(_, _, first, last)| *first <= start && end <= *last)
    else {
        return vec![format!("the import address table at {start:#x} is in no section")];
    };
    let executable = flags & pe::IMAGE_SCN_MEM_EXECUTE != 0;
    if executable {
        vec![format!("the import address table is in {name}, which is executable")]
    } else {
        vec![]
    }
}

/// No address that is relocated lies in two pages.
fn relocations(image: &Image) -> Faults {
    let pe = image.pe();
    let table = pe.section_table();
    let blocks = pe.data_directories().relocation_blocks(&*image.bytes, &table).expect("relocations");
    let Some(mut blocks) = blocks else { return vec![] };
    let mut faults = Faults::new();
    while let Some(block) = blocks.next().expect("a block of relocations") {
        let addresses = block.filter(|relocation| relocation.typ == pe::IMAGE_REL_BASED_DIR64);
        let straddling = addresses.filter(|relocation| relocation.virtual_address % PAGE > PAGE - 8);
        faults.extend(
            straddling.map(|relocation| format!("{:#x} is in two pages", relocation.virtual_address)),
        );
    }
    faults
}

/// Only what is of no use once the image is loaded is discarded: relocations, and INIT, if there is one.
fn discarded(image: &Image) -> Faults {
    let mut faults = Faults::new();
    for (name, flags, ..) in sections_of(image) {
        let may = name.starts_with("INIT") || name.starts_with(".reloc");
        if may != (flags & pe::IMAGE_SCN_MEM_DISCARDABLE != 0) {
            faults.push(format!("{name} is {}discarded", if may { "not " } else { "" }));
        }
    }
    faults
}

fn impacted_functions(image: &Image) -> Faults {
    let imports: BTreeSet<String> = image.imports().into_iter().filter_map(|(_, name)| name).collect();
    let found = IMPACTED.iter().filter(|name| imports.contains(**name) && !CHECKED_ELSEWHERE.contains(name));
    found.map(|name| format!("{name} may give executable memory")).collect()
}

const CHECKS: [fn(&Image) -> Faults; 6] =
    [sections, alignment, import_table, relocations, discarded, impacted_functions];

#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn the_image_meets_what_memory_integrity_demands() {
    let image = Image::read();
    let faults: Faults = CHECKS.iter().flat_map(|check| check(&image)).collect();
    assert_eq!(faults, Faults::new());
}

/// Where the characteristics of a section stand in its header.
fn characteristics(image: &Image, section: usize) -> usize {
    in_headers(image, 24 + 240 + 40 * section + 36)
}

const FAULTS: [Fault; 8] = [
    ("code that can be written", sections, |image| {
        patch(image, characteristics(image, 0), &0xe000_0020_u32.to_le_bytes());
    }),
    ("code that cannot be executed", sections, |image| {
        patch(image, characteristics(image, 0), &0x4000_0020_u32.to_le_bytes());
    }),
    ("small sections", alignment, |image| patch(image, in_headers(image, 24 + 32), &0x800_u32.to_le_bytes())),
    ("a section in the midst of a page", alignment, |image| {
        patch(image, in_headers(image, 24 + 240 + 40 + 12), &0x4_6200_u32.to_le_bytes());
    }),
    ("imports in the code", import_table, |image| {
        let entry = in_headers(image, 24 + 112 + 8 * pe::IMAGE_DIRECTORY_ENTRY_IAT);
        patch(image, entry, &0x1000_u32.to_le_bytes());
    }),
    ("an address in two pages", relocations, |image| {
        let first = in_directory(image, pe::IMAGE_DIRECTORY_ENTRY_BASERELOC) + 8;
        patch(image, first, &0xaffc_u16.to_le_bytes());
    }),
    ("code that is discarded", discarded, |image| {
        patch(image, characteristics(image, 0), &0x6200_0020_u32.to_le_bytes());
    }),
    ("an allocation of executable memory", impacted_functions, |image| {
        let place = image.bytes.windows(16).position(|window| window == b"ExAllocatePool2\0").unwrap();
        image.bytes[place + 14] = 0;
    }),
];

#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn each_demand_is_noticed_when_it_is_not_met() {
    for (fault, check, put) in FAULTS {
        let mut image = Image::read();
        assert_eq!(check(&image), Faults::new(), "{fault}");
        put(&mut image);
        assert_ne!(check(&image), Faults::new(), "{fault} goes unnoticed");
    }
    let entry = Image::read().headers().optional_header.address_of_entry_point.get(LE);
    assert!(in_file(&Image::read(), entry) > 0, "the code is the first section, as the faults assume");
}
