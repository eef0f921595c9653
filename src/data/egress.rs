//! Packet walk 2: packets on their way out of the switch, `FilterReceiveNetBufferLists` and back. All decisions were
//! taken on ingress; lists pass as they are, with their flags but for RESOURCES, also while the module is pausing: they are the last of
//! what it sent. Nothing is ever injected here.

use crate::module::Module;
use crate::ndis::raw::{NetBufferList, ReceiveFlags, ReturnFlags};
use core::ptr::NonNull;

/// `FilterReceiveNetBufferLists`. IRQL <= DISPATCH_LEVEL.
pub fn receive(module: &Module, lists: NonNull<NetBufferList>, count: u32, flags: ReceiveFlags) {
    // The switch returns lists through FilterReturn whatever RESOURCES says; the flag is never passed on.
    module.filter.indicate_receive(lists, count, flags.difference(ReceiveFlags::RESOURCES));
}

/// `FilterReturnNetBufferLists`. IRQL <= DISPATCH_LEVEL.
pub fn return_lists(module: &Module, lists: NonNull<NetBufferList>, flags: ReturnFlags) {
    module.filter.return_lists(lists, flags);
}
