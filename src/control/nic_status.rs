//! Status of the physical adapters: failover on link status, queries to members, and indications of the team's
//! capabilities in place of one member's. No page promises a status indication for each member, so a member is queried
//! for its link state and its capabilities when it is connected, after the enumeration, and when an indication names
//! only the team. What the switch's only adapter indicates is passed on as it is. Members are not polled; only a query
//! that was refused is repeated. If neither tells the link state, the operating system is asked (`link_poll`).

use crate::control::survey::{self, By};
use crate::control::{events, failover};
use crate::kernel::rundown::WorkGuard;
use crate::module::{Control, Module};
use crate::ndis::indicate;
use crate::ndis::link::{Indication, LinkStatus};
use crate::ndis::member_query::{MemberQuery, Topic, Topics};
use crate::ndis::status::NdisStatus;
use crate::ndis::switch::NicRef;
use crate::trace::Event;
use teaming::ids::{MEMBERS, MemberIndex, MemberSet, NicId, NicIndex, PortId};
use teaming::offload::capabilities::{Block, Capability, Counting};
use teaming::team::member::{LinkSource, MemberState};

/// `FilterStatus`. IRQL <= DISPATCH_LEVEL. Acts on the indication, then passes it on or indicates the team's
/// capabilities in its place, both within the call; a status of a member that is not connected ends here. After it
/// returns, no packet is assigned to a member whose link the indication reported as down.
pub fn status(module: &Module, indication: Indication<'_>) {
    survey::indicated(module, indication);
    match indication.link_status() {
        Some(LinkStatus::Member { from, link }) if is_external(module, from) => {
            if let Some(member) = MemberIndex::from_nic(from.index) {
                survey::link(module, member, By::Status, Some(link), NdisStatus::SUCCESS, 0);
                module.queries.renew(member, Topics::LINK);
                failover::link(module, member, LinkSource::Indication, link);
            }
        }
        Some(LinkStatus::Team { from }) if is_external(module, from) => ask_all(module, Topics::LINK),
        _ => {}
    }
    if indication.source().is_some_and(|from| is_away(module, from)) {
        return indicate_pending(module);
    }
    let Some((from, capability, bytes)) = indication.capability() else {
        module.filter.indicate_status(indication);
        return indicate_pending(module);
    };
    let taken = take_capability(module, from, capability, bytes);
    if taken != Taken::Replaced {
        // Of the only adapter, or the team's capabilities are indicated when the members have answered.
        module.filter.indicate_status(indication);
    }
    match MemberIndex::from_nic(from.index) {
        _ if !is_external(module, from) => {}
        // The team as one adapter: query the members, because only their capabilities count.
        None if from.index == NicIndex::DEFAULT => {
            let connected = module.control.lock().team.connected();
            ask_again(module, connected, capability);
        }
        // Damaged, or from before the external port was known: query the member.
        Some(member) if taken == Taken::Not => {
            ask_again(module, MemberSet::EMPTY.with(member), capability);
        }
        _ => {}
    }
    // Also what queries have changed that were answered within the call.
    indicate_pending(module);
}

/// Whether a status is from the external port. Before that port is known the answer is true: only its NICs have an
/// index other than 0, and the link state of a member that is not enumerated yet must not be lost.
fn is_external(module: &Module, nic: NicId) -> bool {
    module.forwarding.read().external.is_none_or(|port| port == nic.port)
}

/// Whether a status is from a member that was created and is not connected yet, or is disconnected: it must not be passed
/// up (oid-switch-nic-create.md, oid-switch-nic-disconnect.md). The member is queried when it is connected.
fn is_away(module: &Module, nic: NicId) -> bool {
    let away = |member| module.control.lock().team.member(member).state == MemberState::Created;
    MemberIndex::from_nic(nic.index).is_some_and(away) && is_external(module, nic)
}

/// What became of an indicated capability.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// Nothing is known from it.
    Not,
    /// Recorded; it says what the switch's only adapter can, and is passed on as it is.
    Recorded,
    /// Recorded; the team's capabilities are to be indicated in its place.
    Replaced,
}

/// Records the capabilities that a member indicated.
#[inline(never)] // a frame of its own
fn take_capability(module: &Module, from: NicId, capability: Capability, bytes: &[u8]) -> Taken {
    // A damaged structure is not recorded; the caller passes the indication on.
    if module.forwarding.read().external != Some(from.port) || Block::read(capability, bytes).is_none() {
        return Taken::Not;
    }
    let member = MemberIndex::from_nic(from.index);
    if let Some(member) = member {
        module.queries.renew(member, Topics::one(Topic::Capability(capability)));
    }
    let mut control = module.control.lock();
    if let Some(member) = member {
        let _ = control.capabilities.record(member, capability, bytes);
        failover::note_earlier(module, &mut control);
    }
    if !control.capabilities.is_team() {
        return if member.is_some() { Taken::Recorded } else { Taken::Not };
    }
    let (connected, counting) = team(&control);
    if member.is_none() && control.capabilities.team(capability, connected, counting).is_none() {
        return Taken::Not;
    }
    control.capabilities.indicate_again(capability);
    Taken::Replaced
}

/// The members whose capabilities count, whatever their links, and how what they have is counted.
fn team(control: &Control) -> (MemberSet, Counting) {
    (control.team.connected(), Counting::of(&control.settings))
}

/// Sends the indications that are due: capabilities of the team, and NDIS_STATUS_SWITCH_PORT_REMOVE_VF to partitions
/// whose virtual function is lost (originating-ndis-status-indications-from-physical-network-adapters.md). If a
/// reference is refused, the rest is retried by the timer. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn indicate_pending(module: &Module) {
    while let Some(port) = external(module) {
        let mut control = module.control.lock();
        let (connected, counting) = team(&control);
        let Some((capability, block)) = control.capabilities.take_due(connected, counting) else { break };
        let turn = control.capabilities.turn(capability);
        drop(control);
        let Some(team) = module.switch.reference_nic(NicId::new(port, NicIndex::DEFAULT)) else {
            module.control.lock().capabilities.indicate_again(capability);
            failover::retry_later(module);
            break;
        };
        indicate::capability(module.filter, &team, capability, &block);
        module.control.lock().capabilities.indicated(capability, turn);
    }
    while let Some(referenced) = next_lost_vf(module) {
        let Some(nic) = referenced else {
            failover::retry_later(module);
            break;
        };
        indicate::remove_vf(module.filter, &nic);
    }
}

/// Repeats the queries and the indications that were refused. Returns the members that could not be asked anything when
/// they were connected. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn retry(module: &Module) -> MemberSet {
    let mut anew = MemberSet::EMPTY;
    for slot in 0..MEMBERS {
        let Some(member) = MemberIndex::from_slot(slot) else { continue };
        if let Some(topics) = module.queries.take_deferred(member) {
            ask(module, member, topics);
            anew = if topics == Topics::ALL { anew.with(member) } else { anew };
        }
    }
    indicate_pending(module);
    anew
}

/// The next partition that uses a lost virtual function, with a reference to its NIC that was taken under the team lock
/// (ndis-status-switch-port-remove-vf.md). `None` if there is no such partition, `Some(None)` if the reference was
/// refused.
fn next_lost_vf(module: &Module) -> Option<Option<NicRef<'_>>> {
    let mut control = module.control.lock();
    let forwarding = module.forwarding.read();
    let uses_it = |nic: NicId| {
        let port = forwarding.ports.get(nic.port);
        port.is_some_and(|port| port.is_station(nic) && port.is_connected() && port.vf_assigned)
    };
    let live = control.team.live();
    control.resources.next_lost_vf(live, uses_it, |nic| module.switch.reference_nic(nic))
}

fn external(module: &Module) -> Option<PortId> {
    module.forwarding.read().external
}

/// Why a vNIC has no reference.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unreferenced {
    /// It is not connected, or not any more.
    Disconnected,
    /// The switch refused it.
    Refused,
}

/// References a connected vNIC, under the team lock as `reference` does. IRQL <= DISPATCH_LEVEL, no lock held.
///
/// # Errors
///
/// Why there is no reference.
pub fn reference_vnic(module: &Module, vnic: NicId) -> Result<NicRef<'_>, Unreferenced> {
    let _control = module.control.lock();
    let connected = {
        let forwarding = module.forwarding.read();
        forwarding.ports.get(vnic.port).is_some_and(|port| port.id == vnic && port.is_connected())
    };
    if !connected {
        return Err(Unreferenced::Disconnected);
    }
    module.switch.reference_nic(vnic).ok_or(Unreferenced::Refused)
}

/// Queries every connected member. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn ask_all(module: &Module, topics: Topics) {
    for slot in 0..MEMBERS {
        let Some(member) = MemberIndex::from_slot(slot) else { continue };
        if module.control.lock().team.member(member).state.is_connected() {
            ask(module, member, topics);
        }
    }
}

/// Queries members about a capability that may have changed. IRQL <= DISPATCH_LEVEL, no lock held.
fn ask_again(module: &Module, members: MemberSet, capability: Capability) {
    module.control.lock().capabilities.doubt(members, capability);
    for member in members.iter() {
        ask(module, member, Topics::one(Topic::Capability(capability)));
    }
}

/// Queries one member. At most one query to a member is outstanding; topics that are added meanwhile follow it.
/// IRQL <= DISPATCH_LEVEL, no lock held.
pub fn ask(module: &Module, member: MemberIndex, topics: Topics) {
    if let Some(query) = module.queries.begin(member, topics) {
        send(module, query.next());
    }
}

/// Queries one member at the next retry of the timer. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn ask_later(module: &Module, member: MemberIndex, topics: Topics) {
    module.queries.defer(member, topics);
    failover::retry_later(module);
}

/// Sends queries to a member until one is pending or no topic is left. A loop instead of recursion, because each may
/// complete within the call.
fn send<'m>(module: &'m Module, mut next: Option<MemberQuery<'m>>) {
    while let Some(query) = next.take() {
        // None once detach has begun: then the topic is dropped.
        let Some(work) = module.work.enter() else {
            next = query.next();
            continue;
        };
        next = match reference(module, query.member()) {
            Some((port, nic)) => match query.send(module.filter, port, nic, work) {
                (status, Some(query)) => receive(module, query, status).0,
                (_, None) => return,
            },
            None if is_connected(module, query.member()) => {
                // The reference was refused.
                ask_later(module, query.member(), Topics::one(query.topic()));
                query.next()
            }
            // The member is disconnected.
            None => query.next(),
        };
    }
}

/// Whether a member can be queried: it is connected, and the external port is known.
fn is_connected(module: &Module, member: MemberIndex) -> bool {
    module.control.lock().team.member(member).state.is_connected() && external(module).is_some()
}

/// References a connected member, and returns the external port with the reference. The team lock is held meanwhile; a
/// disconnect takes it before its request goes down, so no reference is requested after that.
/// IRQL <= DISPATCH_LEVEL, no lock held.
pub fn reference(module: &Module, member: MemberIndex) -> Option<(PortId, NicRef<'_>)> {
    let control = module.control.lock();
    if !control.team.member(member).state.is_connected() {
        return None;
    }
    let port = module.forwarding.read().external?;
    Some((port, module.switch.reference_nic(NicId::new(port, member.nic()))?))
}

/// A query to a member has completed. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn answered(module: &Module, member: MemberIndex, status: NdisStatus) {
    let Some(query) = module.queries.completed(member) else { return };
    let (next, _work) = receive(module, query, status);
    send(module, next);
    indicate_pending(module);
}

/// Applies the answer to a query and returns the next query to the same member, with the work reference that keeps the
/// module attached.
fn receive<'m>(
    module: &'m Module,
    query: MemberQuery<'m>,
    status: NdisStatus,
) -> (Option<MemberQuery<'m>>, WorkGuard<'m>) {
    let (nic, work) = query.take_references(&module.switch, &module.work);
    drop(nic);
    let member = query.member();
    let succeeded = status == NdisStatus::SUCCESS;
    survey::answered(module, query.topic().oid(), Some(member), status, (query.answer().len(), 0));
    if query.topic() == Topic::Link {
        survey::link(module, member, By::Query, query.link().filter(|_| succeeded), status, 0);
    }
    // The adapter's answer is longer than the buffer: it is queried again at once, with a longer one.
    let grown = status.is_too_short() && query.grow();
    match query.topic() {
        // A newer indication arrived while the query was outstanding: discard the answer, query again.
        _ if query.is_outdated() => {}
        Topic::Link => match query.link().filter(|_| succeeded) {
            Some(link) => failover::link(module, member, LinkSource::Query, link),
            None => {
                let event = Event::LinkUnknown { member, status: status.0 };
                events::tell(module, event);
            }
        },
        Topic::Capability(capability) => took_answer(module, member, capability, status, query.answer()),
    }
    if !succeeded && !grown && status != NdisStatus::NOT_SUPPORTED && is_connected(module, member) {
        // A member that does not support the query is not queried again.
        ask_later(module, member, Topics::one(query.topic()));
    }
    (query.next(), work)
}

/// Records a member's answer about a capability, unless the member is disconnected by now: the next adapter under its
/// index is another one. A failed query leaves what is recorded.
#[inline(never)] // a frame of its own
fn took_answer(
    module: &Module,
    member: MemberIndex,
    capability: Capability,
    status: NdisStatus,
    answer: &[u8],
) {
    let mut control = module.control.lock();
    if !control.team.member(member).state.is_connected() {
        return;
    }
    match status {
        NdisStatus::SUCCESS => {
            let _ = control.capabilities.record(member, capability, answer);
        }
        NdisStatus::NOT_SUPPORTED => control.capabilities.record_none(member, capability),
        _ => {}
    }
    failover::note_earlier(module, &mut control);
}
