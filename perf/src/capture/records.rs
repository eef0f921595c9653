//! The records of a pcap or pcapng file, as they lie in it.

use super::input::{self, Input};
use anyhow::{Context, anyhow, bail};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, LegacyPcapReader, PcapBlockOwned, PcapError, PcapNGReader};
use std::time::Duration;

pub struct Record {
    pub at: Duration,
    /// LINKTYPE_ value (<https://www.tcpdump.org/linktypes.html>).
    pub link: u32,
    pub bytes: Vec<u8>,
    /// The record has only the first bytes.
    pub cut: bool,
}

/// Time, link type and bytes of the records.
pub struct Records<'a> {
    reader: Box<dyn PcapReaderIterator + Send + 'a>,
    state: State,
    capacity: usize,
    cut_off: bool,
}

/// What earlier blocks say of the records that follow.
#[derive(Default)]
struct State {
    /// Of a pcap file: link type, and nanoseconds in the fraction of a second's unit.
    whole: Option<(u32, u64)>,
    /// Of a pcapng file.
    interfaces: Vec<Interface>,
    big_endian: bool,
    newest: Duration,
}

#[derive(Clone, Copy)]
struct Interface {
    link: u32,
    /// Bytes that are recorded of a frame; 0 without a limit.
    snap: u32,
    /// Of a time stamp, in 2^-20 of a nanosecond.
    unit: u128,
    /// Seconds that are added (`if_tsoffset`).
    offset: i64,
}

const PCAPNG_MAGIC: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];
/// Microseconds, nanoseconds, and Kuznetzov's format, each in both byte orders.
const PCAP_MAGICS: [[u8; 4]; 6] = [
    [0xA1, 0xB2, 0xC3, 0xD4],
    [0xD4, 0xC3, 0xB2, 0xA1],
    [0xA1, 0xB2, 0x3C, 0x4D],
    [0x4D, 0x3C, 0xB2, 0xA1],
    [0xA1, 0xB2, 0xCD, 0x34],
    [0x34, 0xCD, 0xB2, 0xA1],
];

/// Bytes that are held at first, and at most: a longer record is damage.
const CAPACITY: usize = 1 << 18;
const LARGEST: usize = 1 << 22;

/// Time units are kept in 2^-20 of a nanosecond: fine enough for every resolution that recorders use.
const UNITS: u128 = 1 << 20;
const SECOND: u128 = 1_000_000_000;

impl<'a> Records<'a> {
    pub fn of(input: Input<'a>, name: &str) -> anyhow::Result<Self> {
        let (begin, input) = input::peek(input, name)?;
        let Some(&magic) = begin.first_chunk::<4>() else {
            bail!(
                "{name} is shorter than 4 bytes, so it is no capture; record one with tcpdump -w FILE or dumpcap"
            );
        };
        let unusable = || format!("cannot use {name}: its header is damaged; try editcap -F pcapng IN OUT");
        let reader: Box<dyn PcapReaderIterator + Send + 'a> = match magic {
            PCAPNG_MAGIC => {
                Box::new(PcapNGReader::new(CAPACITY, input).map_err(fault).with_context(unusable)?)
            }
            magic if PCAP_MAGICS.contains(&magic) => {
                Box::new(LegacyPcapReader::new(CAPACITY, input).map_err(fault).with_context(unusable)?)
            }
            [a, b, c, d] => bail!(
                "{name} is neither pcap nor pcapng: it begins with {a:02x} {b:02x} {c:02x} {d:02x}; \
                 convert it with editcap -F pcapng IN OUT"
            ),
        };
        Ok(Self { reader, state: State::default(), capacity: CAPACITY, cut_off: false })
    }

    /// The last error was that the file ends within a record.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    pub fn next(&mut self) -> anyhow::Result<Option<Record>> {
        loop {
            let problem = match self.reader.next() {
                Ok((length, block)) => {
                    let record = self.state.block(&block);
                    drop(block);
                    self.reader.consume(length);
                    match record? {
                        Some(record) => return Ok(Some(record)),
                        None => continue,
                    }
                }
                Err(problem) => Problem::of(&problem),
            };
            match problem {
                Problem::End => return Ok(None),
                Problem::More => match self.reader.refill().map_err(|error| Problem::of(&error)) {
                    Ok(()) => {}
                    Err(_) => return self.broken("the file cannot be read further"),
                },
                Problem::Grow if self.capacity < LARGEST => {
                    self.capacity *= 2;
                    if !self.reader.grow(self.capacity) {
                        bail!(DAMAGED);
                    }
                    if self.reader.refill().is_err() {
                        return self.broken("the file cannot be read further");
                    }
                }
                Problem::CutOff if self.claims_too_much() => bail!(DAMAGED),
                Problem::CutOff => return self.broken("the file ends within it"),
                Problem::Grow | Problem::Damage => bail!(DAMAGED),
            }
        }
    }

    /// The record that is not whole says that it is longer than any can be.
    fn claims_too_much(&self) -> bool {
        let at = if self.state.whole.is_some() { 8 } else { 4 };
        let length = self.reader.data().get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>());
        length.is_some_and(|length| {
            u32::from_le_bytes(*length).min(u32::from_be_bytes(*length)) > LARGEST as u32
        })
    }

    fn broken(&mut self, why: &str) -> anyhow::Result<Option<Record>> {
        self.cut_off = true;
        Err(anyhow!("{why}"))
    }
}

const DAMAGED: &str = "the record is damaged; keep what is whole with editcap -F pcapng IN OUT";

/// What a fault of the reader means here.
enum Problem {
    End,
    More,
    Grow,
    CutOff,
    Damage,
}

impl Problem {
    fn of<I>(error: &PcapError<I>) -> Self {
        match error {
            PcapError::Eof => Self::End,
            PcapError::Incomplete(_) => Self::More,
            PcapError::BufferTooSmall => Self::Grow,
            PcapError::UnexpectedEof | PcapError::ReadError => Self::CutOff,
            PcapError::HeaderNotRecognized | PcapError::NomError(..) | PcapError::OwnedNomError(..) => {
                Self::Damage
            }
        }
    }
}

fn fault(error: PcapError<&[u8]>) -> anyhow::Error {
    match Problem::of(&error) {
        Problem::CutOff | Problem::End | Problem::More => anyhow!("the file ends within it"),
        Problem::Grow | Problem::Damage => anyhow!("it cannot be parsed"),
    }
}

impl State {
    fn block(&mut self, block: &PcapBlockOwned<'_>) -> anyhow::Result<Option<Record>> {
        Ok(match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let unit = if header.is_nanosecond_precision() { 1 } else { 1_000 };
                // The upper half tells the length of the frame check sequence.
                self.whole = Some((header.network.0.cast_unsigned() & 0xFFFF, unit));
                None
            }
            PcapBlockOwned::Legacy(record) => {
                let (link, unit) = self.whole.unwrap_or((1, 1_000));
                // A fraction above a second is taken as it is.
                let fraction = Duration::from_nanos(u64::from(record.ts_usec) * unit);
                let at = Duration::from_secs(record.ts_sec.into()) + fraction;
                let cut = record.caplen < record.origlen;
                Some(Record { at, link, bytes: record.data.to_vec(), cut })
            }
            PcapBlockOwned::NG(block) => self.ng(block)?,
        })
    }

    fn ng(&mut self, block: &Block<'_>) -> anyhow::Result<Option<Record>> {
        Ok(match block {
            Block::SectionHeader(section) => {
                self.interfaces.clear();
                self.big_endian = section.big_endian();
                None
            }
            Block::InterfaceDescription(interface) => {
                self.interfaces.push(Interface {
                    link: interface.linktype.0.cast_unsigned() & 0xFFFF,
                    snap: interface.snaplen,
                    unit: time_unit(interface.if_tsresol),
                    offset: interface.if_tsoffset,
                });
                None
            }
            Block::EnhancedPacket(packet) => {
                let stamp = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                self.record(packet.if_id, Some(stamp), packet.data, (packet.caplen, packet.origlen))?
            }
            Block::SimplePacket(packet) => {
                // Its length is the shorter one of the frame's and the interface's limit.
                let snap = self.interfaces.first().map_or(0, |interface| interface.snap);
                let length = if snap == 0 { packet.origlen } else { packet.origlen.min(snap) };
                self.record(0, None, packet.data, (length, packet.origlen))?
            }
            Block::Unknown(block) if block.block_type == OBSOLETE_PACKET => self.obsolete(block.data)?,
            _ => None,
        })
    }

    fn record(
        &mut self,
        interface: u32,
        stamp: Option<u64>,
        padded: &[u8],
        (length, whole): (u32, u32),
    ) -> anyhow::Result<Option<Record>> {
        let Some(&Interface { link, unit, offset, .. }) = self.interfaces.get(interface as usize) else {
            bail!(
                "it names interface {interface}, which the file does not describe; try editcap -F pcapng IN OUT"
            )
        };
        let at = stamp.map_or(self.newest, |stamp| time(stamp, unit, offset));
        self.newest = at;
        let bytes = padded.get(..length as usize).unwrap_or(padded).to_vec();
        Ok(Some(Record { at, link, cut: bytes.len() < whole as usize, bytes }))
    }

    /// The obsolete Packet Block: interface (u16), drops (u16), time stamp (two u32), length, whole length, bytes
    /// (draft-ietf-opsawg-pcapng, 11.1).
    fn obsolete(&mut self, data: &[u8]) -> anyhow::Result<Option<Record>> {
        let big_endian = self.big_endian;
        let word = |at: usize| {
            let bytes = data.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>());
            bytes
                .map(|bytes| if big_endian { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) })
        };
        let [Some(first), Some(high), Some(low), Some(length), Some(whole)] = [0, 4, 8, 12, 16].map(word)
        else {
            bail!(DAMAGED)
        };
        let interface = if big_endian { first >> 16 } else { first & 0xFFFF };
        let stamp = u64::from(high) << 32 | u64::from(low);
        self.record(interface, Some(stamp), data.get(20..).unwrap_or_default(), (length, whole))
    }
}

/// Type of the obsolete Packet Block.
const OBSOLETE_PACKET: u32 = 2;

fn time(stamp: u64, unit: u128, offset: i64) -> Duration {
    let nanoseconds = unit.saturating_mul(stamp.into()) / UNITS;
    let shifted =
        i128::try_from(nanoseconds).unwrap_or(i128::MAX).saturating_add(i128::from(offset) * 1_000_000_000);
    Duration::from_nanos(u64::try_from(shifted.max(0)).unwrap_or(u64::MAX))
}

/// `if_tsresol`: a negative power of ten, or of two when the top bit is set; microseconds when absent.
fn time_unit(resolution: u8) -> u128 {
    let second = SECOND * UNITS;
    match resolution {
        power if power & 0x80 == 0 => second / 10_u128.saturating_pow(u32::from(power)),
        power => second >> (power & 0x7F).min(127),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stamps_have_the_unit_and_the_offset_of_their_interface() {
        assert_eq!(time(1_500_000, time_unit(6), 0), Duration::from_millis(1_500));
        assert_eq!(time(1_500_000_000, time_unit(9), 0), Duration::from_millis(1_500));
        assert_eq!(time(3 << 9, time_unit(0x8A), 0), Duration::from_millis(1_500));
        assert_eq!(time(1_500_000, time_unit(6), 3_600), Duration::from_millis(3_601_500));
        assert_eq!(time(7_200_000_000, time_unit(6), -3_600), Duration::from_secs(3_600));
        assert_eq!(time(1, time_unit(6), -3_600), Duration::ZERO);
    }
}
