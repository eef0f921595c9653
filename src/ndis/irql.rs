//! IRQL as an argument: a function that requires a level takes its token, and only code that knows the level makes
//! one.

use core::marker::PhantomData;

/// Proof that the code runs at PASSIVE_LEVEL: made by DriverEntry, by the trampolines of handlers that NDIS calls at
/// that level, and by the module's thread. Not `Send`, because the level belongs to the calling thread.
pub struct Passive(PhantomData<*const ()>);

/// Proof that the code runs at DISPATCH_LEVEL: lent by the guards of locks that raise to it, and by timer handlers.
pub struct Dispatch(PhantomData<*const ()>);

impl Passive {
    /// # Safety
    /// The caller runs at PASSIVE_LEVEL and does not raise the IRQL while the token exists.
    pub(crate) unsafe fn assume() -> Self {
        Self(PhantomData)
    }
}

impl Dispatch {
    /// # Safety
    /// The caller runs at DISPATCH_LEVEL and does not lower the IRQL while the token exists.
    pub(crate) unsafe fn assume() -> Self {
        Self(PhantomData)
    }
}
