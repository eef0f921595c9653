//! Every change of a team: planned under the team lock, published under the forwarding lock, continued by the timer.
//!
//! `member` is the failover. After it returns, no packet is assigned to a member that it removed: the table without the
//! member was published under the write lock, so every walk that read the old table has committed its packets before.

use crate::clock::{self, Start};
use crate::control::events;
use crate::module::{Control, Module, TeamLock};
use crate::ndis::irql::Passive;
use crate::trace::Event;
use teaming::ids::{AdapterId, MemberIndex, Ticks};
use teaming::offload::OffloadPlacement;
use teaming::oid::Resource;
use teaming::settings::Settings;
use teaming::team::TeamView;
use teaming::team::member::{LinkSource, LinkState, MemberEvent, MemberSettings, MemberState};

/// How often buckets that wait for silence are checked. A longer period delays moves, but reorders nothing.
const SETTLE_EVERY: Ticks = Ticks::from_ms(1);

/// Sets the timer to try again what was refused. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn retry_later(module: &Module) {
    retry_locked(module, &mut module.control.lock());
}

/// The same with the team lock held.
pub fn retry_locked(module: &Module, control: &mut TeamLock<'_>) {
    let now = clock::now();
    control.retry.plan(now);
    let moving = module.forwarding.read().moving();
    arm(module, control, moving, now);
}

/// Applies an event to a member, and publishes the result. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn member(module: &Module, member: MemberIndex, event: MemberEvent) {
    member_locked(module, &mut module.control.lock(), member, event);
}

/// The same with the team lock held.
pub fn member_locked(module: &Module, control: &mut TeamLock<'_>, member: MemberIndex, event: MemberEvent) {
    let start = Start::now();
    let now = start.now;
    let plan = control.team.on(member, event, now);
    if plan.changed {
        publish(module, control, &plan, &start);
    } else {
        stands(module, control, &plan, now);
    }
    if control.team.member(member).state != MemberState::Absent {
        control.capabilities.created(member);
    }
    if matches!(event, MemberEvent::Disconnected | MemberEvent::Deleted) {
        // The adapter is unbound and its resources are gone; an adapter that is bound under its index later is another.
        control.resources.went_away(member);
        control.unasked = control.unasked.without(member);
        control.found = control.found.without(member);
        control.capabilities.forget(member);
        control.processors.forget(member);
        module.associations.write(control.dispatch()).went_away(member);
    }
    note_earlier(module, control);
}

/// What is published stands: a walk over all buckets would find nothing. The team lock is held.
fn stands(module: &Module, control: &mut TeamLock<'_>, plan: &TeamView, now: Ticks) {
    watch(module, control, plan, now);
    let (moving, expects) = {
        let forwarding = module.forwarding.read();
        (forwarding.moving(), forwarding.expects_copies())
    };
    if plan.several_receive && !expects {
        module.forwarding.write(control.dispatch()).expect_copies(true);
    }
    arm(module, control, moving, now);
}

/// Notes which member has the security associations of before the attachment: the only adapter that there has been since, if
/// it was connected before and has been, and its present settings offer IPsec. Then it fails a packet whose association it
/// does not find (sending-network-data-with-ipsec-offload-version-2.md), where one without IPsec would send it in the clear.
/// IRQL <= DISPATCH_LEVEL.
pub fn note_earlier(module: &Module, control: &mut TeamLock<'_>) {
    let able = control.capabilities.able(Resource::Sa, control.found);
    let earlier = able.iter().next().filter(|_| !control.capabilities.is_team());
    module.associations.write(control.dispatch()).earlier = earlier;
}

/// Applies a member's link state, unless a better source has spoken. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn link(module: &Module, member: MemberIndex, source: LinkSource, link: LinkState) {
    link_locked(module, &mut module.control.lock(), member, source, link);
}

/// Applies the link state that the interface of an adapter has. The member may be another adapter by now, or another
/// source may have spoken: then it does not count. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn polled(module: &Module, member: MemberIndex, adapter: AdapterId, link: LinkState) {
    let mut control = module.control.lock();
    let known = control.team.member(member);
    let is_news = known.source == LinkSource::None || known.link != link;
    if is_news && control.team.polled_adapter(member) == Some(adapter) {
        link_locked(module, &mut control, member, LinkSource::Interface, link);
    }
}

fn link_locked(
    module: &Module,
    control: &mut TeamLock<'_>,
    member: MemberIndex,
    source: LinkSource,
    link: LinkState,
) {
    let before = control.team.member(member).source;
    if !control.team.accepts(member, source, link) {
        return;
    }
    let source = control.team.member(member).source;
    if source != before {
        events::record(module, control, Event::LinkSource { member, source });
    }
    member_locked(module, control, member, MemberEvent::Link(link));
}

/// Applies new settings. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn settings(module: &Module, settings: &Settings) {
    let start = Start::now();
    let now = start.now;
    let mut control = module.control.lock();
    events::record_at(module, &mut control, now, Event::SettingsRead);
    if control.settings == *settings {
        return;
    }
    control.settings = *settings;
    control.resources.copied = settings.offload_placement == OffloadPlacement::EveryMember;
    module.distrust_adapters();
    let plan = control.team.configure(settings, now);
    module.forwarding.write(control.dispatch()).configure(settings);
    // The team's capabilities depend on the placement of offloads.
    control.capabilities.team_changed();
    publish(module, &mut control, &plan, &start);
}

/// Applies what is set for an adapter, if it is this member still. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn member_settings(module: &Module, member: MemberIndex, adapter: AdapterId, settings: &MemberSettings) {
    let start = Start::now();
    let now = start.now;
    let mut control = module.control.lock();
    match control.team.configure_member(member, adapter, settings, now) {
        Some(plan) if plan.changed => publish(module, &mut control, &plan, &start),
        // A home map with new weights is being made, or what is set says nothing now.
        Some(plan) => stands(module, &mut control, &plan, now),
        None => {}
    }
}

/// Publishes a plan to the packet walks and pushes its events. The team lock is held.
pub fn publish(module: &Module, control: &mut TeamLock<'_>, plan: &TeamView, start: &Start) {
    let now = start.now;
    let (moved, moving) = {
        let mut forwarding = module.forwarding.write(control.dispatch());
        (forwarding.publish(plan, control.team.home(), now), forwarding.moving())
    };
    let took_us = start.elapsed_us();
    control.changed = now;
    if !plan.went_down.is_empty() || !plan.came_up.is_empty() {
        control.capabilities.team_changed();
    }
    control.resources.came_up(plan.came_up);
    // Frames still arrive on one that only rests.
    let failed = plan.went_down.minus(control.team.up());
    let partitions = control.resources.partitions_on(failed);
    if partitions != 0 {
        control.default_queue_fallbacks = control.default_queue_fallbacks.wrapping_add(partitions.into());
        let lost = Event::QueuesLost { members: failed, partitions };
        events::record_at(module, control, now, lost);
    }
    if plan.changed || moved.forced != 0 {
        let (went_down, came_up) = (plan.went_down, plan.came_up);
        let (forced, waiting) = (moved.forced, moved.waiting);
        let event = Event::TeamChanged { went_down, came_up, forced, waiting, took_us };
        events::record_at(module, control, now, event);
    }
    watch(module, control, plan, now);
    arm(module, control, moving, now);
}

/// Records what the change means to an administrator. The team lock is held.
fn watch(module: &Module, control: &mut Control, plan: &TeamView, now: Ticks) {
    let Control { team, watch, events, .. } = control;
    let mut wake = false;
    watch.observe(team, plan, now, |event| wake |= events.push(now, event, module.provider.wants(&event)));
    events::wake(module, wake);
}

/// Brings the team to where it would come in time: makes the home map whole that is being made, and gives every bucket to the
/// member that it belongs to, in holds of the team lock that are short each. At the start, so that the first packets find
/// it so and no flow changes member afterwards. No lock held.
pub fn finish(module: &Module, _: &Passive) {
    loop {
        let start = Start::now();
        let mut control = module.control.lock();
        let (building, moving) = (control.team.is_building(), module.forwarding.read().moving());
        let plan = match control.team.is_handing_over() && !building && !moving {
            true => control.team.rest(start.now),
            false => control.team.tick(start.now),
        };
        if plan.changed {
            publish(module, &mut control, &plan, &start);
        } else if building {
            control.team.build();
        } else if moving {
            module.forwarding.write(control.dispatch()).settle_at_once(control.team.home(), start.now);
        } else {
            return;
        }
    }
}

/// Sets the timer to the earliest of: the next step of the home map, the next check of waiting buckets or of members that
/// hand over, the end of a member's link-up delay, the next retry. The team lock is held.
pub fn arm(module: &Module, control: &Control, moving: bool, now: Ticks) {
    if control.detaching {
        return;
    }
    let deadlines = [control.team.deadline(), control.retry.due()];
    let waits = deadlines.into_iter().flatten().map(|deadline| deadline.since(now));
    let goes_on = moving || control.team.is_building() || control.team.is_handing_over();
    if let Some(after) = waits.chain(goes_on.then_some(SETTLE_EVERY)).min() {
        module.timer.set(module, after);
    }
}
