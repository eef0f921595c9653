//! The module's system thread at PASSIVE_LEVEL, for work that is detected at a higher IRQL. A caller adds a reason and
//! wakes the thread; reasons are a set, so a reason that is added twice before the thread runs counts once.

use super::event::{Event, EventHandle, unnamed};
use super::sys::{self, StartRoutine};
use crate::ndis::irql::Passive;
use crate::ndis::status::{NdisStatus, OutOfMemory};
use bitflags::bitflags;
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use teaming::ids::Ticks;

bitflags! {
    /// The reasons for which the thread is woken.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Reasons: u32 {
        /// The module is being detached: the thread ends.
        const STOP = 1;
        /// The settings must be watched from now on.
        const SETTINGS = 2;
        /// A part of the switch's configuration could not be read and must be read again.
        const CONFIGURATION = 4;
        /// A member was connected, or its adapter became known, and nothing has told its link state.
        const MEMBERS = 8;
        /// Members must be asked what they hold.
        const RESOURCES = 16;
        /// A member was connected, or the registry changed: vendor-private OIDs may have to be set.
        const PRIVATE = 32;
        /// An event must be written.
        const EVENTS = 64;
        /// An adapter became known or went away, or the registry changed: the settings of members may be others.
        const MEMBER_SETTINGS = 128;
        /// Addresses have moved, and the network is to be told.
        const ANNOUNCE = 256;
        /// Machines may have to choose their seats.
        const SEATS = 512;
    }
}

/// The function of the thread. The owner outlives it, because detach waits for its end.
pub trait Work: Sync {
    fn worker(&self) -> &Worker;
    /// Runs until it gets `Reasons::STOP`.
    fn run(&self, passive: &Passive);
}

/// What ended a wait; empty after a timeout.
pub struct Woken {
    pub reasons: Reasons,
    /// Whether the other event was set.
    pub event: bool,
}

/// The thread and its pending reasons.
///
/// # Invariants
/// A reason is added before the event is set, and the thread takes the reasons after its wait ended. So no reason is
/// left until the next wake.
pub struct Worker {
    wake: Event,
    reasons: AtomicU32,
    /// The handle of the thread; null if there is none.
    thread: AtomicPtr<c_void>,
}

const THREAD_ALL_ACCESS: u32 = 0x1F_FFFF;

impl Worker {
    /// Does not start the thread. IRQL <= DISPATCH_LEVEL.
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
    /// The status of PsCreateSystemThread; then there is no thread.
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

    /// Adds reasons and wakes the thread. IRQL <= DISPATCH_LEVEL, also with locks held.
    pub fn wake(&self, reasons: Reasons) {
        self.reasons.fetch_or(reasons.bits(), Ordering::AcqRel);
        self.wake.set();
    }

    /// Called on the thread: waits until `wake` is called, the other event is set, or `longest` has passed.
    pub fn wait(&self, other: Option<&EventHandle>, longest: Option<Ticks>, passive: &Passive) -> Woken {
        let event = self.wake.wait_with(other, longest, passive);
        let reasons = self.reasons.swap(0, Ordering::AcqRel);
        Woken { reasons: Reasons::from_bits_truncate(reasons), event }
    }

    /// Stops the thread and waits until its thread object is signaled.
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
