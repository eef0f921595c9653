//! Every function that a driver may import, by name.

use crate::exports::Symbol;
use std::ffi::c_void;

/// The tables of the files that define some.
const TABLES: &[&[Symbol]] = &[
    crate::machine::kernel::SYMBOLS,
    crate::machine::driver_object::SYMBOLS,
    crate::machine::error_log::SYMBOLS,
    crate::machine::etw::SYMBOLS,
    crate::machine::locks::SYMBOLS,
    crate::machine::rwlock::SYMBOLS,
    crate::machine::event::SYMBOLS,
    crate::machine::rundown::SYMBOLS,
    crate::machine::timer::SYMBOLS,
    crate::machine::registry_calls::SYMBOLS,
    crate::machine::registry_keys::SYMBOLS,
    crate::machine::objects::SYMBOLS,
    crate::machine::interfaces::SYMBOLS,
    crate::machine::random::SYMBOLS,
    crate::machine::system_thread::SYMBOLS,
    crate::machine::system_thread::TERMINATE,
    crate::switch::ndis::driver::SYMBOLS,
    crate::switch::ndis::module::SYMBOLS,
    crate::switch::ndis::data::SYMBOLS,
    crate::switch::ndis::pools::SYMBOLS,
    crate::switch::ndis::fragments::SYMBOLS,
    crate::switch::ndis::mdls::SYMBOLS,
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
        let netio = declared(include_str!("../../../src/kernel/netio.rs"));
        let ndis = declared(include_str!("../../../src/ndis/sys.rs"));
        let cng = declared(include_str!("../../../src/kernel/random.rs"));
        let imports: Vec<_> = kernel.chain(netio).chain(cng).chain(ndis).collect();
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
                KeQueryMaximumProcessorCountEx KeQueryUnbiasedInterruptTime KeQueryInterruptTimePrecise KeQueryTimeIncrement
                KeGetCurrentIrql KeEnterCriticalRegion KeLeaveCriticalRegion KeFlushQueuedDpcs
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
                ExWaitForRundownProtectionRelease ExRundownCompletedCacheAware);
        }
        {
            same_type!(crate::machine::driver_object, lbfoext::kernel::sys:
                IoAllocateDriverObjectExtension IoGetDriverObjectExtension);
        }
        {
            same_type!(crate::machine::error_log, lbfoext::kernel::sys: IoAllocateErrorLogEntry IoWriteErrorLogEntry);
        }
        {
            same_type!(crate::machine::etw, lbfoext::kernel::sys:
                EtwRegister EtwUnregister EtwEventEnabled EtwWriteTransfer);
        }
        {
            same_type!(crate::machine::objects, lbfoext::kernel::sys:
                KeInitializeEvent KeSetEvent KeWaitForMultipleObjects ZwCreateEvent ObReferenceObjectByHandle
                ObfDereferenceObject ZwWaitForSingleObject);
        }
        {
            same_type!(crate::machine::interfaces, lbfoext::kernel::netio::sys:
                ConvertInterfaceGuidToLuid GetIfEntry2Ex);
        }
        {
            same_type!(crate::machine::random, lbfoext::kernel::random::sys: BCryptGenRandom);
        }
        {
            same_type!(crate::machine::system_thread, lbfoext::kernel::sys:
                PsCreateSystemThread PsTerminateSystemThread);
        }
        {
            same_type!(crate::machine::registry_calls, lbfoext::kernel::sys:
                ZwOpenKey ZwQueryValueKey ZwNotifyChangeKey ZwClose);
        }
        {
            same_type!(crate::machine::registry_keys, lbfoext::kernel::sys: ZwEnumerateKey);
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
