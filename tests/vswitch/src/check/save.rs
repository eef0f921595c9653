//! Rules of saved run-time state: who fills a structure and how, when a save ends, and that what a restore has brought
//! is what the next save of that NIC gives, and of no other.

use crate::check::statistics::{self, Bounds};
use crate::check::{advice, rule};
use crate::machine::world::World;
use crate::switch::control::Answer;
use crate::switch::control::save::OURS;
use crate::switch::control::save::{Blob, FIXED, Offering, Other, field, word};
use crate::switch::ndis::State;
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{BUFFER_TOO_SHORT, NicSaveState, SUCCESS};
use std::mem::offset_of;
use teaming::ids::{NicId as CoreNic, NicIndex, PortId};
use teaming::migration::record::{Assembly, NicState, PART_HEADER, PART_MAX, Part, Pin, decode, record_len};

/// A record, read.
pub type Record = (NicState, Vec<Pin>);

/// The record that these structures of ours make.
pub fn record(blobs: &[Blob]) -> Option<Record> {
    let mut ours = blobs.iter().filter(|blob| blob.is_ours());
    let first = ours.next()?;
    let mut assembly = Assembly::new(vec![0; Part::parse(first.data()).ok()?.record]);
    for blob in std::iter::once(first).chain(ours) {
        assembly.add(&Part::parse(blob.data()).ok()?).ok()?;
    }
    let bytes = assembly.finish().ok()?;
    let (state, pins) = decode(&bytes).ok()?;
    Some((state, pins.iter().collect()))
}

/// What the driver ought to know of a NIC since it was created.
#[derive(Default)]
pub struct Memory {
    /// Structures of ours in the last save, the room that could be used for the first, and pins in the record.
    last: Option<(usize, usize, usize)>,
    /// It was saved: a restore brings nothing that it does not know better.
    was_saved: bool,
    /// What the last restore brought, and the rule that is at stake.
    brought: Option<Record>,
    at_stake: Option<&'static str>,
}

impl Memory {
    pub const fn has_saved(&self) -> bool {
        self.last.is_some()
    }
}

/// One request to save.
pub struct Round<'a> {
    pub nic: NicId,
    pub offering: &'a Offering,
    pub room: usize,
    /// The room is what the extension has demanded.
    pub demanded: bool,
}

/// A request to save was answered.
pub fn answered(world: &World, round: &Round<'_>, before: &[u8], answer: &Answer) {
    let after = &answer.payload;
    let nic = round.nic;
    if answer.reached_below {
        // What stands there now is the others' affair; that it went down untouched was checked as it passed.
        world.exercised("SAVE-02");
        return;
    }
    let needed = usize::try_from(answer.needed).unwrap_or(0);
    let there = (FIXED..=round.offering.lengths(round.room).1).contains(&needed);
    let stuck = answer.status == BUFFER_TOO_SHORT && there;
    if round.demanded {
        rule(world, "SAVE-06", !stuck, || format!("{nic}: the room that was demanded is not enough"));
    }
    match answer.status {
        SUCCESS => {
            rule(world, "SAVE-02", after != before, || {
                format!("a save of {nic} with nothing to save succeeded")
            });
            if after != before {
                filled(world, round, before, answer);
            }
        }
        BUFFER_TOO_SHORT => {
            rule(world, "SAVE-04", needed >= FIXED && after == before, || {
                format!("{nic}: {needed} bytes needed, payload changed: {}", after != before)
            });
            rule(world, "HOST-11", round.demanded || !stuck, || {
                let (_, output) = round.offering.lengths(round.room);
                format!("{nic}: {needed} bytes are demanded of a buffer of {output}: {:?}", round.offering)
            });
            advice(world, "SAVE-28", needed <= usize::from(u16::MAX), || format!("{needed} bytes needed"));
        }
        status => {
            advice(world, "SAVE-15", answer.starved, || format!("a save of {nic} ended with {status:#x}"));
        }
    }
}

/// A structure that the driver filled.
fn filled(world: &World, round: &Round<'_>, before: &[u8], answer: &Answer) {
    let (after, nic) = (&answer.payload, round.nic);
    let (at, usable) = (round.offering.offset(), round.offering.usable(round.room));
    let size = word(after, offset_of!(NicSaveState, save_data_size));
    let outside = |range: std::ops::Range<usize>| before.get(range.clone()) == after.get(range);
    let guards = outside(FIXED + 4..at) && outside(at + usable..before.len());
    rule(world, "SAVE-03", guards, || format!("{nic}: bytes outside the room of {usable} were written"));
    let fixed = outside(0..14) && outside(566..568) && size <= usable;
    rule(world, "SAVE-13", fixed, || {
        format!("{nic}: members of the switch changed, or {size} bytes of data")
    });
    rule(world, "SAVE-10", field(after, 16) == OURS, || format!("{nic}: another ExtensionId"));
    let name = word(after, offset_of!(NicSaveState, extension_friendly_name));
    let ends = field::<2>(after, 34 + name.saturating_sub(2)) != [0, 0];
    rule(world, "SAVE-11", name.is_multiple_of(2) && (2..=512).contains(&name) && ends, || {
        format!("{nic}: a name of {name} bytes")
    });
    let class = offset_of!(NicSaveState, feature_class_id);
    rule(world, "SAVE-12", field(after, class) == [0_u8; 16], || format!("{nic}: a feature class of nobody"));
    if round.offering.revision >= 2 {
        let overflow = u32::from_le_bytes(field(after, FIXED));
        rule(world, "SAVE-27", overflow == 0, || format!("{nic}: {overflow} bytes more than there are"));
    }
    let written = usize::try_from(answer.written).unwrap_or(0);
    rule(world, "SAVE-14", written == at + size, || format!("{nic}: BytesWritten is {written}"));
}

/// A part of a record with about so many pins may be one that the offering denies, so that it is not saved.
pub fn may_be_denied(offering: &Offering, pins: usize) -> bool {
    let whole = record_len(pins + 4) + PART_HEADER;
    let smallest = if whole > PART_MAX { PART_HEADER + 1 } else { record_len(0) + PART_HEADER };
    (smallest..=whole.min(PART_MAX)).any(|need| offering.denies(need))
}

/// A save has ended: what it gave.
pub fn saved(
    world: &World,
    state: &mut State,
    (module, nic): (usize, NicId),
    offering: &Offering,
    bounds: Option<Bounds>,
    ours: &[Blob],
) {
    let twice = ours.iter().enumerate().any(|(at, blob)| ours[..at].iter().any(|b| b.data() == blob.data()));
    rule(world, "SAVE-08", !twice, || format!("{nic}: the same data was saved twice"));
    let starved = state.was_starved(world, module, nic);
    if starved || twice {
        let brought = state.saves.memory.get(&(module, nic)).and_then(|memory| memory.brought.as_ref());
        if let (false, Some((found, _)), Some(bounds)) = (twice, record(ours), bounds) {
            statistics::saved(world, nic, bounds, found.traffic, brought, starved);
        }
        return;
    }
    // What the adapters hold for the NIC is newer than what came along.
    let holds_nothing = state.held_for(module, nic).is_empty();
    let memory = state.saves.memory.entry((module, nic)).or_default();
    let known = state.modules[module].topology.nic(nic).is_some();
    let room = offering.usable(offering.room);
    if let Some((count, then, pins)) = memory.last.filter(|_| known) {
        let one_part = record_len(pins + 4) + PART_HEADER <= PART_MAX;
        let same = (one_part || then == room) && !may_be_denied(offering, pins);
        rule(world, "SAVE-09", !same || count == ours.len(), || {
            format!("{nic}: {} structures, {count} the time before", ours.len())
        });
        if same && count != ours.len() {
            return;
        }
    }
    let Some((found, pins)) = record(ours) else {
        // Nothing was saved: the NIC is not known.
        return;
    };
    memory.last = Some((ours.len(), room, pins.len()));
    memory.was_saved = true;
    let at_stake = memory.at_stake.unwrap_or("SAVE-18");
    let id = CoreNic::new(PortId::new(nic.port), NicIndex::new(nic.index));
    let holds = match &memory.brought {
        None => found.hashed_as == id && (pins.is_empty() || !holds_nothing),
        Some((brought, their)) => found.hashed_as == brought.hashed_as && (pins == *their || !holds_nothing),
    };
    rule(world, at_stake, holds, || {
        format!("{nic}: saved as of {}, {} pins, against what was restored", found.hashed_as, pins.len())
    });
    if let (true, Some(bounds)) = (holds, bounds) {
        statistics::saved(world, nic, bounds, found.traffic, memory.brought.as_ref(), false);
    }
}

/// A structure was given back to the extensions.
pub fn restored(world: &World, nic: NicId, blob: &Blob, answer: &Answer) {
    if !answer.was_asked {
        return;
    }
    let (ours, below) = (blob.is_ours(), answer.reached_below);
    let starved = answer.starved && answer.status != SUCCESS;
    let other = blob.extension() == Other::Below.id();
    rule(world, "SAVE-19", ours != below || starved, || {
        format!(
            "{nic}: data of {} was {}",
            if ours { "ours" } else { "others" },
            if below { "passed on" } else { "taken" }
        )
    });
    advice(world, "SAVE-22", answer.status == SUCCESS || starved || other, || {
        format!("{nic}: a restore ended with {:#x}", answer.status)
    });
}

/// How a restore went, as far as it decides which rule is at stake.
pub struct How {
    early: bool,
    several: bool,
    interleaved: bool,
    good: Option<Vec<Blob>>,
}

impl How {
    pub fn at_start(state: &State, module: usize, nic: NicId, blobs: &[Blob]) -> Self {
        let connected = state.modules[module].topology.is_connected(nic);
        let several = blobs.iter().filter(|blob| blob.is_ours()).count() > 1;
        Self { early: !connected, several, interleaved: false, good: None }
    }

    pub fn spoilt(&mut self, good: &[Blob]) {
        self.good = Some(good.to_vec());
    }

    pub fn others_came(&mut self, came: bool) {
        self.interleaved |= came;
    }

    pub fn is_several(&self) -> bool {
        self.several
    }

    /// What the structure with this number was before it was spoilt.
    pub fn good(&self, at: usize) -> Option<Vec<u8>> {
        self.good.as_ref().and_then(|all| all.get(at)).map(|blob| blob.0.clone())
    }

    pub fn remember(&self, state: &mut State, module: usize, nic: NicId, blobs: &[Blob]) {
        let memory = state.saves.memory.entry((module, nic)).or_default();
        memory.at_stake = Some(match self {
            Self { good: Some(_), .. } => "SAVE-20",
            Self { interleaved: true, .. } => "SAVE-18",
            Self { several: true, .. } => "SAVE-24",
            Self { early: true, .. } => "SAVE-25",
            _ => "SAVE-21",
        });
        if let (None, false, Some(record)) = (&self.good, memory.was_saved, record(blobs)) {
            memory.brought = Some(record);
        }
    }
}
