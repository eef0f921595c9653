//! What the replay observed of frames that left through the team, flow by flow: who carried what, what moved and
//! whether it had to, what was overtaken.

use std::collections::HashMap;
use std::hash::Hash;

/// One frame that was assigned to a member, in the order of assignment.
#[derive(Clone, Copy, Debug)]
pub struct Leg {
    /// Number of the frame in the capture.
    pub frame: usize,
    pub flow: u32,
    pub bytes: u64,
    /// 1..=32.
    pub member: u16,
    /// When it reached the far end, in 100 ns; `None` if it was lost on the way.
    pub arrived: Option<u64>,
}

/// Something that happened to a member before the frame with this number was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub member: u16,
    pub at_frame: usize,
    pub kind: ChangeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Down,
    Up,
}

/// Gives flows small numbers in the order of first sight.
pub struct Numbers<K>(HashMap<K, u32>);

impl<K: Eq + Hash> Default for Numbers<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Numbers<K> {
    pub fn of(&mut self, key: K) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(key).or_insert(next)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// What one member carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub frames: u64,
    pub bytes: u64,
    pub flows: u64,
}

/// By member number, 1 first.
pub fn shares(legs: &[Leg], members: usize) -> Vec<Share> {
    let mut shares = vec![Share::default(); members];
    let mut seen = HashMap::new();
    for leg in legs {
        let Some(share) = shares.get_mut(usize::from(leg.member).wrapping_sub(1)) else { continue };
        share.frames += 1;
        share.bytes += leg.bytes;
        if seen.insert((leg.flow, leg.member), ()).is_none() {
            share.flows += 1;
        }
    }
    shares
}

/// The heaviest member's load relative to its fair share of `speeds`, and the least that any spread could reach that
/// keeps every flow whole: the largest flow on the fastest member.
pub fn imbalance(legs: &[Leg], speeds: &[u64]) -> (f64, f64) {
    let total: u64 = legs.iter().map(|leg| leg.bytes).sum();
    let speed: u64 = speeds.iter().sum();
    if total == 0 || speed == 0 {
        return (1.0, 1.0);
    }
    let relative = |bytes: u64, own: u64| bytes as f64 / total as f64 * speed as f64 / own.max(1) as f64;
    let shares = shares(legs, speeds.len());
    let worst = shares.iter().zip(speeds).map(|(share, &own)| relative(share.bytes, own)).fold(1.0, f64::max);
    let mut flows: HashMap<u32, u64> = HashMap::new();
    for leg in legs {
        *flows.entry(leg.flow).or_default() += leg.bytes;
    }
    let largest = flows.values().copied().max().unwrap_or(0);
    let fastest = speeds.iter().copied().max().unwrap_or(1);
    (worst, relative(largest, fastest).max(1.0))
}

/// Flows that changed member because of one change, and those among them that need not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    pub flows: u64,
    pub needlessly: u64,
}

/// Counts each flow's changes of member between consecutive frames and lays each to the last change of the team
/// before it. Needed are those away from a member that was down, and those to the member that came back.
pub fn moves(legs: &[Leg], changes: &[Change]) -> Vec<Moves> {
    let mut moves = vec![Moves::default(); changes.len().max(1)];
    let mut last: HashMap<u32, u16> = HashMap::new();
    for leg in legs {
        let Some(before) = last.insert(leg.flow, leg.member).filter(|&before| before != leg.member) else {
            continue;
        };
        let so_far = &changes[..changes.partition_point(|change| change.at_frame <= leg.frame)];
        let cause = so_far.len().saturating_sub(1);
        let last_of =
            |member| so_far.iter().rfind(|change| change.member == member).map(|change| change.kind);
        let down = last_of(before) == Some(ChangeKind::Down);
        let home = last_of(leg.member) == Some(ChangeKind::Up);
        if let Some(count) = moves.get_mut(cause) {
            count.flows += 1;
            count.needlessly += u64::from(!down && !home);
        }
    }
    moves
}

/// Frames that arrived after a frame of the same flow that was sent later.
pub fn reordered(legs: &[Leg]) -> u64 {
    let mut arrivals: Vec<(u64, usize, u32)> =
        legs.iter().enumerate().filter_map(|(sent, leg)| Some((leg.arrived?, sent, leg.flow))).collect();
    arrivals.sort_unstable();
    let mut latest: HashMap<u32, usize> = HashMap::new();
    let mut late = 0;
    for (_, sent, flow) in arrivals {
        match latest.get_mut(&flow) {
            Some(latest) if sent < *latest => late += 1,
            Some(latest) => *latest = sent,
            None => {
                latest.insert(flow, sent);
            }
        }
    }
    late
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(frame: usize, flow: u32, member: u16, arrived: u64) -> Leg {
        Leg { frame, flow, bytes: 100, member, arrived: Some(arrived) }
    }

    #[test]
    fn a_frame_is_reordered_when_a_later_one_of_its_flow_overtook_it() {
        let legs = [leg(0, 1, 1, 10), leg(1, 1, 2, 5), leg(2, 1, 2, 20), leg(3, 2, 1, 1)];
        assert_eq!(reordered(&legs), 1);
        assert_eq!(reordered(&[leg(0, 1, 1, 1), leg(1, 1, 2, 2)]), 0);
    }

    #[test]
    fn only_moves_from_the_living_to_the_settled_are_needless() {
        let changes = [
            Change { member: 2, at_frame: 2, kind: ChangeKind::Down },
            Change { member: 2, at_frame: 5, kind: ChangeKind::Up },
        ];
        let legs = [
            leg(0, 1, 2, 0),
            leg(1, 2, 3, 0),
            leg(2, 1, 1, 0), // away from the dead member
            leg(3, 2, 4, 0), // for no reason
            leg(5, 1, 2, 0), // home
        ];
        assert_eq!(
            moves(&legs, &changes),
            [Moves { flows: 2, needlessly: 1 }, Moves { flows: 1, needlessly: 0 }]
        );
    }

    #[test]
    fn imbalance_is_measured_against_speeds_and_never_below_its_floor() {
        let legs = [leg(0, 1, 1, 0), leg(1, 2, 2, 0), leg(2, 3, 2, 0)];
        let (even, floor) = imbalance(&legs, &[1, 2]);
        assert!((even - 1.0).abs() < 1e-9 && (floor - 1.0).abs() < 1e-9);
        let (worst, floor) = imbalance(&legs, &[1, 1]);
        assert!(worst > 1.3 && floor <= worst);
    }
}
