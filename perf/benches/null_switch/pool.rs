//! The pool of the driver's child NBLs and their contexts: a stack of free lists.

use super::ndis::Context;
use core::ffi::c_void;
use lbfoext::ndis::raw::{
    Handle, Mdl, NetBuffer, NetBufferList, NetBufferListPoolParameters, NetBufferPoolParameters,
    SwitchContext, info,
};
use std::cell::RefCell;

/// A child NBL; `nbl` must be its first member.
#[repr(C, align(16))]
struct Own {
    nbl: NetBufferList,
    buffer: NetBuffer,
    context: Context,
}

thread_local! {
    static FREE: RefCell<Vec<*mut Own>> = const { RefCell::new(Vec::new()) };
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisAllocateNetBufferListPool(
    _: Handle,
    _: *const NetBufferListPoolParameters,
) -> Handle {
    0x5000 as Handle
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFreeNetBufferListPool(_: Handle) {}

#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisAllocateNetBufferAndNetBufferList(
    _: Handle,
    _: u16,
    _: u16,
    mdl: *mut Mdl,
    offset: u32,
    length: usize,
) -> *mut NetBufferList {
    let new =
        || Box::new(Own { nbl: NetBufferList::ZERO, buffer: NetBuffer::ZERO, context: Context::default() });
    let own = FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Box::into_raw(new()));
    // SAFETY: not in use: newly allocated, or from the stack.
    let own = unsafe { &mut *own };
    // The data of a benchmark's packets begins in the first MDL.
    own.buffer.current_mdl = mdl;
    own.buffer.current_mdl_offset = offset;
    own.buffer.mdl_chain = mdl;
    own.buffer.data_offset = offset;
    own.buffer.data_length = length as u32;
    own.nbl.first_net_buffer = &raw mut own.buffer;
    own.nbl.next = core::ptr::null_mut();
    own.nbl.context = (&raw mut own.context).cast::<c_void>();
    &raw mut own.nbl
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFreeNetBufferList(list: *mut NetBufferList) {
    // Made by `NdisAllocateNetBufferAndNetBufferList`, whose `Own` begins with the list.
    FREE.with_borrow_mut(|free| free.push(list.cast::<Own>()));
}

/// One free destination.
pub unsafe extern "win64" fn allocate_context(_: SwitchContext, list: *mut NetBufferList) -> i32 {
    // SAFETY: a list of this pool.
    unsafe {
        (*(*list).context.cast::<Context>()).destinations = 0;
        (*list).info[info::SWITCH_FORWARDING_DETAIL] = 1;
    }
    0
}
pub unsafe extern "win64" fn free_context(_: SwitchContext, _: *mut NetBufferList) {}

/// Copies the source and the flags of the packet data, not the number of free destinations.
pub unsafe extern "win64" fn copy_info(
    _: SwitchContext,
    to: *mut NetBufferList,
    from: *mut NetBufferList,
    _: u32,
) -> i32 {
    // SAFETY: the driver owns both lists.
    unsafe {
        let detail = &mut (*to).info[info::SWITCH_FORWARDING_DETAIL];
        *detail = *detail & 0xFFFF | (*from).info[info::SWITCH_FORWARDING_DETAIL] & !0xFFFF;
        (*to).info[info::IEEE_8021Q] = (*from).info[info::IEEE_8021Q];
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisAllocateNetBufferPool(_: Handle, _: *const NetBufferPoolParameters) -> Handle {
    0x5001 as Handle
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFreeNetBufferPool(_: Handle) {}

/// No benchmark has a tag to take off.
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisAllocateFragmentNetBufferList(
    _: *mut NetBufferList,
    _: Handle,
    _: Handle,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
) -> *mut NetBufferList {
    core::ptr::null_mut()
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFreeFragmentNetBufferList(_: *mut NetBufferList, _: u32, _: u32) {}

/// No benchmark sends a frame of the driver's own.
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisAllocateMdl(_: Handle, _: *mut c_void, _: u32) -> *mut Mdl {
    0x5002 as *mut Mdl
}
#[unsafe(no_mangle)]
unsafe extern "win64" fn NdisFreeMdl(_: *mut Mdl) {}
