//! Notes what has moved, so that the network is told (`announce`): after each change of the table, and before the first packet
//! that nothing has.

use crate::kernel::worker::Reasons;
use crate::module::{Control, Module};
use core::sync::atomic::Ordering;

/// After a change of the table or the settings: notes what has moved, and wakes the thread for it. The team lock is held.
pub fn moved(module: &Module, control: &mut Control) {
    if control.announcer.moved(&module.forwarding.read()) {
        module.telling.store(true, Ordering::Relaxed);
        module.worker.wake(Reasons::ANNOUNCE);
    }
}

/// What the table was before is what it is now, if no packet has gone yet. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn begin(module: &Module) {
    let mut control = module.control.lock();
    control.announcer.begin(&module.forwarding.read());
}

/// A frame of our own is back: the thread may be waiting for its place. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn came_back(module: &Module) {
    if is_telling(module) {
        module.worker.wake(Reasons::ANNOUNCE);
    }
}

/// Something is to be told, or was a moment ago.
pub fn is_telling(module: &Module) -> bool {
    module.telling.load(Ordering::Relaxed)
}
