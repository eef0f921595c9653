//! MDLs that the driver makes over memory of its own (nf-mdlapi-ndisallocatemdl.md).

use crate::check::rule;
use crate::exports;
use crate::machine::memory::{self, AllocationKind, MemoryState};
use crate::switch::ndis::with;
use lbfoext::ndis::raw::{Handle, Mdl, MdlFlags};
use std::ffi::c_void;
use std::ptr;

const KIND: AllocationKind = AllocationKind::Other("MDL");
const TAG: u32 = 0;

exports! {
    pub extern "win64" fn NdisAllocateMdl(
        handle: Handle, address: *mut c_void, length: u32
    ) -> *mut Mdl where irql <= DISPATCH {
        if crate::machine::fault::fails("NdisAllocateMdl") {
            return ptr::null_mut();
        }
        with(|world, state| {
            let known = state.module_of(handle).is_some() || handle as usize == state.driver.handle;
            rule(world, "MEM-05", known, || "MDL for a handle that NDIS did not give".to_owned());
            // Only memory of the non-paged pool, and all of it.
            let ends = [address.cast::<u8>(), address.cast::<u8>().wrapping_add(length.max(1) as usize - 1)];
            let is_pool = |end: &*mut u8| world.place(*end) == MemoryState::Live(AllocationKind::Pool);
            rule(world, "MEM-01", ends.iter().all(is_pool), || {
                "MDL over memory that is not of the non-paged pool".to_owned()
            });
        });
        let mdl = memory::alloc(KIND, size_of::<Mdl>(), TAG, "MDL of the driver").cast::<Mdl>();
        let start = address.cast::<u8>();
        let mut built = Mdl::ZERO;
        built.size = 48;
        built.start_va = ptr::with_exposed_provenance_mut(start.expose_provenance() & !0xFFF);
        built.byte_offset = (start.addr() & 0xFFF) as u32;
        built.byte_count = length;
        built.mapped_system_va = start;
        built.mdl_flags = MdlFlags::SOURCE_IS_NONPAGED_POOL;
        // SAFETY: fresh memory of this size, aligned to 16.
        unsafe { mdl.write(built) };
        mdl
    }

    pub extern "win64" fn NdisFreeMdl(mdl: *mut Mdl) where irql <= DISPATCH {
        memory::free(KIND, mdl.cast(), TAG);
    }
}
