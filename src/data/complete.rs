//! The way back of packet walk 1: `FilterSendNetBufferListsComplete`. Foreign lists are handed up as they come; own lists
//! are freed, and their parent is handed up after the last of them. Tags that were written on the way down are restored.

use crate::module::Module;
use crate::ndis::nbl::{NblChain, NblQueue};
use crate::ndis::own_list::SplitParent;
use crate::ndis::raw::SendCompleteFlags;
use core::sync::atomic::Ordering;

/// `FilterSendNetBufferListsComplete`. IRQL <= DISPATCH_LEVEL.
pub fn send_complete(module: &Module, lists: NblQueue, flags: SendCompleteFlags) {
    hand_back(module, lists, flags);
}

/// Hands up what is foreign. A parent takes the place of its last child: they have the same source port, so that a
/// single-source flag stays true.
pub fn hand_back(module: &Module, mut lists: NblQueue, flags: SendCompleteFlags) {
    if module.tags_written.load(Ordering::Relaxed) {
        lists.restore_tags();
    }
    if module.lists.none_out() {
        // The usual case: nothing in the chain can be ours, so nothing in it need be touched.
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
    // Last: a pause that waits for own lists may end, and the module with it.
    module.walks.left(freed);
}
