//! The driver's own state, for tests that hold it against what the switch and the registry say.

use lbfoext::module::Module;
use vswitch::scenario::Net;

/// A look into the module on this switch, on a simulated thread; nothing where none is attached. Native runs only.
pub fn look<R: Send>(net: &Net, look: impl FnOnce(&Module) -> R + Send) -> Option<R> {
    let switch = net.switch();
    let context = net.look(move |state| state.modules[switch].context).filter(|context| *context != 0)?;
    let look = move || {
        // SAFETY: the context is the module of the driver that is linked natively; it stays attached meanwhile, because
        // whoever detaches it is the test that looks.
        look(unsafe { &*(context as *const Module) })
    };
    net.world().enter(look).ok()
}
