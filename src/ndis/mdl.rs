//! The header window: the first bytes of a packet, each byte read once.
//!
//! A guest may change packet bytes at any time unless the forwarding detail marks them as safe. The window is
//! therefore borrowed only if its bytes are contiguous, safe and cached; otherwise they are copied, each byte read
//! exactly once. No Rust reference to memory that a guest can change is ever formed.

use super::nbl::NetBufferRef;
use super::raw::{ForwardingDetail, Mdl, MdlFlags};
use crate::kernel::sys::MmMapLockedPagesSpecifyCache;
use core::mem::MaybeUninit;

/// Longest window in bytes: VLAN tags, IPv6 with extension headers, a tunnel header and the inner transport header.
pub const WINDOW: usize = 256;

/// The packet could not be mapped (`MmGetSystemAddressForMdlSafe` returned NULL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotMapped;

/// Memory for one window; allocated on the stack of the walk and reused for each packet.
pub struct WindowBuffer(MaybeUninit<[u64; WINDOW / 8]>);

impl WindowBuffer {
    pub const fn empty() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// The first `min(data length, 256)` bytes of a packet, however its MDLs divide them. IRQL <= DISPATCH_LEVEL.
    pub fn read<'a>(
        &'a mut self,
        packet: NetBufferRef<'a>,
        detail: ForwardingDetail,
    ) -> Result<&'a [u8], NotMapped> {
        let wanted = (packet.data_length() as usize).min(WINDOW);
        if wanted == 0 {
            // An empty packet may have no MDL that can be mapped.
            return Ok(&[]);
        }
        let mut cursor = MdlCursor::start(packet);
        let first = cursor.fragment(wanted)?;
        if first.len >= wanted && borrowable(detail, first.len) {
            // SAFETY: the bytes are mapped, belong to the owned list, and the guest cannot change them while `packet`
            // is borrowed.
            return Ok(unsafe { core::slice::from_raw_parts(first.address, first.len) });
        }
        self.copy(cursor, wanted)
    }

    #[inline(never)]
    fn copy(&mut self, mut cursor: MdlCursor, wanted: usize) -> Result<&[u8], NotMapped> {
        let target = self.0.as_mut_ptr().cast::<u8>();
        let mut filled = 0;
        while filled < wanted {
            let fragment = cursor.fragment(wanted - filled)?;
            if fragment.len == 0 {
                break;
            }
            // SAFETY: `fragment.len` is at most what is left of the buffer.
            unsafe { read_once(fragment.address, target.add(filled), fragment.len) };
            filled += fragment.len;
            cursor.advance();
        }
        // SAFETY: `filled` bytes were written above.
        Ok(unsafe { core::slice::from_raw_parts(target, filled) })
    }
}

/// `N` bytes of a packet from `offset` on, each read once; `None` if it is shorter. IRQL <= DISPATCH_LEVEL.
pub fn read_at<const N: usize>(packet: NetBufferRef<'_>, offset: u32) -> Result<Option<[u8; N]>, NotMapped> {
    let mut bytes = [0; N];
    let mut cursor = MdlCursor::start(packet);
    cursor.skip(offset as usize);
    let mut filled = 0;
    while filled < N {
        let fragment = cursor.fragment(N - filled)?;
        if fragment.len == 0 {
            return Ok(None);
        }
        // SAFETY: `fragment.len` is at most what is left of the array.
        unsafe { read_once(fragment.address, bytes.as_mut_ptr().add(filled), fragment.len) };
        filled += fragment.len;
        cursor.skip(fragment.len);
    }
    let is_whole = packet.data_length() as usize >= offset as usize + N;
    Ok(is_whole.then_some(bytes))
}

/// Copies the first `len` bytes of a packet to the beginning of another, each read once; how many were there to copy.
/// IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// Nobody else uses the first `len` bytes of `to`, whose memory is not that of `from`.
pub unsafe fn copy_front(
    from: NetBufferRef<'_>,
    to: NetBufferRef<'_>,
    len: usize,
) -> Result<usize, NotMapped> {
    let (mut source, mut target) = (MdlCursor::start(from), MdlCursor::start(to));
    let mut copied = 0;
    while copied < len {
        let read = source.fragment(len - copied)?;
        let written = target.fragment(read.len)?;
        if written.len == 0 {
            break;
        }
        // SAFETY: both are mapped for this length; the caller owns the target.
        unsafe { read_once(read.address, written.address.cast_mut(), written.len) };
        source.skip(written.len);
        target.skip(written.len);
        copied += written.len;
    }
    Ok(copied)
}

/// Whether the first `len` bytes of a packet lie outside of the memory that the MDLs of another describe. An MDL that
/// describes a part of another has addresses of that one (IoBuildPartialMdl), mapped or not.
pub fn begins_apart(packet: NetBufferRef<'_>, len: usize, other: NetBufferRef<'_>) -> bool {
    let mut front = MdlCursor::start(packet);
    let mut left = len;
    while left != 0 {
        let Some(range) = front.described(left) else { return false };
        // SAFETY: the buffer belongs to an owned list.
        let mut others = MdlCursor { mdl: unsafe { (*other.as_ptr()).mdl_chain }, offset: 0 };
        while let Some(theirs) = others.described(usize::MAX) {
            if range.start < theirs.end && theirs.start < range.end {
                return false;
            }
            others.advance();
        }
        front.skip(range.len());
        left -= range.len();
    }
    true
}

/// Whether `len` bytes from the start may be read in place.
fn borrowable(detail: ForwardingDetail, len: usize) -> bool {
    if detail.is_packet_data_safe() {
        !detail.is_packet_data_uncached()
    } else {
        len <= detail.safe_packet_data_size() as usize && !detail.is_safe_packet_data_uncached()
    }
}

/// A position in the MDL chain of a packet.
struct MdlCursor {
    mdl: *mut Mdl,
    offset: u32,
}

struct Fragment {
    address: *const u8,
    len: usize,
}

impl MdlCursor {
    fn start(packet: NetBufferRef<'_>) -> Self {
        // SAFETY: the buffer belongs to an owned list.
        let buffer = unsafe { &*packet.as_ptr() };
        Self { mdl: buffer.current_mdl, offset: buffer.current_mdl_offset }
    }

    /// The mapped bytes at this position, at most `limit`; skips empty MDLs; length 0 at the end of the chain.
    fn fragment(&mut self, limit: usize) -> Result<Fragment, NotMapped> {
        while !self.mdl.is_null() {
            // SAFETY: the MDL belongs to an owned list.
            let available = unsafe { (*self.mdl).byte_count }.saturating_sub(self.offset) as usize;
            if available != 0 {
                let base = mapped(self.mdl)?;
                // SAFETY: `offset` is below the MDL's byte count.
                let address = unsafe { base.add(self.offset as usize) };
                return Ok(Fragment { address, len: available.min(limit) });
            }
            self.advance();
        }
        Ok(Fragment { address: core::ptr::null(), len: 0 })
    }

    /// The addresses that the MDL at this position has, at most `limit` bytes; skips empty MDLs, `None` at the end.
    fn described(&mut self, limit: usize) -> Option<core::ops::Range<usize>> {
        // SAFETY: the MDL belongs to an owned list.
        while let Some(mdl) = unsafe { self.mdl.as_ref() } {
            let available = mdl.byte_count.saturating_sub(self.offset) as usize;
            if available != 0 {
                let start = mdl.start_va.addr().wrapping_add(mdl.byte_offset as usize);
                let start = start.wrapping_add(self.offset as usize);
                return Some(start..start.wrapping_add(available.min(limit)));
            }
            self.advance();
        }
        None
    }

    fn skip(&mut self, mut count: usize) {
        // SAFETY: the MDL belongs to an owned list.
        while let Some(mdl) = unsafe { self.mdl.as_ref() } {
            let available = mdl.byte_count.saturating_sub(self.offset) as usize;
            if count < available {
                self.offset = self.offset.wrapping_add(count as u32);
                return;
            }
            count -= available;
            self.advance();
        }
    }

    fn advance(&mut self) {
        // SAFETY: the MDL belongs to an owned list.
        self.mdl = unsafe { (*self.mdl).next };
        self.offset = 0;
    }
}

/// `MmGetSystemAddressForMdlSafe`: the system address of the MDL, mapped now if it was not.
fn mapped(mdl: *mut Mdl) -> Result<*const u8, NotMapped> {
    /// `NormalPagePriority | MdlMappingNoExecute`.
    const PRIORITY: u32 = 16 | 0x4000_0000;
    const KERNEL_MODE: i8 = 0;
    const MM_CACHED: i32 = 1;
    // SAFETY: the MDL belongs to an owned list.
    let mdl_ref = unsafe { &*mdl };
    if mdl_ref.mdl_flags.intersects(MdlFlags::MAPPED_TO_SYSTEM_VA | MdlFlags::SOURCE_IS_NONPAGED_POOL) {
        return Ok(mdl_ref.mapped_system_va);
    }
    // SAFETY: the MDL describes locked pages; BugCheckOnFailure is FALSE, so a failed mapping returns NULL.
    let address = unsafe {
        MmMapLockedPagesSpecifyCache(mdl.cast(), KERNEL_MODE, MM_CACHED, core::ptr::null_mut(), 0, PRIORITY)
    };
    if address.is_null() { Err(NotMapped) } else { Ok(address.cast_const().cast()) }
}

/// Copies `len` bytes and reads each once: in steps of 32 and 8 bytes, then single bytes.
///
/// # Safety
/// `source` is mapped and `target` writable for `len` bytes. The source may change meanwhile.
unsafe fn read_once(source: *const u8, target: *mut u8, len: usize) {
    /// An unaligned 8-byte word, which x86-64 reads with one instruction.
    #[derive(Clone, Copy)]
    #[repr(C, packed)]
    struct Word(u64);
    // SAFETY: all offsets are below `len`.
    let word =
        |at| unsafe { target.add(at).cast::<Word>().write(source.add(at).cast::<Word>().read_volatile()) };
    let mut at = 0;
    while at + 32 <= len {
        [0, 8, 16, 24].into_iter().for_each(|next| word(at + next));
        at += 32;
    }
    while at + 8 <= len {
        word(at);
        at += 8;
    }
    while at < len {
        // SAFETY: `at` is below `len`.
        unsafe { *target.add(at) = source.add(at).read_volatile() };
        at += 1;
    }
}
