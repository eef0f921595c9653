//! The run-time data of one NIC, encoded: saved when the partition is stopped, saved or live migrated, and restored
//! here or on another host (managing-hyper-v-extensible-switch-run-time-data).
//!
//! A *record* is all data of one NIC. It is encoded for a save and written in *parts*, whose number depends on the
//! sizes of the buffers; an `Assembly` puts parts together in any order. Numbers are little-endian and not aligned:
//!
//! ```text
//! record                                   part
//!  0  "LBRS"                                0  "LBRP"
//!  4  u16 version, 1 to 3                   4  u16 version of this layout, 1
//!  6  u16 pins                              6  u16 zero
//!  8  u64 hash seed                         8  u32 length of the record
//! 16  u32 CRC-32 of the home map           12  u32 offset of the bytes below in the record
//! 20  u16 version of the home map          16  bytes of the record, to the end of the data
//! 22  u8  policy (`HashPolicy::number`)
//! 23  u8  1 flow label, 2 symmetric, 4 adapter hash
//! 24  u8  number of members in the home map
//! 25  version 1: 7 octets zero; version 2 and 3: u16 VXLAN port, u16 GENEVE port beside the registered ones, 3 octets zero
//! 32  u32 port, 36 u16 index: what HyperVPort hashes for this NIC
//! 38  version 1 and 2: u16 zero; version 3: u16 seat, which HyperVPort hashes too, not 0
//! 40  u64 frames, 48 u64 bytes that it has sent
//! 56  pins, 12 octets each: u8 kind, u8 member, u16 zero, u64 id
//!  .  u32 CRC-32 of everything before
//! ```
//!
//! Version rules. A version is one layout, and a field never changes its meaning: every change of the layout raises the
//! version. A reader knows its own version and all older ones. It discards a newer record entirely, because the parts
//! it cannot read could change the meaning of the others. `HOME_MAP_VERSION` is a field, not a layout. Port numbers of
//! the saving host are hashed, never looked up: the restore request names the NIC. A record has the oldest version that says
//! everything: 1 without ports of tunnels at seat 0, 2 at seat 0.

use crate::Storage;
use crate::flow::{HashPolicy, Keying};
use crate::frame::TunnelPorts;
use crate::ids::{HashId, MEMBERS, MemberIndex, NicId, NicIndex, PortId};
use crate::ports::traffic::Traffic;
use crate::settings::Settings;
use crate::team::Team;
use crate::team::home::HOME_MAP_VERSION;

/// Version of the record's layout.
pub const VERSION: u16 = 3;
/// Version of the part's layout.
const PART_VERSION: u16 = 1;
const RECORD_MAGIC: [u8; 4] = *b"LBRS";
const PART_MAGIC: [u8; 4] = *b"LBRP";
const FIXED: usize = 56;
const PIN: usize = 12;
const CRC: usize = 4;
/// Length of a part's header, in bytes.
pub const PART_HEADER: usize = 16;
/// Maximum number of pins in a record.
pub const PINS_MAX: usize = 1024;
/// Maximum length of a record, in bytes.
pub const RECORD_MAX: usize = FIXED + PIN * PINS_MAX + CRC;
/// The longest part that is asked for, in bytes: with the structure before it one page.
pub const PART_MAX: usize = 4096 - 568;

/// The values that must be equal on two hosts for a flow to keep its member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    pub seed: u64,
    pub keying: Keying,
    pub adapter_hash: bool,
    /// Number of members in the home map.
    pub members: u8,
    pub home_map_version: u16,
    /// CRC-32 of the home map: differs when the members' positions or weights do.
    pub home_map: u32,
}

impl Placement {
    /// The values of this host at this time.
    pub fn of<S: Storage>(settings: &Settings, team: &Team<S>) -> Self {
        let members = team.members().filter(|(_, member)| member.home_weight != 0).count();
        Self {
            seed: settings.seed,
            keying: settings.keying(),
            adapter_hash: settings.use_adapter_hash,
            members: u8::try_from(members).unwrap_or(u8::MAX),
            home_map_version: HOME_MAP_VERSION,
            home_map: crc32fast::hash(team.home()),
        }
    }

    /// The differences from `other`; empty if flows keep their members.
    pub fn differs_from(&self, other: &Self) -> Differences {
        let keying = (self.keying, self.adapter_hash) != (other.keying, other.adapter_hash);
        let rows = [
            (self.seed != other.seed, Differences::SEED),
            (keying, Differences::POLICY),
            (self.members != other.members, Differences::MEMBERS),
            (self.home_map_version != other.home_map_version, Differences::MAP_VERSION),
            (self.home_map != other.home_map, Differences::HOME_MAP),
        ];
        rows.into_iter()
            .filter(|(differs, _)| *differs)
            .fold(Differences::NONE, |all, (_, one)| all.union(one))
    }
}

bitflags::bitflags! {
    /// Why flows do not keep their members.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Differences: u8 {
        const SEED = 1;
        const POLICY = 2;
        const MEMBERS = 4;
        const MAP_VERSION = 8;
        /// Same number of members, but other positions or speeds.
        const HOME_MAP = 16;
        /// HyperVPort hashes another id, because the NIC was created here before its record came.
        const PORT = 32;
        /// HyperVPort: one more machine there would have made the members less level.
        const SEAT = 64;
    }
}

impl Differences {
    pub const NONE: Self = Self::empty();

    /// The names of the differences.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let rows = [
            (Self::SEED, "hash seed"),
            (Self::POLICY, "policy"),
            (Self::MEMBERS, "number of members"),
            (Self::MAP_VERSION, "version of the home map"),
            (Self::HOME_MAP, "positions or speeds of the members"),
            (Self::PORT, "id of the adapter, which the policy hashes"),
            (Self::SEAT, "seat, because its member has more machines than others"),
        ];
        rows.into_iter().filter(move |(bit, _)| self.contains(*bit)).map(|(_, name)| name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PinKind {
    /// A receive queue of the partition; `id` is its queue id on the member.
    Queue,
    /// A security association of the partition; `id` is its handle on the member.
    SecurityAssociation,
}

/// A resource of the NIC on one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin {
    pub kind: PinKind,
    pub member: MemberIndex,
    pub id: u64,
}

/// A record without its pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NicState {
    pub placement: Placement,
    /// What HyperVPort hashes for this NIC: the id that it had when it was first created.
    pub hashed_as: NicId,
    /// Its seat (`seats`), which HyperVPort hashes too; 0 in a record from before seats.
    pub seat: u16,
    pub traffic: Traffic,
}

impl NicState {
    /// The differences between the record and a NIC of this host that is hashed as `hashed_as`.
    pub fn differs_from(&self, hashed_as: HashId, here: &Placement) -> Differences {
        let mut differences = self.placement.differs_from(here);
        if here.keying.policy == HashPolicy::HyperVPort {
            differences.set(Differences::PORT, self.hashed_as != hashed_as.nic());
            // Between unlike hosts a seat says nothing.
            let is_elsewhere = differences.is_empty() && self.seat != hashed_as.seat();
            differences.set(Differences::SEAT, is_elsewhere);
        }
        differences
    }
}

/// Why data of this extension is discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// The signature is wrong.
    Foreign,
    /// The version is newer than the driver.
    Newer(u16),
    Truncated,
    /// Longer than its header says.
    TooLong,
    /// The CRC-32 is wrong.
    Damaged,
    /// An invalid value.
    Malformed,
    /// The parts belong to different records.
    Mixed,
    /// Parts are missing.
    Incomplete,
    /// Memory could not be allocated, or too many unknown NICs have records.
    NoMemory,
}

impl Discard {
    /// The reason as text, at most 80 characters.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Foreign => "The saved data is not this extension's.",
            Self::Newer(_) => "The saved data is of a newer version of this extension.",
            Self::Truncated => "The saved data is cut off.",
            Self::TooLong => "The saved data is longer than it says.",
            Self::Damaged => "The check sum of the saved data is wrong.",
            Self::Malformed => "The saved data holds a value that cannot be.",
            Self::Mixed => "The saved data is made of parts that do not belong together.",
            Self::Incomplete => "Parts of the saved data are missing.",
            Self::NoMemory => "There was no memory for the saved data.",
        }
    }
}

bitflags::bitflags! {
    /// The options in a record.
    #[derive(Clone, Copy)]
    struct Options: u8 {
        const FLOW_LABEL = 1;
        const SYMMETRIC = 2;
        const ADAPTER_HASH = 4;
    }
}

/// Length of a record with `pins` pins, in bytes.
pub const fn record_len(pins: usize) -> usize {
    FIXED.saturating_add(PIN.saturating_mul(pins)).saturating_add(CRC)
}

/// The oldest version that says everything.
const fn version_of(is_plain: bool, seat: u16) -> u16 {
    match (seat, is_plain) {
        (0, true) => 1,
        (0, false) => 2,
        _ => VERSION,
    }
}

/// Writes a record. `None` unless `into` has exactly `record_len` bytes and there are at most `PINS_MAX` pins; the
/// contents of `into` are unspecified then.
pub fn encode(state: &NicState, pins: impl Iterator<Item = Pin>, into: &mut [u8]) -> Option<()> {
    let count = into.len().checked_sub(record_len(0))?.checked_div(PIN)?;
    if count > PINS_MAX || into.len() != record_len(count) {
        return None;
    }
    let at = into.len().checked_sub(CRC)?;
    let (body, crc) = into.split_at_mut_checked(at)?;
    let NicState { placement, hashed_as, seat, traffic } = state;
    let Placement { keying, .. } = placement;
    let mut options = Options::empty();
    options.set(Options::FLOW_LABEL, keying.flow_label);
    options.set(Options::SYMMETRIC, keying.symmetric);
    options.set(Options::ADAPTER_HASH, placement.adapter_hash);
    let mut out = Writer(body);
    out.put(&RECORD_MAGIC)?;
    let is_plain = keying.tunnels == TunnelPorts::REGISTERED;
    out.put(&version_of(is_plain, *seat).to_le_bytes())?;
    out.put(&u16::try_from(count).ok()?.to_le_bytes())?;
    out.put(&placement.seed.to_le_bytes())?;
    out.put(&placement.home_map.to_le_bytes())?;
    out.put(&placement.home_map_version.to_le_bytes())?;
    out.put(&[keying.policy.number(), options.bits(), placement.members])?;
    out.put(&keying.tunnels.vxlan.to_le_bytes())?;
    out.put(&keying.tunnels.geneve.to_le_bytes())?;
    out.put(&[0; 3])?;
    out.put(&hashed_as.port.get().to_le_bytes())?;
    out.put(&hashed_as.index.get().to_le_bytes())?;
    out.put(&seat.to_le_bytes())?;
    out.put(&traffic.frames.to_le_bytes())?;
    out.put(&traffic.bytes.to_le_bytes())?;
    for pin in pins {
        // `into` has no space for more.
        let kind = match pin.kind {
            PinKind::Queue => 1,
            PinKind::SecurityAssociation => 2,
        };
        out.put(&[kind, pin.member.get(), 0, 0])?;
        out.put(&pin.id.to_le_bytes())?;
    }
    if !out.0.is_empty() {
        return None;
    }
    crc.copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    Some(())
}

struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let (here, rest) = core::mem::take(&mut self.0).split_at_mut_checked(bytes.len())?;
        here.copy_from_slice(bytes);
        self.0 = rest;
        Some(())
    }
}

/// Reads a record.
pub fn decode(record: &[u8]) -> Result<(NicState, Pins<'_>), Discard> {
    let mut head = Reader(record);
    if head.take()? != RECORD_MAGIC {
        return Err(Discard::Foreign);
    }
    let version = u16::from_le_bytes(head.take()?);
    if version > VERSION {
        return Err(Discard::Newer(version));
    }
    let pins = usize::from(u16::from_le_bytes(head.take()?));
    match record.len().cmp(&record_len(pins)) {
        core::cmp::Ordering::Less => return Err(Discard::Truncated),
        core::cmp::Ordering::Greater => return Err(Discard::TooLong),
        core::cmp::Ordering::Equal => {}
    }
    let (body, crc) = record.split_at_checked(record.len().saturating_sub(CRC)).ok_or(Discard::Truncated)?;
    if crc != crc32fast::hash(body).to_le_bytes() {
        return Err(Discard::Damaged);
    }
    if version == 0 || pins > PINS_MAX {
        return Err(Discard::Malformed);
    }
    let state = read_fixed(&mut head)?;
    // Each record has one form.
    let is_plain = state.placement.keying.tunnels == TunnelPorts::REGISTERED;
    if version != version_of(is_plain, state.seat) {
        return Err(Discard::Malformed);
    }
    let pins = Pins(body.get(FIXED..).ok_or(Discard::Truncated)?);
    if pins.raw().any(|raw| read_pin(raw).is_none()) {
        return Err(Discard::Malformed);
    }
    Ok((state, pins))
}

fn read_fixed(head: &mut Reader<'_>) -> Result<NicState, Discard> {
    let seed = u64::from_le_bytes(head.take()?);
    let home_map = u32::from_le_bytes(head.take()?);
    let home_map_version = u16::from_le_bytes(head.take()?);
    let [number, options, members] = head.take()?;
    let tunnels =
        TunnelPorts { vxlan: u16::from_le_bytes(head.take()?), geneve: u16::from_le_bytes(head.take()?) };
    let zeros: [u8; 3] = head.take()?;
    let port = PortId::new(u32::from_le_bytes(head.take()?));
    let index = NicIndex::new(u16::from_le_bytes(head.take()?));
    let seat = u16::from_le_bytes(head.take()?);
    let traffic =
        Traffic { frames: u64::from_le_bytes(head.take()?), bytes: u64::from_le_bytes(head.take()?) };
    let policy = HashPolicy::from_number(number.into()).ok_or(Discard::Malformed)?;
    let options = Options::from_bits(options).ok_or(Discard::Malformed)?;
    if zeros != [0; 3] || usize::from(members) > MEMBERS {
        return Err(Discard::Malformed);
    }
    let flow_label = options.contains(Options::FLOW_LABEL);
    let symmetric = options.contains(Options::SYMMETRIC);
    let keying = Keying { policy, flow_label, symmetric, tunnels };
    let adapter_hash = options.contains(Options::ADAPTER_HASH);
    let placement = Placement { seed, keying, adapter_hash, members, home_map_version, home_map };
    Ok(NicState { placement, hashed_as: NicId::new(port, index), seat, traffic })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Discard> {
        let (here, rest) = self.0.split_first_chunk().ok_or(Discard::Truncated)?;
        self.0 = rest;
        Ok(*here)
    }
}

/// The pins of a record that was read.
#[derive(Debug, Clone, Copy)]
pub struct Pins<'a>(&'a [u8]);

impl<'a> Pins<'a> {
    pub fn iter(&self) -> impl Iterator<Item = Pin> + use<'a> {
        self.raw().filter_map(read_pin)
    }

    fn raw(&self) -> impl Iterator<Item = &'a [u8; PIN]> + use<'a> {
        self.0.as_chunks().0.iter()
    }
}

fn read_pin(raw: &[u8; PIN]) -> Option<Pin> {
    let [kind, member, 0, 0, id @ ..] = *raw else { return None };
    let kind = match kind {
        1 => PinKind::Queue,
        2 => PinKind::SecurityAssociation,
        _ => return None,
    };
    Some(Pin { kind, member: MemberIndex::new(member)?, id: u64::from_le_bytes(id) })
}

/// The result for one buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// The record was already written entirely.
    Nothing,
    /// The buffer is too small; this many bytes are enough.
    TooSmall { need: usize },
    /// This many bytes were written.
    Part { bytes: usize },
}

/// The number of a record's bytes that were written in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(usize);

impl Cursor {
    pub const START: Self = Self(0);

    pub const fn is_done(self, record: &[u8]) -> bool {
        self.0 >= record.len()
    }

    /// Writes the next part into `buffer`: the rest of the record if it fits, as much as fits if `buffer` has
    /// `PART_MAX` bytes or more, otherwise nothing.
    pub fn hand_out(&mut self, record: &[u8], buffer: &mut [u8]) -> Handed {
        let Some(left) = record.get(self.0..).filter(|left| !left.is_empty()) else { return Handed::Nothing };
        let need = left.len().saturating_add(PART_HEADER).min(PART_MAX);
        if buffer.len() < need {
            return Handed::TooSmall { need };
        }
        let bytes = left.len().min(buffer.len().saturating_sub(PART_HEADER));
        match self.write_part(record, bytes, buffer) {
            Some(written) => {
                self.0 = self.0.saturating_add(bytes);
                Handed::Part { bytes: written }
            }
            None => Handed::TooSmall { need },
        }
    }

    fn write_part(self, record: &[u8], bytes: usize, buffer: &mut [u8]) -> Option<usize> {
        let end = self.0.checked_add(bytes)?;
        let mut out = Writer(buffer);
        out.put(&PART_MAGIC)?;
        out.put(&PART_VERSION.to_le_bytes())?;
        out.put(&[0; 2])?;
        out.put(&u32::try_from(record.len()).ok()?.to_le_bytes())?;
        out.put(&u32::try_from(self.0).ok()?.to_le_bytes())?;
        out.put(record.get(self.0..end)?)?;
        bytes.checked_add(PART_HEADER)
    }
}

/// A part of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// Length of its record in bytes, at most `RECORD_MAX`.
    pub record: usize,
    pub offset: usize,
    pub bytes: &'a [u8],
}

impl<'a> Part<'a> {
    pub fn parse(data: &'a [u8]) -> Result<Self, Discard> {
        let mut head = Reader(data);
        if head.take()? != PART_MAGIC {
            return Err(Discard::Foreign);
        }
        let version = u16::from_le_bytes(head.take()?);
        if version > PART_VERSION {
            return Err(Discard::Newer(version));
        }
        let zeros: [u8; 2] = head.take()?;
        let size = |octets| usize::try_from(u32::from_le_bytes(octets)).map_err(|_| Discard::Malformed);
        let (record, offset) = (size(head.take()?)?, size(head.take()?)?);
        let bytes = head.0;
        if version == 0 || zeros != [0; 2] || record < record_len(0) || record > RECORD_MAX {
            return Err(Discard::Malformed);
        }
        if bytes.is_empty() {
            return Err(Discard::Truncated);
        }
        match offset.checked_add(bytes.len()) {
            Some(end) if end <= record => Ok(Self { record, offset, bytes }),
            _ => Err(Discard::TooLong),
        }
    }
}

/// A record put together from its parts, which may come in any order.
#[derive(Debug)]
pub struct Assembly<B> {
    record: B,
    filled: usize,
}

impl<B: core::ops::DerefMut<Target = [u8]>> Assembly<B> {
    /// `storage` has the length of the record.
    pub const fn new(storage: B) -> Self {
        Self { record: storage, filled: 0 }
    }

    pub fn add(&mut self, part: &Part<'_>) -> Result<(), Discard> {
        if part.record != self.record.len() {
            return Err(Discard::Mixed);
        }
        let place = self.record.get_mut(part.offset..).and_then(|rest| rest.get_mut(..part.bytes.len()));
        place.ok_or(Discard::TooLong)?.copy_from_slice(part.bytes);
        self.filled = self.filled.saturating_add(part.bytes.len());
        Ok(())
    }

    /// The record.
    ///
    /// # Errors
    ///
    /// Why it is discarded, for example because parts are missing.
    pub fn finish(self) -> Result<B, Discard> {
        match self.filled.cmp(&self.record.len()) {
            core::cmp::Ordering::Less => Err(Discard::Incomplete),
            core::cmp::Ordering::Equal => Ok(self.record),
            core::cmp::Ordering::Greater => Err(Discard::Mixed),
        }
    }
}
