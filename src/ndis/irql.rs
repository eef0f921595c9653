//! IRQL as an argument: a function that needs a level takes the token, and only the code that knows the level mints it.

use core::marker::PhantomData;

/// Proof that the code runs at PASSIVE_LEVEL: minted by DriverEntry, by the trampolines of handlers that NDIS calls there
/// and by the module's thread.
/// Not `Send`: the level belongs to the calling thread.
pub struct Passive(PhantomData<*const ()>);

/// Proof that the code runs at DISPATCH_LEVEL: lent by the guards of the locks that raise to it, and by timer handlers.
pub struct Dispatch(PhantomData<*const ()>);

impl Passive {
    /// # Safety
    /// The caller runs at PASSIVE_LEVEL and does not raise while the token lives.
    pub(crate) unsafe fn assume() -> Self {
        Self(PhantomData)
    }
}

impl Dispatch {
    /// # Safety
    /// The caller runs at DISPATCH_LEVEL and does not lower while the token lives.
    pub(crate) unsafe fn assume() -> Self {
        Self(PhantomData)
    }
}
