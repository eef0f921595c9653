//! The second half of packet walk 1: commits the destinations that were decided for one list, under the forwarding
//! lock. From then on the packet counts as assigned to them.

use crate::data::groups::{Group, GroupKind, Side};
use crate::kernel::per_processor::ThisCpu;
use crate::kernel::pool::Pool;
use crate::module::Module;
use crate::ndis::nbl::Nbl;
use core::sync::atomic::Ordering;
use teaming::forward::counters::Counters;
use teaming::forward::drop_reason::DropReason;
use teaming::forward::flood::Audience;
use teaming::forward::source::{Origin, SourcePort};
use teaming::forward::{Decision, Forwarding, Target, Verdict};
use teaming::ids::{MemberIndex, NicId, Ticks, VlanId};
use teaming::ports::port::Preserve;

/// What all packets of one source share within a batch.
#[derive(Clone, Copy)]
pub struct Walk<'a> {
    pub module: &'a Module,
    pub forwarding: &'a Forwarding<Pool>,
    pub source_port: &'a SourcePort,
    pub now: Ticks,
}

/// Destinations committed in one batch.
pub const BATCH_DESTINATIONS: usize = 64;

/// A flood with destinations left.
pub struct Flood {
    pub audience: Audience,
    /// Position in the port table at which the next batch continues.
    pub from: usize,
}

/// The result of committing the destinations of a list.
pub enum Committed {
    /// Every destination is committed, or none: the group in which the list leaves.
    To(Group),
    /// More destinations are left, from this position in the port table on.
    Partly(usize),
    /// None: its tag may only stand in a list of our own or must come off its bytes, or its packets are to be judged one by
    /// one.
    Apart,
}

impl Committed {
    /// Why the list is dropped, if it is.
    pub fn dropped(&self) -> Option<DropReason> {
        match self {
            Self::To(group) => match group.kind() {
                GroupKind::Dropped(reason, ..) => Some(reason),
                GroupKind::To | GroupKind::Others => None,
            },
            Self::Partly(_) | Self::Apart => None,
        }
    }
}

/// Dropped on the side that the packet came from.
fn dropped(source_port: &SourcePort, reason: DropReason) -> Group {
    Group::dropped(reason, source_port.nic.port, Side::Source)
}

/// Commits the destinations of one list, at most `destinations_left` of them. From here on the packet counts as
/// assigned to them.
#[inline(always)] // two callers; the usual one for every packet
pub fn commit(
    walk: &Walk<'_>,
    list: &mut Nbl,
    decision: &Decision,
    destinations_left: &mut usize,
) -> Committed {
    let dropped = |reason| Committed::To(dropped(walk.source_port, reason));
    let target = match decision.verdict {
        Verdict::Native => return Committed::To(Group::NATIVE),
        Verdict::Drop(reason) => return dropped(reason),
        Verdict::RefusedBy(port, reason) => {
            return Committed::To(Group::dropped(reason, port, Side::Destination));
        }
        Verdict::Flood { uplink } => match commit_flood(walk, list, decision, uplink, destinations_left) {
            Flooded::Only(target) => target,
            Flooded::Committed(committed) => return committed,
        },
        Verdict::Deliver(nic) => Target::new(nic, decision.bits),
        Verdict::Uplink(member) => match external(walk.forwarding, member, decision.bits) {
            Some(target) => target,
            None => return dropped(DropReason::NoLiveMember),
        },
    };
    *destinations_left = destinations_left.saturating_sub(1);
    commit_one(walk, list, decision, target)
}

/// `commit` for a packet that is judged first: a copy is dropped, and what is news leaves credits, which are taken back
/// if it is not delivered or sent after all.
#[cold]
#[inline(never)]
pub fn judge_and_commit(
    walk: &Walk<'_>,
    counters: &ThisCpu<'_, Counters>,
    list: &mut Nbl,
    decision: &mut Decision,
    destinations_left: &mut usize,
) -> Committed {
    let &Walk { module, forwarding, source_port, now } = walk;
    if must_travel_apart(module, list, decision) || list.net_buffers().nth(1).is_some() {
        return Committed::Apart;
    }
    if forwarding.takes_tag_off(source_port, decision) {
        return Committed::Apart;
    }
    let whole = match source_port.origin {
        Origin::External => !list.is_coalesced(),
        Origin::Vnic | Origin::Trusted | Origin::Closed => !list.is_segmented(),
    };
    let judged = forwarding.judge(source_port, *decision, now, whole);
    *decision = judged.decision;
    if judged.unrecorded {
        counters.change(|counters| counters.unrecorded += 1);
    }
    let committed = commit(walk, list, decision, destinations_left);
    if committed.dropped().is_some() {
        forwarding.take_back(judged.credits);
    }
    committed
}

#[inline(never)] // apart, so that the frame of the walk stays small
fn commit_one(walk: &Walk<'_>, list: &mut Nbl, decision: &Decision, target: Target) -> Committed {
    if decision.sent.stays_as_it_is() {
        return add_destination(walk, list, target);
    }
    commit_changed(walk, list, decision, target)
}

/// Commits the only destination of a list whose VLAN goes into its out-of-band tag, or may have to come off its bytes.
#[inline(never)] // likewise
fn commit_changed(walk: &Walk<'_>, list: &mut Nbl, decision: &Decision, target: Target) -> Committed {
    if must_travel_apart(walk.module, list, decision) {
        return Committed::Apart;
    }
    if decision.sent.comes_off(target.bits()) {
        return Committed::Apart;
    }
    let committed = add_destination(walk, list, target);
    if matches!(committed, Committed::To(group) if matches!(group.kind(), GroupKind::To)) {
        write_tag(walk.module, list, decision);
    }
    committed
}

#[inline(always)]
fn add_destination(walk: &Walk<'_>, list: &mut Nbl, target: Target) -> Committed {
    if walk.module.switch.add_destination(list, target).is_err() {
        return Committed::To(dropped(walk.source_port, DropReason::NoResources));
    }
    Committed::To(Group::to(target))
}

/// See `FrameTag::needs_own_list`.
#[inline]
fn must_travel_apart(module: &Module, list: &Nbl, decision: &Decision) -> bool {
    decision.sent.needs_own_list() && !list.is_originated_by(module.filter.handle())
}

/// Writes the packet's VLAN into its out-of-band tag, if the driver is to.
#[inline]
fn write_tag(module: &Module, list: &mut Nbl, decision: &Decision) {
    if let Some(vlan) = decision.sent.tag() {
        write_vlan(module, list, vlan);
    }
}

/// Writes a VLAN into the out-of-band tag of a list, for the extensions below and for destinations that preserve it. The
/// completion restores the tag.
#[inline(never)] // beside what every packet needs
pub fn write_vlan(module: &Module, list: &mut Nbl, vlan: VlanId) {
    // Read first: unconditional stores would bounce the cache line between processors.
    if !module.tags_written.load(Ordering::Relaxed) {
        module.tags_written.store(true, Ordering::Relaxed);
    }
    list.write_tag(vlan);
}

/// What became of the first batch of a flood.
enum Flooded {
    Committed(Committed),
    /// It has one destination, which is to be committed as any other.
    Only(Target),
}

/// The first batch of a flood: the member, then vNICs.
#[inline(never)] // rare, and a frame of its own
fn commit_flood(
    walk: &Walk<'_>,
    list: &mut Nbl,
    decision: &Decision,
    uplink: Option<MemberIndex>,
    destinations_left: &mut usize,
) -> Flooded {
    let &Walk { module, forwarding, source_port, .. } = walk;
    if must_travel_apart(module, list, decision) {
        return Flooded::Committed(Committed::Apart);
    }
    if forwarding.takes_tag_off(source_port, decision) {
        return Flooded::Committed(Committed::Apart);
    }
    let member = uplink.and_then(|member| external(forwarding, member, decision.bits));
    let room = (*destinations_left).max(1).saturating_sub(usize::from(member.is_some()));
    let audience = forwarding.audience(decision);
    let vnics = forwarding.reach(source_port, &audience, 0).at_most(room);
    let total = vnics.count() + usize::from(member.is_some());
    let more = forwarding.reaches_any(source_port, &audience, vnics.next());
    let mut targets = member.into_iter().chain(forwarding.targets(vnics));
    Flooded::Committed(match (total, more) {
        (0, false) => Committed::To(dropped(source_port, DropReason::NoDestination)),
        (1, false) => match targets.next() {
            Some(target) => return Flooded::Only(target),
            None => Committed::To(dropped(source_port, DropReason::NoDestination)),
        },
        _ => {
            *destinations_left = destinations_left.saturating_sub(total);
            let count = u32::try_from(total).unwrap_or(u32::MAX);
            if total != 0 && module.switch.add_destinations(list, count, targets).is_err() {
                Committed::To(dropped(source_port, DropReason::NoResources))
            } else {
                write_tag(module, list, decision);
                if more { Committed::Partly(vnics.next()) } else { Committed::To(Group::SEVERAL) }
            }
        }
    })
}

/// The further batches of a flood. Each reads the port table again, so a vNIC that was disconnected since the last
/// batch gets no copy; the switch waits for copies that were committed before it deletes a NIC. If memory runs out, the
/// remaining destinations get no copy, nor does a vNIC that since then takes no tag in the bytes.
#[inline(never)] // rare, and a frame of its own
pub fn finish(module: &Module, list: &mut Nbl, mut flood: Flood) {
    loop {
        let forwarding = module.forwarding.read();
        let source_port = forwarding.source_port(list.source());
        let vnics = forwarding.reach(&source_port, &flood.audience, flood.from).at_most(BATCH_DESTINATIONS);
        if vnics.is_empty() {
            return;
        }
        flood.from = vnics.next();
        let vnics = vnics.with_bytes_of(&flood.audience);
        let count = u32::try_from(vnics.count()).unwrap_or(u32::MAX);
        if count != 0 && module.switch.add_destinations(list, count, forwarding.targets(vnics)).is_err() {
            return;
        }
    }
}

/// The destination that stands for a member: the external port with the member's NIC index.
fn external(forwarding: &Forwarding<Pool>, member: MemberIndex, bits: Preserve) -> Option<Target> {
    forwarding.external.map(|port| Target::new(NicId::new(port, member.nic()), bits))
}
