//! The border: how an imported function is defined, and how one is found by name.

use crate::machine::cpu;
use crate::machine::stack_depth;
use crate::machine::thread::{self, Thread};
use crate::mutation::Mutation;
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// Address of an exported function.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub *const c_void);

// SAFETY: an address of code is never written through.
unsafe impl Sync for Address {}
// SAFETY: as above.
unsafe impl Send for Address {}

/// Name and address of an exported function.
pub type Symbol = (&'static str, Address);

/// Defines imports of the driver: `pub extern "win64" fn Name(a: T) -> R where irql <= DISPATCH { body }`.
///
/// Each becomes an unmangled function whose body runs inside a `Frame`, and a row of the file's `SYMBOLS`.
#[macro_export]
macro_rules! exports {
    ($(
        $(#[$meta:meta])*
        pub extern "win64" fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? where irql <= $max:ident $body:block
    )*) => {
        $(
            $(#[$meta])*
            /// # Safety
            /// As for the documented function of the same name.
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            pub unsafe extern "win64" fn $name($($arg: $ty),*) $(-> $ret)? {
                #[allow(clippy::too_many_arguments)]
                unsafe extern "win64" fn behind($($arg: $ty),*) $(-> $ret)? {
                    // Apart, so that little of ours lies on the stack when the driver gets control back: what lies
                    // there counts as its own.
                    #[inline(never)]
                    #[allow(clippy::too_many_arguments)]
                    fn enter($($arg: $ty),*) -> $crate::exports::Frame {
                        let shown = $crate::shown::arguments!($($arg),*);
                        $crate::exports::Frame::enter(stringify!($name), $crate::machine::cpu::$max, shown)
                    }
                    #[inline(never)]
                    #[allow(clippy::too_many_arguments)]
                    unsafe fn body($($arg: $ty),*) $(-> $ret)? $body
                    let frame = enter($($arg),*);
                    // SAFETY: the arguments are the caller's.
                    #[allow(unreachable_code, clippy::diverging_sub_expression)]
                    frame.ended(unsafe { body($($arg),*) })
                }
                $crate::import_entry!(behind)
            }
        )*

        /// The functions above by name.
        pub const SYMBOLS: &[$crate::exports::Symbol] = &[
            $((
                stringify!($name),
                $crate::exports::Address($name as *const ::std::ffi::c_void),
            ),)*
        ];
    };
}

/// The execution of one import: log, yield points, IRQL check, simulated call stack. Nothing unwinds past it.
pub struct Frame {
    thread: Rc<Thread>,
    name: &'static str,
    /// Where the driver stood on its stack.
    driver: stack_depth::Span,
}

impl Frame {
    pub fn enter(name: &'static str, max: u8, arguments: impl FnOnce() -> String) -> Self {
        let Some(thread) = thread::try_current() else {
            eprintln!("vswitch: {name} called on a thread that belongs to no simulated machine");
            std::process::abort();
        };
        let driver = stack_depth::leave_driver(&thread.world);
        thread.world.scheduler.yield_point(&thread, name);
        thread.stack.borrow_mut().push(name);
        thread.shared.imports.fetch_add(1, Ordering::SeqCst);
        thread.world.log_call(&thread, "+", name, arguments);
        if max == cpu::PASSIVE
            && thread.world.mutation() == Some(Mutation::CallTooHigh)
            && thread.world.spend_mutation()
        {
            let old = cpu::raise(&thread);
            cpu::require_irql(name, max);
            cpu::lower_to(&thread, old);
        }
        cpu::require_irql(name, max);
        Self { thread, name, driver }
    }

    /// What the import returns, on its way back.
    #[inline(never)]
    pub fn ended<R: 'static>(&self, result: R) -> R {
        self.thread.world.log_result(&self.thread, self.name, &result);
        result
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let stack = self.thread.stack.borrow().join(" > ");
            let seed = self.thread.world.config().seed;
            eprintln!("vswitch: the simulation itself failed in {} ({stack}, seed {seed})", self.name);
            std::process::abort();
        }
        self.thread.stack.borrow_mut().pop();
        self.thread.world.scheduler.yield_point(&self.thread, self.name);
        stack_depth::back_in_driver(self.driver);
    }
}

/// Every table of exports; the switch's files add theirs.
const TABLES: &[&[Symbol]] = &[
    crate::machine::kernel::SYMBOLS,
    crate::machine::driver_object::SYMBOLS,
    crate::machine::locks::SYMBOLS,
    crate::machine::rwlock::SYMBOLS,
    crate::machine::event::SYMBOLS,
    crate::machine::rundown::SYMBOLS,
    crate::machine::timer::SYMBOLS,
    crate::machine::work::SYMBOLS,
    crate::machine::registry_calls::SYMBOLS,
    crate::switch::ndis::driver::SYMBOLS,
    crate::switch::ndis::module::SYMBOLS,
    crate::switch::ndis::data::SYMBOLS,
    crate::switch::ndis::pools::SYMBOLS,
    crate::switch::control::SYMBOLS,
    crate::switch::control::optional::SYMBOLS,
    crate::switch::control::status::SYMBOLS,
];

/// Finds an import by name, as a loader does.
pub fn symbol(name: &str) -> Option<*const c_void> {
    TABLES.iter().copied().flatten().find(|(known, _)| *known == name).map(|(_, address)| address.0)
}

/// Every name that can be found.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().copied().flatten().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of the system's functions that a list of imports declares.
    fn declared(source: &str) -> impl Iterator<Item = &str> {
        source.lines().filter_map(|line| {
            let line = line.trim_start();
            let (name, _) = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("fn ")?.split_once('(')?;
            name.starts_with(char::is_uppercase).then_some(name)
        })
    }

    #[test]
    fn every_import_of_the_driver_is_found_by_name() {
        let kernel = declared(include_str!("../../../src/kernel/sys.rs"));
        let imports: Vec<_> = kernel.chain(declared(include_str!("../../../src/ndis/sys.rs"))).collect();
        assert!(imports.len() > 50, "{imports:?}");
        for name in imports {
            assert!(symbol(name).is_some(), "{name}");
        }
        assert!(symbol("NoSuchFunction").is_none());
    }

    #[test]
    fn names_are_unique() {
        let mut all: Vec<_> = names().collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    /// Does not compile unless both have the same arguments, result and calling convention.
    macro_rules! same_type {
        ($ours:path, $theirs:path: $($name:ident)*) => {
            use $ours as ours;
            use $theirs as theirs;
            $(let _ = [ours::$name, theirs::$name];)*
        };
    }

    #[test]
    fn exports_have_the_types_that_the_driver_imports() {
        {
            same_type!(crate::machine::kernel, lbfoext::kernel::sys:
                ExAllocatePool2 ExFreePoolWithTag KeBugCheckEx KeGetCurrentProcessorNumberEx
                KeQueryMaximumProcessorCountEx KeQueryUnbiasedInterruptTime KeQueryTimeIncrement
                MmMapLockedPagesSpecifyCache);
        }
        {
            same_type!(crate::machine::locks, lbfoext::kernel::sys: KeAcquireSpinLockRaiseToDpc KeReleaseSpinLock);
        }
        {
            same_type!(crate::machine::rundown, lbfoext::kernel::sys:
                ExAllocateCacheAwareRundownProtection ExFreeCacheAwareRundownProtection
                ExAcquireRundownProtectionCacheAware ExReleaseRundownProtectionCacheAware
                ExWaitForRundownProtectionReleaseCacheAware ExReInitializeRundownProtectionCacheAware
                ExInitializeRundownProtection ExAcquireRundownProtection ExReleaseRundownProtection
                ExWaitForRundownProtectionRelease);
        }
        {
            same_type!(crate::machine::driver_object, lbfoext::kernel::sys:
                IoAllocateDriverObjectExtension IoGetDriverObjectExtension);
        }
        {
            same_type!(crate::machine::work, lbfoext::kernel::sys:
                IoAllocateWorkItem IoQueueWorkItemEx IoFreeWorkItem);
        }
        {
            same_type!(crate::machine::registry_calls, lbfoext::kernel::sys:
                ZwOpenKey ZwQueryValueKey ZwNotifyChangeKey ZwClose);
        }
        {
            same_type!(crate::machine::rwlock, lbfoext::ndis::sys:
                NdisAllocateRWLock NdisFreeRWLock NdisAcquireRWLockRead NdisAcquireRWLockWrite NdisReleaseRWLock);
        }
        {
            same_type!(crate::machine::event, lbfoext::ndis::sys: NdisInitializeEvent NdisSetEvent NdisWaitEvent);
        }
        {
            same_type!(crate::machine::timer, lbfoext::ndis::sys:
                NdisAllocateTimerObject NdisSetTimerObject NdisCancelTimerObject NdisFreeTimerObject);
        }
    }
}
