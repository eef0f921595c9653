//! Captures: pcap and pcapng files of Ethernet frames, read whole, in time order.

use anyhow::{Context, bail};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// One frame and when it was seen, counted from the first frame of the capture.
pub struct Frame {
    pub at: Duration,
    pub bytes: Vec<u8>,
}

/// A capture, and how many frames in it were cut short by the recorder.
pub struct Capture {
    pub frames: Vec<Frame>,
    pub cut: usize,
}

const PCAPNG_MAGIC: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];
/// Microseconds and nanoseconds, each in both byte orders.
const PCAP_MAGICS: [[u8; 4]; 4] =
    [[0xA1, 0xB2, 0xC3, 0xD4], [0xD4, 0xC3, 0xB2, 0xA1], [0xA1, 0xB2, 0x3C, 0x4D], [0x4D, 0x3C, 0xB2, 0xA1]];

/// The recording that comes with the tool: eight machines in an office, see `perf/captures/README.md`.
const OFFICE: &[u8] = include_bytes!("../captures/office.pcapng");

pub fn bundled() -> anyhow::Result<Capture> {
    parse(OFFICE, "the bundled recording")
}

/// Reads a capture; the error names the file, what is wrong and what to do.
pub fn read(path: &Path) -> anyhow::Result<Capture> {
    let name = path.display().to_string();
    let bytes = fs::read(path)
        .with_context(|| format!("cannot read {name}; give the path of a pcap or pcapng file"))?;
    parse(&bytes, &name)
}

fn parse(bytes: &[u8], name: &str) -> anyhow::Result<Capture> {
    let Some(magic) = bytes.first_chunk::<4>() else {
        bail!(
            "{name} is shorter than 4 bytes, so it is no capture; record one with tcpdump -w FILE or dumpcap"
        );
    };
    let mut capture = match *magic {
        PCAPNG_MAGIC => read_pcapng(bytes),
        magic if PCAP_MAGICS.contains(&magic) => read_pcap(bytes),
        [a, b, c, d] => bail!(
            "{name} is neither pcap nor pcapng: it begins with {a:02x} {b:02x} {c:02x} {d:02x}; \
             convert it with editcap -F pcapng IN OUT"
        ),
    }
    .with_context(|| format!("cannot use {name}"))?;
    if capture.frames.is_empty() {
        bail!("{name} holds no frame; choose a capture with traffic in it");
    }
    capture.frames.sort_by_key(|frame| frame.at);
    let start = capture.frames.first().map_or(Duration::ZERO, |first| first.at);
    for frame in &mut capture.frames {
        frame.at -= start;
    }
    Ok(capture)
}

fn read_pcap(reader: impl Read) -> anyhow::Result<Capture> {
    let mut reader =
        PcapReader::new(reader).context("its file header is damaged; try editcap -F pcapng IN OUT")?;
    ethernet(reader.header().datalink)?;
    let mut capture = Capture { frames: Vec::new(), cut: 0 };
    while let Some(packet) = reader.next_packet() {
        let number = capture.frames.len() + 1;
        let packet = packet.with_context(|| truncated(number))?;
        capture.cut += usize::from(packet.data.len() < packet.orig_len as usize);
        capture.frames.push(Frame { at: packet.timestamp, bytes: packet.data.into_owned() });
    }
    Ok(capture)
}

fn read_pcapng(reader: impl Read) -> anyhow::Result<Capture> {
    let mut reader =
        PcapNgReader::new(reader).context("its section header is damaged; try editcap -F pcapng IN OUT")?;
    let mut capture = Capture { frames: Vec::new(), cut: 0 };
    let mut units = Vec::new();
    while let Some(block) = reader.next_block() {
        let number = capture.frames.len() + 1;
        match block.with_context(|| truncated(number))? {
            Block::SectionHeader(_) => units.clear(),
            Block::InterfaceDescription(interface) => {
                ethernet(interface.linktype)?;
                units.push(time_unit(&interface.options));
            }
            Block::EnhancedPacket(packet) => {
                let Some(unit) = units.get(packet.interface_id as usize) else {
                    bail!(
                        "frame {number} names interface {}, which the file does not describe",
                        packet.interface_id
                    )
                };
                // The reader takes every time stamp for nanoseconds; the interface says what it counts.
                let at = unit.saturating_mul(packet.timestamp.as_nanos()) / UNITS;
                let at = Duration::from_nanos(u64::try_from(at).unwrap_or(u64::MAX));
                capture.cut += usize::from(packet.data.len() < packet.original_len as usize);
                capture.frames.push(Frame { at, bytes: packet.data.into_owned() });
            }
            _ => {}
        }
    }
    Ok(capture)
}

/// Time units are kept in 2^-20 of a nanosecond: fine enough for every resolution that recorders use.
const UNITS: u128 = 1 << 20;

/// `if_tsresol`: a negative power of ten, or of two when the top bit is set; microseconds when absent.
fn time_unit(options: &[InterfaceDescriptionOption<'_>]) -> u128 {
    let resolution = options.iter().find_map(|option| match option {
        InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
        _ => None,
    });
    let second = 1_000_000_000 * UNITS;
    match resolution.unwrap_or(6) {
        power if power & 0x80 == 0 => second / 10u128.saturating_pow(u32::from(power)),
        power => second >> (power & 0x7F).min(127),
    }
}

fn truncated(number: usize) -> String {
    format!(
        "frame {number} is damaged or cut off: the file ends in the middle of it; \
         keep what is whole with editcap -F pcapng IN OUT"
    )
}

fn ethernet(link: DataLink) -> anyhow::Result<()> {
    if link != DataLink::ETHERNET {
        bail!(
            "link type {link:?} is not Ethernet; record on an Ethernet interface, not on \"any\" or a tunnel"
        );
    }
    Ok(())
}
