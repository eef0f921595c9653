//! The first bytes of a queue's first packet, as the express way reads them: each once, in place, with what the walk checks
//! of a buffer that another component filled (`mdl`). A guest may change the bytes at any time, so no Rust reference to
//! them is ever formed. Where something is unusual there is no `Front`, and the walk looks at the list.

use super::nbl::NblQueue;
use super::raw::{Mdl, MdlFlags, NetBuffer, NetBufferList, info};
use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::marker::PhantomData;
use teaming::forward::express::{self, IPV4_FRONT, IPV6_FRONT, Ipv4Front, Ipv6Front};

/// The front of the only packet of the first list, and what is out-of-band.
///
/// # Invariants
/// `there` bytes from `bytes` on are mapped as long as the list is owned, which the queue does for `'a`; `there` and
/// `data_length` are at least `IPV4_FRONT`.
pub struct Front<'a> {
    bytes: *const u8,
    there: i64,
    /// DataLength, in bytes.
    pub data_length: u32,
    /// The word that is equal for all lists of one source: `ListSource`, and above it whether the switch forwards its packets
    /// itself.
    pub from: u32,
    queue: PhantomData<&'a NblQueue>,
}

impl<'a> Front<'a> {
    /// In `from`: no source.
    pub const NO_SOURCE: u32 = u32::MAX;
    /// Of the forwarding detail from bit 16 on: the source port, its NIC, and NativeForwardingRequired.
    const FROM: u32 = 0x01FF_FFFF;

    /// That of the first list, if nothing about it needs a closer look: one packet, without a VLAN, a virtual subnet or a
    /// security association out-of-band, whose first bytes lie together and are mapped. IRQL <= DISPATCH_LEVEL.
    #[inline(always)] // for every packet
    pub fn of_first(queue: &'a NblQueue) -> Option<Self> {
        /// `TagHeader.VlanId`, and `VirtualSubnetId`.
        const VLAN_ID: u64 = 0xFFF0;
        const SUBNET_ID: u64 = 0x00FF_FFFF;
        const MAPPED: MdlFlags = MdlFlags::MAPPED_TO_SYSTEM_VA.union(MdlFlags::SOURCE_IS_NONPAGED_POOL);
        // SAFETY: every list of the queue is owned, and so are its buffers and their MDLs.
        let list: &NetBufferList = unsafe { queue.first().as_ref() }?;
        // SAFETY: as above.
        let packet: &NetBuffer = unsafe { list.first_net_buffer.as_ref() }?;
        // SAFETY: as above.
        let mdl: &Mdl = unsafe { packet.current_mdl.as_ref() }?;
        let slots = &list.info;
        let told = slots[info::IEEE_8021Q] & VLAN_ID
            | slots[info::VIRTUAL_SUBNET] & SUBNET_ID
            | slots[info::IPSEC]
            | slots[info::IPSEC_TUNNEL];
        let there = i64::from(mdl.byte_count) - i64::from(packet.current_mdl_offset);
        let is_usual = told == 0
            && packet.next.is_null()
            && mdl.mdl_flags.intersects(MAPPED)
            && there >= IPV4_FRONT as i64
            && packet.data_length >= IPV4_FRONT as u32;
        if !is_usual {
            return None;
        }
        let from = (slots[info::SWITCH_FORWARDING_DETAIL] >> 16) as u32 & Self::FROM;
        let bytes = mdl.mapped_system_va.wrapping_add(packet.current_mdl_offset as usize);
        Some(Self { bytes, there, data_length: packet.data_length, from, queue: PhantomData })
    }

    /// The word at `AT` in the first `LEN` bytes.
    ///
    /// # Safety
    /// There are `LEN` bytes.
    #[inline(always)]
    unsafe fn word<T: Copy, const AT: usize, const LEN: usize>(&self) -> T {
        /// At any address; x86-64 reads it with one instruction.
        #[derive(Clone, Copy)]
        #[repr(C, packed)]
        struct Word<T>(T);
        const { assert!(AT + size_of::<T>() <= LEN) };
        // SAFETY: inside the bytes, by the caller; volatile, so read once.
        unsafe { self.bytes.add(AT).cast::<Word<T>>().read_volatile() }.0
    }

    /// `word` in the bytes that are always there.
    #[inline(always)]
    fn early<T: Copy, const AT: usize>(&self) -> T {
        // SAFETY: by the type's invariant.
        unsafe { self.word::<T, AT, IPV4_FRONT>() }
    }
}

impl express::Front for Front<'_> {
    #[inline(always)]
    fn ethernet(&self) -> [u64; 2] {
        [self.early::<_, 0>(), self.early::<_, 8>()]
    }

    #[inline(always)]
    fn ipv4(&self) -> Ipv4Front {
        Ipv4Front {
            fields: self.early::<_, 16>(),
            addresses: self.early::<_, 26>(),
            ports: self.early::<_, 34>(),
        }
    }

    #[inline(always)]
    fn ipv6(&self) -> Option<Ipv6Front> {
        if self.there < IPV6_FRONT as i64 || self.data_length < IPV6_FRONT as u32 {
            return None;
        }
        // SAFETY: there are as many bytes.
        unsafe {
            Some(Ipv6Front {
                next: self.word::<_, 20, IPV6_FRONT>(),
                addresses: self.word::<_, 22, IPV6_FRONT>(),
                ports: self.word::<_, 54, IPV6_FRONT>(),
            })
        }
    }
}

/// Lists that `prefetch` fetches.
pub const FETCHED: usize = 32;

/// Fetches what the express way reads of the first lists into the cache, if there are four or more: the misses of
/// one packet then overlap those of the next. Lists first, then NET_BUFFERs, MDLs and bytes, each when what points to it
/// is there.
#[inline(never)] // once for many packets, and a frame of its own
pub fn prefetch(queue: &NblQueue) {
    const FEW: usize = 4;
    let mut packets: heapless::Vec<&NetBuffer, FETCHED> = heapless::Vec::new();
    let mut next = queue.first();
    // SAFETY: every list of the queue is owned.
    while let Some(list) = unsafe { next.as_ref() } {
        next = list.next;
        fetch(list.first_net_buffer);
        fetch(&raw const list.info[info::SWITCH_FORWARDING_DETAIL]);
        // SAFETY: the buffers of a list are its own.
        let Some(packet) = (unsafe { list.first_net_buffer.as_ref() }) else { break };
        if packets.push(packet).is_err() {
            break;
        }
    }
    if packets.len() < FEW {
        return;
    }
    packets.iter().for_each(|packet| fetch(packet.current_mdl));
    for packet in &packets {
        // SAFETY: the MDLs of a buffer are its own.
        if let Some(mdl) = unsafe { packet.current_mdl.as_ref() } {
            fetch(mdl.mapped_system_va.wrapping_add(packet.current_mdl_offset as usize).cast_const());
        }
    }
}

#[inline(always)]
fn fetch<T>(place: *const T) {
    // SAFETY: a hint, which no address makes fail.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
}
