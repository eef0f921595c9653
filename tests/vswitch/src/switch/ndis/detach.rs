//! Operations of NDIS on a module, one at a time, and its detach: what NDIS waits for before FilterDetach, and what must
//! be over when it returns.

use crate::check::rule;
use crate::inject;
use crate::machine::clock;
use crate::machine::cpu;
use crate::machine::slots::ANY;
use crate::machine::world;
use crate::switch::ndis::module::forget;
use crate::switch::ndis::{Life, call, edges, leaks, with};
use lbfoext::ndis::raw::Handle;

/// Runs an operation of NDIS on a module that is in one of these states. One at a time: while a module pauses or restarts
/// NDIS begins no other (pausing-a-filter-module, starting-a-filter-module).
pub(super) fn operate<R>(module: usize, states: &[Life], operation: impl FnOnce() -> R) -> Option<R> {
    let begins = || with(|_, s| !std::mem::replace(&mut s.modules[module].busy, true)).then_some(());
    cpu::block_until("the operation before", begins);
    let result = states.contains(&with(|_, s| s.life(module))).then(operation);
    with(|_, s| s.modules[module].busy = false);
    cpu::wake(ANY);
    result
}

/// Detaches a paused module. Its timers may be due or running, its own requests and those that it has forwarded out.
pub fn detach(module: usize) {
    operate(module, &[Life::Paused], || detach_now(module));
}

/// Waits until no packet is between the module and its neighbours and none of their calls runs, and lets no more begin.
fn close(module: usize) {
    loop {
        edges::drain(module);
        let closed = with(|_, state| {
            let quiet = state.is_quiet(module);
            let m = &mut state.modules[module];
            m.leaving = quiet && m.calls_running == 0 && m.sends_running.is_empty();
            m.leaving
        });
        if closed {
            return;
        }
        // Another thread may be about to carry out a step: it goes on first.
        let mut others_went_on = false;
        cpu::block_until("calls into the module", || {
            let idle = with(|_, s| {
                s.modules[module].calls_running == 0 && s.modules[module].sends_running.is_empty()
            });
            (std::mem::replace(&mut others_went_on, true) && idle).then_some(())
        });
    }
}

/// The same within another operation of NDIS.
pub(super) fn detach_now(module: usize) {
    close(module);
    let world = world::current();
    let (handler, context, filter) = with(|_, state| {
        let m = &mut state.modules[module];
        (state.driver.characteristics.and_then(|c| c.detach), m.context, m.filter)
    });
    let Some(handler) = handler else { return };
    let patience = with(|_, state| state.style.detach_in_timer);
    if patience != 0 {
        let running = || (world.timer_functions_running(Some(filter)) > 0).then_some(());
        clock::block_until_deadline("a timer function", world.now() + patience, running);
    }
    // SAFETY: as in `attach`.
    call("FilterDetach", module, || unsafe { handler(context as Handle) });
    inject::detaching();
    let mark = with(|world, state| {
        inject::leaves_request(state, module);
        let out = state.control.own_out(module);
        rule(world, "OID-27", out == 0, || format!("{out} own requests are out when FilterDetach returns"));
        world.owner_gone(filter);
        let m = &mut state.modules[module];
        m.life = Life::Detached;
        m.attached_before = true;
        m.learned.forget();
        m.holders.forget();
        m.topology.forget_told();
        m.topology.nics_mut().for_each(forget);
        m.topology.changed();
        state.control.nics.known.retain(|(of, ..)| *of != module);
        state.control.nics.untold.retain(|(of, ..)| *of != module);
        state.control.nics.hearings.retain(|(of, _), _| *of != module);
        let others = state.modules.iter().any(|m| m.life != Life::Detached);
        (!others).then_some(state.modules[module].attach_mark)
    });
    if let Some(mark) = mark {
        leaks::after_detach(&world, mark);
    }
    inject::detached(with(|_, state| state.modules[module].filter));
}
