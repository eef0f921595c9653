//! The filter handle, and the calls that give packets and status away. All at IRQL <= DISPATCH_LEVEL with no lock held.

use super::link::Indication;
use super::nbl::{NblChain, NblQueue, one_source};
use super::raw::{Handle, NetBufferList, ReceiveFlags, ReturnFlags, SendCompleteFlags, SendFlags};
use super::sys;
use core::ptr::NonNull;

/// The name under which NDIS knows a filter module.
#[derive(Clone, Copy)]
pub struct Filter(Handle);

// SAFETY: a handle that NDIS accepts on every processor.
unsafe impl Send for Filter {}
// SAFETY: as above.
unsafe impl Sync for Filter {}

/// `NDIS_DEFAULT_PORT_NUMBER`: the only NDIS port of a switch.
const DEFAULT_PORT: u32 = 0;

impl Filter {
    pub fn new(handle: Handle) -> Self {
        Self(handle)
    }

    pub fn handle(self) -> Handle {
        self.0
    }

    /// Passes lists on into the switch.
    pub fn send(self, lists: NblChain, flags: SendFlags) {
        if let Some((head, _)) = lists.into_raw() {
            // SAFETY: the lists are given away.
            unsafe { sys::NdisFSendNetBufferLists(self.0, head.as_ptr(), DEFAULT_PORT, flags.bits()) };
        }
    }

    /// Hands foreign lists back to where they came from.
    pub fn send_complete(self, lists: NblChain, flags: SendCompleteFlags) {
        self.send_complete_queue(lists.into_queue(), flags);
    }

    /// The single-source flag is set whenever it is true: the switch counts what it is owed by it.
    pub fn send_complete_queue(self, lists: NblQueue, mut flags: SendCompleteFlags) {
        if let Some(head) = lists.into_raw() {
            let said = flags.contains(SendCompleteFlags::SWITCH_SINGLE_SOURCE);
            // SAFETY: the lists are owned until they are given away below.
            if !said && unsafe { one_source(head.as_ptr()) } {
                flags |= SendCompleteFlags::SWITCH_SINGLE_SOURCE;
            }
            // SAFETY: the lists are given away.
            unsafe { sys::NdisFSendNetBufferListsComplete(self.0, head.as_ptr(), flags.bits()) };
        }
    }

    /// Passes lists on towards their destinations.
    pub fn indicate_receive(self, lists: NonNull<NetBufferList>, count: u32, flags: ReceiveFlags) {
        // SAFETY: the lists are given away.
        unsafe {
            sys::NdisFIndicateReceiveNetBufferLists(self.0, lists.as_ptr(), DEFAULT_PORT, count, flags.bits())
        };
    }

    /// Hands lists back that came from below; the single-source flag as for `send_complete_queue`.
    pub fn return_lists(self, lists: NonNull<NetBufferList>, mut flags: ReturnFlags) {
        let said = flags.contains(ReturnFlags::SWITCH_SINGLE_SOURCE);
        // SAFETY: the lists are owned until they are given away below.
        if !said && unsafe { one_source(lists.as_ptr()) } {
            flags |= ReturnFlags::SWITCH_SINGLE_SOURCE;
        }
        // SAFETY: the lists are given away.
        unsafe { sys::NdisFReturnNetBufferLists(self.0, lists.as_ptr(), flags.bits()) };
    }

    /// Passes a status on, unchanged, within the handler that got it.
    pub fn indicate_status(self, indication: Indication<'_>) {
        // SAFETY: the indication lives through the call.
        unsafe { sys::NdisFIndicateStatus(self.0, indication.as_ptr()) };
    }
}
