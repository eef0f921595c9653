//! The plan for each request about a resource: which member it goes to, or why to none.

use crate::Storage;
use crate::ids::{MEMBERS, MemberIndex, MemberSet, NicId};
use crate::offload::{HeldResource, NO_PARTITION, OffloadResources};
use crate::oid::payload::{Command, PHYSICAL_FUNCTION};
use crate::oid::{OidPlan, Refusal, Resource};

/// Where resources of a partition are made. Whatever the placement, all of a partition's resources that are not copied
/// are on one member if that member can hold them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OffloadPlacement {
    /// On the member where the partition's traffic arrives. Two partitions may be given equal ids, by two members.
    FollowFlows,
    /// The resources of all partitions on one member, so that no id is given out twice.
    #[default]
    SingleMember,
    /// Queues and filters on every member, the rest as with `FollowFlows`.
    EveryMember,
}

/// What a plan depends on besides the table.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub placement: OffloadPlacement,
    /// Connected members that say they can hold the resource, with a link or without.
    pub able: MemberSet,
    /// Connected members that have not said whether they can.
    pub unanswered: MemberSet,
    /// Connected members that say they can hold a virtual function.
    pub able_vf: MemberSet,
    /// Connected members, which may be able once they have answered or when one more is connected.
    pub connected: MemberSet,
    /// Members that are up.
    pub live: MemberSet,
    /// Members of which it is not known what they hold, and that are being asked.
    pub unasked: MemberSet,
    /// How many resources of the kind each member can hold, by slot; `u32::MAX` where that is not known.
    pub limits: [u32; MEMBERS],
    /// The member where the source's traffic arrives.
    pub flows: Option<MemberIndex>,
}

impl Facts {
    /// The refusal for want of a member: for good only if the connected members are known to lack the resource.
    const fn refusal(&self) -> OidPlan {
        OidPlan::Refuse(if self.connected.is_empty() { Refusal::NotNow } else { Refusal::NoMember })
    }
}

impl<S: Storage> OffloadResources<S> {
    /// Plans a request about one resource. Lists are planned with `plan_list`.
    pub fn plan(&self, source: NicId, command: &Command, facts: &Facts) -> OidPlan {
        let follow = |resource, id| self.plan_list(source, resource, core::iter::once(id));
        match *command {
            Command::AllocateQueue { .. } => self.place(source, Resource::Queue, facts),
            Command::SetFilter { queue: 0, vport: 0 } => self.place(source, Resource::Filter, facts),
            Command::SetFilter { queue: 0, vport } => follow(Resource::Vport, vport),
            Command::SetFilter { queue, .. }
            | Command::UpdateQueue { queue, .. }
            | Command::FreeQueue { queue } => follow(Resource::Queue, queue),
            Command::Use { resource, id } => follow(resource, id),
            Command::ClearFilter { filter, .. } => follow(Resource::Filter, filter),
            Command::MoveFilter { filter, from, to } => {
                let ends = [from.resource(), to.resource()].map(|end| end.map(|(kind, id)| follow(kind, id)));
                moved(follow(Resource::Filter, filter), ends)
            }
            Command::AllocateVf => self.place(source, Resource::Vf, facts),
            Command::CreateVport { function: PHYSICAL_FUNCTION } => {
                self.place(source, Resource::Vport, facts)
            }
            Command::CreateVport { function } => follow(Resource::Vf, function),
            Command::FreeVf { vf } => follow(Resource::Vf, vf),
            Command::DeleteVport { vport } => follow(Resource::Vport, vport),
            Command::UpdateSa { handle } => follow(Resource::Sa, handle),
            // Never refused: if no member can take it, the request is passed on unchanged.
            Command::AddSas => match self.place(source, Resource::Sa, facts) {
                OidPlan::Refuse(_) => OidPlan::Pass,
                plan => plan,
            },
            Command::CompleteQueues | Command::DeleteSas => OidPlan::Pass,
        }
    }

    /// Plans a request about several resources. Resources that are not known go along with the others. One whose adapter was
    /// unbound goes nowhere, because by its id the request would be about another resource there: the others are asked for
    /// by requests of the driver's own, and if it is all of them no member gets any.
    pub fn plan_list(&self, source: NicId, resource: Resource, ids: impl Iterator<Item = u64>) -> OidPlan {
        let (mut members, mut own, mut gone) = (MemberSet::EMPTY, false, false);
        for id in ids {
            for entry in self.holders(source, resource, id) {
                if entry.gone {
                    gone = true;
                    continue;
                }
                own |= entry.own;
                members = entry.member().map_or(members, |member| members.with(member));
            }
        }
        match (members.len(), members.iter().next()) {
            (0, _) if gone => OidPlan::Refuse(Refusal::Gone),
            (0, _) => OidPlan::Pass,
            (1, Some(member)) if !own && !gone => OidPlan::Redirect(member),
            _ => OidPlan::Originate(members),
        }
    }

    fn place(&self, source: NicId, resource: Resource, facts: &Facts) -> OidPlan {
        let copied = matches!(resource, Resource::Queue | Resource::Filter) && source != NO_PARTITION;
        let candidates = facts.able.union(facts.unanswered);
        if candidates.is_empty() {
            return facts.refusal();
        }
        // By an id of a member that holds nothing it might be given out twice. They are asked within milliseconds; and one
        // without a link is not chosen for what it may not hold any more, nor passed over for what it may.
        let unique = facts.placement == OffloadPlacement::SingleMember && resource != Resource::Sa;
        if unique && (!facts.unasked.is_empty() || self.is_doubtful(facts.live)) {
            return OidPlan::Refuse(Refusal::NotNow);
        }
        let choice = Choice {
            candidates,
            room: candidates.minus(self.full(resource, &facts.limits)),
            live: facts.live,
            able: facts.able,
        };
        let among = match facts.placement {
            OffloadPlacement::EveryMember if copied => return OidPlan::Originate(choice.best()),
            OffloadPlacement::FollowFlows | OffloadPlacement::EveryMember => {
                self.beside_its_own(source, resource, facts, &choice)
            }
            OffloadPlacement::SingleMember => self.beside_all(resource, facts, &choice),
        };
        let follows = facts.placement != OffloadPlacement::SingleMember;
        let flows = facts.flows.filter(|&member| follows && among.contains(member));
        match flows.or(among.iter().next()) {
            // Its partition would lose the network: what it sends over the function leaves by that member alone.
            Some(member) if resource == Resource::Vf && !facts.live.contains(member) => {
                OidPlan::Refuse(Refusal::NotNow)
            }
            Some(member) => OidPlan::Redirect(member),
            None => facts.refusal(),
        }
    }

    /// Members that hold as many resources of a kind as they can.
    fn full(&self, resource: Resource, limits: &[u32; MEMBERS]) -> MemberSet {
        let mut left = *limits;
        let there =
            |entry: &&HeldResource| entry.resource == resource && !entry.gone && !self.is_outdated(entry);
        for entry in self.entries().iter().filter(there) {
            if let Some(left) = entry.member().and_then(|member| left.get_mut(member.slot())) {
                *left = left.saturating_sub(1);
            }
        }
        let full = left.iter().enumerate().filter(|&(_, &left)| left == 0);
        full.filter_map(|(slot, _)| MemberIndex::from_slot(slot)).collect()
    }

    /// The members that hold any resource, of one partition or of all. What an outdated list says of a dead member does not
    /// count.
    fn homes(&self, of: impl Fn(NicId) -> bool, live: MemberSet) -> MemberSet {
        let held = self.entries().iter().filter(|entry| !entry.gone && of(entry.source));
        let members = held.filter_map(|entry| Some((entry.member()?, self.is_outdated(entry))));
        members
            .filter(|&(member, outdated)| !outdated || live.contains(member))
            .map(|(member, _)| member)
            .collect()
    }

    /// The member that holds the partition's other resources, if it has room, so that one may name another and no id is
    /// given out twice to one partition; else any.
    fn beside_its_own(&self, source: NicId, resource: Resource, facts: &Facts, choice: &Choice) -> MemberSet {
        let homes = self.homes(|of| of == source && source != NO_PARTITION, facts.live);
        match resource {
            // Packets with an association leave by its member alone, so the link comes first.
            Resource::Sa => narrowed(choice.best(), [homes]),
            _ if !homes.intersection(choice.room).is_empty() => choice.best_of(homes),
            // A filter outside all queues is moved to the virtual port of a function later
            // (moving-a-receive-filter-to-a-virtual-port).
            Resource::Filter => narrowed(choice.best(), [facts.able_vf]),
            _ => choice.best(),
        }
    }

    /// The member that holds anything, with a link or without, because its ids are in use; else any, if possible one
    /// that can hold functions too.
    fn beside_all(&self, resource: Resource, facts: &Facts, choice: &Choice) -> MemberSet {
        let homes = self.homes(|_| true, facts.live);
        match resource {
            // Packets with an association leave by its member alone.
            Resource::Sa => narrowed(choice.best(), [homes]),
            _ if !homes.is_empty() => choice.best_of(homes),
            _ => narrowed(choice.best(), [facts.able_vf]),
        }
    }
}

/// The members that may get a resource, and what makes one better than another.
struct Choice {
    candidates: MemberSet,
    room: MemberSet,
    live: MemberSet,
    able: MemberSet,
}

impl Choice {
    fn best(&self) -> MemberSet {
        self.best_of(self.candidates)
    }

    /// The candidates of `from` with room, of these those with a link, and of these those that say they can hold the
    /// resource. Whatever else is wished comes after: a resource on a member without a link serves nobody.
    fn best_of(&self, from: MemberSet) -> MemberSet {
        narrowed(from.intersection(self.candidates), [self.room, self.live, self.able])
    }
}

/// Narrows members by one wish after the other. A wish that none of the remaining members meets is dropped.
fn narrowed<const WISHES: usize>(members: MemberSet, wishes: [MemberSet; WISHES]) -> MemberSet {
    wishes.into_iter().fold(members, |left, wish| match left.intersection(wish) {
        met if met.is_empty() => left,
        met => met,
    })
}

/// Where a filter is moved: on the members that hold both what it was set on and what it is moved to, or not at all. Its
/// copies on other members stay where their own members can serve them.
fn moved(filter: OidPlan, ends: [Option<OidPlan>; 2]) -> OidPlan {
    let members = |plan| match plan {
        OidPlan::Redirect(member) => MemberSet::EMPTY.with(member),
        OidPlan::Originate(members) => members,
        OidPlan::Pass | OidPlan::Answer | OidPlan::Refuse(_) => MemberSet::EMPTY,
    };
    let mut ends = ends.iter().flatten();
    if filter == OidPlan::Pass && ends.clone().all(|&end| end == OidPlan::Pass) {
        // Nothing is known of any.
        return OidPlan::Pass;
    }
    let there = ends.try_fold(members(filter), |there, &end| {
        Some(there.intersection(members(end))).filter(|both| !both.is_empty())
    });
    match (there, filter) {
        (Some(_), OidPlan::Redirect(_)) => filter,
        (Some(there), OidPlan::Originate(_)) => OidPlan::Originate(there),
        _ => OidPlan::Refuse(Refusal::Apart),
    }
}
