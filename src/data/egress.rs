//! Packet walk 2: packets from the switch to their destinations, `FilterReceiveNetBufferLists` and back. Destinations
//! were committed on ingress, so lists are passed on unchanged, also while the module is pausing, with all flags except
//! NDIS_RECEIVE_FLAGS_RESOURCES. The driver originates no packets on this path.

use crate::module::Module;
use crate::ndis::raw::{NetBufferList, ReceiveFlags, ReturnFlags};
use core::ptr::NonNull;

/// `FilterReceiveNetBufferLists`. IRQL <= DISPATCH_LEVEL.
pub fn receive(module: &Module, lists: NonNull<NetBufferList>, count: u32, flags: ReceiveFlags) {
    // The switch gets its lists back through FilterReturnNetBufferLists in any case, so the flag is not passed on
    // (hyper-v-extensible-switch-send-and-receive-flags.md).
    module.filter.indicate_receive(lists, count, flags.difference(ReceiveFlags::RESOURCES));
}

/// `FilterReturnNetBufferLists`. IRQL <= DISPATCH_LEVEL.
pub fn return_lists(module: &Module, lists: NonNull<NetBufferList>, flags: ReturnFlags) {
    module.filter.return_lists(lists, flags);
}
