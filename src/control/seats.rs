//! The seats of machines under HyperVPort (`teaming::seats`). A machine chooses when it is connected, once the switch is
//! known. All choose when it becomes known, and anew while the weights of members become known after that, and when the policy
//! or the seed is set. Where the home map changes later, those whose bucket has another home choose, and the others stay.

use crate::clock;
use crate::kernel::worker::{Reasons, Woken};
use crate::module::{Control, Module, TeamLock};
use core::sync::atomic::Ordering;
use teaming::ids::{Bucket, MEMBERS, NicId, PortId, Ticks};
use teaming::seats::Place;

/// After a change of the team: if the home map is another, the thread lets those choose that it concerns. The team lock is
/// held.
#[inline(never)] // a frame of its own
pub fn homes_changed(module: &Module, control: &mut Control, now: Ticks) {
    control.seating.homes_changed(now);
    module.worker.wake(Reasons::SEATS);
}

/// A machine was connected, or its record is here. The team lock is held. IRQL <= DISPATCH_LEVEL.
#[inline(never)] // a frame of its own
pub fn seat(module: &Module, control: &mut TeamLock<'_>, nic: NicId) {
    if !control.seating.has_begun() {
        return;
    }
    let Some(place) = place_for(module, control, nic) else { return };
    let moved = sit(module, control, nic, place);
    if let Some(bucket) = moved
        && control.announcer.reseated(&module.forwarding.read(), bucket)
    {
        module.telling.store(true, Ordering::Relaxed);
        module.worker.wake(Reasons::ANNOUNCE);
    }
}

#[inline(never)] // not below what its caller calls next
fn place_for(module: &Module, control: &Control, nic: NicId) -> Option<Place> {
    module.forwarding.read().place_for(&control.team.homes(), nic)
}

#[inline(never)] // likewise
fn sit(module: &Module, control: &TeamLock<'_>, nic: NicId, place: Place) -> Option<Bucket> {
    module.forwarding.write(control.dispatch()).sit(nic, place)
}

/// Lets all choose that have to, in holds of the locks for one machine each. Nothing before the switch and the home map are
/// known, or while a map is being made: `homes_changed` follows. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn choose_all(module: &Module) {
    open(module);
    let mut after = None;
    while let Some(nic) = next(module, after) {
        after = Some(nic);
    }
    let mut control = module.control.lock();
    // A map that is being made is of weights that nobody has chosen by.
    let is_made = !control.team.is_building();
    if is_made && control.team.knows_weights() {
        control.seating.chose_by_weight();
    }
}

/// Nobody has chosen any more, if all are to choose anew.
fn open(module: &Module) {
    let mut from = module.control.lock().seating.take_anew().then_some(0);
    while let Some(position) = from {
        let control = module.control.lock();
        from = module.forwarding.write(control.dispatch()).open_seats(position);
    }
}

/// The next machine after a port sits. Its port.
fn next(module: &Module, after: Option<PortId>) -> Option<PortId> {
    let mut control = module.control.lock();
    let has_homes = control.team.homes().weights != [0; MEMBERS];
    if !control.enumeration.knows_ports() || control.team.is_building() || !has_homes {
        return None;
    }
    control.seating.begin(clock::now());
    let nic = module.forwarding.read().next_to_seat(&control.team.homes(), after)?;
    seat(module, &mut control, nic);
    Some(nic.port)
}

/// On the thread: what `Reasons::SEATS` asks for. No lock held.
pub fn woken(module: &Module, woken: &Woken) {
    if woken.reasons.contains(Reasons::SEATS) {
        choose_all(module);
    }
}
