//! NET_BUFFER_LISTs as owned values: `Nbl` is one list, `NblChain` grows at its end, `NblQueue` is consumed from its
//! front.
//!
//! The holder of an `Nbl` owns the list: it must be sent, indicated, completed, returned or freed. The calls that do
//! so consume the value; dropping it otherwise is a bug, on which debug builds assert.

use super::raw::{ForwardingDetail, Handle, NetBuffer, NetBufferList, info};
use core::ptr::NonNull;
use teaming::frame::untag::{self, Tag};
use teaming::ids::{NicId, NicIndex, PortId, VlanId};

/// One owned list, unlinked.
pub struct Nbl(NonNull<NetBufferList>);

impl Nbl {
    /// # Safety
    /// The list is valid and owned by the caller, which passes the ownership to the value; nobody else uses its
    /// `Next`.
    pub(crate) unsafe fn from_raw(list: NonNull<NetBufferList>) -> Self {
        Self(list)
    }

    /// Passes the ownership of the list to the caller.
    pub(crate) fn into_raw(self) -> NonNull<NetBufferList> {
        let list = self.0;
        core::mem::forget(self);
        list
    }

    pub(crate) fn as_ptr(&self) -> *mut NetBufferList {
        self.0.as_ptr()
    }

    /// NetBufferListInfo[NetBufferListSwitchForwardingDetail].
    pub fn detail(&self) -> ForwardingDetail {
        // SAFETY: the list is owned; NDIS 6.30 and later have this index.
        ForwardingDetail(unsafe { (*self.0.as_ptr()).info[info::SWITCH_FORWARDING_DETAIL] })
    }

    /// The source port and NIC.
    pub fn source(&self) -> NicId {
        let detail = self.detail();
        NicId { port: PortId::new(detail.source_port()), index: NicIndex::new(detail.source_nic()) }
    }

    /// The VLAN ID of the out-of-band 802.1Q tag; 0 if there is none.
    pub fn vlan_id(&self) -> u16 {
        // SAFETY: the list is owned.
        let tag = unsafe { (*self.0.as_ptr()).info[info::IEEE_8021Q] };
        ((tag >> 4) & 0xFFF) as u16
    }

    /// The virtual subnet ID of the packet; 0 if there is none.
    pub fn virtual_subnet(&self) -> u32 {
        // SAFETY: the list is owned.
        let subnet = unsafe { (*self.0.as_ptr()).info[info::VIRTUAL_SUBNET] };
        (subnet & 0x00FF_FFFF) as u32
    }

    /// Whether an adapter will segment the packets, in a list that is sent.
    pub fn is_segmented(&self) -> bool {
        // SAFETY: the list is owned.
        let slots = unsafe { &(*self.0.as_ptr()).info };
        slots[info::LARGE_SEND] | slots[info::UDP_SEGMENTATION] != 0
    }

    /// Whether an adapter put the packets together from several frames, in a list that was received.
    pub fn is_coalesced(&self) -> bool {
        // SAFETY: the list is owned.
        let slots = unsafe { &(*self.0.as_ptr()).info };
        slots[info::UDP_COALESCED] | slots[info::TCP_COALESCED] != 0
    }

    /// Writes the VLAN ID of the out-of-band tag and leaves its other members
    /// (ns-nbl8021q-ndis_net_buffer_list_8021q_info).
    pub(crate) fn write_tag(&mut self, vlan: VlanId) {
        // SAFETY: the list is owned.
        let slot = unsafe { &mut (*self.0.as_ptr()).info[info::IEEE_8021Q] };
        *slot = *slot & !VLAN_ID | u64::from(vlan.get()) << 4;
    }

    /// Says that no guest can change the bytes: they are our own (IsPacketDataSafe).
    pub(crate) fn mark_as_safe(&mut self) {
        // SAFETY: the list is owned.
        let slot = unsafe { &mut (*self.0.as_ptr()).info[info::SWITCH_FORWARDING_DETAIL] };
        *slot = ForwardingDetail(*slot).as_safe().0;
    }

    /// Writes what changes of the out-of-band data when the tag comes off the bytes. `in_send_format`: the data is in the
    /// format of a send, which names offsets of headers (packet-management-guidelines-for-the-extensible-switch-data-path).
    pub(crate) fn describe_untagged(&mut self, tag: Tag, in_send_format: bool) {
        const OWN: u32 = untag::ADDRESSES as u32;
        const REPLACED: u32 = OWN + untag::TAG as u32;
        // SAFETY: the list is owned.
        let slots = unsafe { &mut (*self.0.as_ptr()).info };
        slots[info::IEEE_8021Q] = tag.into_word(slots[info::IEEE_8021Q]);
        let detail = ForwardingDetail(slots[info::SWITCH_FORWARDING_DETAIL]);
        slots[info::SWITCH_FORWARDING_DETAIL] = detail.with_own_front(OWN, REPLACED).0;
        if in_send_format {
            slots[info::CHECKSUM] = untag::checksum(slots[info::CHECKSUM]);
            slots[info::LARGE_SEND] = untag::large_send(slots[info::LARGE_SEND]);
            slots[info::UDP_SEGMENTATION] = untag::udp_segmentation(slots[info::UDP_SEGMENTATION]);
            slots[info::ENCAPSULATED] = untag::encapsulated(slots[info::ENCAPSULATED]);
        }
    }

    /// The handles of the security associations with which the adapter is to encrypt the packet, 0 for none: that of the
    /// connection, and that of the tunnel (ns-ndis-_ndis_ipsec_offload_v2_tunnel_net_buffer_list_info.md). In a received
    /// packet the first index carries flags and a status instead.
    pub fn ipsec_handles(&self) -> [u64; 2] {
        // SAFETY: the list is owned.
        let info = unsafe { &(*self.0.as_ptr()).info };
        [info[info::IPSEC], info[info::IPSEC_TUNNEL]]
    }

    /// The Toeplitz hash that an adapter computed, as (`NDIS_HASH_*` type, value); `None` for another hash function.
    pub fn toeplitz_hash(&self) -> Option<(u32, u32)> {
        /// `NdisHashFunctionToeplitz`, in the low octet of the hash information.
        const TOEPLITZ: u64 = 1;
        // SAFETY: the list is owned.
        let list = unsafe { self.0.as_ref() };
        let (value, about) = (list.info[info::HASH_VALUE], list.info[info::HASH_INFO]);
        (about & 0xFF == TOEPLITZ).then_some(((about & 0x00FF_FF00) as u32, value as u32))
    }

    pub fn set_status(&mut self, status: super::status::NdisStatus) {
        // SAFETY: the list is owned.
        unsafe { (*self.0.as_ptr()).status = status.0 };
    }

    pub fn status(&self) -> super::status::NdisStatus {
        // SAFETY: the list is owned.
        super::status::NdisStatus(unsafe { (*self.0.as_ptr()).status })
    }

    /// Whether this filter module allocated the list.
    pub fn is_originated_by(&self, filter: Handle) -> bool {
        // SAFETY: the list is owned.
        (unsafe { (*self.0.as_ptr()).source_handle }) == filter
    }

    /// The NET_BUFFERs of the list, in order; usually one.
    pub fn net_buffers(&self) -> NetBuffers<'_> {
        // SAFETY: the list is owned.
        NetBuffers { next: unsafe { (*self.0.as_ptr()).first_net_buffer }, list: core::marker::PhantomData }
    }
}

/// `TagHeader.VlanId`.
const VLAN_ID: u64 = 0xFFF0;

impl Drop for Nbl {
    fn drop(&mut self) {
        debug_assert!(false, "a list was forgotten");
    }
}

/// The NET_BUFFERs of one owned list.
pub struct NetBuffers<'a> {
    next: *mut NetBuffer,
    list: core::marker::PhantomData<&'a Nbl>,
}

/// One NET_BUFFER of a list that is owned for `'a`.
#[derive(Clone, Copy)]
pub struct NetBufferRef<'a> {
    buffer: NonNull<NetBuffer>,
    list: core::marker::PhantomData<&'a Nbl>,
}

impl<'a> Iterator for NetBuffers<'a> {
    type Item = NetBufferRef<'a>;
    fn next(&mut self) -> Option<Self::Item> {
        let buffer = NonNull::new(self.next)?;
        // SAFETY: the buffer belongs to an owned list.
        self.next = unsafe { (*buffer.as_ptr()).next };
        Some(NetBufferRef { buffer, list: core::marker::PhantomData })
    }
}

impl NetBufferRef<'_> {
    pub(crate) fn as_ptr(self) -> *mut NetBuffer {
        self.buffer.as_ptr()
    }

    /// DataLength, in bytes.
    pub fn data_length(self) -> u32 {
        // SAFETY: the buffer belongs to an owned list.
        unsafe { (*self.buffer.as_ptr()).data_length }
    }
}

/// Owned lists linked through `Next`, consumed from the front.
pub struct NblQueue {
    head: *mut NetBufferList,
}

impl NblQueue {
    /// # Safety
    /// Every list of the chain is valid and owned by the caller, which passes the ownership to the value.
    pub(crate) unsafe fn from_raw(head: *mut NetBufferList) -> Self {
        Self { head }
    }

    pub fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// There are two lists or more.
    pub fn has_several(&self) -> bool {
        // SAFETY: every list of the queue is owned.
        unsafe { self.head.as_ref() }.is_some_and(|first| !first.next.is_null())
    }

    /// The first list, which stays in the queue; null if there is none.
    pub(super) fn first(&self) -> *const NetBufferList {
        self.head
    }

    /// Takes the first list, unlinked.
    pub fn pop(&mut self) -> Option<Nbl> {
        let first = NonNull::new(self.head)?;
        // SAFETY: the list is owned by the queue.
        let list = unsafe { &mut *first.as_ptr() };
        self.head = list.next;
        list.next = core::ptr::null_mut();
        // SAFETY: unlinked from the queue, which owned it.
        Some(unsafe { Nbl::from_raw(first) })
    }

    /// Clears the VLAN IDs that `Nbl::write_tag` wrote: those of lists that other components originated and for whose
    /// source port `is_ours` is true. `is_ours` is called once for consecutive lists of one port.
    pub(crate) fn take_back_tags(&mut self, filter: Handle, mut is_ours: impl FnMut(PortId) -> bool) {
        let mut next = self.head;
        let mut last = None;
        // SAFETY: every list of the queue is owned.
        while let Some(list) = unsafe { next.as_mut() } {
            next = list.next;
            if list.info[info::IEEE_8021Q] & VLAN_ID == 0 || list.source_handle == filter {
                continue;
            }
            let port = ForwardingDetail(list.info[info::SWITCH_FORWARDING_DETAIL]).source_port();
            let ours = match last {
                Some((same, ours)) if same == port => ours,
                _ => is_ours(PortId::new(port)),
            };
            last = Some((port, ours));
            if ours {
                list.info[info::IEEE_8021Q] &= !VLAN_ID;
            }
        }
    }

    /// Passes the ownership of the lists to the caller.
    pub(crate) fn into_raw(self) -> Option<NonNull<NetBufferList>> {
        let head = NonNull::new(self.head);
        core::mem::forget(self);
        head
    }

    /// Inserts a chain before the lists that are left.
    pub fn push_front(&mut self, chain: NblChain) {
        let Some((head, tail)) = chain.into_raw() else { return };
        // SAFETY: the tail belongs to the owned chain.
        unsafe { (*tail.as_ptr()).next = self.head };
        self.head = head.as_ptr();
    }
}

impl Drop for NblQueue {
    fn drop(&mut self) {
        debug_assert!(self.head.is_null(), "lists were forgotten");
    }
}

/// Owned lists linked through `Next`, grown at the end.
pub struct NblChain {
    ends: Option<(NonNull<NetBufferList>, NonNull<NetBufferList>)>,
}

impl NblChain {
    pub const EMPTY: Self = Self { ends: None };

    /// A chain of one.
    pub fn of(list: Nbl) -> Self {
        let mut chain = Self::EMPTY;
        chain.push(list);
        chain
    }

    /// Counts the lists.
    pub fn len(&self) -> u32 {
        let mut count = 0;
        let mut next = self.head();
        // SAFETY: every list of the chain is owned.
        while let Some(list) = unsafe { next.as_ref() } {
            count += 1;
            next = list.next;
        }
        count
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_none()
    }

    pub fn push(&mut self, list: Nbl) {
        let list = list.into_raw();
        // SAFETY: the list was owned and is now the chain's.
        unsafe { (*list.as_ptr()).next = core::ptr::null_mut() };
        self.ends = match self.ends {
            None => Some((list, list)),
            Some((head, tail)) => {
                // SAFETY: the tail is owned by the chain.
                unsafe { (*tail.as_ptr()).next = list.as_ptr() };
                Some((head, list))
            }
        };
    }

    /// `push` where the chain is nearly always not empty.
    #[inline(always)]
    pub fn append(&mut self, list: Nbl) {
        let Some((_, tail)) = &mut self.ends else { return self.push(list) };
        let list = list.into_raw();
        // SAFETY: the tail is owned by the chain, and the list was owned and is now the chain's.
        unsafe {
            (*list.as_ptr()).next = core::ptr::null_mut();
            (*tail.as_ptr()).next = list.as_ptr();
        }
        *tail = list;
    }

    pub(crate) fn head(&self) -> *mut NetBufferList {
        self.ends.map_or(core::ptr::null_mut(), |(head, _)| head.as_ptr())
    }

    /// Passes the ownership of the chain to the caller, as its first and its last list.
    pub(crate) fn into_raw(self) -> Option<(NonNull<NetBufferList>, NonNull<NetBufferList>)> {
        let ends = self.ends;
        core::mem::forget(self);
        ends
    }

    /// The only list of a chain that `of` made.
    pub fn into_only(self) -> Nbl {
        let head = self.ends;
        core::mem::forget(self);
        match head {
            // SAFETY: owned by the chain, which has no other list.
            Some((list, _)) => unsafe { Nbl::from_raw(list) },
            None => unreachable_list(),
        }
    }

    /// Sets the status of every list.
    pub fn set_status(&mut self, status: super::status::NdisStatus) {
        let mut next = self.head();
        while !next.is_null() {
            // SAFETY: every list of the chain is owned.
            let list = unsafe { &mut *next };
            list.status = status.0;
            next = list.next;
        }
    }

    /// The same lists, to be consumed from the front.
    pub fn into_queue(self) -> NblQueue {
        let head = self.head();
        core::mem::forget(self);
        NblQueue { head }
    }
}

impl Drop for NblChain {
    fn drop(&mut self) {
        debug_assert!(self.ends.is_none(), "lists were forgotten");
    }
}

/// Whether all lists of a chain have the same source port.
///
/// # Safety
/// Every list of the chain is valid and owned by the caller.
pub(crate) unsafe fn one_source(head: *mut NetBufferList) -> bool {
    let mut source = None;
    let mut next = head;
    // SAFETY: by the caller's promise.
    while let Some(list) = unsafe { next.as_ref() } {
        let port = ForwardingDetail(list.info[info::SWITCH_FORWARDING_DETAIL]).source_port();
        if *source.get_or_insert(port) != port {
            return false;
        }
        next = list.next;
    }
    true
}

/// Never reached: a chain made by `NblChain::of` has a list. Returns a value so that the image contains no panic.
fn unreachable_list() -> Nbl {
    debug_assert!(false, "an empty chain was opened");
    Nbl(NonNull::dangling())
}
