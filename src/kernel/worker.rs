//! A thread of the module's own at PASSIVE_LEVEL, for what cannot be done where it is noticed. Whoever has something for
//! it leaves a reason and wakes it; reasons are a set, so what is left twice before the thread looks is one.

use super::event::{Event, EventHandle, unnamed};
use super::sys::{self, StartRoutine};
use crate::ndis::irql::Passive;
use crate::ndis::status::{NdisStatus, OutOfMemory};
use bitflags::bitflags;
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use teaming::ids::Ticks;

bitflags! {
    /// Why the thread is woken.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Reasons: u32 {
        /// The module is being detached: the thread ends.
        const STOP = 1;
        /// The settings are to be watched from now on.
        const SETTINGS = 2;
        /// Part of the switch's configuration was not readable, and is to be read again.
        const CONFIGURATION = 4;
    }
}

/// What runs on the thread; the owner outlives it, because detach waits for its end.
pub trait Work: Sync {
    fn worker(&self) -> &Worker;
    /// Runs until it is told `Reasons::STOP`.
    fn run(&self, passive: &Passive);
}

/// What let a wait through; nothing of it if the time was over.
pub struct Woken {
    pub reasons: Reasons,
    /// The other event was set.
    pub event: bool,
}

/// The thread, and what is left for it.
///
/// # Invariants
/// A reason is in `reasons` before the event is set for it, and the thread takes the reasons after the event let it
/// through: so none waits for the next one.
pub struct Worker {
    wake: Event,
    reasons: AtomicU32,
    /// The thread's handle; null while none runs.
    thread: AtomicPtr<c_void>,
}

const THREAD_ALL_ACCESS: u32 = 0x1F_FFFF;

impl Worker {
    /// Without a thread yet. IRQL <= DISPATCH_LEVEL.
    pub fn try_new() -> Result<Self, OutOfMemory> {
        Ok(Self {
            wake: Event::try_new()?,
            reasons: AtomicU32::new(0),
            thread: AtomicPtr::new(core::ptr::null_mut()),
        })
    }

    /// Starts the owner's thread, once. It runs until `stop`.
    ///
    /// # Errors
    /// The status with which the system refuses it; then there is no thread.
    pub fn start<T: Work>(owner: &T, _: &Passive) -> Result<(), NdisStatus> {
        let mut handle = core::ptr::null_mut();
        // SAFETY: PASSIVE_LEVEL by the token; the owner outlives the thread, which `stop` waits for.
        let status = unsafe {
            sys::PsCreateSystemThread(
                &mut handle,
                THREAD_ALL_ACCESS,
                &mut unnamed(),
                core::ptr::null_mut(),
                core::ptr::null_mut(),
                started::<T> as StartRoutine,
                core::ptr::from_ref(owner).cast_mut().cast(),
            )
        };
        if !sys::nt_success(status) {
            return Err(NdisStatus::RESOURCES);
        }
        owner.worker().thread.store(handle, Ordering::Release);
        Ok(())
    }

    /// Has the thread look at these reasons soon. IRQL <= DISPATCH_LEVEL, under any lock.
    pub fn wake(&self, reasons: Reasons) {
        self.reasons.fetch_or(reasons.bits(), Ordering::AcqRel);
        self.wake.set();
    }

    /// On the thread: waits until somebody wakes it, the other event is set, or `longest` is over.
    pub fn wait(&self, other: Option<&EventHandle>, longest: Option<Ticks>, passive: &Passive) -> Woken {
        let event = self.wake.wait_with(other, longest, passive);
        let reasons = self.reasons.swap(0, Ordering::AcqRel);
        Woken { reasons: Reasons::from_bits_truncate(reasons), event }
    }

    /// Ends the thread and waits until it has: the thread object, not anything that it does, says so.
    pub fn stop(&self, _: &Passive) {
        let handle = self.thread.swap(core::ptr::null_mut(), Ordering::AcqRel);
        if handle.is_null() {
            return;
        }
        self.wake(Reasons::STOP);
        // SAFETY: PASSIVE_LEVEL by the token; the handle is the thread's, from `start`. No time limit.
        unsafe { sys::ZwWaitForSingleObject(handle, 0, core::ptr::null_mut()) };
        // SAFETY: closed once.
        unsafe { sys::ZwClose(handle) };
    }
}

unsafe extern "win64" fn started<T: Work>(context: *mut c_void) {
    // SAFETY: the owner outlives its thread.
    if let Some(owner) = unsafe { context.cast::<T>().as_ref() } {
        // SAFETY: system threads begin at PASSIVE_LEVEL (PsCreateSystemThread).
        let passive = unsafe { Passive::assume() };
        owner.run(&passive);
    }
    // SAFETY: on the thread that ends, at PASSIVE_LEVEL. Does not return.
    unsafe { sys::PsTerminateSystemThread(0) };
}
