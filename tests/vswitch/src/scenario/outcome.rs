//! The outcome of a scenario: violations, the result of every frame, assignments, and functions to count them.

use crate::adapter::Arrival;
use crate::machine::world::{Violation, World};
use crate::switch::frames::{Assignment, Frame, FrameOutcome};
use crate::switch::ndis::Switch;
use crate::switch::ports::NicId;
use std::collections::{BTreeMap, BTreeSet};

/// The end of a scenario.
#[derive(Debug)]
pub struct Outcome {
    pub violations: Vec<Violation>,
    pub warnings: Vec<Violation>,
    /// How often the check of each rule ran.
    pub exercised: BTreeMap<&'static str, u64>,
    /// Number of missed optimizations, by rule.
    pub costs: BTreeMap<&'static str, u64>,
    pub leaks: Vec<String>,
    pub frames: Vec<Frame>,
    pub assignments: Vec<Assignment>,
    /// Frames of switch 0, in the order in which they reached the physical network.
    pub arrivals: Vec<Arrival>,
    /// Yield points there were, if they were counted.
    pub points: u64,
    /// A module was detached at the one that the configuration names.
    pub detached_at_point: bool,
    /// Number of fallible calls.
    pub asked: u64,
    pub fault: Option<&'static str>,
    pub log: Vec<String>,
    pub log_hash: u64,
    /// Virtual time at the end, in units of 100 ns.
    pub time: u64,
    /// Largest kernel stack of nested handlers of the driver, in bytes.
    pub deepest_stack: usize,
    /// The same, measured by the last byte written; 0 unless stacks are painted.
    pub deepest_painted: usize,
    /// Whether the simulated machine stopped before the scenario ended.
    pub aborted: bool,
    /// The command that repeats the run, for a scenario of the suite.
    pub again: Option<String>,
}

impl Outcome {
    pub(crate) fn collect(world: &World) -> Self {
        world.check_memory();
        // A bug check would have been recorded.
        world.exercised("MEM-09");
        let leaks = world.live().iter().map(ToString::to_string).collect();
        let mut state = world.part::<Switch>().lock();
        let arrivals = state.modules.first().map(|m| m.external.arrivals.clone()).unwrap_or_default();
        Self {
            violations: world.violations(),
            warnings: world.warnings(),
            exercised: world.exercised_counts(),
            costs: std::mem::take(&mut state.costs),
            leaks,
            frames: std::mem::take(&mut state.frames.all).into_vec(),
            assignments: std::mem::take(&mut state.frames.assignments),
            arrivals,
            points: world.end_points(),
            detached_at_point: state.detached_at_point,
            asked: world.asked(),
            fault: world.injected_fault(),
            log: world.log_lines(),
            log_hash: world.log_hash(),
            time: world.now(),
            deepest_stack: world.part::<crate::machine::stack_depth::StackDepth>().deepest(),
            deepest_painted: world.part::<crate::machine::stack_depth::StackDepth>().deepest_painted(),
            aborted: world.is_aborted(),
            again: None,
        }
    }

    /// Violations, leaks and the command that repeats the run; `None` if there are no violations and leaks. A machine that
    /// stopped has freed nothing, which says nothing.
    pub fn complaint(&self) -> Option<String> {
        let mut text = String::new();
        for violation in self.violations.iter().take(20) {
            text.push_str(&format!("{violation}\n"));
        }
        if self.aborted {
            text.push_str("the simulated machine stopped before the end\n");
        } else {
            let leaks = self.leaks.iter().take(20).map(|leak| format!("left behind: {leak}\n"));
            text.extend(leaks);
        }
        let again = self.again.iter().map(|command| format!("again: {command}\n"));
        (!text.is_empty()).then(|| text + &again.collect::<String>())
    }

    /// Panics with all violations and leaks, if there are any.
    pub fn assert_clean(&self) {
        if let Some(complaint) = self.complaint() {
            panic!("the scenario is not clean:\n{complaint}");
        }
    }

    /// The broken rules.
    pub fn broken(&self) -> BTreeSet<&'static str> {
        self.violations.iter().map(|v| v.rule).collect()
    }

    pub fn outcomes(&self, frame: usize) -> &[FrameOutcome] {
        self.frames.get(frame).map_or(&[], |f| &f.outcomes)
    }

    /// The frames that were delivered to a NIC, in order of arrival.
    pub fn delivered_to(&self, nic: NicId) -> Vec<&Frame> {
        let mut found: Vec<(u64, &Frame)> = Vec::new();
        for frame in &self.frames {
            for end in &frame.outcomes {
                if let FrameOutcome::Delivered { to, at } = end
                    && *to == nic
                {
                    found.push((*at, frame));
                }
            }
        }
        found.sort_by_key(|(at, frame)| (*at, frame.id));
        found.into_iter().map(|(_, frame)| frame).collect()
    }

    /// Number of frames that the extension dropped, by reported reason.
    pub fn drops(&self) -> BTreeMap<&str, usize> {
        let mut drops = BTreeMap::new();
        for end in self.frames.iter().flat_map(|f| &f.outcomes) {
            if let FrameOutcome::Filtered { reason } = end {
                *drops.entry(reason.as_str()).or_insert(0) += 1;
            }
        }
        drops
    }

    pub fn count(&self, wanted: impl Fn(&FrameOutcome) -> bool) -> usize {
        self.frames.iter().flat_map(|f| &f.outcomes).filter(|end| wanted(end)).count()
    }

    pub fn lost_before_indication(&self) -> usize {
        self.count(|end| matches!(end, FrameOutcome::LostBeforeIndication { .. }))
    }

    /// Number of frames that reached the physical network after a frame of the same flow that was sent later.
    pub fn reordered<K: Ord>(&self, key: impl Fn(&[u8]) -> Option<K>) -> usize {
        let mut newest: BTreeMap<K, usize> = BTreeMap::new();
        let mut late = 0;
        for arrival in &self.arrivals {
            let Some(key) = self.frames.get(arrival.frame).and_then(|f| key(&f.bytes)) else { continue };
            let seen = newest.entry(key).or_insert(arrival.frame);
            if arrival.frame < *seen {
                late += 1;
            }
            *seen = (*seen).max(arrival.frame);
        }
        late
    }

    /// The members of each flow in order of assignment, without repetitions.
    pub fn members_of<K: Ord>(&self, key: impl Fn(&[u8]) -> Option<K>) -> BTreeMap<K, Vec<u16>> {
        let mut members: BTreeMap<K, Vec<u16>> = BTreeMap::new();
        for assignment in &self.assignments {
            let Some(key) = self.frames.get(assignment.frame).and_then(|f| key(&f.bytes)) else { continue };
            let all = members.entry(key).or_default();
            if all.last() != Some(&assignment.member) {
                all.push(assignment.member);
            }
        }
        members
    }
}
