//! Sums over the frames of a replay: the load of each member over time, moved flows and whether they had to move,
//! reordered frames, the result of each frame. Memory grows with the number of flows, not of frames.
//!
//! `replay` calls it in order: assignments before the next change of the team, arrivals as they happen, frames when
//! they are finished.

use crate::flow::{Identity, Label, Reader};
use crate::least::{Keys, Least, SAME};
use crate::tunnels::Hashed;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use teaming::flow::FlowKey;
use teaming::frame::WINDOW_MAX;
use teaming::ids::BUCKETS;
use vswitch::adapter::network::wire::Wire;
use vswitch::switch::frames::{Frame, FrameOutcome};
use vswitch::switch::ports::NicId;

/// The traffic of one member, or of one flow on one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    pub frames: u64,
    pub bytes: u64,
}

/// Number of columns in the plot of load over time.
pub const COLUMNS: usize = 120;

/// The traffic of one member.
#[derive(Clone, Debug)]
pub struct Member {
    pub share: Share,
    pub flows: u64,
    /// Bytes in each of `COLUMNS` equal parts of the capture's time.
    pub over_time: Vec<u64>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Up since the start.
    Untouched,
    /// The link is down, but not indicated yet.
    Pulled,
    Down,
    Returned,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkChange {
    Down,
    Up,
}

/// A failure or return of a member, and its effects until the next event.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub kind: LinkChange,
    pub member: u16,
    pub at: Duration,
    /// Number of frames sent before.
    pub at_frame: usize,
    pub flows_moved: u64,
    pub flows_moved_needlessly: u64,
    pub frames_to_dead_member: u64,
    pub frames_lost_before_indication: u64,
}

/// Frames by result; each frame is counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Sent through one member.
    pub outside: u64,
    /// Delivered to one or more VMs.
    pub inside: u64,
    /// Both, for floods.
    pub both: u64,
    pub native: u64,
    /// Assigned to a member whose link was down, before that was indicated.
    pub lost: u64,
    /// Dropped and reported, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Arrived from the external network while every member was down.
    pub unreachable: u64,
    /// Without a result, which is a fault of the driver.
    pub unaccounted: u64,
    /// Made by the driver itself, to tell the network where an address is; in none of the others.
    pub announcements: u64,
    /// Likewise, to ask machines that have moved for the groups that they listen to.
    pub group_queries: u64,
}

/// The driver made the frame: all others are sent by an adapter.
pub fn is_own(frame: &Frame) -> bool {
    frame.from == NicId::NOWHERE
}

struct Flow {
    label: Label,
    share: Share,
    last_member: u16,
    /// Number of events that the driver knew when it assigned the flow's last frame.
    events: usize,
    /// The highest assignment number of a frame that has arrived.
    newest: u64,
}

/// The member that carried a bucket.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Bucket {
    pub last: u16,
    /// It was on another member before.
    pub moved: bool,
}

pub struct Observer {
    reader: Reader,
    length: Duration,
    pub members: Vec<Member>,
    pub events: Vec<Event>,
    pub account: Account,
    pub reordered: u64,
    /// Number of flows that changed their member without an event.
    pub moved_without_an_event: u64,
    pub buckets: Vec<Bucket>,
    /// Under Encapsulated, by which headers frames were hashed.
    pub hashed: Hashed,
    keys: Keys,
    flows: HashMap<Identity, u32>,
    records: Vec<Flow>,
    /// Traffic by flow and member.
    carried: HashMap<(u32, u16), Share>,
    /// Frames that are assigned and have not arrived: flow and assignment number.
    under_way: HashMap<usize, (u32, u64)>,
    assigned: u64,
}

impl Observer {
    pub fn new(reader: Reader, members: usize, length: Duration) -> Self {
        let member = Member {
            share: Share::default(),
            flows: 0,
            over_time: vec![0; COLUMNS],
            state: State::Untouched,
        };
        Self {
            reader,
            length,
            members: vec![member; members],
            events: Vec::new(),
            account: Account::default(),
            reordered: 0,
            moved_without_an_event: 0,
            buckets: vec![Bucket::default(); BUCKETS],
            hashed: Hashed::default(),
            keys: Keys::new(members),
            flows: HashMap::new(),
            records: Vec::new(),
            carried: HashMap::new(),
            under_way: HashMap::new(),
            assigned: 0,
        }
    }

    pub fn flows(&self) -> usize {
        self.records.len()
    }

    fn flow(&mut self, bytes: &[u8]) -> u32 {
        let (identity, label) = self.reader.read(bytes);
        let next = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        *self.flows.entry(identity).or_insert_with(|| {
            self.records.push(Flow { label, share: Share::default(), last_member: 0, events: 0, newest: 0 });
            next
        })
    }

    /// The driver assigned the frame with this number to a member, at a time of the capture; by this key and bucket.
    pub fn assigned(
        &mut self,
        frame: usize,
        bytes: &[u8],
        member: u16,
        at: Duration,
        key: Option<(FlowKey, usize)>,
    ) {
        let flow = self.flow(bytes);
        self.assigned += 1;
        self.under_way.insert(frame, (flow, self.assigned));
        let length = bytes.len() as u64;
        let Some(slot) = usize::from(member).checked_sub(1).filter(|slot| *slot < self.members.len()) else {
            return;
        };
        let carried = self.carried.entry((flow, member)).or_default();
        let record = &mut self.records[flow as usize];
        let total = &mut self.members[slot];
        total.flows += u64::from(carried.frames == 0);
        for share in [carried, &mut record.share, &mut total.share] {
            share.frames += 1;
            share.bytes += length;
        }
        total.over_time[column(at, self.length)] += length;
        let before = std::mem::replace(&mut record.last_member, member);
        if total.state == State::Down
            && let Some(down) = last_of(&mut self.events, member)
        {
            down.frames_to_dead_member += 1;
        }
        let unknown =
            self.events.iter().rposition(|event| event.member == member && total.state == State::Pulled);
        let then = std::mem::replace(&mut record.events, unknown.unwrap_or(self.events.len()));
        if before != 0 && before != member {
            self.moved(before, then, slot);
        }
        if let Some((key, _)) = key {
            self.keys.add(key, length);
        }
        if let Some(ports) = self.reader.tunnels() {
            self.hashed.see(window(bytes), ports);
        }
        if let Some(bucket) = key.and_then(|(_, bucket)| self.buckets.get_mut(bucket)) {
            bucket.moved |= bucket.last != 0 && bucket.last != member;
            bucket.last = member;
        }
    }

    /// A flow changed its member. If the old member has been down since, the move is attributed to that failure,
    /// otherwise to the last event, as a move to a returned member or an unnecessary one.
    fn moved(&mut self, from: u16, then: usize, to_slot: usize) {
        let is_down =
            self.members.get(usize::from(from) - 1).is_some_and(|member| member.state == State::Down);
        let since = if is_down { 0 } else { then };
        let home = self.members[to_slot].state == State::Returned;
        let failure = self.events[since..]
            .iter()
            .rposition(|event| event.member == from && event.kind == LinkChange::Down);
        let cause = failure.map_or(self.events.len().checked_sub(1), |failure| Some(since + failure));
        if let Some(cause) = cause {
            self.events[cause].flows_moved += 1;
            self.events[cause].flows_moved_needlessly += u64::from(failure.is_none() && !home);
        } else {
            self.moved_without_an_event += 1;
        }
    }

    /// The frame arrived at the far end. Returns whether a later frame of its flow arrived before it.
    pub fn arrived(&mut self, frame: usize) -> bool {
        let Some((flow, number)) = self.under_way.remove(&frame) else { return false };
        let newest = &mut self.records[flow as usize].newest;
        let overtaken = number < *newest;
        *newest = number.max(*newest);
        self.reordered += u64::from(overtaken);
        overtaken
    }

    /// The frame is finished.
    pub fn ended(&mut self, frame: &Frame) {
        if is_own(frame) && !frame.outcomes.is_empty() {
            let asks = Wire::of(&frame.bytes, 0).is_query();
            let count = if asks { &mut self.account.group_queries } else { &mut self.account.announcements };
            *count += 1;
            return;
        }
        self.under_way.remove(&frame.id);
        self.flow(&frame.bytes);
        let account = &mut self.account;
        let (mut outside, mut inside, mut native, mut lost_by, mut reason) =
            (false, false, false, None, None);
        for end in &frame.outcomes {
            match end {
                FrameOutcome::Delivered { to, .. } if to.index == 0 => inside = true,
                FrameOutcome::Delivered { .. } => outside = true,
                FrameOutcome::Native => native = true,
                FrameOutcome::LostBeforeIndication { member } => lost_by = Some(*member),
                FrameOutcome::Filtered { reason: why } => reason = Some(why.clone()),
                FrameOutcome::Paused => reason = Some("The extension was not running.".to_owned()),
                FrameOutcome::Failed { status } => {
                    reason = Some(format!("It failed with status {status:#010x}."))
                }
            }
        }
        if let Some(event) = lost_by.and_then(|member| last_of(&mut self.events, member)) {
            event.frames_lost_before_indication += 1;
        }
        match (outside, inside, native, lost_by, reason) {
            (true, true, ..) => account.both += 1,
            (true, false, ..) => account.outside += 1,
            (false, true, ..) => account.inside += 1,
            (_, _, true, ..) => account.native += 1,
            (_, _, _, Some(_), _) => account.lost += 1,
            (.., Some(reason)) => *account.dropped.entry(reason).or_default() += 1,
            _ => account.unaccounted += 1,
        }
    }

    /// The member's link is down. Called twice: when it happens, and when it is indicated; from then on no frame may
    /// be assigned to the member.
    pub fn pulled(&mut self, member: u16, at: Duration, at_frame: usize) {
        self.push(LinkChange::Down, member, at, at_frame);
        self.set(member, State::Pulled);
    }

    pub fn indicated_down(&mut self, member: u16, at_frame: usize) {
        if let Some(event) = last_of(&mut self.events, member) {
            event.at_frame = at_frame;
        }
        self.set(member, State::Down);
        self.keys.change(usize::from(member) - 1, false);
    }

    pub fn restored(&mut self, member: u16, at: Duration, at_frame: usize) {
        self.push(LinkChange::Up, member, at, at_frame);
        self.set(member, State::Returned);
        self.keys.change(usize::from(member) - 1, true);
    }

    fn push(&mut self, kind: LinkChange, member: u16, at: Duration, at_frame: usize) {
        self.events.push(Event {
            kind,
            member,
            at,
            at_frame,
            flows_moved: 0,
            flows_moved_needlessly: 0,
            frames_to_dead_member: 0,
            frames_lost_before_indication: 0,
        });
    }

    fn set(&mut self, member: u16, state: State) {
        if let Some(member) = self.members.get_mut(usize::from(member) - 1) {
            member.state = state;
        }
    }

    /// The load of the busiest member relative to its fair share by `speeds`, and the least that it could be.
    pub fn imbalance(&self, speeds: &[u64]) -> (f64, Least) {
        let total: u64 = self.members.iter().map(|member| member.share.bytes).sum();
        let speed: u64 = speeds.iter().sum();
        if total == 0 || speed == 0 {
            return (1.0, Least { value: 1.0, is_exact: true });
        }
        let relative = |bytes: u64, own: u64| bytes as f64 / total as f64 * speed as f64 / own.max(1) as f64;
        let loads = self.members.iter().zip(speeds).map(|(member, &own)| relative(member.share.bytes, own));
        let busiest = loads.fold(0.0, f64::max);
        let least = self.keys.least(speeds);
        // A flow that waits for a gap before it goes home can do better than one that goes at once.
        let least = match least {
            Least { value, is_exact } if busiest < value => Least {
                value: if value - busiest < SAME { busiest } else { 1.0 },
                is_exact: is_exact && value - busiest < SAME,
            },
            least => least,
        };
        (busiest, least)
    }

    /// The flows with the most bytes on a member, largest first.
    pub fn largest_flows(&self, member: u16, count: usize) -> Vec<(Label, Share)> {
        let mut flows: Vec<(u32, Share)> = self
            .carried
            .iter()
            .filter(|((_, on), _)| *on == member)
            .map(|((flow, _), share)| (*flow, *share))
            .collect();
        flows.sort_by_key(|(flow, share)| (std::cmp::Reverse(share.bytes), *flow));
        flows.truncate(count);
        flows.into_iter().map(|(flow, share)| (self.records[flow as usize].label, share)).collect()
    }
}

fn window(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(WINDOW_MAX)]
}

fn last_of(events: &mut [Event], member: u16) -> Option<&mut Event> {
    events.iter_mut().rfind(|event| event.member == member && event.kind == LinkChange::Down)
}

fn column(at: Duration, length: Duration) -> usize {
    let part = at.as_secs_f64() / length.as_secs_f64().max(1e-9);
    ((part * COLUMNS as f64) as usize).min(COLUMNS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use teaming::flow::HashPolicy;

    const SECOND: Duration = Duration::from_secs(1);

    fn observer(members: usize) -> Observer {
        Observer::new(Reader::new(HashPolicy::TransportPorts), members, SECOND)
    }

    /// A frame of 100 bytes of the flow with this number.
    fn bytes(flow: u8) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 9, 9, 2, 0, 0, 0, 0, flow, 0x88, 0xB5];
        frame.resize(100, 0);
        frame
    }

    fn give(observer: &mut Observer, frame: usize, flow: u8, member: u16) {
        observer.assigned(frame, &bytes(flow), member, Duration::ZERO, None);
    }

    fn end(observer: &mut Observer, id: usize, outcomes: Vec<FrameOutcome>) {
        let mut frames = vswitch::switch::frames::Frames::default();
        for _ in 0..=id {
            frames.add(0, NicId::new(10, 0), &bytes(1), 0);
        }
        outcomes.into_iter().for_each(|end| frames.end(id, end));
        observer.ended(&frames.all[id]);
    }

    #[test]
    fn a_frame_is_reordered_when_a_later_one_of_its_flow_overtook_it() {
        let mut observer = observer(2);
        for (frame, flow) in [(0, 1), (1, 1), (2, 1), (3, 2)] {
            give(&mut observer, frame, flow, 1);
        }
        let overtaken: Vec<bool> = [3, 1, 0, 2].into_iter().map(|frame| observer.arrived(frame)).collect();
        assert_eq!(overtaken, [false, false, true, false]);
        assert_eq!(observer.reordered, 1);
    }

    #[test]
    fn only_moves_from_the_living_to_the_settled_are_needless() {
        let mut observer = observer(4);
        give(&mut observer, 0, 1, 2);
        give(&mut observer, 1, 2, 3);
        observer.pulled(2, SECOND, 2);
        observer.indicated_down(2, 2);
        give(&mut observer, 2, 1, 1); // away from the dead member
        give(&mut observer, 3, 2, 4); // for no reason
        give(&mut observer, 4, 3, 2); // to the dead member
        observer.restored(2, SECOND, 5);
        give(&mut observer, 5, 1, 2); // home
        let [down, up] = observer.events[..] else { panic!("two events") };
        assert_eq!((down.flows_moved, down.flows_moved_needlessly, down.frames_to_dead_member), (2, 1, 1));
        assert_eq!((up.flows_moved, up.flows_moved_needlessly, up.frames_to_dead_member), (1, 0, 0));
    }

    #[test]
    fn a_flow_that_was_silent_during_an_outage_may_come_back_elsewhere() {
        let mut observer = observer(4);
        give(&mut observer, 0, 1, 2);
        give(&mut observer, 1, 2, 3);
        observer.pulled(2, SECOND, 2);
        give(&mut observer, 2, 3, 2); // nobody knew
        observer.indicated_down(2, 2);
        observer.restored(2, SECOND, 2);
        give(&mut observer, 3, 1, 4); // where it was lent to
        give(&mut observer, 4, 3, 1); // where it was lent to
        give(&mut observer, 5, 2, 1); // for no reason
        let [down, up] = observer.events[..] else { panic!("two events") };
        assert_eq!((down.flows_moved, down.flows_moved_needlessly), (2, 0));
        assert_eq!((up.flows_moved, up.flows_moved_needlessly), (1, 1));
    }

    #[test]
    fn a_move_without_any_event_is_noticed() {
        let mut observer = observer(2);
        give(&mut observer, 0, 1, 2);
        give(&mut observer, 1, 1, 1);
        assert_eq!(observer.moved_without_an_event, 1);
    }

    #[test]
    fn what_is_lost_before_the_indication_belongs_to_that_failure_of_the_member() {
        let mut observer = observer(2);
        for round in 0..2 {
            observer.pulled(1, SECOND, round);
            (0..=round).for_each(|id| {
                end(&mut observer, id, vec![FrameOutcome::LostBeforeIndication { member: 1 }])
            });
            observer.indicated_down(1, round);
            observer.restored(1, SECOND, round);
        }
        let lost: Vec<u64> =
            observer.events.iter().map(|event| event.frames_lost_before_indication).collect();
        assert_eq!(lost, [1, 0, 2, 0]);
        assert_eq!(observer.account.lost, 3);
    }

    #[test]
    fn every_frame_is_counted_once() {
        let mut observer = observer(2);
        let machine = FrameOutcome::Delivered { to: NicId::new(10, 0), at: 0 };
        let member = FrameOutcome::Delivered { to: NicId::new(1, 2), at: 0 };
        end(&mut observer, 0, vec![machine.clone(), member.clone(), machine.clone()]);
        end(&mut observer, 1, vec![machine]);
        end(&mut observer, 2, vec![member]);
        end(&mut observer, 3, vec![FrameOutcome::Native]);
        end(&mut observer, 4, vec![FrameOutcome::Filtered { reason: "why".into() }]);
        end(&mut observer, 5, vec![]);
        let expected = Account {
            outside: 1,
            inside: 1,
            both: 1,
            native: 1,
            dropped: BTreeMap::from([("why".to_owned(), 1)]),
            unaccounted: 1,
            ..Account::default()
        };
        assert_eq!(observer.account, expected);
    }

    #[test]
    fn imbalance_is_measured_against_speeds_and_never_below_its_least() {
        let mut observer = observer(2);
        for (frame, flow, member) in [(0, 1, 1), (1, 2, 2), (2, 3, 2)] {
            let key = (FlowKey::Short([flow.into(), 0]), 0);
            observer.assigned(frame, &bytes(flow), member, Duration::ZERO, Some(key));
        }
        let (even, least) = observer.imbalance(&[1, 2]);
        assert!((even - 1.0).abs() < 1e-9 && (least.value - 1.0).abs() < 1e-9);
        // Three equal keys on two equal members.
        let (worst, least) = observer.imbalance(&[1, 1]);
        assert!((worst - 4.0 / 3.0).abs() < 1e-9 && (least.value - worst).abs() < 1e-9 && least.is_exact);
    }

    #[test]
    fn a_bucket_that_changed_member_is_marked() {
        let mut observer = observer(2);
        for (frame, bucket, member) in [(0, 7, 1), (1, 7, 1), (2, 8, 1), (3, 8, 2)] {
            let key = (FlowKey::Short([0; 2]), bucket);
            observer.assigned(frame, &bytes(1), member, Duration::ZERO, Some(key));
        }
        assert_eq!(observer.buckets[7], Bucket { last: 1, moved: false });
        assert_eq!(observer.buckets[8], Bucket { last: 2, moved: true });
    }
}
