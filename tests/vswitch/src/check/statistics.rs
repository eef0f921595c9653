//! RST-4: what a NIC has sent, counted by the switch where packets enter and leave the extension, against what a record
//! says. While packets are under way a record may hold any number between those that have left the extension and those
//! that may still; of a NIC that is at rest it must hold just one.

use crate::check::rule;
use crate::check::save::Record;
use crate::machine::world::World;
use crate::switch::frames::FrameId;
use crate::switch::ndis::State;
use crate::switch::ports::NicId;
use teaming::ports::traffic::Traffic;

/// Frames of a NIC since it was created, as the switch sees them.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    given: Traffic,
    sent: Traffic,
    /// Completed without having been sent.
    dropped: Traffic,
}

/// What a record may say, if nothing was brought from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    least: Traffic,
    most: Traffic,
}

impl Bounds {
    /// From the tallies when a request to save was given and when it had been answered.
    pub fn of(before: Tally, after: Tally) -> Self {
        let most = Traffic {
            frames: after.given.frames - before.dropped.frames,
            bytes: after.given.bytes - before.dropped.bytes,
        };
        Self { least: before.sent, most }
    }

    fn admit(&self, said: Traffic, brought: Traffic) -> bool {
        let (least, most) = (self.least.plus(brought), self.most.plus(brought));
        (least.frames..=most.frames).contains(&said.frames)
            && (least.bytes..=most.bytes).contains(&said.bytes)
    }
}

fn add(
    state: &mut State,
    module: usize,
    list: usize,
    pick: impl Fn(&mut Tally) -> &mut Traffic,
    only_unsent: bool,
) {
    let Some(packet) = state.packets.at(list) else { return };
    let (source, ids) = (packet.source, packet.frames.clone());
    let unsent = |id: &FrameId| !state.saves.sent.contains(id);
    let ids: Vec<FrameId> = ids.into_iter().filter(|id| !only_unsent || unsent(id)).collect();
    let frames = ids.iter().filter_map(|id| state.frames.all.get(*id));
    let more = frames
        .fold(Traffic::NONE, |sum, frame| sum.plus(Traffic { frames: 1, bytes: frame.bytes.len() as u64 }));
    let tally = state.saves.tallies.entry((module, source)).or_default();
    *pick(tally) = pick(tally).plus(more);
}

pub fn given(state: &mut State, module: usize, list: usize) {
    add(state, module, list, |tally| &mut tally.given, false);
}

/// A list goes down, the switch's or one that was made from it.
pub fn sent(state: &mut State, module: usize, list: usize) {
    add(state, module, list, |tally| &mut tally.sent, false);
    let split = state.packets.at(list).filter(|packet| packet.own.is_some());
    let ids = split.map(|packet| packet.frames.clone()).unwrap_or_default();
    state.saves.sent.extend(ids);
}

/// So many frames went down without the four bytes of a tag: whoever counts bytes counts those that went.
pub fn untagged(state: &mut State, module: usize, source: NicId, frames: usize) {
    if frames > 0 {
        let tally = state.saves.tallies.entry((module, source)).or_default();
        tally.given.bytes -= 4 * frames as u64;
    }
}

/// A list of the switch's is completed that did not go down, at least not as a whole.
pub fn dropped(state: &mut State, module: usize, list: usize) {
    add(state, module, list, |tally| &mut tally.dropped, true);
    let ids = state.packets.at(list).map(|packet| packet.frames.clone()).unwrap_or_default();
    ids.iter().for_each(|id| {
        state.saves.sent.remove(id);
    });
}

/// A record was saved. `starved`: a call was refused while a request about the NIC was handled.
pub fn saved(
    world: &World,
    nic: NicId,
    bounds: Bounds,
    said: Traffic,
    brought: Option<&Record>,
    starved: bool,
) {
    let before = brought.map_or(Traffic::NONE, |(state, _)| state.traffic);
    // What a restore brought may have found no memory.
    let lost = starved && bounds.admit(said, Traffic::NONE);
    rule(world, "RST-4", lost || bounds.admit(said, before), || {
        format!("{nic}: the record says {said:?}, the switch counts {bounds:?} and {before:?} from elsewhere")
    });
}
