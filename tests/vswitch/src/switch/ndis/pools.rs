//! The driver's NET_BUFFER_LIST pools, and the lists allocated from them.

use crate::check::rule;
use crate::exports;
use crate::inject;
use crate::machine::memory::{self, AllocationKind};
use crate::machine::world::World;
use crate::switch::nbl::{NB_SIZE, NBL_SIZE};
use crate::switch::ndis::packet::{Own, PacketStage};
use crate::switch::ndis::{State, with};
use lbfoext::ndis::raw::{
    Handle, Mdl, NetBuffer, NetBufferList, NetBufferListPoolParameters, ObjectHeader, object_type,
};
use std::ptr;

/// A pool that the driver made.
pub struct ListPool {
    pub module: Option<usize>,
    pub tag: u32,
    pub with_net_buffer: bool,
    pub context_size: u16,
    /// Number of lists that are not freed.
    pub live: u32,
}

/// A pool of NET_BUFFERs that the driver made.
pub struct BufferPool {
    pub tag: u32,
    /// Number of NET_BUFFERs that are not freed.
    pub live: u32,
}

exports! {
    pub extern "win64" fn NdisAllocateNetBufferListPool(
        handle: Handle, parameters: *const NetBufferListPoolParameters
    ) -> Handle where irql <= DISPATCH {
        if crate::machine::fault::fails("NdisAllocateNetBufferListPool") {
            return ptr::null_mut();
        }
        // SAFETY: the driver passes a readable structure.
        let parameters = unsafe { *parameters };
        with(|world, state| state.new_pool(world, handle, &parameters))
    }

    pub extern "win64" fn NdisFreeNetBufferListPool(pool: Handle) where irql <= DISPATCH {
        with(|world, state| state.free_pool(world, pool as usize));
    }

    pub extern "win64" fn NdisAllocateNetBufferAndNetBufferList(
        pool: Handle, context_size: u16, context_back_fill: u16, mdl_chain: *mut Mdl, data_offset: u32,
        data_length: usize
    ) -> *mut NetBufferList where irql <= DISPATCH {
        if crate::machine::fault::fails("NdisAllocateNetBufferAndNetBufferList") {
            return ptr::null_mut();
        }
        let size = (context_size, context_back_fill);
        with(|world, state| {
            let (mdl_chain, data_offset, data_length) = inject::buffer(world, mdl_chain, data_offset, data_length);
            state.new_list(world, pool as usize, size, mdl_chain, data_offset, data_length)
        })
    }

    pub extern "win64" fn NdisFreeNetBufferList(list: *mut NetBufferList) where irql <= DISPATCH {
        with(|world, state| {
            inject::freeing(world, state, list);
            state.free_list(world, list, None);
        });
    }
}

impl State {
    fn new_pool(&mut self, world: &World, handle: Handle, p: &NetBufferListPoolParameters) -> Handle {
        let module = self.module_of(handle);
        let known = module.is_some() || handle as usize == self.driver.handle && self.driver.registered;
        rule(world, "MEM-05", known, || "pool for a handle that NDIS did not give".to_owned());
        let header =
            p.header.object_type == object_type::DEFAULT && p.header.revision >= 1 && p.header.size >= 16;
        if !header {
            world.violate("MEM-05", "NET_BUFFER_LIST_POOL_PARAMETERS without a valid header");
            return ptr::null_mut();
        }
        let block = memory::alloc(AllocationKind::NblPool, 16, p.pool_tag, "NET_BUFFER_LIST pool");
        let pool = ListPool {
            module,
            tag: p.pool_tag,
            with_net_buffer: p.allocate_net_buffer != 0,
            context_size: p.context_size,
            live: 0,
        };
        self.pools.insert(block as usize, pool);
        block.cast()
    }

    fn free_pool(&mut self, world: &World, pool: usize) {
        let Some(known) = self.pools.remove(&pool) else {
            return world.violate("MEM-02", "NdisFreeNetBufferListPool of something that is no pool");
        };
        rule(world, "MEM-05", known.live == 0, || {
            format!("pool freed with {} lists of it alive", known.live)
        });
        memory::free(AllocationKind::NblPool, pool as *mut u8, known.tag);
    }

    fn new_list(
        &mut self,
        world: &World,
        handle: usize,
        (context_size, back_fill): (u16, u16),
        mdl_chain: *mut Mdl,
        offset: u32,
        length: usize,
    ) -> *mut NetBufferList {
        let Some(pool) = self.pools.get_mut(&handle) else {
            world.violate("MEM-05", "list from something that is no pool");
            return ptr::null_mut();
        };
        rule(world, "MEM-06", pool.with_net_buffer, || {
            "NdisAllocateNetBufferAndNetBufferList from a pool without fAllocateNetBuffer".to_owned()
        });
        if !pool.with_net_buffer {
            return ptr::null_mut();
        }
        pool.live += 1;
        let module = pool.module.unwrap_or(0);
        let tag = pool.tag;
        let context =
            if context_size + back_fill > 0 { 16 + usize::from(context_size + back_fill) } else { 0 };
        let block = memory::alloc(
            AllocationKind::Nbl,
            NBL_SIZE + NB_SIZE + context,
            tag,
            "NET_BUFFER_LIST of the driver",
        );
        let nbl = block.cast::<NetBufferList>();
        // SAFETY: the block holds a list, a NET_BUFFER and the context, and is aligned to 16.
        unsafe {
            let nb = block.add(NBL_SIZE).cast::<NetBuffer>();
            let mut list = NetBufferList::ZERO;
            list.first_net_buffer = nb;
            list.ndis_pool_handle = handle as Handle;
            if context > 0 {
                let data = block.add(NBL_SIZE + NB_SIZE);
                data.write_bytes(0, context);
                data.add(8).cast::<u16>().write(context_size + back_fill);
                data.add(10).cast::<u16>().write(back_fill);
                list.context = data.cast();
            }
            nbl.write(list);
            nb.write(first_buffer(mdl_chain, offset, length));
        }
        self.gone.remove(&(nbl as usize));
        let packet = self.packets.add(module, nbl, PacketStage::Idle);
        packet.own = Some(Own { pool: handle, ..Own::default() });
        nbl
    }

    /// `fragment`: DataOffsetDelta, if the list is freed as a fragment.
    pub(super) fn free_list(&mut self, world: &World, list: *mut NetBufferList, fragment: Option<u32>) {
        let Some(packet) = self.packets.get_mut(list) else {
            return world.violate("MEM-06", "NdisFreeNetBufferList of a list that does not exist");
        };
        let Some(own) = packet.own else {
            return world.violate("MEM-06", "NdisFreeNetBufferList of a list of the switch");
        };
        rule(world, "MEM-06", own.fragment == fragment, || {
            format!("list of DataOffsetDelta {:?} freed as one of {fragment:?}", own.fragment)
        });
        let free = matches!(packet.place, PacketStage::Idle | PacketStage::Completing);
        if !free {
            return world.violate("DATA-03", format!("own list freed while {:?}", packet.place));
        }
        rule(world, "DATA-20", packet.context.is_none(), || {
            "list freed with its forwarding context".to_owned()
        });
        self.release_child(list);
        self.packets.remove(list);
        self.note_gone(list);
        let tag = self.pools.get_mut(&own.pool).map_or(0, |pool| {
            pool.live -= 1;
            pool.tag
        });
        memory::free(AllocationKind::Nbl, list.cast(), tag);
    }

    pub fn note_gone(&mut self, list: *mut NetBufferList) {
        let order = self.tick();
        self.gone.insert(list as usize, order);
        while self.gone.len() > 4096 {
            self.gone.pop_first();
        }
    }
}

/// A NET_BUFFER over an MDL chain, positioned as NDIS does.
///
/// # Safety
/// The chain is readable.
unsafe fn first_buffer(chain: *mut Mdl, offset: u32, length: usize) -> NetBuffer {
    let mut nb = NetBuffer::ZERO;
    nb.mdl_chain = chain;
    nb.data_offset = offset;
    nb.data_length = u32::try_from(length).unwrap_or(u32::MAX);
    let (mut mdl, mut left) = (chain, offset);
    // SAFETY: by the caller.
    while !mdl.is_null() && left >= unsafe { (*mdl).byte_count } {
        // SAFETY: as above.
        left -= unsafe { (*mdl).byte_count };
        // SAFETY: as above.
        mdl = unsafe { (*mdl).next };
    }
    nb.current_mdl = mdl;
    nb.current_mdl_offset = left;
    nb
}

const _: () = assert!(size_of::<ObjectHeader>() == 4);
