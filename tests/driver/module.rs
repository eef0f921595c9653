//! Access to the driver's own state, for tests that compare it with the switch and the registry.

use lbfoext::module::Module;
use teaming::forward::counters::Counters;
use teaming::report::Report;
use vswitch::scenario::Net;

/// Calls `look` with the module of this switch, on a simulated thread; `None` if none is attached. Native runs only.
pub fn look<R: Send>(net: &Net, look: impl FnOnce(&Module) -> R + Send) -> Option<R> {
    let switch = net.switch();
    let context = net.look(move |state| state.modules[switch].context).filter(|context| *context != 0)?;
    let look = move || {
        // SAFETY: the context is the module of the natively linked driver; it stays attached, because only the calling
        // test detaches it.
        look(unsafe { &*(context as *const Module) })
    };
    net.world().enter(look).ok()
}

/// The team as the driver knows it, with all counters 0.
pub fn report(net: &Net) -> Report {
    look(net, |module| {
        let control = module.control.lock();
        let forwarding = module.forwarding.read();
        Report::new(&control.settings, &control.team, &forwarding, &Counters::ZERO)
    })
    .expect("it is attached")
}
