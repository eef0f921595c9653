//! What the tests of this folder share: a look into the driver, and what became of a frame so far.

use lbfoext::filter::Module;
use lbfoext::trace::Event;
use std::collections::BTreeSet;
use vswitch::frames::Fate;
use vswitch::ports::NicId;
use vswitch::scenario::Net;

/// A look at the driver's own state.
pub fn look<R: Send>(net: &Net, look: impl FnOnce(&Module) -> R + Send) -> R {
    let module = net.switch();
    let context = net.look(|state| state.modules[module].context).unwrap_or(0);
    assert_ne!(context, 0, "the module is attached");
    // SAFETY: the context is the driver's own module, linked natively, and it stays attached meanwhile.
    let looking = || look(unsafe { &*(context as *const Module) });
    net.world().enter(looking).expect("the machine runs")
}

/// What the driver has noted since it was attached.
pub fn events(net: &Net) -> Vec<Event> {
    look(net, |module| module.control.lock().events.iter().map(|(_, event)| event).collect())
}

/// Number of the next frame that is sent.
pub fn next_frame(net: &Net) -> usize {
    net.look(|state| state.frames.all.next_id()).expect("the machine runs")
}

pub fn fates(net: &Net, frame: usize) -> Vec<Fate> {
    net.look(|state| state.fates(frame).to_vec()).expect("the machine runs")
}

/// The stations that a frame has reached, and the members through which it left.
pub fn reached(net: &Net, frame: usize) -> (BTreeSet<NicId>, BTreeSet<u16>) {
    let mut found = (BTreeSet::new(), BTreeSet::new());
    for fate in fates(net, frame) {
        match fate {
            Fate::Delivered { to, .. } if to.port == 1 => _ = found.1.insert(to.index),
            Fate::Delivered { to, .. } => assert!(found.0.insert(to), "frame {frame} reached {to} twice"),
            _ => {}
        }
    }
    found
}

/// Why the driver dropped a frame, if it did.
pub fn dropped(net: &Net, frame: usize) -> Option<String> {
    fates(net, frame).into_iter().find_map(|fate| match fate {
        Fate::Filtered { reason } => Some(reason),
        _ => None,
    })
}
