//! The team: its members, their weights and the home map. The control side, under the caller's team lock.
//!
//! Every event yields a `TeamView`, a small value that `forward` publishes to the packet path. Never touches packets.

pub mod aside;
pub mod buckets;
pub mod carriers;
pub mod heirs;
pub mod home;
pub mod lending;
pub mod member;
pub mod name;

use crate::Storage;
use crate::ids::{AdapterId, MEMBERS, MemberIndex, MemberSet, Ticks};
use crate::seats::Homes;
use crate::settings::Settings;
use crate::team::carriers::{CarrierRules, Carriers, Standing};
use crate::team::home::{Building, Weights};
use crate::team::member::{Delays, LinkSource, LinkState, Member, MemberEvent, MemberSettings, MemberState};

/// What the packet path must know after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TeamView {
    pub carriers: Carriers,
    /// By which buckets are lent.
    pub weights: Weights,
    /// The members that the home map was made for.
    pub homes: MemberSet,
    /// Frames can arrive on more than one member, whether it carries traffic or not.
    pub several_receive: bool,
    /// Carriers, weights or the home map differ from those of the view before.
    pub changed: bool,
    pub home_changed: bool,
    /// They carry nothing any more, and something again.
    pub went_down: MemberSet,
    pub came_up: MemberSet,
}

pub struct Team<S: Storage> {
    home: S::Of<u8>,
    /// The members that the home map was made for.
    homes: MemberSet,
    /// The next home map, made in steps beside the one in use.
    next: Next<S>,
    members: S::Of<Member>,
    delays: Delays,
    rules: CarrierRules,
    carriers: Carriers,
    /// Of the members as they were planned with last.
    standing: Standing,
    weights: Weights,
}

/// A home map that is being made.
pub struct Next<S: Storage> {
    /// `BUCKETS` long.
    pub home: S::Of<u8>,
    /// One element: how far it is.
    pub building: S::Of<Building>,
    /// Work of each step, as `Building::advance` counts it.
    pub step: usize,
}

impl<S: Storage> Team<S> {
    /// `home` is `BUCKETS` long and `members` `MEMBERS` long.
    pub fn new(mut home: S::Of<u8>, next: Next<S>, mut members: S::Of<Member>, settings: &Settings) -> Self {
        home.fill(0);
        members.fill(Member::ABSENT);
        Self {
            home,
            homes: MemberSet::EMPTY,
            next,
            members,
            delays: settings.delays(),
            rules: settings.carriers,
            carriers: Carriers::default(),
            standing: Standing::default(),
            weights: [0; MEMBERS],
        }
    }

    pub fn on(&mut self, index: MemberIndex, event: MemberEvent, now: Ticks) -> TeamView {
        if let Some(member) = self.members.get_mut(index.slot()) {
            member.on(event, now, &self.delays);
        }
        self.plan(now)
    }

    /// Notes the adapter that a member is, and its name as `AdapterName::set` takes it. What is known already stays when the
    /// switch does not say it, but for the name and the settings of another adapter. Whether it is another adapter now, whose
    /// settings are to be read.
    pub fn identify(&mut self, index: MemberIndex, adapter: AdapterId, name: &[u8]) -> bool {
        self.members.get_mut(index.slot()).is_some_and(|member| member.identify(adapter, name))
    }

    /// Applies what is set for an adapter, if it is this member still and its settings are others.
    pub fn configure_member(
        &mut self,
        index: MemberIndex,
        adapter: AdapterId,
        settings: &MemberSettings,
        now: Ticks,
    ) -> Option<TeamView> {
        let member = self.members.get_mut(index.slot())?;
        if member.adapter != adapter || member.settings == *settings {
            return None;
        }
        member.settings = *settings;
        Some(self.plan(now))
    }

    /// Whether a link state from this source counts for a member; see `Member::accepts`.
    pub fn accepts(&mut self, index: MemberIndex, source: LinkSource, link: LinkState) -> bool {
        self.members.get_mut(index.slot()).is_some_and(|member| member.accepts(source, link))
    }

    /// The adapter that the operating system is to be asked about: the member is connected, and neither an indication nor
    /// an answer has told its link state.
    pub fn polled_adapter(&self, index: MemberIndex) -> Option<AdapterId> {
        let member = self.member(index);
        let asked = member.state.is_connected() && member.is_silent() && member.adapter != AdapterId::UNKNOWN;
        asked.then_some(member.adapter)
    }

    /// Advances the members' delays; call at `deadline`.
    pub fn tick(&mut self, now: Ticks) -> TeamView {
        for member in self.members.iter_mut() {
            member.on(MemberEvent::Tick, now, &self.delays);
        }
        self.plan(now)
    }

    /// Applies new settings; a member that settles does not wait longer than the new delay.
    pub fn configure(&mut self, settings: &Settings, now: Ticks) -> TeamView {
        (self.delays, self.rules) = (settings.delays(), settings.carriers);
        for member in self.members.iter_mut() {
            if let MemberState::Settling { until } = &mut member.state {
                *until = now.saturating_add(self.delays.after_failures(member.failures)).min(*until);
            }
        }
        self.tick(now)
    }

    /// A home map is being made: `build` goes on with it, and the `tick` after its end puts it in place.
    pub fn is_building(&self) -> bool {
        self.next.building.first().is_some_and(Building::is_under_way)
    }

    /// Makes one step of a home map, if one is being made.
    pub fn build(&mut self) {
        if let Some(building) = self.next.building.first_mut() {
            building.advance(&mut self.next.home, self.next.step);
        }
    }

    /// When a member has waited long enough, which `tick` sees.
    pub fn deadline(&self) -> Option<Ticks> {
        self.members
            .iter()
            .filter_map(|member| match member.state {
                MemberState::Settling { until } => Some(until),
                MemberState::Absent
                | MemberState::Created
                | MemberState::Down { .. }
                | MemberState::Active => None,
            })
            .min()
    }

    /// Members that carry traffic; those about to rest are among them.
    pub const fn live(&self) -> MemberSet {
        self.carriers.live
    }

    /// Of these, those that do not rest.
    pub const fn carriers(&self) -> MemberSet {
        self.carriers.at_home
    }

    /// Members that are up, whether they carry traffic or not.
    pub const fn up(&self) -> MemberSet {
        self.standing.up
    }

    /// How many members are to carry traffic at least; 0 if nothing is set.
    pub const fn minimum_links(&self) -> u32 {
        self.rules.minimum_links
    }

    /// A member hands over what it carries, to rest: `rest` ends that.
    pub fn is_handing_over(&self) -> bool {
        self.carriers.live != self.carriers.at_home
    }

    /// Every bucket has left the members that hand over: they carry nothing now.
    pub fn rest(&mut self, now: Ticks) -> TeamView {
        self.plan_with(now, MemberSet::EMPTY)
    }

    /// Members whose adapters are connected to the switch, with a link or without.
    pub const fn connected(&self) -> MemberSet {
        self.standing.connected
    }

    /// The home member of every bucket, 0 = none.
    pub fn home(&self) -> &[u8] {
        &self.home
    }

    /// What machines choose their seats by.
    pub fn homes(&self) -> Homes<'_> {
        Homes { home: &self.home, weights: self.home_weights() }
    }

    /// There are connected members, and the weight of each is its own: it is set, or its speed is known.
    pub fn knows_weights(&self) -> bool {
        let mut connected = self.members.iter().filter(|member| member.state.is_connected()).peekable();
        connected.peek().is_some() && connected.all(|member| member.own_weight().is_some())
    }

    pub fn member(&self, index: MemberIndex) -> &Member {
        self.members.get(index.slot()).unwrap_or(&Member::ABSENT)
    }

    /// The members that the switch has created.
    pub fn members(&self) -> impl Iterator<Item = (MemberIndex, &Member)> {
        self.members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.state != MemberState::Absent)
            .filter_map(|(slot, member)| Some((MemberIndex::from_slot(slot)?, member)))
    }

    fn plan(&mut self, now: Ticks) -> TeamView {
        self.plan_with(now, self.carriers.live)
    }

    /// `keep`: these go on handing over what they carry.
    #[inline(never)] // called from everywhere
    fn plan_with(&mut self, now: Ticks, keep: MemberSet) -> TeamView {
        self.use_settling_members_when_none_is_active(now);
        self.weigh();
        let standing = Standing::of(&self.members);
        self.standing = standing;
        let homes = carriers::homes(&self.members, &standing, &self.rules);
        let home_changed = self.rebuild_home_if_due(homes);
        let (carriers, weights) = self.plan_carriers(&standing, homes, keep);
        let live = carriers.live;
        let plan = TeamView {
            carriers,
            weights,
            homes: self.homes,
            several_receive: standing.receiving.len() > 1,
            changed: home_changed || carriers != self.carriers || weights != self.weights,
            home_changed,
            went_down: self.carriers.live.minus(live),
            came_up: live.minus(self.carriers.live),
        };
        self.carriers = carriers;
        self.weights = weights;
        plan
    }

    /// Chooses who carries. Who carried and still could hands over its flows in gaps, if there is somebody else.
    #[inline(never)] // a frame of its own
    fn plan_carriers(
        &mut self,
        standing: &Standing,
        homes: MemberSet,
        keep: MemberSet,
    ) -> (Carriers, Weights) {
        let before = self.carriers.at_home;
        for index in before.minus(standing.up).iter() {
            if let Some(member) = self.members.get_mut(index.slot()) {
                member.has_lost_place = true;
            }
        }
        let at_home = carriers::choose(&self.members, standing, before, &self.rules);
        for index in at_home.minus(before).iter() {
            if let Some(member) = self.members.get_mut(index.slot()) {
                member.has_lost_place = false;
            }
        }
        let live = match at_home.is_empty() {
            true => at_home,
            false => at_home.union(keep.intersection(standing.up)),
        };
        let mut weights = self.home_weights();
        let mut borrowers = at_home;
        if !at_home.is_subset(homes) {
            let own = |index: MemberIndex| self.member(index).weight;
            weights = carriers::lending_weights(at_home, &weights, own);
            borrowers = carriers::borrowers(at_home, &weights);
        }
        (Carriers { live, at_home, borrowers }, weights)
    }

    fn use_settling_members_when_none_is_active(&mut self, now: Ticks) {
        if self.members.iter().any(Member::is_able) {
            return;
        }
        for member in self.members.iter_mut() {
            member.on(MemberEvent::NoneActive, now, &self.delays);
        }
    }

    /// Weight is what is set for the adapter, else its speed in Mb/s; an unknown speed counts as the median of the weights
    /// that are known.
    fn weigh(&mut self) {
        let unknown = |member: &Member| member.state.is_connected() && member.own_weight().is_none();
        let median = if self.members.iter().any(unknown) { median_weight(&self.members) } else { 0 };
        for member in self.members.iter_mut() {
            member.weight = match member.state.is_connected() {
                true => member.own_weight().unwrap_or(median),
                false => 0,
            };
        }
    }

    /// The home map changes when one of `homes` is not in it with its present weight, or another connected member is in it.
    /// A member that left keeps its share until then: if it comes back, nothing but its own flows moves. Begins a map, or
    /// puts one that `build` has made in place and gives true.
    fn rebuild_home_if_due(&mut self, homes: MemberSet) -> bool {
        let Some(building) = self.next.building.first_mut() else { return false };
        let mut wanted = [0; MEMBERS];
        for index in homes.iter() {
            if let Some((wanted, member)) = wanted.get_mut(index.slot()).zip(self.members.get(index.slot())) {
                *wanted = member.weight;
            }
        }
        let is_right =
            |(member, wanted): (&Member, &u32)| member.weight == 0 || *wanted == member.home_weight;
        if self.members.iter().zip(&wanted).all(is_right) {
            if building.is_under_way() {
                *building = Building::DONE;
            }
            return false;
        }
        if !building.is_of(&wanted) {
            building.want(&wanted);
            if self.next.step == usize::MAX {
                building.advance(&mut self.next.home, usize::MAX);
            }
        }
        if !building.is_done() {
            return false;
        }
        for (member, weight) in self.members.iter_mut().zip(wanted) {
            member.home_weight = weight;
        }
        *building = Building::DONE;
        self.homes = members_with_weight(&wanted);
        core::mem::swap(&mut self.home, &mut self.next.home);
        true
    }

    fn home_weights(&self) -> Weights {
        let mut weights = [0; MEMBERS];
        for (slot, member) in weights.iter_mut().zip(self.members.iter()) {
            *slot = member.home_weight;
        }
        weights
    }
}

fn members_with_weight(weights: &Weights) -> MemberSet {
    let slots = weights.iter().enumerate().filter(|(_, weight)| **weight != 0);
    slots.filter_map(|(slot, _)| MemberIndex::from_slot(slot)).collect()
}

#[cfg(any(test, feature = "std"))]
impl Next<crate::Heap> {
    /// Maps are made at once, for everything that is not the driver.
    pub fn at_once() -> Self {
        Self {
            home: std::vec![0; crate::ids::BUCKETS],
            building: std::vec![Building::DONE],
            step: usize::MAX,
        }
    }
}

/// The lower median of the known weights of connected members; 1 when none is known.
fn median_weight(members: &[Member]) -> u32 {
    let known = || members.iter().filter(|member| member.state.is_connected()).filter_map(Member::own_weight);
    let half = known().count().div_ceil(2);
    known()
        .filter(|&candidate| known().filter(|&other| other <= candidate).count() >= half)
        .min()
        .unwrap_or(1)
}
