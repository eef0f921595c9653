//! The least imbalance that a distribution can have: the busiest member's load, in fair shares by speed, at the best
//! assignment of flow keys to members. A key stays on its member while that is up, goes to one other member while it is
//! down, and comes back: the buckets of the driver's hash do not count here.
//!
//! Few keys are searched by branch and bound. For many it is enough that a good assignment and a bound that none can
//! fall below agree; where they do not, the bound is all that is said.

use std::cmp::Reverse;
use std::collections::HashMap;
use teaming::flow::FlowKey;

/// The least imbalance, or a bound below which no assignment comes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Least {
    pub value: f64,
    /// `value` is the least itself, to a fifth of a per cent.
    pub is_exact: bool,
}

/// A time in which the same members are up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// For each member whether it is up.
    pub up: Vec<bool>,
}

/// Up to this difference two values are one.
pub const SAME: f64 = 0.002;
/// Number of keys up to which all are searched, and of the largest of more that are searched for the bound.
const SEARCHED: usize = 64;
const LARGEST: usize = 14;
/// Rounds in which keys change places, and of so many keys one that is disturbed.
const PASSES: usize = 16;
const DISTURBED: usize = 32;
/// Options that a search looks at before it gives up: some tenths of a second.
const LOOKS: u64 = 1_000_000;
/// Ways of one key over all stages that are listed.
const OPTIONS: usize = 512;

/// The bytes of each flow key, by stage: what a policy must keep together.
#[derive(Debug)]
pub struct Keys {
    stages: Vec<Stage>,
    bytes: HashMap<FlowKey, Vec<u64>>,
}

impl Keys {
    /// Every member is up.
    pub fn new(members: usize) -> Self {
        Self { stages: vec![Stage { up: vec![true; members] }], bytes: HashMap::new() }
    }

    pub fn add(&mut self, key: FlowKey, bytes: u64) {
        let of_key = self.bytes.entry(key).or_default();
        of_key.resize(self.stages.len().max(of_key.len()), 0);
        if let Some(last) = of_key.last_mut() {
            *last += bytes;
        }
    }

    /// A member, from 0, went down or came up.
    pub fn change(&mut self, member: usize, is_up: bool) {
        let Some(mut stage) = self.stages.last().cloned() else { return };
        if let Some(up) = stage.up.get_mut(member) {
            *up = is_up;
        }
        self.stages.push(stage);
    }

    pub fn least(&self, speeds: &[u64]) -> Least {
        let mut keys: Vec<&[u64]> = self.bytes.values().map(Vec::as_slice).collect();
        // The table's order is another one in each run.
        keys.sort_unstable();
        least(&keys, &self.stages, speeds)
    }
}

/// `keys`: bytes of each key in each stage, without trailing zeros. `speeds`: of each member.
pub fn least(keys: &[&[u64]], stages: &[Stage], speeds: &[u64]) -> Least {
    let total: u64 = keys.iter().copied().flatten().sum();
    let speed: u64 = speeds.iter().sum();
    if total == 0 || speed == 0 {
        return Least { value: 1.0, is_exact: true };
    }
    // So much of a fair share is one byte on each member.
    let costs: Vec<f64> =
        speeds.iter().map(|own| speed as f64 / total as f64 / (*own).max(1) as f64).collect();
    let average = average(keys, stages, &costs);
    let mut items = Vec::new();
    for key in keys {
        let Some(options) = options(key, stages, &costs) else {
            return Least { value: average, is_exact: false };
        };
        items.push(options);
    }
    // Large ones first: the search begins with them, and the rest fills the gaps.
    items.sort_by_key(|options| Reverse(options.first().map_or(0, |option| bits(option.sum()))));
    let largest = items.iter().map(|options| options.iter().map(Route::peak).fold(f64::INFINITY, f64::min));
    let bound = largest.fold(average, f64::max);
    let classes = classes(stages, &costs);
    let search = |items: &[Vec<Route>], enough: f64| {
        let mut search = Search::new(items, &classes, &costs, enough);
        search.descend(0);
        (search.best, search.is_complete())
    };
    if items.len() <= SEARCHED {
        let (best, is_complete) = search(&items, bound + SAME);
        if is_complete || best <= bound + SAME {
            return Least { value: best, is_exact: true };
        }
    }
    let found = good(&items, &costs, bound + SAME);
    let bound = if found > bound + SAME {
        // The largest alone: with the others it cannot be less.
        let (best, is_complete) = search(&items[..items.len().min(LARGEST)], bound);
        if is_complete { bound.max(best) } else { bound }
    } else {
        bound
    };
    Least { value: bound, is_exact: found <= bound + SAME }
}

/// Order of numbers that are not negative.
fn bits(number: f64) -> u64 {
    number.to_bits()
}

/// The bytes of the stages in which only some members are up, spread over those as evenly as can be.
fn average(keys: &[&[u64]], stages: &[Stage], costs: &[f64]) -> f64 {
    let speed = |up: &[bool]| -> f64 {
        up.iter().zip(costs).filter(|(up, _)| **up).map(|(_, cost)| 1.0 / cost).sum()
    };
    let of_stage = |number: usize| -> u64 { keys.iter().filter_map(|key| key.get(number)).sum() };
    let bytes: Vec<u64> = (0..stages.len()).map(of_stage).collect();
    let within = |one: &Stage, other: &Stage| one.up.iter().zip(&other.up).all(|(one, other)| !one || *other);
    let all = Stage { up: vec![true; costs.len()] };
    let bound = stages.iter().chain([&all]).map(|set| {
        let inside = stages.iter().zip(&bytes).filter(|(stage, _)| within(stage, set));
        let sum: u64 = inside.map(|(_, bytes)| bytes).sum();
        let speed = speed(&set.up);
        if speed > 0.0 { sum as f64 / speed } else { 0.0 }
    });
    bound.fold(0.0, f64::max)
}

/// One way of a key: what each member gets, in fair shares.
#[derive(Clone, PartialEq, Debug)]
struct Route(Vec<(usize, f64)>);

impl Route {
    fn peak(&self) -> f64 {
        self.0.iter().map(|(_, load)| *load).fold(0.0, f64::max)
    }

    fn sum(&self) -> f64 {
        self.0.iter().map(|(_, load)| *load).sum()
    }
}

/// All ways of a key: each member as its home, and for each time in which that is down each other one. `None` if they are
/// too many.
fn options(key: &[u64], stages: &[Stage], costs: &[f64]) -> Option<Vec<Route>> {
    let mut all: Vec<Route> = Vec::new();
    for home in 0..costs.len() {
        // Bytes of each member so far, and the member that stands in for the home.
        let mut ways: Vec<(Vec<u64>, Option<usize>)> = vec![(vec![0; costs.len()], None)];
        for (stage, bytes) in stages.iter().zip(key) {
            let is_up = |member: usize| stage.up.get(member).copied().unwrap_or(false);
            let mut next = Vec::new();
            for (loads, instead) in ways {
                let takers: Vec<usize> = match instead {
                    _ if is_up(home) => vec![home],
                    Some(other) if is_up(other) => vec![other],
                    _ if *bytes == 0 || !stage.up.contains(&true) => vec![home],
                    _ => (0..costs.len()).filter(|member| is_up(*member)).collect(),
                };
                for taker in takers {
                    let mut loads = loads.clone();
                    loads[taker] += bytes;
                    next.push((loads, (taker != home).then_some(taker)));
                }
            }
            if next.len() > OPTIONS {
                return None;
            }
            ways = next;
        }
        for (loads, _) in ways {
            let parts = loads.iter().zip(costs).enumerate().filter(|(_, (bytes, _))| **bytes != 0);
            let option = Route(parts.map(|(member, (bytes, cost))| (member, *bytes as f64 * cost)).collect());
            if !all.contains(&option) {
                all.push(option);
            }
        }
        if all.len() > OPTIONS {
            return None;
        }
    }
    Some(all)
}

/// Members of one class are equally fast and up in the same stages.
fn classes(stages: &[Stage], costs: &[f64]) -> Vec<usize> {
    let alike = |one: usize, other: usize| {
        bits(costs[one]) == bits(costs[other])
            && stages.iter().all(|stage| stage.up.get(one) == stage.up.get(other))
    };
    (0..costs.len()).map(|member| (0..member).find(|other| alike(*other, member)).unwrap_or(member)).collect()
}

/// A route with members named by their class and load: each with what it gets.
type Likeness = Vec<(usize, u64, u64)>;

/// An assignment of all keys.
#[derive(Clone)]
struct Assignment<'a> {
    taken: Vec<&'a Route>,
    loads: Vec<f64>,
}

impl<'a> Assignment<'a> {
    /// Each key takes the route that is best when it comes.
    fn greedy(items: &'a [Vec<Route>], members: usize) -> Self {
        let mut all = Self { taken: Vec::new(), loads: vec![0.0; members] };
        for routes in items {
            let after = |route: &&Route| {
                bits(route.0.iter().map(|(member, load)| all.loads[*member] + load).fold(0.0, f64::max))
            };
            let Some(best) = routes.iter().min_by_key(after) else { continue };
            best.0.iter().for_each(|(member, load)| all.loads[*member] += load);
            all.taken.push(best);
        }
        all
    }

    fn peak(&self) -> f64 {
        self.loads.iter().copied().fold(0.0, f64::max)
    }

    fn put(&mut self, number: usize, route: &'a Route) {
        self.taken[number].0.iter().for_each(|(member, load)| self.loads[*member] -= load);
        route.0.iter().for_each(|(member, load)| self.loads[*member] += load);
        self.taken[number] = route;
    }

    /// Each key in turn takes another route as long as that evens the loads: the sum of squares by speed is least where
    /// all are even. Returns how often it looked.
    fn even(&mut self, items: &'a [Vec<Route>], costs: &[f64]) -> u64 {
        let mut looks = 0;
        for _ in 0..PASSES {
            let mut has_changed = false;
            for (number, routes) in items.iter().enumerate() {
                let before = self.taken[number];
                before.0.iter().for_each(|(member, load)| self.loads[*member] -= load);
                let uneven = |route: &Route| -> f64 {
                    route
                        .0
                        .iter()
                        .map(|(member, load)| (2.0 * self.loads[*member] + load) * load / costs[*member])
                        .sum()
                };
                let least = routes.iter().min_by(|one, other| uneven(one).total_cmp(&uneven(other)));
                let better = least.filter(|least| uneven(least) < uneven(before) * (1.0 - 1e-12));
                let now = better.unwrap_or(before);
                now.0.iter().for_each(|(member, load)| self.loads[*member] += load);
                self.taken[number] = now;
                has_changed |= better.is_some();
                looks += routes.len() as u64;
            }
            if !has_changed {
                break;
            }
        }
        looks
    }
}

/// The busiest member of a good assignment, which is evened and, while it is worse than `enough`, disturbed and evened
/// again.
fn good(items: &[Vec<Route>], costs: &[f64], enough: f64) -> f64 {
    let mut best = Assignment::greedy(items, costs.len());
    let (mut looks, mut state) = (0, 1_u64);
    let mut next = best.clone();
    loop {
        looks += next.even(items, costs);
        if next.peak() < best.peak() {
            best = next;
        }
        if best.peak() <= enough || looks > LOOKS {
            return best.peak();
        }
        next = best.clone();
        for _ in 0..=items.len() / DISTURBED {
            let mut random = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                usize::try_from(state >> 33).unwrap_or(0) % below.max(1)
            };
            let number = random(items.len());
            if let Some(route) = items.get(number).and_then(|routes| routes.get(random(routes.len()))) {
                next.put(number, route);
            }
        }
    }
}

struct Search<'a> {
    /// The ways of each key.
    items: &'a [Vec<Route>],
    classes: &'a [usize],
    costs: &'a [f64],
    /// Bytes of this key and those after it, and the fewest that one member can get of one of them.
    left: Vec<(f64, f64)>,
    loads: Vec<f64>,
    best: f64,
    /// None that is better need be found.
    enough: f64,
    looks: u64,
}

impl<'a> Search<'a> {
    fn new(items: &'a [Vec<Route>], classes: &'a [usize], costs: &'a [f64], enough: f64) -> Self {
        let mut left = vec![(0.0, f64::INFINITY)];
        for routes in items.iter().rev() {
            let (mut sum, mut least) = left.last().copied().unwrap_or_default();
            let bytes = |(member, load): &(usize, f64)| load / costs[*member];
            sum += routes.first().map_or(0.0, |route| route.0.iter().map(bytes).sum());
            least = routes.iter().flat_map(|route| &route.0).map(bytes).fold(least, f64::min);
            left.push((sum, least));
        }
        left.reverse();
        let loads = vec![0.0; costs.len()];
        Self { items, classes, costs, left, loads, best: f64::INFINITY, enough, looks: 0 }
    }

    /// Whether the rest still fits below the best so far; what is too narrow for any of it is lost.
    fn has_room(&self, number: usize) -> bool {
        let Some((sum, least)) = self.left.get(number).filter(|_| self.best.is_finite()) else { return true };
        let room = |(load, cost): (&f64, &f64)| (self.best - load).max(0.0) / cost;
        let rooms = self.loads.iter().zip(self.costs).map(room);
        rooms.filter(|room| room * (1.0 + 1e-12) >= *least).sum::<f64>() * (1.0 + 1e-12) >= *sum
    }

    fn is_complete(&self) -> bool {
        self.looks < LOOKS
    }

    fn is_done(&self) -> bool {
        self.best <= self.enough + 1e-12 || !self.is_complete()
    }

    fn descend(&mut self, number: usize) {
        let Some(options) = self.items.get(number) else {
            let peak = self.loads.iter().copied().fold(0.0, f64::max);
            self.best = self.best.min(peak);
            return;
        };
        if !self.has_room(number) {
            return;
        }
        self.looks += options.len() as u64;
        let mut open: Vec<(u64, Likeness, &Route)> = Vec::new();
        for option in options {
            let peak = option.0.iter().map(|(member, load)| self.loads[*member] + load).fold(0.0, f64::max);
            if peak >= self.best - 1e-12 {
                continue;
            }
            // Ways that differ only in members which are alike and equally loaded are one.
            let part = |(member, load): &(usize, f64)| {
                (self.classes[*member], bits(self.loads[*member]), bits(*load))
            };
            let mut looks_like: Likeness = option.0.iter().map(part).collect();
            looks_like.sort_unstable();
            if open.iter().all(|(_, other, _)| *other != looks_like) {
                open.push((bits(peak), looks_like, option));
            }
        }
        open.sort_by_key(|(peak, ..)| *peak);
        for (peak, _, option) in open {
            if f64::from_bits(peak) >= self.best - 1e-12 {
                break;
            }
            let before = self.loads.clone();
            option.0.iter().for_each(|(member, load)| self.loads[*member] += load);
            self.descend(number + 1);
            self.loads = before;
            if self.is_done() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(members: usize) -> Vec<Stage> {
        vec![Stage { up: vec![true; members] }]
    }

    fn of(keys: &[Vec<u64>], stages: &[Stage], speeds: &[u64]) -> Least {
        least(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>(), stages, speeds)
    }

    fn single(bytes: &[u64]) -> Vec<Vec<u64>> {
        bytes.iter().map(|bytes| vec![*bytes]).collect()
    }

    /// Every home and every stand-in, by counting through them.
    fn brute_force(keys: &[Vec<u64>], stages: &[Stage], speeds: &[u64]) -> f64 {
        let (total, speed): (u64, u64) = (keys.iter().flatten().sum(), speeds.iter().sum());
        let members = speeds.len();
        let ways = members * members;
        let mut best = f64::INFINITY;
        for number in 0..ways.pow(u32::try_from(keys.len()).unwrap()) {
            let mut loads = vec![0; members];
            let (mut rest, mut valid) = (number, true);
            for key in keys {
                let (home, other) = (rest % ways / members, rest % members);
                rest /= ways;
                for (stage, bytes) in stages.iter().zip(key) {
                    let member = if stage.up[home] { home } else { other };
                    valid &= stage.up[member] || *bytes == 0;
                    loads[member] += bytes;
                }
            }
            let peak = loads
                .iter()
                .zip(speeds)
                .map(|(bytes, own)| *bytes as f64 / total as f64 * speed as f64 / *own as f64);
            if valid {
                best = best.min(peak.fold(0.0, f64::max));
            }
        }
        best
    }

    fn random(state: &mut u64, below: u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % below
    }

    #[test]
    fn few_keys_have_the_least_that_counting_through_all_assignments_finds() {
        let mut state = 1;
        for round in 0..60_u64 {
            let members = 2 + usize::try_from(round % 2).unwrap();
            let speeds: Vec<u64> = (0..members)
                .map(|_| [1, 10, 10, 25][usize::try_from(random(&mut state, 4)).unwrap()])
                .collect();
            let mut stages = up(members);
            if round % 3 != 0 {
                let failing = usize::try_from(random(&mut state, members as u64)).unwrap();
                stages.push(stages[0].clone());
                stages[1].up[failing] = false;
                stages.push(stages[0].clone());
            }
            let keys: Vec<Vec<u64>> = (0..=random(&mut state, 4))
                .map(|_| stages.iter().map(|_| random(&mut state, 1_000)).collect())
                .collect();
            let (found, expected) = (of(&keys, &stages, &speeds), brute_force(&keys, &stages, &speeds));
            assert!(found.is_exact, "{keys:?} {speeds:?}");
            assert!(
                (found.value - expected).abs() < 2.0 * SAME,
                "{found:?} {expected} {keys:?} {stages:?} {speeds:?}"
            );
        }
    }

    #[test]
    fn one_key_cannot_be_shared() {
        assert_eq!(of(&single(&[1_000]), &up(4), &[10; 4]), Least { value: 4.0, is_exact: true });
        let uneven = of(&single(&[1_000]), &up(2), &[25, 10]);
        assert!(uneven.is_exact && (uneven.value - 1.4).abs() < SAME, "{uneven:?}");
        // While a member is down, another one stands in for it.
        let mut stages = vec![up(4).remove(0); 3];
        stages[1].up[1] = false;
        let third = of(&[vec![500, 500, 500]], &stages, &[10; 4]);
        assert!(third.is_exact && (third.value - 4.0 * 2.0 / 3.0).abs() < SAME, "{third:?}");
    }

    #[test]
    fn keys_that_do_not_fill_the_members_evenly_have_more_than_one_as_their_least() {
        // Five equal ones on four members: one has two.
        assert!((of(&single(&[10; 5]), &up(4), &[10; 4]).value - 1.6).abs() < SAME);
        // Neither the average nor the largest key shows it.
        assert!((of(&single(&[3, 3, 2, 2, 2]), &up(2), &[10; 2]).value - 1.0).abs() < SAME);
        assert!((of(&single(&[5, 5, 4, 4, 3, 3, 3]), &up(3), &[10; 3]).value - 1.0).abs() < SAME);
        assert!((of(&single(&[7, 7, 7]), &up(2), &[10; 2]).value - 4.0 / 3.0).abs() < SAME);
    }

    #[test]
    fn many_keys_are_exact_where_a_good_assignment_meets_the_bound_and_else_a_bound() {
        let mut state = 7;
        let many: Vec<u64> = (0..2_000).map(|_| 60 + random(&mut state, 1_500)).collect();
        let even = of(&single(&many), &up(4), &[10; 4]);
        assert!(even.is_exact && (even.value - 1.0).abs() < SAME, "{even:?}");
        let elephant = of(&single(&[&many[..], &[10_000_000]].concat()), &up(4), &[10; 4]);
        assert!(elephant.is_exact && elephant.value > 3.0, "{elephant:?}");
        // 65 equal keys on 32 members: one has three of them. That is more than the average says, and no search of the
        // largest shows it.
        let hard = of(&single(&[1_000; 65]), &up(32), &[10; 32]);
        let truth = 3.0 / (65.0 / 32.0);
        assert!(
            hard.value <= truth + SAME && (!hard.is_exact || (hard.value - truth).abs() < SAME),
            "{hard:?}"
        );
    }

    #[test]
    fn members_that_are_down_carry_nothing() {
        let mut stages = up(3);
        stages[0].up[0] = false;
        assert!((of(&single(&[10; 8]), &stages, &[10; 3]).value - 1.5).abs() < SAME);
        assert_eq!(of(&[], &stages, &[10; 3]), Least { value: 1.0, is_exact: true });
        assert_eq!(of(&single(&[5]), &[Stage { up: vec![false; 2] }], &[10; 2]).value, 2.0);
    }
}
