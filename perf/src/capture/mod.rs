//! Captures: pcap and pcapng files, compressed or not, read as a stream in order of time, repeatedly. What was recorded
//! without an Ethernet header gets one (`link`).

mod clock;
mod input;
mod link;
mod records;

use crate::text::count_of;
use anyhow::{Context, bail};
use clock::Clock;
use link::Link;
use records::{Record, Records};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One frame, with its time stamp in the capture.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Frame {
    pub at: Duration,
    /// Number of its record in the file, from 1; keeps frames with equal time stamps in order.
    pub place: u64,
    pub bytes: Vec<u8>,
    /// The capture has only the first bytes of the frame.
    pub cut: bool,
}

/// The source of the frames.
pub enum Capture {
    /// The bundled capture: eight VMs in an office, see `perf/captures/README.md`.
    Bundled,
    File(PathBuf),
    /// What can be read once (a pipe, standard input), kept.
    Kept {
        name: String,
        bytes: Vec<u8>,
    },
}

const OFFICE: &[u8] = include_bytes!("../../captures/office.pcapng");

impl Capture {
    /// The file at a path, the bundled capture without one; `-` is standard input.
    pub fn of(path: Option<&Path>) -> anyhow::Result<Self> {
        path.map_or(Ok(Self::Bundled), input::capture)
    }

    /// Starts reading at the first frame. An error names the file, the fault and the remedy.
    pub fn frames(&self) -> anyhow::Result<Frames<'_>> {
        let name = self.to_string();
        let input = match self {
            Self::Bundled => Box::new(OFFICE),
            Self::Kept { bytes, .. } => Box::new(&bytes[..]),
            Self::File(path) => input::open(path)?,
        };
        let records = Records::of(input::plain(input, &name)?, &name)?;
        Ok(Frames {
            records,
            name,
            read: 0,
            newest: Duration::ZERO,
            clock: Clock::default(),
            ahead: BinaryHeap::new(),
            ended: false,
            made: 0,
            useless: BTreeMap::new(),
            empty: 0,
            broken_off: None,
        })
    }
}

impl std::fmt::Display for Capture {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bundled => out.write_str("bundled recording"),
            Self::File(path) => write!(out, "{}", path.display()),
            Self::Kept { name, .. } => out.write_str(name),
        }
    }
}

/// Number of frames that are buffered to sort them: captures of several interfaces are slightly out of order.
const AHEAD: usize = 1024;

/// The frames of a capture in order of time.
pub struct Frames<'a> {
    records: Records<'a>,
    name: String,
    /// Number of records.
    read: u64,
    newest: Duration,
    clock: Clock,
    ahead: BinaryHeap<Reverse<Frame>>,
    ended: bool,
    /// Frames whose Ethernet header was made.
    made: u64,
    /// Records of link types without frames, by link type.
    useless: BTreeMap<u32, u64>,
    /// Records without a byte.
    empty: u64,
    /// The last record is not whole: why.
    broken_off: Option<String>,
}

impl Frames<'_> {
    /// What is to be said of the capture, once it was read.
    pub fn warnings(&self) -> Vec<String> {
        let mut all = Vec::new();
        all.extend(self.broken_off.clone());
        all.extend(self.clock.warning());
        if self.made != 0 {
            all.push(format!(
                "{} without an Ethernet header; each IP address in them counts as an adapter of its own",
                count_of(self.made, "record")
            ));
        }
        if self.empty != 0 {
            all.push(format!(
                "left out, for they are no frames: {} without a byte",
                count_of(self.empty, "record")
            ));
        }
        for (link, records) in &self.useless {
            all.push(format!(
                "left out, for they are no frames: {} of link type {}",
                count_of(*records, "record"),
                link::name(*link)
            ));
        }
        all
    }

    /// The next record as a frame, if it is one.
    fn take(&mut self, record: Record) {
        if record.bytes.is_empty() {
            self.empty += 1;
            return;
        }
        let frame = match Link::of(record.link).frame(record.bytes) {
            link::Framed::As(bytes) => bytes,
            link::Framed::Made(bytes) => {
                self.made += 1;
                bytes
            }
            link::Framed::Useless => {
                *self.useless.entry(record.link).or_default() += 1;
                return;
            }
        };
        let at = self.clock.at(record.at);
        self.ahead.push(Reverse(Frame { at, place: self.read, bytes: frame, cut: record.cut }));
    }

    /// The end: nothing but records of no use is worth an error.
    fn end(&mut self) -> anyhow::Result<()> {
        self.ended = true;
        let useless: u64 = self.useless.values().sum();
        if let Some((link, _)) = self.useless.first_key_value().filter(|_| useless + self.empty == self.read)
        {
            bail!(
                "cannot use {}: link type {} has no Ethernet frames and no IP packets; record on an Ethernet interface",
                self.name,
                link::name(*link)
            );
        }
        Ok(())
    }
}

impl Iterator for Frames<'_> {
    type Item = anyhow::Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended && self.ahead.len() < AHEAD {
            match self.records.next() {
                Ok(Some(record)) => {
                    self.read += 1;
                    self.take(record);
                }
                Ok(None) => {
                    if let Err(error) = self.end() {
                        return Some(Err(error));
                    }
                }
                // What was recorded before the disk was full, or the recorder was stopped, is whole.
                Err(error) if self.records.is_cut_off() && self.read != 0 => {
                    self.broken_off = Some(format!(
                        "record {} is cut off: {error}; the {} before it are whole",
                        self.read + 1,
                        self.read
                    ));
                    if let Err(error) = self.end() {
                        return Some(Err(error));
                    }
                }
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

fn cannot_read(name: &str) -> String {
    format!("cannot read {name}")
}

/// Reads what can be read once.
fn keep(name: &str, mut from: impl std::io::Read) -> anyhow::Result<Capture> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).with_context(|| cannot_read(name))?;
    Ok(Capture::Kept { name: name.to_owned(), bytes })
}
