//! Captures: pcap and pcapng files of Ethernet frames, read as a stream in order of time, repeatedly.

use anyhow::{Context, bail};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One frame, with its time stamp in the capture.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Frame {
    pub at: Duration,
    /// Position in the file, which keeps frames with equal time stamps in order.
    place: u64,
    pub bytes: Vec<u8>,
    /// The capture has only the first bytes of the frame.
    pub cut: bool,
}

/// The source of the frames.
pub enum Capture {
    /// The bundled capture: eight VMs in an office, see `perf/captures/README.md`.
    Bundled,
    File(PathBuf),
}

const OFFICE: &[u8] = include_bytes!("../captures/office.pcapng");

const PCAPNG_MAGIC: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];
/// Microseconds and nanoseconds, each in both byte orders.
const PCAP_MAGICS: [[u8; 4]; 4] =
    [[0xA1, 0xB2, 0xC3, 0xD4], [0xD4, 0xC3, 0xB2, 0xA1], [0xA1, 0xB2, 0x3C, 0x4D], [0x4D, 0x3C, 0xB2, 0xA1]];

type Input = Box<dyn Read>;

impl Capture {
    pub fn of(path: Option<&Path>) -> Self {
        path.map_or(Self::Bundled, |path| Self::File(path.to_owned()))
    }

    /// Starts reading at the first frame. An error names the file, the fault and the remedy.
    pub fn frames(&self) -> anyhow::Result<Frames> {
        let (mut input, name): (Input, String) = match self {
            Self::Bundled => (Box::new(OFFICE), self.to_string()),
            Self::File(path) => {
                let name = path.display().to_string();
                let failed = || format!("cannot read {name}; give the path of a pcap or pcapng file");
                if path.is_dir() {
                    bail!("{name} is a folder; give the path of a pcap or pcapng file");
                }
                (Box::new(File::open(path).with_context(failed)?), name)
            }
        };
        let mut magic = Vec::new();
        input.by_ref().take(4).read_to_end(&mut magic).with_context(|| format!("cannot read {name}"))?;
        let Some(&magic) = magic.first_chunk::<4>() else {
            bail!(
                "{name} is shorter than 4 bytes, so it is no capture; record one with tcpdump -w FILE or dumpcap"
            );
        };
        let input: Input = Box::new(Cursor::new(magic).chain(input));
        let unusable = || format!("cannot use {name}");
        let format = match magic {
            PCAPNG_MAGIC => Format::pcapng(input).with_context(unusable)?,
            magic if PCAP_MAGICS.contains(&magic) => Format::pcap(input).with_context(unusable)?,
            [a, b, c, d] => bail!(
                "{name} is neither pcap nor pcapng: it begins with {a:02x} {b:02x} {c:02x} {d:02x}; \
                 convert it with editcap -F pcapng IN OUT"
            ),
        };
        Ok(Frames { format, name, read: 0, newest: Duration::ZERO, ahead: BinaryHeap::new(), ended: false })
    }
}

impl std::fmt::Display for Capture {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bundled => out.write_str("bundled recording"),
            Self::File(path) => write!(out, "{}", path.display()),
        }
    }
}

/// Number of frames that are buffered to sort them: captures of several interfaces are slightly out of order.
const AHEAD: usize = 1024;

/// The frames of a capture in order of time.
pub struct Frames {
    format: Format,
    name: String,
    read: u64,
    newest: Duration,
    ahead: BinaryHeap<Reverse<Frame>>,
    ended: bool,
}

impl Iterator for Frames {
    type Item = anyhow::Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended && self.ahead.len() < AHEAD {
            match self.format.next() {
                Ok(Some((at, bytes, cut))) => {
                    self.read += 1;
                    // A record without bytes is not a frame.
                    if !bytes.is_empty() {
                        self.ahead.push(Reverse(Frame { at, place: self.read, bytes, cut }));
                    }
                }
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    self.ahead.clear();
                    let trouble = format!("cannot use {}: frame {}", self.name, self.read + 1);
                    return Some(Err(error.context(trouble)));
                }
            }
        }
        let Reverse(mut frame) = self.ahead.pop()?;
        // A frame that is too far out of order gets the time of the newest one.
        frame.at = frame.at.max(self.newest);
        self.newest = frame.at;
        Some(Ok(frame))
    }
}

enum Format {
    Pcap(PcapReader<Input>),
    Pcapng { reader: PcapNgReader<Input>, units: Vec<u128>, newest: Duration },
}

type Read1 = Option<(Duration, Vec<u8>, bool)>;

impl Format {
    fn pcap(input: Input) -> anyhow::Result<Self> {
        let reader =
            PcapReader::new(input).context("its file header is damaged; try editcap -F pcapng IN OUT")?;
        ethernet(reader.header().datalink)?;
        Ok(Self::Pcap(reader))
    }

    fn pcapng(input: Input) -> anyhow::Result<Self> {
        let reader = PcapNgReader::new(input)
            .context("its section header is damaged; try editcap -F pcapng IN OUT")?;
        Ok(Self::Pcapng { reader, units: Vec::new(), newest: Duration::ZERO })
    }

    fn next(&mut self) -> anyhow::Result<Read1> {
        match self {
            Self::Pcap(reader) => {
                let Some(packet) = reader.next_packet() else { return Ok(None) };
                let packet = packet.context(DAMAGED)?;
                let cut = packet.data.len() < packet.orig_len as usize;
                Ok(Some((packet.timestamp, packet.data.into_owned(), cut)))
            }
            Self::Pcapng { reader, units, newest } => loop {
                let Some(block) = reader.next_block() else { return Ok(None) };
                let (at, bytes, whole) = match block.context(DAMAGED)? {
                    Block::SectionHeader(_) => {
                        units.clear();
                        continue;
                    }
                    Block::InterfaceDescription(interface) => {
                        ethernet(interface.linktype)?;
                        units.push(time_unit(&interface.options));
                        continue;
                    }
                    // The reader returns every time stamp as nanoseconds; the interface block has its real unit.
                    Block::EnhancedPacket(packet) => {
                        let at = stamp(units, packet.interface_id, packet.timestamp.as_nanos())?;
                        (at, packet.data, packet.original_len)
                    }
                    Block::Packet(packet) => {
                        let at = stamp(units, packet.interface_id.into(), packet.timestamp.into())?;
                        (at, packet.data, packet.original_len)
                    }
                    Block::SimplePacket(packet) => (*newest, packet.data, packet.original_len),
                    _ => continue,
                };
                *newest = at;
                let cut = bytes.len() < whole as usize;
                return Ok(Some((at, bytes.into_owned(), cut)));
            },
        }
    }
}

const DAMAGED: &str = "the record is damaged or cut off; keep what is whole with editcap -F pcapng IN OUT";

/// Time units are kept in 2^-20 of a nanosecond: fine enough for every resolution that recorders use.
const UNITS: u128 = 1 << 20;

fn stamp(units: &[u128], interface: u32, count: u128) -> anyhow::Result<Duration> {
    let Some(unit) = units.get(interface as usize) else {
        bail!(
            "it names interface {interface}, which the file does not describe; try editcap -F pcapng IN OUT"
        )
    };
    let nanoseconds = unit.saturating_mul(count) / UNITS;
    Ok(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)))
}

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

fn ethernet(link: DataLink) -> anyhow::Result<()> {
    // The upper half is the length of the frame check sequence.
    if u32::from(link) & 0xFFFF != u32::from(DataLink::ETHERNET) {
        bail!(
            "link type {link:?} is not Ethernet; record on an Ethernet interface, not on \"any\" or a tunnel"
        );
    }
    Ok(())
}
