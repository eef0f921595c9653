//! Status of the physical adapters: failover on what they indicate, own questions where the indication names only the
//! team, and what the team can do, indicated in the place of what one member can. No page promises a status for each
//! member, so a member is asked for its link state and its capabilities when it is connected, after the enumeration, and
//! when something changed in the team; never in intervals, but what was refused is made up for.

use crate::clock;
use crate::control::failover;
use crate::kernel::rundown::WorkGuard;
use crate::module::Module;
use crate::ndis::indicate;
use crate::ndis::link::{Indication, LinkStatus};
use crate::ndis::member_query::{Question, Topic, Topics};
use crate::ndis::status::NdisStatus;
use crate::ndis::switch::NicRef;
use crate::trace::Event;
use teaming::ids::{MEMBERS, MemberIndex, NicId, NicIndex, PortId};
use teaming::offload::capabilities::{Block, Capability};
use teaming::team::member::MemberEvent;

/// `FilterStatus`. IRQL <= DISPATCH_LEVEL. Acts first and, within the call, passes the indication on or indicates in its
/// place what the team can: when this returns, nothing is assigned to a member that the indication declared dead.
pub fn status(module: &Module, indication: Indication<'_>) {
    match indication.link_status() {
        Some(LinkStatus::Member { from, link }) if is_external(module, from) => {
            if let Some(member) = MemberIndex::from_nic(from.index) {
                module.queries.renew(member, Topics::LINK);
                failover::member(module, member, MemberEvent::Link(link));
            }
        }
        Some(LinkStatus::Team { from }) if is_external(module, from) => ask_all(module, Topics::LINK),
        _ => {}
    }
    let Some((from, capability, bytes)) = indication.capability() else {
        module.filter.indicate_status(indication);
        return indicate_pending(module);
    };
    let ours = took_capability(module, from, capability, bytes);
    if !ours {
        // Nothing takes its place in this call; what the members answer is indicated after it.
        module.filter.indicate_status(indication);
    }
    let topics = Topics::one(Topic::Capability(capability));
    match MemberIndex::from_nic(from.index) {
        _ if !is_external(module, from) => {}
        // The team as one adapter: what it says is only true if the members say so.
        None if from.index == NicIndex::DEFAULT => ask_all(module, topics),
        // Something changed, but not what.
        Some(member) if !ours => ask(module, member, topics),
        _ => {}
    }
    if ours {
        indicate_pending(module);
    }
}

/// Only the external port has NICs with an index, so what comes before the port is known is believed, too: the link of a
/// member that is not enumerated yet is remembered for when it is.
fn is_external(module: &Module, nic: NicId) -> bool {
    module.forwarding.read().external.is_none_or(|port| port == nic.port)
}

/// Takes in what a member can. True when what the team can takes the place of the indication.
fn took_capability(module: &Module, from: NicId, capability: Capability, bytes: &[u8]) -> bool {
    // What is damaged says nothing, and is passed on as it is.
    if module.forwarding.read().external != Some(from.port) || Block::read(capability, bytes).is_none() {
        return false;
    }
    let member = MemberIndex::from_nic(from.index);
    if let Some(member) = member {
        module.queries.renew(member, Topics::one(Topic::Capability(capability)));
    }
    let mut control = module.control.lock();
    let ours = match member {
        Some(member) => {
            let _ = control.capabilities.record(member, capability, bytes);
            true
        }
        None => {
            let (live, placement) = (control.team.live(), control.settings.offload_placement);
            control.capabilities.team(capability, live, placement).is_some()
        }
    };
    if ours {
        control.capabilities.indicate_again(capability);
    }
    ours
}

/// Indicates what has become due: capabilities of the team, and partitions whose virtual function is lost. A call of
/// NdisFIndicateStatus each, with no lock held (originating-ndis-status-indications-from-physical-network-adapters.md).
pub fn indicate_pending(module: &Module) {
    while let Some(port) = external(module) {
        let due = {
            let mut control = module.control.lock();
            let (live, placement) = (control.team.live(), control.settings.offload_placement);
            control.capabilities.take_due(live, placement)
        };
        let Some((capability, block)) = due else { break };
        let Some(team) = module.switch.reference_nic(NicId::new(port, NicIndex::DEFAULT)) else {
            module.control.lock().capabilities.indicate_again(capability);
            failover::retry_later(module);
            break;
        };
        indicate::capability(module.filter, &team, capability, &block);
    }
    while let Some(referenced) = next_lost_vf(module) {
        let Some(nic) = referenced else {
            failover::retry_later(module);
            break;
        };
        indicate::remove_vf(module.filter, &nic);
    }
}

/// Does again what was refused before: asks members what could not be asked, and indicates what could not be indicated.
/// IRQL <= DISPATCH_LEVEL, no lock held.
pub fn retry(module: &Module) {
    for slot in 0..MEMBERS {
        let Some(member) = MemberIndex::from_slot(slot) else { continue };
        if let Some(topics) = module.queries.take_owed(member) {
            ask(module, member, topics);
        }
    }
    indicate_pending(module);
}

/// The next partition that has to give up its virtual function, referenced under the team lock; only while it uses one
/// (ndis-status-switch-port-remove-vf.md).
fn next_lost_vf(module: &Module) -> Option<Option<NicRef<'_>>> {
    let mut control = module.control.lock();
    let forwarding = module.forwarding.read();
    let uses_it = |nic: NicId| {
        let port = forwarding.ports.get(nic.port);
        port.is_some_and(|port| port.is_station(nic) && port.is_connected() && port.vf_assigned)
    };
    control.resources.next_lost_vf(uses_it, |nic| module.switch.reference_nic(nic))
}

fn external(module: &Module) -> Option<PortId> {
    module.forwarding.read().external
}

/// References a partition's adapter that is connected; under the team lock like `reference`.
pub fn reference_station(module: &Module, station: NicId) -> Option<NicRef<'_>> {
    let control = module.control.lock();
    let connected = module
        .forwarding
        .read()
        .ports
        .get(station.port)
        .is_some_and(|port| port.id == station && port.is_connected());
    let nic = connected.then(|| module.switch.reference_nic(station)).flatten();
    drop(control);
    nic
}

/// Asks every connected member.
pub fn ask_all(module: &Module, topics: Topics) {
    for slot in 0..MEMBERS {
        let Some(member) = MemberIndex::from_slot(slot) else { continue };
        if module.control.lock().team.member(member).state.is_connected() {
            ask(module, member, topics);
        }
    }
}

/// Asks one member; at most one question to a member is out, and what is wanted meanwhile is asked afterwards.
/// IRQL <= DISPATCH_LEVEL, no lock held.
pub fn ask(module: &Module, member: MemberIndex, topics: Topics) {
    if let Some(question) = module.queries.begin(member, topics) {
        send(module, question.next());
    }
}

/// Asks one member after a while. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn ask_later(module: &Module, member: MemberIndex, topics: Topics) {
    module.queries.owe(member, topics);
    failover::retry_later(module);
}

/// Sends a question until it is out, or answered and nothing else wanted. A loop, because every answer may come at once.
fn send<'m>(module: &'m Module, mut next: Option<Question<'m>>) {
    while let Some(question) = next.take() {
        next = match (reference(module, question.member()), module.work.enter()) {
            (Some((port, nic)), Some(work)) => match question.send(module.filter, port, nic, work) {
                (status, Some(question)) => receive(module, question, status).0,
                (_, None) => return,
            },
            (None, Some(_)) if is_connected(module, question.member()) => {
                // The reference was refused.
                ask_later(module, question.member(), Topics::one(question.topic()));
                question.next()
            }
            // The member or the module is going away: there is nobody to ask, or nobody who asks.
            _ => question.next(),
        };
    }
}

/// A member that can be asked.
fn is_connected(module: &Module, member: MemberIndex) -> bool {
    module.control.lock().team.member(member).state.is_connected() && external(module).is_some()
}

/// References a member that is connected. Under the team lock, which a disconnect takes before it goes down: so no
/// reference is asked for afterwards.
pub fn reference(module: &Module, member: MemberIndex) -> Option<(PortId, NicRef<'_>)> {
    let control = module.control.lock();
    if !control.team.member(member).state.is_connected() {
        return None;
    }
    let port = module.forwarding.read().external?;
    Some((port, module.switch.reference_nic(NicId::new(port, member.nic()))?))
}

/// A question that was out has been answered. IRQL <= DISPATCH_LEVEL.
pub fn answered(module: &Module, member: MemberIndex, status: NdisStatus) {
    let Some(question) = module.queries.back(member) else { return };
    let (next, _work) = receive(module, question, status);
    send(module, next);
    indicate_pending(module);
}

/// Applies the answer of a question that is back, and goes on to what else is wanted. The module lives at least as long
/// as the reference that is returned.
fn receive<'m>(
    module: &'m Module,
    question: Question<'m>,
    status: NdisStatus,
) -> (Option<Question<'m>>, WorkGuard<'m>) {
    let (nic, work) = question.take_back(&module.switch, &module.work);
    drop(nic);
    let member = question.member();
    let succeeded = status == NdisStatus::SUCCESS;
    match question.topic() {
        // Something newer was heard meanwhile; the question is put again.
        _ if question.is_outdated() => {}
        Topic::Link => match question.link().filter(|_| succeeded) {
            Some(link) => failover::member(module, member, MemberEvent::Link(link)),
            None => {
                let event = Event::LinkUnknown { member, status: status.0 };
                module.control.lock().events.push(clock::now(), event);
            }
        },
        Topic::Capability(capability) => took_answer(module, member, capability, status, question.answer()),
    }
    if !succeeded && status != NdisStatus::NOT_SUPPORTED && is_connected(module, member) {
        // What it cannot answer at all it will not answer later either.
        ask_later(module, member, Topics::one(question.topic()));
    }
    (question.next(), work)
}

/// What a member answered about a capability; nothing once it is disconnected, for the next adapter with its index is
/// another one. A failure leaves what was known.
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
}
