//! The filter module handle, and the calls that pass packets and status indications to other components. All at IRQL
//! <= DISPATCH_LEVEL, no lock held.

use super::link::Indication;
use super::nbl::{NblChain, NblQueue, one_source};
use super::raw::{Handle, NetBufferList, ReceiveFlags, ReturnFlags, SendCompleteFlags, SendFlags};
use super::sys;
use core::ptr::NonNull;

/// The handle of a filter module (NdisFilterHandle).
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

    /// NdisFSendNetBufferLists: passes lists down the ingress path.
    pub fn send(self, lists: NblChain, flags: SendFlags) {
        if let Some((head, _)) = lists.into_raw() {
            // SAFETY: the lists are given away.
            unsafe { sys::NdisFSendNetBufferLists(self.0, head.as_ptr(), DEFAULT_PORT, flags.bits()) };
        }
    }

    /// NdisFSendNetBufferListsComplete: completes lists that another component sent.
    pub fn send_complete(self, lists: NblChain, flags: SendCompleteFlags) {
        self.send_complete_queue(lists.into_queue(), flags);
    }

    /// The same for a queue. SWITCH_SINGLE_SOURCE is set if all lists have one source port; the switch then updates
    /// the port's count once for the call (nf-ndis-ndisfsendnetbufferlists).
    pub fn send_complete_queue(self, lists: NblQueue, mut flags: SendCompleteFlags) {
        if let Some(head) = lists.into_raw() {
            let is_set = flags.contains(SendCompleteFlags::SWITCH_SINGLE_SOURCE);
            // SAFETY: the lists are owned until they are given away below.
            if !is_set && unsafe { one_source(head.as_ptr()) } {
                flags |= SendCompleteFlags::SWITCH_SINGLE_SOURCE;
            }
            // SAFETY: the lists are given away.
            unsafe { sys::NdisFSendNetBufferListsComplete(self.0, head.as_ptr(), flags.bits()) };
        }
    }

    /// NdisFIndicateReceiveNetBufferLists: passes lists up the egress path, to their destinations.
    pub fn indicate_receive(self, lists: NonNull<NetBufferList>, count: u32, flags: ReceiveFlags) {
        // SAFETY: the lists are given away.
        unsafe {
            sys::NdisFIndicateReceiveNetBufferLists(self.0, lists.as_ptr(), DEFAULT_PORT, count, flags.bits())
        };
    }

    /// NdisFReturnNetBufferLists: returns lists that were indicated from below. SWITCH_SINGLE_SOURCE as for
    /// `send_complete_queue`.
    pub fn return_lists(self, lists: NonNull<NetBufferList>, mut flags: ReturnFlags) {
        let is_set = flags.contains(ReturnFlags::SWITCH_SINGLE_SOURCE);
        // SAFETY: the lists are owned until they are given away below.
        if !is_set && unsafe { one_source(lists.as_ptr()) } {
            flags |= ReturnFlags::SWITCH_SINGLE_SOURCE;
        }
        // SAFETY: the lists are given away.
        unsafe { sys::NdisFReturnNetBufferLists(self.0, lists.as_ptr(), flags.bits()) };
    }

    /// NdisFIndicateStatus: passes a status indication up unchanged. Called from FilterStatus.
    pub fn indicate_status(self, indication: Indication<'_>) {
        // SAFETY: the indication lives through the call.
        unsafe { sys::NdisFIndicateStatus(self.0, indication.as_ptr()) };
    }
}
