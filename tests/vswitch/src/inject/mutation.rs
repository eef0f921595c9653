//! Ways to misbehave in the driver's name at the border between driver and machine.
//!
//! Each proves that a check finds what it is for: the real driver runs, the border bends one call, and the verifier
//! must name the rule. `World::mutation` tells the border which one is on.

/// One misbehaviour and, in its documentation, the rule that must be named.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mutation {
    /// One of the switch's own list.
    Switch(crate::inject::table::Misdeed),
    /// Spin locks raise IRQL but exclude nobody. Found by the races that follow.
    NoTeamLock,
    /// The writer neither waits for readers nor keeps them out. Found by the races that follow.
    NoBarrier,
    /// Waiting for the walks to leave returns at once; waiting for what else is out does not, for a driver that is
    /// freed under its own work item takes the process along. STATE-11, STATE-24 or memory rules follow.
    NoRundown,
    /// The first RW lock taken is never released. LOCK-03
    KeepLock,
    /// The first spin lock released leaves IRQL at DISPATCH. IRQL-02
    KeepIrql,
    /// A spin lock is released only after the next call that leaves the driver. LOCK-01
    LateUnlock,
    /// The RW lock is said to be taken at DISPATCH when it is not. LOCK-03
    FalseDispatch,
    /// The first wait happens with a lock held. LOCK-04
    WaitUnderLock,
    /// Nested locks also count as taken in the other order. LOCK-05
    SwapLockOrder,
    /// The first function of PASSIVE level is called at DISPATCH. IRQL-01
    CallTooHigh,
    /// The first wait happens at DISPATCH. IRQL-03
    WaitTooHigh,
    /// The first pool block is paged. MEM-01
    PagedPool,
    /// The first pool block freed is not. MEM-02
    LeakPool,
    /// The first pool block freed is freed again. MEM-02
    FreeTwice,
    /// The first pool block is freed with another tag. MEM-02
    WrongTag,
    /// One byte beyond the first pool block freed is written. MEM-02
    Overrun,
    /// One byte of the first pool block freed is written afterwards. MEM-02
    WriteAfterFree,
    /// The first timer freed is still set. MEM-02
    FreeSetTimer,
    /// The first rundown reference is released twice. LOCK-03
    ReleaseTwice,
}

/// Misbehaviour towards the machine, each with the rule that must be named.
pub const MACHINE: &[(Mutation, &str)] = &[
    (Mutation::KeepLock, "LOCK-03"),
    (Mutation::KeepIrql, "IRQL-02"),
    (Mutation::LateUnlock, "LOCK-01"),
    (Mutation::FalseDispatch, "LOCK-03"),
    (Mutation::WaitUnderLock, "LOCK-04"),
    (Mutation::SwapLockOrder, "LOCK-05"),
    (Mutation::CallTooHigh, "IRQL-01"),
    (Mutation::WaitTooHigh, "IRQL-03"),
    (Mutation::PagedPool, "MEM-01"),
    (Mutation::FreeTwice, "MEM-02"),
    (Mutation::WrongTag, "MEM-02"),
    (Mutation::Overrun, "MEM-02"),
    (Mutation::WriteAfterFree, "MEM-02"),
    (Mutation::FreeSetTimer, "MEM-02"),
    (Mutation::ReleaseTwice, "LOCK-03"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::cpu;
    use crate::machine::kernel::{ExAllocatePool2, ExFreePoolWithTag};
    use crate::machine::locks::{KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock, leaving};
    use crate::machine::registry_calls::ZwOpenKey;
    use crate::machine::rundown::{
        ExAcquireRundownProtectionCacheAware, ExAllocateCacheAwareRundownProtection,
        ExFreeCacheAwareRundownProtection, ExReleaseRundownProtectionCacheAware,
        ExWaitForRundownProtectionReleaseCacheAware,
    };
    use crate::machine::rwlock::{
        NdisAcquireRWLockRead, NdisAllocateRWLock, NdisFreeRWLock, NdisReleaseRWLock,
    };
    use crate::machine::timer::{NdisAllocateTimerObject, NdisFreeTimerObject};
    use crate::machine::world::{Config, World};
    use lbfoext::ndis::raw::{LockStateEx, ObjectHeader, TimerCharacteristics, object_type};
    use std::ffi::c_void;
    use std::ptr;

    unsafe extern "win64" fn tick(_: *mut c_void, _: *mut c_void, _: *mut c_void, _: *mut c_void) {}

    /// A driver that does everything right: pool, both locks, rundown, a timer, a function of PASSIVE level.
    fn behave() {
        // SAFETY: everything is created, used and freed here as documented.
        unsafe {
            let pool = ExAllocatePool2(0x40, 24, 7);
            let rw = NdisAllocateRWLock(ptr::null_mut());
            let rundown = ExAllocateCacheAwareRundownProtection(512, 7);
            let mut characteristics = TimerCharacteristics {
                header: ObjectHeader::new(object_type::TIMER_CHARACTERISTICS, 1, 24),
                allocation_tag: 7,
                timer_function: Some(tick),
                function_context: ptr::null_mut(),
            };
            let mut timer = ptr::null_mut();
            NdisAllocateTimerObject(ptr::null_mut(), &raw mut characteristics, &raw mut timer);
            cpu::call_driver("FilterSend", || {
                ExAcquireRundownProtectionCacheAware(rundown);
                let mut word = 0_usize;
                let mut state = LockStateEx::ZERO;
                let old = KeAcquireSpinLockRaiseToDpc(&raw mut word);
                NdisAcquireRWLockRead(rw, &raw mut state, 1);
                NdisReleaseRWLock(rw, &raw mut state);
                KeReleaseSpinLock(&raw mut word, old);
                leaving("NdisFSendNetBufferLists");
                NdisAcquireRWLockRead(rw, &raw mut state, 0);
                NdisReleaseRWLock(rw, &raw mut state);
                ExReleaseRundownProtectionCacheAware(rundown);
            });
            cpu::call_driver("FilterPause", || ExWaitForRundownProtectionReleaseCacheAware(rundown));
            let mut key = ptr::null_mut();
            ZwOpenKey(&raw mut key, 1, &mut no_such_key());
            assert!(key.is_null());
            NdisFreeTimerObject(timer);
            ExFreeCacheAwareRundownProtection(rundown);
            NdisFreeRWLock(rw);
            ExFreePoolWithTag(pool, 7);
        }
    }

    fn no_such_key() -> lbfoext::kernel::sys::ObjectAttributes {
        use lbfoext::kernel::sys::{ObjectAttributes, ObjectFlags};
        ObjectAttributes {
            length: 48,
            root_directory: ptr::null_mut(),
            object_name: ptr::null(),
            attributes: ObjectFlags::CASE_INSENSITIVE | ObjectFlags::KERNEL_HANDLE,
            security_descriptor: ptr::null_mut(),
            security_quality_of_service: ptr::null_mut(),
        }
    }

    /// Rules named, errors and warnings, and what is left over.
    fn named(mutation: Option<Mutation>) -> (Vec<&'static str>, usize) {
        let world = World::new(Config { mutation, ..Config::default() });
        world.enter(behave).expect("it ends");
        world.check_memory();
        let all = world.violations().into_iter().chain(world.warnings());
        (all.map(|v| v.rule).collect(), world.live().len())
    }

    #[test]
    fn the_driver_itself_breaks_no_rule() {
        assert_eq!(named(None), (vec![], 0));
    }

    #[test]
    fn every_misbehaviour_is_named_by_its_rule() {
        for (mutation, rule) in MACHINE {
            let (rules, _) = named(Some(*mutation));
            assert!(rules.contains(rule), "{mutation:?}: {rules:?} without {rule}");
        }
        assert_eq!(named(Some(Mutation::LeakPool)), (vec![], 1));
    }
}
