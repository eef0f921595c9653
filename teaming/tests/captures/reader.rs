//! Reads frames from capture files: those in the packages of two crates, and those of another folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

#[path = "sources.rs"]
mod sources;

use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use sources::package_folder;

pub struct Frame {
    /// Collection and file name.
    pub file: String,
    /// Number of the frame in its file, from 1.
    pub number: usize,
    pub bytes: Vec<u8>,
}

/// The frames of a folder, and the records that are not Ethernet.
#[derive(Default)]
pub struct Collection {
    pub files: usize,
    pub records: usize,
    pub frames: Vec<Frame>,
    /// Number of records by other link type.
    pub others: BTreeMap<i32, usize>,
    /// Files that end within a record or do not start with a capture header.
    pub damaged: Vec<String>,
}

/// The folders of captures in the packages of `pdu` and `pcap-parser`.
pub fn bundled() -> [(&'static str, PathBuf); 2] {
    let test = env::current_exe().expect("a running test");
    let deps = test.parent().expect("the folder that cargo built it in");
    let folder = |crate_name, captures| package_folder(deps, crate_name).join(captures);
    [("pdu", folder("pdu", "tests/pcaps")), ("pcap-parser", folder("pcap_parser", "assets"))]
}

impl Collection {
    /// Reads every capture of a folder, in the order of the names.
    pub fn read(name: &str, folder: &Path) -> Self {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "pcap" || end == "pcapng"));
        paths.sort();
        let mut collection = Self { files: paths.len(), ..Self::default() };
        for path in paths {
            let file = format!("{name}/{}", path.file_name().expect("a name").to_string_lossy());
            if !collection.read_file(&path, &file) {
                collection.damaged.push(file);
            }
        }
        collection
    }

    /// Returns whether the file could be read to its end.
    fn read_file(&mut self, path: &Path, name: &str) -> bool {
        let file = fs::File::open(path).expect("a readable file");
        let Ok(mut reader) = create_reader(1 << 20, file) else { return false };
        let mut links = Vec::new();
        let mut number = 0;
        loop {
            let used = match reader.next() {
                Ok((used, block)) => {
                    if let Some((link, bytes)) = record(&block, &mut links) {
                        number += 1;
                        self.add(name, number, link, bytes);
                    }
                    used
                }
                Err(PcapError::Eof) => return true,
                Err(PcapError::Incomplete(_)) => 0,
                Err(_) => return false,
            };
            if used != 0 {
                reader.consume(used);
            } else if reader.reader_exhausted() || reader.refill().is_err() {
                return false;
            }
        }
    }

    fn add(&mut self, file: &str, number: usize, link: i32, bytes: &[u8]) {
        self.records += 1;
        match as_ethernet(link, bytes) {
            Some(bytes) => self.frames.push(Frame { file: file.to_owned(), number, bytes }),
            None => *self.others.entry(link).or_default() += 1,
        }
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, records, frames, others, damaged } = self;
        write!(out, "{files} files, {records} records, {} frames, ", frames.len())?;
        write!(out, "records by other link types {others:?}, damaged files {damaged:?}")
    }
}

/// The Ethernet frame of a record. Raw IP and Linux cooked captures carry the payload of an Ethernet frame and get an
/// Ethernet header here.
fn as_ethernet(link: i32, bytes: &[u8]) -> Option<Vec<u8>> {
    const ETHERNET: i32 = 1;
    let wrap = |ethertype: [u8; 2], payload: &[u8]| {
        let header = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        Some([&header[..], &ethertype, payload].concat())
    };
    match link {
        ETHERNET => Some(bytes.to_vec()),
        12 | 14 | 101 => match bytes.first()? >> 4 {
            6 => wrap([0x86, 0xdd], bytes),
            _ => wrap([0x08, 0], bytes),
        },
        228 => wrap([0x08, 0], bytes),
        229 => wrap([0x86, 0xdd], bytes),
        0 | 108 => match bytes.get(..4)? {
            [0, 0, 0, 2] | [2, 0, 0, 0] => wrap([0x08, 0], &bytes[4..]),
            _ => None,
        },
        113 => wrap([*bytes.get(14)?, *bytes.get(15)?], &bytes[16..]),
        276 => wrap([*bytes.first()?, *bytes.get(1)?], bytes.get(20..)?),
        _ => None,
    }
}

/// The link type; the higher bits of the field are the length of the frame check sequence.
const fn link_type(field: i32) -> i32 {
    field & 0x03ff_ffff
}

/// Link type and captured bytes of a block that has a packet; `links` are the interfaces of the section so far.
fn record<'a>(block: &'a PcapBlockOwned<'a>, links: &mut Vec<i32>) -> Option<(i32, &'a [u8])> {
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            *links = vec![link_type(header.network.0)];
            None
        }
        PcapBlockOwned::Legacy(packet) => Some((links[0], packet.data)),
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            links.clear();
            None
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
            links.push(link_type(interface.linktype.0));
            None
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let bytes = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
            Some((*links.get(packet.if_id as usize)?, bytes))
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            let bytes = packet.data.get(..packet.origlen as usize).unwrap_or(packet.data);
            Some((*links.first()?, bytes))
        }
        PcapBlockOwned::NG(_) => None,
    }
}

/// Writes frames as one pcap file.
pub fn write_pcap<'a>(path: &Path, frames: impl Iterator<Item = &'a Frame>) {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0x4_0000, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for (time, frame) in (0_u32..).zip(frames) {
        for word in [time, 0, frame.bytes.len() as u32, frame.bytes.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(&frame.bytes);
    }
    fs::write(path, bytes).expect("a writable folder");
}
