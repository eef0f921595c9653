//! Spin locks and NDIS read/write locks, released by guards on drop. The lock order is `Module::operations`,
//! `Module::control` (spin locks), `Module::forwarding`, `Module::associations` (read/write locks), `ndis::host`. None is held
//! across a call that can re-enter the module. A `Gate` in front of each read/write lock keeps readers from starving a
//! writer.

use super::gate::{Count, Flag, Gate, Turn};
use super::handle::Filter;
use super::irql::Dispatch;
use super::raw::{LockStateEx, RwLockFlags};
use super::status::OutOfMemory;
use super::sys;
use crate::kernel::sys::{KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A spin lock and the value that it protects. `lock` raises to DISPATCH_LEVEL; IRQL <= DISPATCH_LEVEL.
pub struct SpinLock<T> {
    lock: UnsafeCell<usize>,
    value: UnsafeCell<T>,
}

// SAFETY: only the thread that holds the lock accesses the value.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    pub const fn new(value: T) -> Self {
        Self { lock: UnsafeCell::new(0), value: UnsafeCell::new(value) }
    }

    pub fn lock(&self) -> SpinGuard<'_, T> {
        // SAFETY: the lock lives in non-paged memory as long as `self`.
        let old_irql = unsafe { KeAcquireSpinLockRaiseToDpc(self.lock.get()) };
        // SAFETY: the lock raised to DISPATCH_LEVEL, and the guard lends the token only while it holds the lock.
        let dispatch = unsafe { Dispatch::assume() };
        SpinGuard { owner: self, old_irql, dispatch }
    }
}

pub struct SpinGuard<'a, T> {
    owner: &'a SpinLock<T>,
    old_irql: u8,
    dispatch: Dispatch,
}

impl<T> SpinGuard<'_, T> {
    pub fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// The value, and the token for a lock that is taken while the value changes.
    pub fn parts(&mut self) -> (&mut T, &Dispatch) {
        // SAFETY: the lock is held and the guard borrowed mutably.
        (unsafe { &mut *self.owner.value.get() }, &self.dispatch)
    }
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.owner.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held and the guard borrowed mutably.
        unsafe { &mut *self.owner.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: acquired in `lock` with this old IRQL.
        unsafe { KeReleaseSpinLock(self.owner.lock.get(), self.old_irql) };
    }
}

impl Turn for SpinLock<()> {
    fn hold<R>(&self, body: impl FnOnce() -> R) -> R {
        let _held = self.lock();
        body()
    }
}

impl Flag for AtomicBool {
    fn set(&self, on: bool) {
        self.store(on, Ordering::SeqCst);
    }

    #[inline]
    fn is_set(&self) -> bool {
        self.load(Ordering::SeqCst)
    }
}

impl Count for AtomicU32 {
    fn load(&self, order: Ordering) -> u32 {
        self.load(order)
    }

    fn store(&self, count: u32, order: Ordering) {
        self.store(count, order);
    }
}

/// An NDIS read/write lock with a gate in front, and the value that it protects.
pub struct RwLock<T> {
    gate: Gate<AtomicBool, SpinLock<()>, AtomicU32>,
    lock: NonNull<core::ffi::c_void>,
    value: UnsafeCell<T>,
}

// SAFETY: the lock cannot be moved while a guard borrows it.
unsafe impl<T: Send> Send for RwLock<T> {}
// SAFETY: readers have shared access to the value, a writer has exclusive access.
unsafe impl<T: Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    /// IRQL <= DISPATCH_LEVEL.
    pub fn try_new(filter: Filter, value: T) -> Result<Self, OutOfMemory> {
        // SAFETY: the handle is the filter's own; the result is checked.
        let lock = NonNull::new(unsafe { sys::NdisAllocateRWLock(filter.handle()) }).ok_or(OutOfMemory)?;
        let gate = Gate::new(AtomicBool::new(false), SpinLock::new(()), AtomicU32::new(0));
        Ok(Self { gate, lock, value: UnsafeCell::new(value) })
    }

    /// Takes the lock for reading and raises to DISPATCH_LEVEL. Waits for a writer that holds the lock or waits for
    /// it. IRQL <= DISPATCH_LEVEL.
    pub fn read(&self) -> ReadGuard<'_, T> {
        self.gate.stand_back();
        let mut state = LockStateEx::ZERO;
        let flags = RwLockFlags::empty().bits();
        // SAFETY: the lock lives as long as `self`, the state as long as the guard.
        unsafe { sys::NdisAcquireRWLockRead(self.lock.as_ptr(), &mut state, flags) };
        // SAFETY: the lock raised to DISPATCH_LEVEL, and the guard lends the token only while it holds the lock.
        let dispatch = unsafe { Dispatch::assume() };
        ReadGuard { owner: self, state, dispatch }
    }

    /// Takes the lock for writing at DISPATCH_LEVEL; callers take the token from the team lock, which they hold. Waits
    /// for at most one hold of each reading thread.
    pub fn write<'a>(&'a self, _: &'a Dispatch) -> WriteGuard<'a, T> {
        let mut state = LockStateEx::ZERO;
        let flags = RwLockFlags::AT_DISPATCH_LEVEL.bits();
        // SAFETY: the lock lives as long as `self`, the state as long as the guard; DISPATCH_LEVEL by the token.
        self.gate.enter(|| unsafe { sys::NdisAcquireRWLockWrite(self.lock.as_ptr(), &mut state, flags) });
        WriteGuard { owner: self, state }
    }
}

impl<T> Drop for RwLock<T> {
    fn drop(&mut self) {
        // SAFETY: no guard exists, since `self` is borrowed mutably.
        unsafe { sys::NdisFreeRWLock(self.lock.as_ptr()) };
    }
}

pub struct ReadGuard<'a, T> {
    owner: &'a RwLock<T>,
    state: LockStateEx,
    dispatch: Dispatch,
}

impl<T> ReadGuard<'_, T> {
    pub fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// How often the lock was taken for writing: as long as that stays, nothing has changed.
    pub fn writers(&self) -> u32 {
        self.owner.gate.writers()
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: held for reading.
        unsafe { &*self.owner.value.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: acquired with this state.
        unsafe { sys::NdisReleaseRWLock(self.owner.lock.as_ptr(), &mut self.state) };
    }
}

pub struct WriteGuard<'a, T> {
    owner: &'a RwLock<T>,
    state: LockStateEx,
}

impl<T> WriteGuard<'_, T> {
    /// How often the lock was taken for writing, this time included.
    pub fn writers(&self) -> u32 {
        self.owner.gate.writers()
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: held for writing.
        unsafe { &*self.owner.value.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: held for writing and the guard borrowed mutably.
        unsafe { &mut *self.owner.value.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: acquired with this state.
        unsafe { sys::NdisReleaseRWLock(self.owner.lock.as_ptr(), &mut self.state) };
    }
}
