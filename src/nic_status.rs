//! Status of the physical adapters: failover on what they indicate, and own questions where the indication names only
//! the team. No page promises a status for each member, so a member is asked for its link state when it is connected,
//! after the enumeration, and when something changed in the team; never in intervals.

use crate::clock;
use crate::filter::Module;
use crate::kernel::rundown::WorkGuard;
use crate::ndis::link::{Indication, LinkStatus};
use crate::ndis::link_query::Question;
use crate::ndis::status::NdisStatus;
use crate::ndis::switch::NicRef;
use crate::publish;
use crate::trace::Event;
use teaming::ids::{MEMBERS, MemberIndex, NicId, PortId};
use teaming::member::MemberEvent;

/// `FilterStatus`. IRQL <= DISPATCH_LEVEL. Acts first and passes the indication on within the call: when this returns,
/// nothing is assigned to a member that the indication declared dead.
pub fn status(module: &Module, indication: Indication<'_>) {
    match indication.link_status() {
        Some(LinkStatus::Member { from, link }) if is_external(module, from) => {
            if let Some(member) = MemberIndex::from_nic(from.index) {
                publish::member(module, member, MemberEvent::Link(link));
            }
        }
        Some(LinkStatus::Team { from }) if is_external(module, from) => ask_all(module),
        _ => {}
    }
    module.filter.indicate_status(indication);
}

/// Only the external port has NICs with an index, so what comes before the port is known is believed, too: the link of a
/// member that is not enumerated yet is remembered for when it is.
fn is_external(module: &Module, nic: NicId) -> bool {
    module.forwarding.read().external.is_none_or(|port| port == nic.port)
}

/// Asks every connected member.
pub fn ask_all(module: &Module) {
    for slot in 0..MEMBERS {
        let Some(member) = MemberIndex::from_slot(slot) else { continue };
        if module.control.lock().team.member(member).state.is_connected() {
            ask(module, member);
        }
    }
}

/// Asks one member for its link state; at most one question to a member is out, and one that comes meanwhile is asked
/// afterwards. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn ask(module: &Module, member: MemberIndex) {
    if let Some(question) = module.queries.begin(member) {
        send(module, question);
    }
}

/// Sends a question until it is out, or answered and not wanted again. A loop, because every answer may come at once.
fn send(module: &Module, question: Question<'_>) {
    let mut next = Some(question);
    while let Some(question) = next.take() {
        next = match (reference(module, question.member()), module.work.enter()) {
            (Some((port, nic)), Some(work)) => match question.send(module.filter, port, nic, work) {
                (status, Some(question)) => receive(module, question, status).0,
                (_, None) => return,
            },
            // The member or the module is going away: there is nobody to ask, or nobody who asks.
            _ => question.end(),
        };
    }
}

/// References a member that is connected. Under the team lock, which a disconnect takes before it goes down: so no
/// reference is asked for afterwards.
fn reference(module: &Module, member: MemberIndex) -> Option<(PortId, NicRef<'_>)> {
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
    let (again, _work) = receive(module, question, status);
    if let Some(question) = again {
        send(module, question);
    }
}

/// Applies the answer of a question that is back. It stays in hand when it was wanted again meanwhile. The module lives
/// at least as long as the reference that is returned.
fn receive<'m>(
    module: &'m Module,
    question: Question<'m>,
    status: NdisStatus,
) -> (Option<Question<'m>>, WorkGuard<'m>) {
    let (nic, work) = question.take_back(&module.switch, &module.work);
    drop(nic);
    let member = question.member();
    match question.answer().filter(|_| status == NdisStatus::SUCCESS) {
        Some(link) => publish::member(module, member, MemberEvent::Link(link)),
        None => {
            let event = Event::LinkUnknown { member, status: status.0 };
            module.control.lock().events.push(clock::now(), event);
        }
    }
    (question.end(), work)
}
