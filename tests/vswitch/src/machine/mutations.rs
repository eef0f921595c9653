//! Tests of the mutations of calls to the kernel: a driver that does everything right, and each mutation in its name.

use crate::machine::cpu;
use crate::machine::kernel::{ExAllocatePool2, ExFreePoolWithTag};
use crate::machine::locks::{KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock, leaving};
use crate::machine::registry_calls::ZwOpenKey;
use crate::machine::rundown::{
    ExAcquireRundownProtectionCacheAware, ExAllocateCacheAwareRundownProtection,
    ExFreeCacheAwareRundownProtection, ExReleaseRundownProtectionCacheAware,
    ExWaitForRundownProtectionReleaseCacheAware,
};
use crate::machine::rwlock::{NdisAcquireRWLockRead, NdisAllocateRWLock, NdisFreeRWLock, NdisReleaseRWLock};
use crate::machine::timer::{NdisAllocateTimerObject, NdisFreeTimerObject};
use crate::machine::world::{Config, World};
use crate::mutation::{MACHINE, Mutation};
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
