//! The way back of packet walk 1: `FilterSendNetBufferListsComplete`. Lists from above are completed as they come;
//! child NBLs are freed, and their parent is completed after the last of them. Frames of our own are freed. VLAN tags that the
//! way down wrote are restored.

use crate::control::moves;
use crate::module::Module;
use crate::ndis::child_nbl::SplitParent;
use crate::ndis::nbl::{NblChain, NblQueue};
use crate::ndis::raw::SendCompleteFlags;
use core::sync::atomic::Ordering;

/// `FilterSendNetBufferListsComplete`. IRQL <= DISPATCH_LEVEL.
pub fn send_complete(module: &Module, mut lists: NblQueue, flags: SendCompleteFlags) {
    if module.tags_written.load(Ordering::Relaxed) {
        take_back_tags(module, &mut lists);
    }
    hand_back(module, lists, flags);
}

/// Completes lists from above and frees child NBLs. A parent is completed in the place of its last child; both have the
/// same source port, so the single-source flag stays valid. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn hand_back(module: &Module, mut lists: NblQueue, flags: SendCompleteFlags) {
    if module.lists.none_out() {
        // The usual case: no NBL of ours exists, so the chain is passed on without touching its lists.
        return module.filter.send_complete_queue(lists, flags);
    }
    let mut done = NblChain::EMPTY;
    let mut freed = 0;
    while let Some(list) = lists.pop() {
        if !list.is_originated_by(module.filter.handle()) {
            done.push(list);
            continue;
        }
        let split = SplitParent::of(&list);
        let status = module.lists.free_child(&module.switch, list);
        if let Some(parent) = split.and_then(|split| split.child_completed(status)) {
            done.push(parent);
        }
        freed += 1;
    }
    module.filter.send_complete(done, flags);
    moves::came_back(module);
    // Last: a pause that waits for our NBLs may return now, and a detach may free the module.
    module.walks.left(freed);
}

/// What was sent comes back to its source as it came from there: what the extension wrote into a tag is taken out
/// (nf-ndis-ndisfsendnetbufferlistscomplete). The lock is held for one look at a port.
#[inline(never)] // a frame of its own
fn take_back_tags(module: &Module, lists: &mut NblQueue) {
    lists.take_back_tags(module.filter.handle(), |source| module.forwarding.read().owns_tags(source));
}
