//! Tells the physical network where addresses are after a move (`teaming::announce`). The module's thread does, a batch after
//! the other, and so does the timer with one batch whenever it expires: the thread may be waiting for an adapter.

use crate::clock;
use crate::control::{failover, moves};
use crate::data::own_frames::{Batch, Place};
use crate::kernel::rundown::WalkGuard;
use crate::kernel::worker::Reasons;
use crate::module::Module;
use crate::ndis::own_frames::NoFrame;
use core::sync::atomic::Ordering;
use teaming::announce::{Next, WORK};

/// Packets will go again once FilterRestart has returned: nothing may be sent before, and nothing says when that is. IRQL <=
/// DISPATCH_LEVEL, no lock held.
pub fn resume(module: &Module) {
    let now = clock::now();
    let mut control = module.control.lock();
    control.announcer.resume(now);
    let moving = module.forwarding.read().moving();
    failover::arm(module, &control, moving, now);
}

/// The timer has expired: tells a batch, and lets the thread go on. DISPATCH_LEVEL, no lock held.
pub fn at_expiry(module: &Module) {
    if moves::is_telling(module) {
        if tell_some(module) {
            module.worker.wake(Reasons::ANNOUNCE);
        }
        arm(module);
    }
}

/// Tells all that is due now, and sets the timer for what is due later. No lock held.
pub fn tell_all(module: &Module) {
    if moves::is_telling(module) {
        while tell_some(module) {}
        arm(module);
    }
}

/// Sets the timer for what is to be told.
fn arm(module: &Module) {
    let control = module.control.lock();
    // Under the lock, so that what moves meanwhile is not overlooked.
    if control.announcer.due().is_some() {
        let moving = module.forwarding.read().moving();
        failover::arm(module, &control, moving, clock::now());
    } else {
        module.telling.store(false, Ordering::Relaxed);
    }
}

/// Tells what one batch has room for; whether something is left that is due now. IRQL <= DISPATCH_LEVEL, no lock held.
#[inline(never)] // a frame of its own
fn tell_some(module: &Module) -> bool {
    if !is_due(module) {
        return false;
    }
    // None while the module does not run.
    let walk = module.walks.enter();
    let mut batch = Batch::EMPTY;
    let more = fill(module, walk.as_ref(), &mut batch);
    batch.send(module);
    more
}

fn is_due(module: &Module) -> bool {
    let has_place = module.lists.has_place();
    let mut control = module.control.lock();
    if has_place {
        control.announcer.has_place();
    }
    control.announcer.due().is_some_and(|due| due <= clock::now())
}

#[inline(never)] // likewise
fn fill(module: &Module, walk: Option<&WalkGuard<'_>>, batch: &mut Batch) -> bool {
    let mut control = module.control.lock();
    let announcer = &mut control.announcer;
    let now = clock::now();
    let Some(walk) = walk else {
        announcer.postpone(now);
        return false;
    };
    let forwarding = module.forwarding.read();
    let mut work = WORK;
    while !batch.is_full() {
        let next = announcer.next(&forwarding, now, &mut work);
        let place = Place { module, walk, forwarding: &forwarding };
        let added = match next {
            Next::Announce(told) => {
                let added = batch.add(&place, &told.frame(), told.vlan, told.target());
                added.map(|()| {
                    forwarding.expect_back(&told, now);
                    announcer.announced(now);
                })
            }
            Next::Ask(question) => {
                let added = batch.add(&place, question.frame().bytes(), question.vlan, question.target);
                added.map(|()| announcer.asked())
            }
            Next::More => return true,
            Next::Rest => return false,
        };
        match added {
            Ok(()) => {}
            Err(NoFrame::Crowded) => {
                announcer.crowded(now);
                return false;
            }
            Err(NoFrame::Refused) => {
                announcer.refused(now);
                return false;
            }
        }
    }
    true
}
