//! The operating system's interface table (netioapi.h, functions of NETIO.SYS): the link state of a physical adapter as
//! the rest of the system sees it, whatever the switch tells.

use super::pool::{PoolSlice, Tag};
use crate::ndis::irql::Passive;
use crate::ndis::raw::{Guid, MibIfRow2};
use crate::ndis::status::{NdisStatus, OutOfMemory};
use teaming::ids::AdapterId;
use teaming::team::member::LinkState;

/// The functions that the driver imports from NETIO.SYS; on the host the simulated machine defines the same symbols.
pub mod sys {
    use super::{Guid, MibIfRow2};

    #[cfg_attr(windows, link(name = "NETIO.SYS", kind = "raw-dylib", modifiers = "+verbatim"))]
    unsafe extern "win64" {
        /// PASSIVE_LEVEL (convertinterfaceguidtoluid.md).
        pub fn ConvertInterfaceGuidToLuid(guid: *const Guid, luid: *mut u64) -> i32;
        /// Below DISPATCH_LEVEL (getifentry2.md).
        pub fn GetIfEntry2Ex(level: i32, row: *mut MibIfRow2) -> i32;
    }
}

const WORDS: usize = size_of::<MibIfRow2>() / size_of::<u64>();
const _: () = assert!(WORDS * size_of::<u64>() == size_of::<MibIfRow2>());
const _: () = assert!(align_of::<MibIfRow2>() <= align_of::<u64>());

/// Memory for one row, which is too large for a stack frame.
pub struct InterfaceRow(PoolSlice<u64>);

impl InterfaceRow {
    /// IRQL <= DISPATCH_LEVEL.
    pub fn try_new() -> Result<Self, OutOfMemory> {
        Ok(Self(PoolSlice::try_new(Tag::THREAD, WORDS, |_| 0)?))
    }

    /// The link state of the adapter's interface. PASSIVE_LEVEL, no lock held, not in a handler of requests: the level
    /// without statistics is the one that does not wait for them (getifentry2.md). No page says how long it takes.
    ///
    /// # Errors
    ///
    /// The status of either function. NDIS_STATUS_ADAPTER_NOT_FOUND if the row is another adapter's.
    pub fn query(&mut self, adapter: AdapterId, _: &Passive) -> Result<LinkState, NdisStatus> {
        let guid = Guid::from_bytes(adapter.get());
        let mut luid = 0;
        // SAFETY: PASSIVE_LEVEL by the token; both live through the call.
        NdisStatus(unsafe { sys::ConvertInterfaceGuidToLuid(&guid, &mut luid) }).ok()?;
        self.0.fill(0);
        let row = self.0.as_mut_ptr().cast::<MibIfRow2>();
        // SAFETY: the words are as many and as aligned as a row needs.
        unsafe { (*row).interface_luid = luid };
        // SAFETY: PASSIVE_LEVEL by the token; the row is initialised and lives through the call.
        NdisStatus(unsafe { sys::GetIfEntry2Ex(MibIfRow2::WITHOUT_STATISTICS, row) }).ok()?;
        // SAFETY: any bytes are a row, and it is borrowed with `self`.
        let row = unsafe { &*row };
        if row.interface_guid.to_bytes() != adapter.get() {
            return Err(NdisStatus::ADAPTER_NOT_FOUND);
        }
        Ok(decode(row))
    }
}

/// Down is what cannot pass packets by either of the two states; a pending or unknown operational status
/// (IF_OPER_STATUS) is left to the state of the media.
fn decode(row: &MibIfRow2) -> LinkState {
    let unplugged = row.media_connect_state == MibIfRow2::MEDIA_DISCONNECTED
        || row.interface_and_oper_status_flags & MibIfRow2::NOT_MEDIA_CONNECTED != 0;
    let broken = matches!(
        row.oper_status,
        MibIfRow2::OPER_DOWN | MibIfRow2::OPER_NOT_PRESENT | MibIfRow2::OPER_LOWER_LAYER_DOWN
    );
    if unplugged || broken {
        return LinkState::Down;
    }
    if row.media_connect_state == MibIfRow2::MEDIA_CONNECTED || row.oper_status == MibIfRow2::OPER_UP {
        let speed = Some(row.transmit_link_speed).filter(|&speed| speed != 0 && speed != u64::MAX);
        return LinkState::Up { bits_per_second: speed };
    }
    LinkState::Unknown
}
