//! Packet walk 2: packets on their way out of the switch, `FilterReceiveNetBufferLists` and back. All decisions were
//! taken on ingress; lists pass as they are, with their flags. Nothing is ever injected here.

use crate::filter::Module;
use crate::ndis::raw::{NetBufferList, receive_flags, return_flags};
use core::ptr::NonNull;

/// `FilterReceiveNetBufferLists`. IRQL <= DISPATCH_LEVEL.
pub fn receive(module: &Module, lists: NonNull<NetBufferList>, count: u32, flags: u32) {
    let Some(_walk) = module.walks.enter() else { return refuse(module, lists, flags) };
    // The switch returns lists through FilterReturn whatever this flag says; it is never passed on.
    module.filter.indicate_receive(lists, count, flags & !receive_flags::RESOURCES);
}

/// `FilterReturnNetBufferLists`. IRQL <= DISPATCH_LEVEL.
pub fn return_lists(module: &Module, lists: NonNull<NetBufferList>, flags: u32) {
    module.filter.return_lists(lists, flags);
}

/// While the module does not run, what arrives from below goes back at once.
fn refuse(module: &Module, lists: NonNull<NetBufferList>, flags: u32) {
    let mut back = 0;
    if flags & receive_flags::DISPATCH_LEVEL != 0 {
        back |= return_flags::DISPATCH_LEVEL;
    }
    if flags & receive_flags::SWITCH_SINGLE_SOURCE != 0 {
        back |= return_flags::SWITCH_SINGLE_SOURCE;
    }
    module.filter.return_lists(lists, back);
}
