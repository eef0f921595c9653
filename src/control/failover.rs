//! Every change of a team: planned under the team lock, published under the forwarding lock, continued by the timer.
//!
//! `member` is the failover. After it returns, no packet is assigned to a member that it removed: the table without the
//! member was published under the write lock, so every walk that read the old table has committed its packets before.

use crate::clock::{self, Start};
use crate::control::{events, moves, seats};
use crate::kernel::worker::Reasons;
use crate::module::{Control, Module, TeamLock};
use crate::ndis::irql::Passive;
use crate::trace::Event;
use teaming::ids::{AdapterId, BUCKETS, MemberIndex, Ticks};
use teaming::offload::OffloadPlacement;
use teaming::oid::Resource;
use teaming::settings::Settings;
use teaming::team::TeamView;
use teaming::team::buckets::Moved;
use teaming::team::member::{LinkSource, LinkState, MemberEvent, MemberSettings, MemberState};

/// How often buckets that wait for silence are checked. A longer period delays moves, but reorders nothing.
const SETTLE_EVERY: Ticks = Ticks::from_ms(1);

/// How often the timer tells the network of moves, beside the thread.
const TELL_EVERY: Ticks = Ticks::from_us(500);

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
    let hashed_by = |settings: &Settings| (settings.keying().policy, settings.seed);
    if hashed_by(&control.settings) != hashed_by(settings) {
        control.seating.set();
        module.worker.wake(Reasons::SEATS);
    }
    control.settings = *settings;
    control.resources.copied = settings.offload_placement == OffloadPlacement::EveryMember;
    module.distrust_adapters();
    let plan = control.team.configure(settings, now);
    module.forwarding.write(control.dispatch()).configure(settings);
    control.announcer.configure(settings.announcing);
    moves::moved(module, &mut control);
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
    let (moved, moving) = put(module, control, plan, now);
    tell(module, control, plan, now, (moved, start.elapsed_us()));
    moves::moved(module, control);
    if plan.home_changed {
        seats::homes_changed(module, control, now);
    }
    watch(module, control, plan, now);
    arm(module, control, moving, now);
}

/// Tells the rest of the module what a plan changes, and pushes its events: so much moved in so many microseconds.
#[inline(never)] // not below what its caller calls next
fn tell(module: &Module, control: &mut Control, plan: &TeamView, now: Ticks, (moved, took_us): (Moved, u32)) {
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
}

/// Makes the table of buckets for a plan while packets go on, and puts it in its place. The team lock is held, so that nobody
/// else changes the table between the two.
fn put(module: &Module, control: &mut TeamLock<'_>, plan: &TeamView, now: Ticks) -> (Moved, bool) {
    let Control { team, aside, .. } = &mut ***control;
    let moved = module.forwarding.read().make(aside, plan, team.home(), now);
    (moved, put_made(module, control, plan))
}

#[inline(never)] // likewise
fn put_made(module: &Module, control: &mut TeamLock<'_>, plan: &TeamView) -> bool {
    let (control, dispatch) = control.parts();
    let mut forwarding = module.forwarding.write(dispatch);
    forwarding.put(&mut control.aside, plan, clock::now());
    forwarding.moving()
}

/// Goes on with a table that took too long to make; `None` if there is none. The team lock is held.
fn go_on(module: &Module, control: &mut TeamLock<'_>, now: Ticks) -> Option<(Moved, bool)> {
    let (control, dispatch) = control.parts();
    let Control { team, aside, .. } = &mut **control;
    let moved = module.forwarding.read().go_on(aside, team.home(), now)?;
    let mut forwarding = module.forwarding.write(dispatch);
    forwarding.put_rest(aside, clock::now());
    Some((moved, forwarding.moving()))
}

/// Buckets of which the voluntary moves are made in one hold of the forwarding lock.
const PART: usize = 256;

/// Goes on with a table that took too long to make, or makes the voluntary moves that are due, a part of the table in each
/// hold of the forwarding lock. What moved, and whether something is left. The team lock is held.
pub fn settle(module: &Module, control: &mut TeamLock<'_>, now: Ticks) -> (Moved, bool) {
    if let Some(done) = go_on(module, control, now) {
        moves::moved(module, control);
        return done;
    }
    let done = settle_parts(module, control, now);
    if done.0.idle != 0 || done.0.deadline_moves != 0 {
        moves::moved(module, control);
    }
    done
}

fn settle_parts(module: &Module, control: &mut TeamLock<'_>, now: Ticks) -> (Moved, bool) {
    let (control, dispatch) = control.parts();
    let mut moved = Moved::default();
    for from in (0..BUCKETS).step_by(PART) {
        if !module.forwarding.read().moving() {
            break;
        }
        let mut forwarding = module.forwarding.write(dispatch);
        moved = moved.plus(forwarding.settle_part(control.team.home(), now, from..from.saturating_add(PART)));
    }
    (moved, moved.waiting != 0)
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
/// `moves::begin` is to follow.
pub fn finish(module: &Module, _: &Passive) {
    module.control.lock().announcer.start();
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
            if go_on(module, &mut control, start.now).is_none() {
                module.forwarding.write(control.dispatch()).settle_at_once(control.team.home(), start.now);
            }
            moves::moved(module, &mut control);
        } else if control.aside.looks_ahead() {
            module.forwarding.read().look_ahead(&mut control.aside);
        } else {
            break;
        }
    }
    seats::choose_all(module);
}

/// Sets the timer to the earliest of: the next step of the home map or of the heirs, the next check of waiting buckets or of
/// members that hand over, the end of a member's link-up delay, the next retry, the next announcement. The team lock is held.
pub fn arm(module: &Module, control: &Control, moving: bool, now: Ticks) {
    if control.detaching {
        return;
    }
    let deadlines = [control.team.deadline(), control.retry.due()];
    let told = control.announcer.due().map(|due| due.since(now).max(TELL_EVERY));
    let waits = deadlines.into_iter().flatten().map(|deadline| deadline.since(now)).chain(told);
    let is_due = moving || control.team.is_building() || control.team.is_handing_over();
    let goes_on = is_due || control.aside.looks_ahead();
    if let Some(after) = waits.chain(goes_on.then_some(SETTLE_EVERY)).min() {
        module.timer.set(module, after);
    }
}
