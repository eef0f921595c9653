//! The lists of a chain, as far as they may be read.

use crate::switch::ndis::State;
use lbfoext::ndis::raw::NetBufferList;

/// The lists of the chain, for reports; stops at an invalid list.
pub fn chain(state: &mut State, first: *mut NetBufferList) -> Vec<usize> {
    let decoy = state.decoy();
    let mut lists = Vec::new();
    let mut next = first;
    while !next.is_null() && next != decoy && lists.len() < 100_000 {
        let Some(packet) = state.packets.get(next) else { break };
        if packet.cover.is_laid() {
            lists.push(next as usize);
            break;
        }
        lists.push(next as usize);
        // SAFETY: uncovered.
        next = unsafe { (*next).next };
    }
    lists
}
