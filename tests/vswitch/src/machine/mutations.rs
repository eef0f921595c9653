//! Tests of the mutations of calls to the kernel: a driver that does everything right, and each mutation in its name.

use crate::machine::clock;
use crate::machine::cpu;
use crate::machine::kernel::{
    ExAllocatePool2, ExFreePoolWithTag, KeEnterCriticalRegion, KeFlushQueuedDpcs, KeLeaveCriticalRegion,
};
use crate::machine::locks::{KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock, leaving};
use crate::machine::objects::ZwWaitForSingleObject;
use crate::machine::registry_calls::{ZwClose, ZwOpenKey};
use crate::machine::rundown::{
    ExAcquireRundownProtectionCacheAware, ExAllocateCacheAwareRundownProtection,
    ExFreeCacheAwareRundownProtection, ExReInitializeRundownProtectionCacheAware,
    ExReleaseRundownProtectionCacheAware, ExRundownCompletedCacheAware,
    ExWaitForRundownProtectionReleaseCacheAware,
};
use crate::machine::rwlock::{NdisAcquireRWLockRead, NdisAllocateRWLock, NdisFreeRWLock, NdisReleaseRWLock};
use crate::machine::system_thread::{PsCreateSystemThread, PsTerminateSystemThread};
use crate::machine::timer::{
    NdisAllocateTimerObject, NdisCancelTimerObject, NdisFreeTimerObject, NdisSetTimerObject,
};
use crate::machine::world::{Config, World};
use crate::mutation::{MACHINE, Mutation};
use lbfoext::ndis::raw::{LockStateEx, ObjectHeader, TimerCharacteristics, object_type};
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says that it runs, and takes its time.
unsafe extern "win64" fn tick(_: *mut c_void, entered: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: the flag lives until the timer is freed.
    unsafe { &*entered.cast::<AtomicBool>() }.store(true, Ordering::SeqCst);
    cpu::wake(crate::machine::slots::ANY);
    (0..500).for_each(|_| cpu::yield_point("tick"));
}

/// A thread that takes its time and ends itself.
unsafe extern "win64" fn background(_: *mut c_void) {
    let until = clock::now() + clock::SECOND;
    clock::block_until_deadline("background", until, || None::<()>);
    // SAFETY: on a system thread.
    unsafe { PsTerminateSystemThread(0) };
}

/// A driver that does everything right: pool, both locks, rundown, a timer, a thread, a function of PASSIVE level.
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
        let mut thread = ptr::null_mut();
        let none = ptr::null_mut::<c_void>;
        PsCreateSystemThread(&raw mut thread, 0, none().cast(), none(), none(), background, none());
        cpu::call_driver("FilterSend", || {
            KeEnterCriticalRegion();
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
            KeLeaveCriticalRegion();
        });
        cpu::call_driver("FilterPause", || {
            ExWaitForRundownProtectionReleaseCacheAware(rundown);
            ExRundownCompletedCacheAware(rundown);
        });
        ExReInitializeRundownProtectionCacheAware(rundown);
        ZwWaitForSingleObject(thread, 0, ptr::null_mut());
        ZwClose(thread);
        let mut key = ptr::null_mut();
        ZwOpenKey(&raw mut key, 1, &mut no_such_key());
        assert!(key.is_null());
        let entered = Box::leak(Box::new(AtomicBool::new(false)));
        NdisSetTimerObject(timer, -1, 0, ptr::from_ref(entered).cast_mut().cast());
        crate::machine::work::queue("time", || clock::advance(1));
        cpu::block_until("the timer's function", || entered.load(Ordering::SeqCst).then_some(()));
        assert_eq!(NdisCancelTimerObject(timer), 0);
        KeFlushQueuedDpcs();
        NdisFreeTimerObject(timer);
        ExFreeCacheAwareRundownProtection(rundown);
        NdisFreeRWLock(rw);
        ExFreePoolWithTag(pool, 7);
        crate::machine::error_log::behave();
        crate::machine::etw::behave();
        // What FilterDetach's return means to the machine.
        let world = crate::machine::world::current();
        world.owner_gone(0);
        world.check_system_threads();
        world.check_providers();
        clock::advance(2 * clock::MILLISECOND);
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
