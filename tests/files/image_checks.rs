//! What the driver image must be before it is worth loading: its headers, sections, imports and instructions.
//!
//! The checks read the file that `cargo image` built and the linker's map beside it; they run nothing of it.
//! Each check is also shown an image with the fault that it is for.

#[path = "../../teaming/tests/captures/sources.rs"]
mod sources;

use std::{collections::BTreeSet, fs, path::Path};

use iced_x86::{CpuidFeature, Decoder, DecoderOptions, Instruction, Mnemonic};
use object::{
    LittleEndian as LE,
    pe::{self, ImageNtHeaders64},
    read::pe::{Import, PeFile64},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SIZE_LIMIT: usize = 448 * 1024;
/// Frames of the driver share 24 KiB of kernel stack with all that calls it and all that it calls.
const FRAME_LIMIT: u32 = 1024;
/// Exported names, by the file of the operating system that exports them.
const EXPORTS: [(&str, &str); 4] = [
    ("cng.sys", include_str!("../image/exports/cng.sys.txt")),
    ("ndis.sys", include_str!("../image/exports/ndis.sys.txt")),
    ("NETIO.SYS", include_str!("../image/exports/netio.sys.txt")),
    ("ntoskrnl.exe", include_str!("../image/exports/ntoskrnl.exe.txt")),
];
/// Functions that belong to panicking or formatting and may be in the image all the same, with the reason.
const ALLOWED: [(&str, &str); 0] = [];
/// What every x86-64 processor has and kernel code may use without saving further state: no x87, MMX, AVX. No PCLMULQDQ
/// either: without `std` crc32fast knows at compile time that it takes that path on no processor, and the linker leaves
/// out what nothing reaches.
const INSTRUCTIONS: [CpuidFeature; 13] = [
    CpuidFeature::INTEL8086,
    CpuidFeature::INTEL186,
    CpuidFeature::INTEL286,
    CpuidFeature::INTEL386,
    CpuidFeature::INTEL486,
    CpuidFeature::X64,
    CpuidFeature::CMOV,
    CpuidFeature::CX8,
    CpuidFeature::MULTIBYTENOP,
    CpuidFeature::PAUSE,
    CpuidFeature::SSE,
    CpuidFeature::SSE2,
    CpuidFeature::RDTSCP,
];

/// What a check finds wrong; nothing, if all is well.
pub type Faults = Vec<String>;

/// The image in a form that the checks can read, and faults can be put into.
pub struct Image {
    pub bytes: Vec<u8>,
    map: String,
}

impl Image {
    pub fn read() -> Self {
        let file = |name: &str| Path::new(ROOT).join(name);
        let bytes = fs::read(file(::image::IMAGE)).expect("build the image first: cargo image");
        Self { bytes, map: fs::read_to_string(file(::image::MAP)).expect("cargo image leaves a map") }
    }

    pub fn pe(&self) -> PeFile64<'_> {
        PeFile64::parse(&*self.bytes).expect("a PE32+ file")
    }

    pub fn headers(&self) -> ImageNtHeaders64 {
        *self.pe().nt_headers()
    }

    /// Bytes of the loaded image, from an address relative to its base to the end of the section.
    pub fn at(&self, address: u32) -> &[u8] {
        self.pe().section_table().pe_data_at(&*self.bytes, address).unwrap_or_default()
    }

    pub fn directory(&self, index: usize) -> &[u8] {
        let Some(directory) = self.pe().data_directory(index).copied() else { return &[] };
        let size = directory.size.get(LE) as usize;
        self.at(directory.virtual_address.get(LE)).get(..size).unwrap_or_default()
    }

    fn driver_entry(&self) -> Option<u32> {
        let table = self.pe().export_table().ok()??;
        let exports = table.exports().ok()?;
        let entry = exports.iter().find(|export| export.name == Some(b"DriverEntry"))?;
        match entry.target {
            object::read::pe::ExportTarget::Address(address) => Some(address),
            _ => None,
        }
    }

    /// (library, function) of each import; an import by number has no name.
    pub fn imports(&self) -> Vec<(String, Option<String>)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pe = self.pe();
        let table = pe.import_table().expect("an import table").expect("imports");
        let mut imports = Vec::new();
        let mut descriptors = table.descriptors().expect("descriptors");
        while let Some(descriptor) = descriptors.next().expect("a descriptor") {
            let library = text(table.name(descriptor.name.get(LE)).expect("a library's name"));
            let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE)).expect("thunks");
            while let Some(thunk) = thunks.next::<ImageNtHeaders64>().expect("a thunk") {
                let name = match table.import::<ImageNtHeaders64>(thunk).expect("an import") {
                    Import::Name(_, name) => Some(text(name)),
                    Import::Ordinal(_) => None,
                };
                imports.push((library.clone(), name));
            }
        }
        imports
    }

    /// (address, name) of each symbol in the linker's map, names as they are written in the sources.
    fn symbols(&self) -> Vec<(u64, String)> {
        let lines = self.map.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (_place, name, address) = (words.next()?, words.next()?, words.next()?);
            words.next()?;
            let address = u64::from_str_radix(address, 16).ok().filter(|_| address.len() == 16)?;
            Some((address, format!("{:#}", rustc_demangle::demangle(name))))
        });
        lines.collect()
    }

    /// The symbol that an address relative to the base belongs to.
    fn symbol_at(&self, address: u32) -> String {
        let address = self.headers().optional_header.image_base.get(LE) + u64::from(address);
        let below = self.symbols().into_iter().filter(|(start, _)| *start <= address);
        below.max_by_key(|(start, _)| *start).map_or_else(|| "?".into(), |(_, name)| name)
    }
}

/// A native x86-64 program for the kernel, entered at its one export of its own.
fn header(image: &Image) -> Faults {
    let headers = image.headers();
    let optional = &headers.optional_header;
    let characteristics = optional.dll_characteristics.get(LE);
    let mut faults = Faults::new();
    let mut expect = |fine: bool, fault: String| faults.extend((!fine).then_some(fault));

    expect(headers.file_header.machine.get(LE) == pe::IMAGE_FILE_MACHINE_AMD64, "not for x86-64".into());
    let subsystem = optional.subsystem.get(LE);
    expect(subsystem == pe::IMAGE_SUBSYSTEM_NATIVE, format!("subsystem {subsystem}, not native"));
    for (flag, name) in [
        (pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT, "NX_COMPAT"),
        (pe::IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE, "DYNAMIC_BASE"),
        (pe::IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA, "HIGH_ENTROPY_VA"),
        (pe::IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY, "FORCE_INTEGRITY"),
    ] {
        expect(characteristics & flag != 0, format!("{name} is not set"));
    }
    let (entry, export) = (optional.address_of_entry_point.get(LE), image.driver_entry());
    expect(export == Some(entry), format!("entry point {entry:#x}, DriverEntry at {export:x?}"));
    faults
}

/// Relocations for every absolute address, all of them of the one kind for 64-bit addresses.
fn relocations(image: &Image) -> Faults {
    let headers = image.headers();
    let base = headers.optional_header.image_base.get(LE);
    let end = base + u64::from(headers.optional_header.size_of_image.get(LE));
    let mut faults = Faults::new();
    if headers.file_header.characteristics.get(LE) & pe::IMAGE_FILE_RELOCS_STRIPPED != 0 {
        faults.push("relocations are stripped".into());
    }
    let mut count = 0;
    let pe = image.pe();
    let sections = pe.section_table();
    let blocks = pe.data_directories().relocation_blocks(&*image.bytes, &sections).expect("relocations");
    let Some(mut blocks) = blocks else { return vec!["no relocations".into()] };
    while let Some(block) = blocks.next().expect("a block of relocations") {
        for relocation in block.filter(|relocation| relocation.typ != pe::IMAGE_REL_BASED_ABSOLUTE) {
            count += 1;
            let address = relocation.virtual_address;
            let target = image.at(address).first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            if relocation.typ != pe::IMAGE_REL_BASED_DIR64 || !(base..end).contains(&target) {
                faults.push(format!("relocation of type {} at {address:#x} to {target:#x}", relocation.typ));
            }
        }
    }
    if count == 0 {
        faults.push("no relocations, though a table of handlers needs them".into());
    }
    faults
}

/// The header's checksum, which Windows compares before it loads a driver.
fn checksum(image: &Image) -> Faults {
    let pe = image.pe();
    let field = pe.dos_header().nt_headers_offset() as usize + 24 + 64; // signature, file header, offset in the optional header
    let words =
        image.bytes.chunks(2).enumerate().filter(|(index, _)| !(field..field + 4).contains(&(index * 2)));
    let sum = words.fold(0u32, |sum, (_, word)| {
        let sum = sum + u32::from(word[0]) + (u32::from(word.get(1).copied().unwrap_or(0)) << 8);
        (sum & 0xffff) + (sum >> 16)
    });
    let right = sum + image.bytes.len() as u32;
    let stated = image.headers().optional_header.check_sum.get(LE);
    if stated == right { vec![] } else { vec![format!("checksum {stated:#x}, should be {right:#x}")] }
}

/// Only functions that the operating system is known to export, by name.
fn imports(image: &Image) -> Faults {
    let faulty = image.imports().into_iter().filter(|(library, name)| {
        let exports = EXPORTS.iter().find(|(exporter, _)| exporter == library).map_or("", |(_, names)| names);
        !exports.lines().any(|line| Some(line) == name.as_deref())
    });
    faulty.map(|(library, name)| format!("{library} is not known to export {name:?}")).collect()
}

fn size(image: &Image) -> Faults {
    let size = image.bytes.len();
    if size < SIZE_LIMIT { vec![] } else { vec![format!("{size} bytes, the limit is {SIZE_LIMIT}")] }
}

/// No function that panics, formats text, or probes for a large stack frame.
fn functions(image: &Image) -> Faults {
    let unwanted =
        ["core::panicking", "core::fmt", "rust_begin_unwind", "__chkstk", "alloc::raw_vec::handle_error"];
    let symbols = image.symbols().into_iter().map(|(_, name)| name);
    let found: BTreeSet<String> =
        symbols.filter(|name| unwanted.iter().any(|part| name.contains(part))).collect();
    let faults = found.into_iter().filter(|name| !ALLOWED.iter().any(|(allowed, _)| name == allowed));
    faults.map(|name| format!("{name} is in the image")).collect()
}

/// Unwind data state how much stack each function takes.
fn frames(image: &Image) -> Faults {
    let mut faults = Faults::new();
    for function in image.directory(pe::IMAGE_DIRECTORY_ENTRY_EXCEPTION).chunks_exact(12) {
        let word = |at: usize| u32::from_le_bytes(*function[at..].first_chunk().expect("four bytes"));
        let frame = frame_size(image.at(word(8)));
        if frame > FRAME_LIMIT {
            faults.push(format!(
                "{} takes {frame} bytes of stack, the limit is {FRAME_LIMIT}",
                image.symbol_at(word(0))
            ));
        }
    }
    faults
}

/// Sums what the unwind codes of a function (UNWIND_INFO, two bytes each) say of its stack pointer.
fn frame_size(unwind: &[u8]) -> u32 {
    let count = usize::from(unwind[2]);
    let slot = |index: usize| u32::from(u16::from_le_bytes([unwind[4 + 2 * index], unwind[5 + 2 * index]]));
    let (mut size, mut index) = (0, 0);
    while index < count {
        let (operation, detail) = (slot(index) >> 8 & 0xf, slot(index) >> 12);
        let (bytes, slots) = match (operation, detail) {
            (0, _) => (8, 1),                                       // push of a register
            (1, 0) => (slot(index + 1) * 8, 2),                     // large, in units of 8
            (1, _) => (slot(index + 1) | slot(index + 2) << 16, 3), // larger, in bytes
            (2, _) => (detail * 8 + 8, 1),                          // small
            (4 | 8, _) => (0, 2),                                   // register saved near
            (5 | 9, _) => (0, 3),                                   // register saved far
            _ => (0, 1),
        };
        size += bytes;
        index += slots;
    }
    size
}

fn instructions(image: &Image) -> Faults {
    let mut faults = Faults::new();
    for section in image.pe().section_table().iter() {
        if section.characteristics.get(LE) & pe::IMAGE_SCN_MEM_EXECUTE == 0 {
            continue;
        }
        let start = section.virtual_address.get(LE);
        let length = section.virtual_size.get(LE).min(section.size_of_raw_data.get(LE)) as usize;
        let code = &image.at(start)[..length];
        let mut decoder = Decoder::with_ip(64, code, u64::from(start), DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            let features = instruction.cpuid_features();
            // `rep bsf`: older processors run it as `bsf`, and the compiler writes it only where both agree.
            if instruction.mnemonic() == Mnemonic::Tzcnt {
                continue;
            }
            if instruction.is_invalid() || features.iter().any(|feature| !INSTRUCTIONS.contains(feature)) {
                let function = image.symbol_at(instruction.ip32());
                faults.push(format!("{:?} in {function} needs {features:?}", instruction.code()));
            }
        }
    }
    faults
}

/// Nothing depends on when and where it was built: a digest stands for the time, and no path is in it.
fn reproducible(image: &Image) -> Faults {
    let mut faults = Faults::new();
    let entries = image.directory(pe::IMAGE_DIRECTORY_ENTRY_DEBUG).chunks_exact(28);
    let kinds: Vec<u32> =
        entries.map(|entry| u32::from_le_bytes(*entry[12..].first_chunk().expect("four bytes"))).collect();
    if kinds != [pe::IMAGE_DEBUG_TYPE_CODEVIEW, pe::IMAGE_DEBUG_TYPE_REPRO] {
        faults.push(format!("debug data of types {kinds:?}"));
    }
    match ::image::symbols::of_image(&image.bytes) {
        Ok((name, _)) if name == "lbfoext.pdb" => {}
        other => faults.push(format!("symbols: {other:?}")),
    }
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
    for path in [ROOT, &home, "/usr/src/", ".cargo", "target/"] {
        if image.bytes.windows(path.len()).any(|window| window == path.as_bytes()) {
            faults.push(format!("{path} is in the image"));
        }
    }
    faults
}

/// The map describes this image and no other: same entry point, same imports.
fn map(image: &Image) -> Faults {
    let symbols = image.symbols();
    let base = image.headers().optional_header.image_base.get(LE);
    let entry = base + u64::from(image.headers().optional_header.address_of_entry_point.get(LE));
    let mut faults = Faults::new();
    if !symbols.contains(&(entry, "DriverEntry".into())) {
        faults.push("the map has another entry point".into());
    }
    let imported: BTreeSet<String> = image.imports().into_iter().filter_map(|(_, name)| name).collect();
    let mapped: BTreeSet<String> =
        symbols.iter().filter_map(|(_, name)| name.strip_prefix("__imp_")).map(str::to_owned).collect();
    faults.extend(
        imported.symmetric_difference(&mapped).map(|name| format!("{name} is in one import list only")),
    );
    faults
}

#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn the_image_was_built_from_the_present_sources() {
    let built_from = fs::read_to_string(Path::new(ROOT).join(::image::SOURCES)).unwrap();
    let present = ::image::sources_digest(Path::new(ROOT)).unwrap();
    assert_eq!(built_from, present, "the image is stale: cargo image");
}

/// The symbols that are packed with the image are its own, and tell no folder of this machine.
#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn its_symbols_are_its_own_and_say_nothing_of_where_it_was_built() {
    let symbols = fs::read(Path::new(ROOT).join(::image::SYMBOLS)).expect("cargo image leaves symbols");
    let (_, id) = ::image::symbols::of_image(&Image::read().bytes).unwrap();
    assert_eq!(::image::symbols::of_file(&symbols).unwrap(), id);
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
    for path in [ROOT, &home, ".cargo", "/tmp/"] {
        let found = symbols.windows(path.len()).position(|window| window == path.as_bytes());
        assert_eq!(found, None, "{path} is in the symbols");
    }
}

macro_rules! checks {
    ($($name:ident: $check:ident;)*) => {$(
        #[test]
        #[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
        fn $name() {
            assert_eq!($check(&Image::read()), Faults::new());
        }
    )*};
}

checks! {
    it_is_a_native_driver_entered_at_driver_entry: header;
    it_can_be_loaded_at_any_address: relocations;
    its_checksum_is_right: checksum;
    it_imports_only_known_exports_of_ndis_and_the_kernel: imports;
    it_is_smaller_than_448_kib: size;
    nothing_in_it_panics_formats_or_probes_the_stack: functions;
    no_stack_frame_of_it_is_above_1_kib: frames;
    it_uses_no_x87_mmx_or_avx_instruction: instructions;
    it_says_nothing_of_when_and_where_it_was_built: reproducible;
    the_linker_map_is_its_own: map;
}

#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn the_linker_is_told_what_wdk_build_would_tell_it() {
    let wdk_build = sources::package_folder(&Path::new(ROOT).join("target/release/deps"), "wdk_build");
    let wdk_build = fs::read_to_string(wdk_build.join("src/lib.rs")).unwrap();
    let begin = wdk_build.find("pub fn configure_binary_build").unwrap();
    let kmdf = begin + wdk_build[begin..].find("DriverConfig::Kmdf").unwrap();
    let common = begin + wdk_build[begin..].find("common to all configs").unwrap();
    let end = common + wdk_build[common..].find("emit_cfg_settings").unwrap();
    let arguments = |text: &'static str| {
        let lines = text.split("cdylib-link-arg=").skip(1);
        lines
            .filter_map(|line| line.split('"').next())
            .filter(|line| line.starts_with('/'))
            .collect::<Vec<_>>()
    };
    let wdk_build: &'static str = wdk_build.leak();
    let theirs = [arguments(&wdk_build[begin..kmdf]), arguments(&wdk_build[common..end])].concat();

    let ours = include_str!("../../src/build.rs");
    let list = ours.split("AS_WDK_BUILD").nth(1).and_then(|text| text.split("];").next()).unwrap();
    let ours: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert_eq!(ours, theirs);
}

/// Overwrites bytes of the image file.
pub fn patch(image: &mut Image, offset: usize, bytes: &[u8]) {
    image.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Where a field of the PE headers lies in the file, by its distance from the signature.
pub fn in_headers(image: &Image, distance: usize) -> usize {
    image.pe().dos_header().nt_headers_offset() as usize + distance
}

/// Where an address relative to the base lies in the file.
pub fn in_file(image: &Image, address: u32) -> usize {
    let (offset, _) = image.pe().section_table().pe_file_range_at(address).unwrap();
    offset as usize
}

pub fn in_directory(image: &Image, index: usize) -> usize {
    in_file(image, image.pe().data_directory(index).unwrap().virtual_address.get(LE))
}

pub type Fault = (&'static str, fn(&Image) -> Faults, fn(&mut Image));

/// A fault for each check to find.
const FAULTS: [Fault; 19] = [
    ("another machine", header, |image| patch(image, in_headers(image, 4), &0xaa64_u16.to_le_bytes())),
    ("a console program", header, |image| patch(image, in_headers(image, 24 + 68), &3_u16.to_le_bytes())),
    ("no NX", header, |image| patch(image, in_headers(image, 24 + 70), &0x00e0_u16.to_le_bytes())),
    ("a fixed address", header, |image| patch(image, in_headers(image, 24 + 70), &0x01a0_u16.to_le_bytes())),
    ("another entry point", header, |image| {
        patch(image, in_headers(image, 24 + 16), &0x1001_u32.to_le_bytes())
    }),
    ("relocations stripped", relocations, |image| {
        patch(image, in_headers(image, 22), &0x2023_u16.to_le_bytes())
    }),
    ("a 32-bit relocation", relocations, |image| {
        let first = in_directory(image, pe::IMAGE_DIRECTORY_ENTRY_BASERELOC) + 8;
        patch(image, first + 1, &[0x30]); // the kind is in the upper four bits
    }),
    ("no relocations", relocations, |image| {
        let directory = 24 + 112 + 8 * pe::IMAGE_DIRECTORY_ENTRY_BASERELOC;
        patch(image, in_headers(image, directory), &[0; 8]);
    }),
    ("one bit of code", checksum, |image| {
        let entry = in_file(image, image.headers().optional_header.address_of_entry_point.get(LE));
        image.bytes[entry] ^= 1;
    }),
    ("a function nobody exports", imports, |image| {
        let name = b"NdisFRegisterFilterDriver";
        let place = image.bytes.windows(name.len()).position(|window| window == name).unwrap();
        image.bytes[place] = b'X';
    }),
    ("a library of user mode", imports, |image| {
        let place = image.bytes.windows(9).position(|window| window == b"ndis.sys\0").unwrap();
        patch(image, place, b"user.dll");
    }),
    ("a large file", size, |image| image.bytes.resize(SIZE_LIMIT, 0)),
    ("a formatter", functions, |image| {
        image.map += " 0001:0 _RNvNtCs87IRza36Yn2_4core3fmt5write 0000000180001000 object\n";
    }),
    ("a stack probe", functions, |image| image.map += " 0001:0 __chkstk 0000000180001000 object\n"),
    ("an x87 instruction", instructions, |image| {
        let entry = in_file(image, image.headers().optional_header.address_of_entry_point.get(LE));
        patch(image, entry, &[0xd9, 0xe8]); // fld1
    }),
    ("a check sum by carry-less multiplication", instructions, |image| {
        let entry = in_file(image, image.headers().optional_header.address_of_entry_point.get(LE));
        patch(image, entry, &[0x66, 0x0f, 0x3a, 0x44, 0xc1, 0x00]); // pclmulqdq xmm0, xmm1, 0
    }),
    ("a path", reproducible, |image| image.bytes.extend(ROOT.as_bytes())),
    ("symbols by a path", reproducible, |image| {
        let place = image.bytes.windows(12).position(|window| window == b"lbfoext.pdb\0").unwrap();
        patch(image, place, b"c:\\lbfo.pdb");
    }),
    ("the map of another image", map, |image| {
        let base = image.headers().optional_header.image_base.get(LE);
        let entry = base + u64::from(image.headers().optional_header.address_of_entry_point.get(LE));
        image.map = image.map.replace(&format!("{entry:016x}"), &format!("{:016x}", entry + 16));
    }),
];

#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn every_check_finds_the_fault_it_is_for() {
    for (fault, check, put) in FAULTS {
        let mut image = Image::read();
        let before = check(&image);
        put(&mut image);
        assert_ne!(check(&image), before, "{fault} goes unnoticed");
    }
}

#[test]
fn the_frame_of_a_function_is_the_sum_of_its_unwind_codes() {
    let unwind = |codes: &[u16]| {
        let mut bytes = vec![1, 0, codes.len() as u8, 0];
        bytes.extend(codes.iter().flat_map(|code| code.to_le_bytes()));
        bytes
    };
    assert_eq!(frame_size(&unwind(&[])), 0);
    assert_eq!(frame_size(&unwind(&[0x4200, 0x3000, 0x5000])), 40 + 8 + 8);
    assert_eq!(frame_size(&unwind(&[0x0100, 0x0081, 0x6800, 0x0002, 0x3000])), 0x81 * 8 + 8);
    assert_eq!(frame_size(&unwind(&[0x1100, 0x2000, 0x0001])), 0x12000);
}
