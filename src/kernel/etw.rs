//! The driver as a provider of trace events (etwregister, etweventenabled, etwwritetransfer, etwunregister in wdm.h).
//!
//! There is no enable callback, which is optional (nf-wdm-etwregister.md): whether a session wants an event is asked when
//! the event happens (nf-wdm-etweventenabled.md), so there is no state that could be late, or freed when a session ends.

use super::sys;
use crate::ndis::irql::Passive;
use crate::ndis::raw::{EventDataDescriptor, EventDescriptor, Guid};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use teaming::event::Event;
use teaming::event::trace_logging::{PROVIDER_ID, PROVIDER_METADATA};

/// `EVENT_DATA_DESCRIPTOR_TYPE_*`: user data, event metadata, provider metadata.
const DATA: u32 = 0;
const METADATA: u32 = 1;
const PROVIDER: u32 = 2;
/// The channel of TraceLogging events.
const CHANNEL: u8 = 11;

/// The registration, which all modules share. Without one nothing is written, and nothing else changes.
///
/// # Invariants
/// A handle is set once, and stays until the driver's state is dropped, after the last module.
pub struct Provider {
    /// REGHANDLE; 0 if there is none.
    handle: AtomicU64,
    /// Somebody is registering.
    busy: AtomicBool,
}

impl Provider {
    pub const fn unregistered() -> Self {
        Self { handle: AtomicU64::new(0), busy: AtomicBool::new(false) }
    }

    /// Any IRQL.
    pub fn is_registered(&self) -> bool {
        self.handle.load(Ordering::Acquire) != 0
    }

    /// Registers the provider, unless it is; returns whether it is. PASSIVE_LEVEL, in the context of a system thread.
    pub fn register(&self, _: &Passive) -> bool {
        if self.busy.swap(true, Ordering::AcqRel) {
            return self.is_registered();
        }
        if !self.is_registered() {
            let id = Guid::from_bytes(PROVIDER_ID);
            let mut handle = 0;
            // SAFETY: PASSIVE_LEVEL by the token; no callback, and so no context.
            let status = unsafe { sys::EtwRegister(&id, None, core::ptr::null_mut(), &mut handle) };
            if sys::nt_success(status) {
                self.handle.store(handle, Ordering::Release);
            }
        }
        self.busy.store(false, Ordering::Release);
        self.is_registered()
    }

    /// Whether a session wants the event, by its level and by what it is about. Any IRQL.
    #[inline(never)] // called from everywhere
    pub fn wants(&self, event: &Event) -> bool {
        let handle = self.handle.load(Ordering::Acquire);
        // SAFETY: registered, and the descriptor lives through the call.
        handle != 0 && unsafe { sys::EtwEventEnabled(handle, &descriptor(event)) } != 0
    }

    /// Writes an event; whether ETW took it. PASSIVE_LEVEL, though ETW allows any level (nf-wdm-etwwritetransfer.md), which
    /// keeps it out of locks. The parts are in memory of the system that is not paged.
    #[inline(never)] // a frame of its own
    pub fn write(&self, event: &Event, metadata: &[u8], data: &[u8], _: &Passive) -> bool {
        let handle = self.handle.load(Ordering::Acquire);
        let parts = [part(&PROVIDER_METADATA, PROVIDER), part(metadata, METADATA), part(data, DATA)];
        let none = core::ptr::null();
        // SAFETY: everything lives through the call; ETW copies it.
        let status = unsafe {
            sys::EtwWriteTransfer(handle, &descriptor(event), none, none, parts.len() as u32, parts.as_ptr())
        };
        sys::nt_success(status)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let handle = *self.handle.get_mut();
        if handle != 0 {
            // SAFETY: from `register`, given back once; the driver's state is dropped by DriverUnload or by a DriverEntry that
            // fails, both at PASSIVE_LEVEL.
            unsafe { sys::EtwUnregister(handle) };
        }
    }
}

fn descriptor(event: &Event) -> EventDescriptor {
    let kind = event.kind();
    EventDescriptor {
        id: kind.id,
        channel: CHANNEL,
        level: kind.level as u8,
        keyword: kind.keyword as u64,
        ..EventDescriptor::ZERO
    }
}

fn part(bytes: &[u8], kind: u32) -> EventDataDescriptor {
    EventDataDescriptor { pointer: bytes.as_ptr().expose_provenance() as u64, size: bytes.len() as u32, kind }
}
