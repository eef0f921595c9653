//! Memory of requests: recorded in the ledger or, in scenarios that detect reads past the end, at the end of a page
//! before an unmapped one.

use crate::machine::memory::AllocationKind;
use crate::machine::world::World;
use crate::switch::control::Control;
use crate::switch::ndis::with;
use lbfoext::ndis::raw::{ObjectHeader, OidRequest, request_type};
use std::ptr;

const PAGE: usize = 4096;
/// Alignment of buffers, as in pool memory.
const ALIGN: usize = 8;

/// Allocates memory with a request's bytes; returns its address.
pub fn take(world: &World, bytes: &[u8], what: &'static str) -> usize {
    if !with(|_, state| state.style.fenced) {
        let memory = world.alloc(AllocationKind::Switch, bytes.len().max(1), 0, what);
        // SAFETY: just allocated with at least this length.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len()) };
        return memory as usize;
    }
    let pages = bytes.len().div_ceil(PAGE).max(1);
    let (base, size) = (map(pages + 1), (pages + 1) * PAGE);
    let address = (base + pages * PAGE - bytes.len()) & !(ALIGN - 1);
    // SAFETY: all pages except the last are mapped, and the bytes end before the last.
    unsafe {
        ptr::write_bytes(base as *mut u8, 0xFD, pages * PAGE);
        ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len());
        libc::mprotect((base + pages * PAGE) as *mut libc::c_void, PAGE, libc::PROT_NONE);
    }
    with(|_, state| state.control.fences.insert(address, (base, size)));
    address
}

fn map(pages: usize) -> usize {
    let (read_write, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: fresh anonymous memory.
    let memory = unsafe { libc::mmap(ptr::null_mut(), pages * PAGE, read_write, private, -1, 0) };
    assert!(memory != libc::MAP_FAILED, "no memory for a fenced buffer");
    memory as usize
}

/// Frees memory; fenced memory is unmapped.
pub fn free(world: &World, address: usize) {
    match with(|_, state| state.control.fences.remove(&address)) {
        // SAFETY: mapped in `take` with this size.
        Some((base, size)) => _ = unsafe { libc::munmap(base as *mut libc::c_void, size) },
        None => world.free(AllocationKind::Switch, address as *const u8, 0),
    }
}

/// The bytes at an address; empty if it is null.
pub(crate) fn bytes_at(address: usize, length: usize) -> Vec<u8> {
    if address == 0 || length == 0 {
        return Vec::new();
    }
    // SAFETY: callers name memory of the switch that they allocated with at least this length.
    unsafe { std::slice::from_raw_parts(address as *const u8, length) }.to_vec()
}

/// What NDIS reads of a request of the extension's own of the first revision: NDIS_OID_REQUEST as NDIS 6.40 declares it,
/// which is shorter than the second with SwitchId, VPortId and Flags (ns-oidrequest-ndis_oid_request).
const OWN_REQUEST: usize = 240;

/// Reads a request that an extension wrote.
///
/// # Safety
/// The request is there, in the length that its header states.
pub(crate) unsafe fn own_request(at: *const OidRequest) -> OidRequest {
    let mut r = OidRequest::ZERO;
    // SAFETY: by the caller.
    let header = unsafe { at.cast::<ObjectHeader>().read_unaligned() };
    let second = header.revision >= 2 && header.size >= OidRequest::SIZE_REVISION_2;
    let length = if second { size_of::<OidRequest>() } else { OWN_REQUEST };
    // SAFETY: by the caller; the copy is as long.
    unsafe { ptr::copy_nonoverlapping(at.cast::<u8>(), (&raw mut r).cast::<u8>(), length) };
    r
}

/// The words of a request that hold results, by type.
pub fn results(r: &OidRequest) -> [u32; 5] {
    let method = r.request_type == request_type::METHOD;
    let arm = if method {
        [r.method_bytes_written, r.method_bytes_read, r.method_bytes_needed]
    } else {
        [r.word56, 0, 0]
    };
    [r.word52, arm[0], arm[1], arm[2], u32::from(r.supported_revision)]
}

impl Drop for Control {
    fn drop(&mut self) {
        for (base, size) in std::mem::take(&mut self.fences).into_values() {
            // SAFETY: as in `free`; the simulated machine has ended, and nothing reads the memory any more.
            unsafe { libc::munmap(base as *mut libc::c_void, size) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::world::{self, Config};

    #[test]
    fn of_an_own_request_nothing_is_read_past_its_end() {
        let world = World::new(Config::default());
        let done = world.enter(|| {
            with(|_, state| state.style.fenced = true);
            let world = world::current();
            let mut bytes = [7; OWN_REQUEST];
            bytes[1] = 1;
            let address = take(&world, &bytes, "request");
            // SAFETY: so much is there.
            let r = unsafe { own_request(address as *const OidRequest) };
            assert_eq!((r.oid, r.supported_revision), (0x0707_0707, 7));
            free(&world, address);
        });
        assert_eq!(done, Ok(()));
    }

    #[test]
    fn a_fenced_buffer_ends_where_its_page_ends() {
        let world = World::new(Config::default());
        let done = world.enter(|| {
            with(|_, state| state.style.fenced = true);
            let world = world::current();
            for length in [0, 1, 32, 4095, 4096, 5000] {
                let address = take(&world, &vec![7; length], "buffer");
                let to_page = PAGE - (address + length) % PAGE;
                assert!(address.is_multiple_of(ALIGN) && to_page % PAGE < ALIGN, "{length}: {address:#x}");
                free(&world, address);
            }
        });
        assert_eq!(done, Ok(()));
    }
}
