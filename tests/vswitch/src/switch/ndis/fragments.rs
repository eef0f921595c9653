//! Fragments: lists that describe a part of another list's bytes, with room of their own in front
//! (nf-nblapi-ndisallocatefragmentnetbufferlist.md, fragmented-net-buffer-list-structures.md).
//!
//! For each NET_BUFFER the bytes from StartOffset on are divided into fragments of at most MaximumLength, each with MDLs of
//! its own over the same memory. In front of each lie DataOffsetDelta bytes of new memory. How NDIS lays them out no page
//! says: here they are in one MDL or in two, with unused bytes before them or without.

use crate::check::rule;
use crate::exports;
use crate::machine::memory::{self, AllocationKind};
use crate::machine::world::World;
use crate::switch::nbl::{NB_SIZE, NBL_SIZE, net_buffers, segments};
use crate::switch::ndis::packet::{Own, PacketStage};
use crate::switch::ndis::pools::BufferPool;
use crate::switch::ndis::{State, with};
use lbfoext::ndis::raw::{
    Handle, Mdl, MdlFlags, NetBuffer, NetBufferList, NetBufferPoolParameters, object_type,
};
use std::ptr;

const KIND: AllocationKind = AllocationKind::Other("NET_BUFFER pool");
const MDL_SIZE: usize = 48;

/// The arguments of an allocation.
#[derive(Clone, Copy)]
struct Wanted {
    list_pool: usize,
    buffer_pool: usize,
    start: usize,
    most: usize,
    delta: u32,
    back_fill: u32,
}

exports! {
    pub extern "win64" fn NdisAllocateNetBufferPool(
        handle: Handle, parameters: *const NetBufferPoolParameters
    ) -> Handle where irql <= DISPATCH {
        if crate::machine::fault::fails("NdisAllocateNetBufferPool") {
            return ptr::null_mut();
        }
        // SAFETY: the driver passes a readable structure.
        let parameters = unsafe { *parameters };
        with(|world, state| state.new_buffer_pool(world, handle, &parameters))
    }

    pub extern "win64" fn NdisFreeNetBufferPool(pool: Handle) where irql <= DISPATCH {
        with(|world, state| {
            let Some(known) = state.buffer_pools.remove(&(pool as usize)) else {
                return world.violate("MEM-02", "NdisFreeNetBufferPool of something that is no pool");
            };
            rule(world, "MEM-05", known.live == 0, || {
                format!("pool freed with {} NET_BUFFERs of it alive", known.live)
            });
            memory::free(KIND, pool.cast(), known.tag);
        });
    }

    pub extern "win64" fn NdisAllocateFragmentNetBufferList(
        original: *mut NetBufferList, list_pool: Handle, buffer_pool: Handle, start_offset: u32, maximum_length: u32,
        data_offset_delta: u32, data_back_fill: u32, flags: u32
    ) -> *mut NetBufferList where irql <= DISPATCH {
        if crate::machine::fault::fails("NdisAllocateFragmentNetBufferList") {
            return ptr::null_mut();
        }
        let wanted = Wanted {
            list_pool: list_pool as usize,
            buffer_pool: buffer_pool as usize,
            start: start_offset as usize,
            most: maximum_length as usize,
            delta: data_offset_delta,
            back_fill: data_back_fill,
        };
        with(|world, state| {
            rule(world, "MEM-06", flags == 0, || format!("fragment allocated with flags {flags:#x}"));
            state.new_fragment(world, original, wanted)
        })
    }

    pub extern "win64" fn NdisFreeFragmentNetBufferList(
        list: *mut NetBufferList, data_offset_delta: u32, flags: u32
    ) where irql <= DISPATCH {
        with(|world, state| {
            rule(world, "MEM-06", flags == 0, || format!("fragment freed with flags {flags:#x}"));
            state.free_fragment(world, list, data_offset_delta);
        });
    }
}

/// One NET_BUFFER to be built: the memory that it describes.
struct Fragment {
    parts: Vec<(*mut u8, usize, bool)>,
    length: usize,
}

impl State {
    fn new_buffer_pool(&mut self, world: &World, handle: Handle, p: &NetBufferPoolParameters) -> Handle {
        let known = self.module_of(handle).is_some() || handle as usize == self.driver.handle;
        rule(world, "MEM-05", known, || "pool for a handle that NDIS did not give".to_owned());
        let header =
            p.header.object_type == object_type::DEFAULT && p.header.revision == 1 && p.header.size >= 12;
        if !header {
            world.violate("MEM-05", "NET_BUFFER_POOL_PARAMETERS without a valid header");
            return ptr::null_mut();
        }
        let block = memory::alloc(KIND, 16, p.pool_tag, "NET_BUFFER pool");
        self.buffer_pools.insert(block as usize, BufferPool { tag: p.pool_tag, live: 0 });
        block.cast()
    }

    fn new_fragment(
        &mut self,
        world: &World,
        original: *mut NetBufferList,
        wanted: Wanted,
    ) -> *mut NetBufferList {
        let theirs = self.packets.get(original).is_some_and(|p| p.place.is_the_extensions());
        rule(world, "DATA-01", theirs, || "a fragment of a list that is not the extension's".to_owned());
        let pools = (self.pools.get_mut(&wanted.list_pool), self.buffer_pools.get_mut(&wanted.buffer_pool));
        let (Some(lists), Some(buffers)) = pools else {
            world.violate("MEM-05", "fragment from something that is no pool");
            return ptr::null_mut();
        };
        rule(world, "MEM-06", !lists.with_net_buffer, || {
            "fragment from a pool whose lists come with a NET_BUFFER".to_owned()
        });
        if !theirs || lists.with_net_buffer {
            return ptr::null_mut();
        }
        // SAFETY: the list is in the extension's hands and so uncovered.
        let all: Vec<Fragment> = unsafe { net_buffers(original, 64) }
            .into_iter()
            // SAFETY: as above.
            .flat_map(|nb| unsafe { fragments(nb, wanted.start, wanted.most) })
            .collect();
        if all.is_empty() {
            return ptr::null_mut();
        }
        let in_place = self.style.fragments_in_place;
        let module = lists.module.unwrap_or(0);
        let tag = lists.tag;
        lists.live += 1;
        buffers.live += all.len() as u32;
        let front = (wanted.delta + wanted.back_fill) as usize + 8;
        let mdls: usize = all.iter().map(|fragment| fragment.parts.len() + 2).sum();
        let size = NBL_SIZE + all.len() * (NB_SIZE + front) + mdls * MDL_SIZE;
        let block = memory::alloc(AllocationKind::Nbl, size, tag, "fragment of the driver");
        let nbl = block.cast::<NetBufferList>();
        let buffer = |n: usize| block.wrapping_add(NBL_SIZE + n * NB_SIZE).cast::<NetBuffer>();
        let mut next_mdl = block.wrapping_add(NBL_SIZE + all.len() * NB_SIZE).cast::<Mdl>();
        let memory_at = NBL_SIZE + all.len() * NB_SIZE + mdls * MDL_SIZE;
        for (n, fragment) in all.iter().enumerate() {
            let own = block.wrapping_add(memory_at + n * front);
            let lead = world.random(2) as usize * 8;
            let delta = wanted.delta as usize;
            let cut = if world.random(8) == 0 && delta > 1 {
                1 + world.random(delta as u64 - 1) as usize
            } else {
                delta
            };
            let mut parts = vec![(own, lead + cut, true), (own.wrapping_add(lead + cut), delta - cut, true)];
            parts.retain(|(_, length, _)| *length > 0);
            let mut lead = lead;
            parts.extend(&fragment.parts);
            if in_place && let Some((start, length, mapped)) = fragment.parts.first().copied() {
                // There is room: the bytes before it in the same memory.
                lead = 0;
                let grown = (start.wrapping_sub(delta), length + delta, mapped);
                parts = [&[grown][..], &fragment.parts[1..]].concat();
            }
            let first = next_mdl;
            for (index, (start, length, mapped)) in parts.iter().enumerate() {
                let follows = index + 1 < parts.len();
                let next = if follows { next_mdl.wrapping_add(1) } else { ptr::null_mut() };
                // SAFETY: the block has room for so many.
                unsafe { next_mdl.write(mdl(*start, *length, *mapped, next)) };
                next_mdl = next_mdl.wrapping_add(1);
            }
            let mut nb = NetBuffer::ZERO;
            (nb.mdl_chain, nb.current_mdl) = (first, first);
            (nb.data_offset, nb.current_mdl_offset) = (lead as u32, lead as u32);
            nb.data_length = (delta + fragment.length) as u32;
            nb.ndis_pool_handle = wanted.buffer_pool as Handle;
            nb.next = if n + 1 < all.len() { buffer(n + 1) } else { ptr::null_mut() };
            // SAFETY: as above.
            unsafe { buffer(n).write(nb) };
        }
        let mut list = NetBufferList::ZERO;
        list.first_net_buffer = buffer(0);
        list.ndis_pool_handle = wanted.list_pool as Handle;
        // SAFETY: the first structure of the block, which is aligned to 16.
        unsafe { nbl.write(list) };
        self.gone.remove(&(nbl as usize));
        let packet = self.packets.add(module, nbl, PacketStage::Idle);
        packet.own = Some(Own { pool: wanted.list_pool, fragment: Some(wanted.delta), ..Own::default() });
        nbl
    }

    fn free_fragment(&mut self, world: &World, list: *mut NetBufferList, delta: u32) {
        let known = self.packets.get(list).filter(|p| p.own.is_some_and(|own| own.fragment.is_some()));
        if known.is_some_and(|packet| packet.place.is_the_extensions()) {
            // SAFETY: the list is in the extension's hands and so uncovered.
            for nb in unsafe { net_buffers(list, 64) } {
                // SAFETY: as above.
                let pool = unsafe { (*nb).ndis_pool_handle } as usize;
                if let Some(pool) = self.buffer_pools.get_mut(&pool) {
                    pool.live = pool.live.saturating_sub(1);
                }
            }
        }
        self.free_list(world, list, Some(delta));
    }
}

/// The fragments of one NET_BUFFER.
///
/// # Safety
/// It is readable, and so are its MDLs.
unsafe fn fragments(nb: *const NetBuffer, start: usize, most: usize) -> Vec<Fragment> {
    // SAFETY: by the caller.
    let mapped = unsafe { mappings(nb) };
    let mut all: Vec<Fragment> = Vec::new();
    let mut skip = start;
    // SAFETY: by the caller.
    for ((address, length), mapped) in unsafe { segments(nb) }.into_iter().zip(mapped) {
        let skipped = skip.min(length);
        skip -= skipped;
        let (mut address, mut length) = (address.wrapping_add(skipped), length - skipped);
        while length > 0 && most > 0 {
            if all.last().is_none_or(|last| last.length == most) {
                all.push(Fragment { parts: Vec::new(), length: 0 });
            }
            let Some(last) = all.last_mut() else { break };
            let part = length.min(most - last.length);
            last.parts.push((address, part, mapped));
            last.length += part;
            (address, length) = (address.wrapping_add(part), length - part);
        }
    }
    all
}

/// Whether the MDL of each of the segments is mapped.
///
/// # Safety
/// As for `fragments`.
unsafe fn mappings(nb: *const NetBuffer) -> Vec<bool> {
    let mut found = Vec::new();
    // SAFETY: by the caller.
    let (mut at, mut skip) = unsafe { ((*nb).current_mdl, (*nb).current_mdl_offset) };
    // SAFETY: by the caller.
    while let Some(mdl) = unsafe { at.as_ref() } {
        if mdl.byte_count > skip {
            found.push(mdl.mdl_flags.contains(MdlFlags::MAPPED_TO_SYSTEM_VA));
        }
        (at, skip) = (mdl.next, 0);
    }
    found
}

fn mdl(start: *mut u8, length: usize, mapped: bool, next: *mut Mdl) -> Mdl {
    let mut mdl = Mdl::ZERO;
    mdl.next = next;
    mdl.size = 48;
    mdl.start_va = ptr::with_exposed_provenance_mut(start.expose_provenance() & !0xFFF);
    mdl.byte_offset = (start.addr() & 0xFFF) as u32;
    mdl.byte_count = length as u32;
    if mapped {
        mdl.mapped_system_va = start;
        mdl.mdl_flags = MdlFlags::MAPPED_TO_SYSTEM_VA;
    } else {
        mdl.mapped_system_va = ptr::without_provenance_mut(0xDBDB_DBDB_DBDB);
    }
    mdl
}
