//! Helpers of this folder: access to the driver's state, and the outcome of a frame so far.

use lbfoext::module::Module;
use lbfoext::trace::Event;
use std::collections::BTreeSet;
use vswitch::scenario::Net;
use vswitch::switch::frames::FrameOutcome;
use vswitch::switch::ports::NicId;

/// Calls `look` with the driver's module, on a simulated thread.
pub fn look<R: Send>(net: &Net, look: impl FnOnce(&Module) -> R + Send) -> R {
    crate::module::look(net, look).expect("the module is attached")
}

/// The events that the driver recorded since it was attached.
pub fn events(net: &Net) -> Vec<Event> {
    look(net, |module| module.control.lock().events.iter().map(|(_, event)| event).collect())
}

/// Number of the next frame that is sent.
pub fn next_frame(net: &Net) -> usize {
    net.look(|state| state.frames.all.next_id()).expect("the machine runs")
}

pub fn outcomes(net: &Net, frame: usize) -> Vec<FrameOutcome> {
    net.look(|state| state.outcomes(frame).to_vec()).expect("the machine runs")
}

/// The vNICs that a frame has reached, and the members through which it left.
pub fn reached(net: &Net, frame: usize) -> (BTreeSet<NicId>, BTreeSet<u16>) {
    let mut found = (BTreeSet::new(), BTreeSet::new());
    for end in outcomes(net, frame) {
        match end {
            FrameOutcome::Delivered { to, .. } if to.port == 1 => _ = found.1.insert(to.index),
            FrameOutcome::Delivered { to, .. } => {
                assert!(found.0.insert(to), "frame {frame} reached {to} twice")
            }
            _ => {}
        }
    }
    found
}

/// The reason with which the driver dropped a frame, if it did.
pub fn dropped(net: &Net, frame: usize) -> Option<String> {
    outcomes(net, frame).into_iter().find_map(|end| match end {
        FrameOutcome::Filtered { reason } => Some(reason),
        _ => None,
    })
}
