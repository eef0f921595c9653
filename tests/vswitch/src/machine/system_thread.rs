//! System threads of the driver's: each runs its routine at PASSIVE_LEVEL in a critical region, until it ends itself by
//! PsTerminateSystemThread, which does not return.

use crate::exports::{Address, Frame, Symbol};
use crate::machine::cpu::{self, PASSIVE};
use crate::machine::fault;
use crate::machine::memory::AllocationKind;
use crate::machine::objects::{STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};
use crate::machine::thread;
use crate::machine::world::{self, World};
use lbfoext::kernel::sys::{ObjectAttributes, StartRoutine};
use std::arch::naked_asm;
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

const STATUS_INVALID_PARAMETER: i32 = 0xC000_000D_u32 as i32;

impl World {
    /// The driver is about to go: no system thread of it may run (IRQL-05).
    pub fn check_system_threads(&self) {
        let running = self.live().iter().filter(|entry| entry.kind == AllocationKind::SystemThread).count();
        crate::machine::verify::rule(self, "IRQL-05", running == 0, || {
            format!("{running} system threads outlive the driver")
        });
    }
}

thread_local! {
    /// The stack pointer to which the end of the routine returns; 0 on all other threads.
    static RETURNS_TO: Cell<usize> = const { Cell::new(0) };
}

/// Calls the routine, having left in `returns_to` what `end_routine` needs to come back here.
#[unsafe(naked)]
unsafe extern "sysv64" fn call_routine(routine: StartRoutine, context: *mut c_void, returns_to: *mut usize) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        // Room for the four arguments that the callee may put down, and the alignment.
        "sub rsp, 40",
        "mov qword ptr [rdx], rsp",
        "mov rcx, rsi",
        "call rdi",
        "add rsp, 40",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}

/// Leaves all frames above `call_routine`, which goes on behind its call as if that had returned. The return address stands
/// where the call put it, because nobody has returned yet. The frames hold nothing that would have to be dropped.
#[unsafe(naked)]
unsafe extern "sysv64" fn end_routine(returns_to: usize) -> ! {
    naked_asm!("lea rsp, [rdi - 8]", "ret")
}

/// Body of the simulated thread.
fn run(object: usize, routine: StartRoutine, context: usize) {
    let world = world::current();
    let thread = thread::current();
    // A new system thread runs in a critical region (nf-wdm-pscreatesystemthread).
    thread.critical_regions.set(1);
    let ended_itself = cpu::call_driver("ThreadStart", || {
        RETURNS_TO.with(|returns_to| {
            // SAFETY: the driver's routine, called as documented on a thread of its own.
            unsafe { call_routine(routine, ptr::with_exposed_provenance_mut(context), returns_to.as_ptr()) };
            returns_to.replace(0) == 0
        })
    });
    crate::machine::verify::rule(&world, "IRQL-05", ended_itself, || {
        "a system thread returned instead of ending itself by PsTerminateSystemThread".to_owned()
    });
    thread.critical_regions.set(0);
    world.untrack(AllocationKind::SystemThread, object);
    world.thread_ended(object);
}

crate::exports! {
    pub extern "win64" fn PsCreateSystemThread(
        handle: *mut *mut c_void,
        access: u32,
        attributes: *mut ObjectAttributes,
        process: *mut c_void,
        client: *mut c_void,
        routine: StartRoutine,
        context: *mut c_void,
    ) -> i32 where irql <= PASSIVE {
        let _ = (access, attributes);
        let world = world::current();
        if !process.is_null() || !client.is_null() {
            world.violate("MEM-02", "PsCreateSystemThread in a process, or with a client identifier");
            return STATUS_INVALID_PARAMETER;
        }
        if fault::fails("PsCreateSystemThread") {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        let (object, opened) = world.make_thread();
        world.track(AllocationKind::SystemThread, object, 0, "system thread");
        // SAFETY: the driver passes a place for the handle.
        unsafe { handle.write(ptr::without_provenance_mut(opened)) };
        let context = context.expose_provenance();
        world.scheduler.start_work(&world, "system thread", Box::new(move || run(object, routine, context)));
        STATUS_SUCCESS
    }
}

/// # Safety
/// As for the documented function of the same name.
#[allow(non_snake_case)]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn PsTerminateSystemThread(status: i32) -> i32 {
    crate::import_entry!(terminate)
}

unsafe extern "win64" fn terminate(_status: i32) -> i32 {
    let frame = Frame::enter("PsTerminateSystemThread", PASSIVE, String::new);
    let returns_to = RETURNS_TO.with(Cell::get);
    if returns_to == 0 {
        world::current().violate("IRQL-05", "PsTerminateSystemThread on a thread that is no system thread");
        return frame.ended(STATUS_INVALID_PARAMETER);
    }
    drop(frame);
    RETURNS_TO.set(0);
    // SAFETY: `call_routine` is below on this stack; between it and here are frames of the driver's only.
    unsafe { end_routine(returns_to) }
}

/// The one function above that `exports!` cannot define: it does not return through its frame.
pub const TERMINATE: &[Symbol] =
    &[("PsTerminateSystemThread", Address(PsTerminateSystemThread as *const c_void))];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::clock;
    use crate::machine::kernel::{KeFlushQueuedDpcs, KeGetCurrentIrql};
    use crate::machine::memory;
    use crate::machine::objects::{
        KeInitializeEvent, KeSetEvent, KeWaitForMultipleObjects, ObReferenceObjectByHandle,
        ObfDereferenceObject, ZwCreateEvent, ZwWaitForSingleObject,
    };
    use crate::machine::registry_calls::ZwClose;
    use crate::machine::world::{Config, Mode};
    use lbfoext::kernel::sys::{KEvent, ObjectFlags};

    const TIMED_OUT: i32 = 0x102;

    fn create(routine: StartRoutine, context: *mut c_void) -> *mut c_void {
        let mut handle = ptr::null_mut();
        let null = ptr::null_mut::<c_void>;
        // SAFETY: the routine's context lives until the thread has ended.
        let status = unsafe {
            PsCreateSystemThread(&raw mut handle, 0, null().cast(), null(), null(), routine, context)
        };
        assert_eq!(status, STATUS_SUCCESS);
        handle
    }

    fn wait(handle: *mut c_void, mut timeout: i64) -> i32 {
        // SAFETY: an open handle.
        unsafe { ZwWaitForSingleObject(handle, 0, &raw mut timeout) }
    }

    fn wait_for(objects: &mut [*mut c_void], timeout: Option<i64>) -> i32 {
        let mut timeout = timeout;
        let timeout = timeout.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        // SAFETY: live objects.
        unsafe {
            KeWaitForMultipleObjects(
                objects.len() as u32,
                objects.as_mut_ptr(),
                1,
                0,
                0,
                0,
                timeout,
                ptr::null_mut(),
            )
        }
    }

    fn close(handle: *mut c_void) {
        // SAFETY: an open handle.
        assert_eq!(unsafe { ZwClose(handle) }, STATUS_SUCCESS);
    }

    /// Waits for its event, and ends itself with a frame of its own between it and the machine.
    unsafe extern "win64" fn waits(event: *mut c_void) {
        // SAFETY: callable anywhere.
        assert_eq!(unsafe { KeGetCurrentIrql() }, cpu::PASSIVE);
        assert_eq!(wait_for(&mut [event], None), 0);
        // SAFETY: on a system thread.
        unsafe { PsTerminateSystemThread(0) };
    }

    unsafe extern "win64" fn returns(_: *mut c_void) {}

    fn event() -> *mut KEvent {
        let event = memory::alloc(AllocationKind::Switch, size_of::<KEvent>(), 0, "event").cast::<KEvent>();
        // SAFETY: memory for one.
        unsafe { KeInitializeEvent(event, 1, 0) };
        event
    }

    #[test]
    fn a_thread_is_waited_for_by_its_handle_and_gone_when_it_is_closed() {
        for mode in [Mode::Baton, Mode::Free] {
            let world = World::new(Config { mode, ..Config::default() });
            world
                .enter(|| {
                    let event = event();
                    let thread = create(waits, event.cast());
                    assert_eq!([wait(thread, 0), wait(thread, -50)], [TIMED_OUT; 2]);
                    world::current().check_system_threads();
                    // SAFETY: an initialised event.
                    unsafe { KeSetEvent(event, 0, 0) };
                    assert_eq!([wait(thread, -1_000_000), wait(thread, 0)], [0; 2]);
                    world::current().check_system_threads();
                    close(thread);
                })
                .expect("it ends");
            let rules: Vec<_> = world.violations().iter().map(|v| v.rule).collect();
            assert_eq!((rules, world.live().len()), (vec!["IRQL-05"], 0), "{mode:?}");
        }
    }

    #[test]
    fn a_thousand_threads_that_end_themselves_leave_nothing_of_the_machine_behind() {
        let world = World::new(Config::default());
        let weak = std::sync::Arc::downgrade(&world);
        for _ in 0..10 {
            world
                .enter(|| {
                    for _ in 0..100 {
                        let event = event();
                        // SAFETY: an initialised event.
                        unsafe { KeSetEvent(event, 0, 0) };
                        let thread = create(waits, event.cast());
                        wait(thread, i64::MIN);
                        close(thread);
                    }
                })
                .expect("it ends");
        }
        assert!(world.violations().is_empty() && world.live().is_empty());
        drop(world);
        // The host threads let go of it when they have found nothing more to do.
        let gone = (0..1_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            weak.strong_count() == 0
        });
        assert!(gone, "{} owners are left", weak.strong_count());
    }

    #[test]
    fn a_thread_that_returns_and_an_end_elsewhere_are_found() {
        let world = World::new(Config::default());
        world
            .enter(|| {
                let thread = create(returns, ptr::null_mut());
                wait(thread, i64::MIN);
                close(thread);
                // SAFETY: the end of what is no system thread returns.
                assert_ne!(unsafe { PsTerminateSystemThread(0) }, STATUS_SUCCESS);
            })
            .expect("it ends");
        assert_eq!(world.violations().iter().map(|v| v.rule).collect::<Vec<_>>(), ["IRQL-05"; 2]);
    }

    #[test]
    fn a_wait_takes_the_first_object_that_is_set_and_resets_it() {
        let world = World::new(Config::default());
        world
            .enter(|| {
                let (mine, mut handle, mut theirs) = (event(), ptr::null_mut(), ptr::null_mut());
                let mut attributes = ObjectAttributes {
                    length: 48,
                    root_directory: ptr::null_mut(),
                    object_name: ptr::null(),
                    attributes: ObjectFlags::KERNEL_HANDLE,
                    security_descriptor: ptr::null_mut(),
                    security_quality_of_service: ptr::null_mut(),
                };
                // SAFETY: the caller's own structures.
                unsafe {
                    ZwCreateEvent(&raw mut handle, 3, &raw mut attributes, 1, 1);
                    let null = ptr::null_mut::<c_void>;
                    ObReferenceObjectByHandle(handle, 3, null(), 0, &raw mut theirs, null());
                    KeSetEvent(mine, 0, 0);
                    let mut both = [mine.cast(), theirs];
                    assert_eq!([wait_for(&mut both, None), wait_for(&mut both, None)], [0, 1]);
                    let before = clock::now();
                    assert_eq!(wait_for(&mut both, Some(-70)), TIMED_OUT);
                    assert_eq!(clock::now(), before + 70);
                    close(handle);
                    assert_eq!(wait_for(&mut [theirs], Some(0)), TIMED_OUT);
                    assert_eq!(ObfDereferenceObject(theirs), 0);
                    ObfDereferenceObject(theirs);
                    wait_for(&mut [theirs], Some(0));
                }
            })
            .expect("it ends");
        assert_eq!(world.violations().iter().map(|v| v.rule).collect::<Vec<_>>(), ["MEM-02"; 2]);
        assert!(world.live().is_empty());
    }

    #[test]
    fn flushing_waits_for_the_routines_that_were_queued_and_not_for_those_that_come() {
        let world = World::new(Config::default());
        world
            .enter(|| {
                let queue = |what: &'static str| {
                    cpu::queue_dpc(&world::current(), 1, what, move || {
                        (0..50).for_each(|_| cpu::yield_point("routine"));
                        world::current().log(|| format!("{what} returns"));
                    });
                };
                queue("first");
                queue("second");
                // SAFETY: at PASSIVE_LEVEL.
                unsafe { KeFlushQueuedDpcs() };
                world::current().log(|| "flushed".to_owned());
                let old = cpu::raise_to_dispatch();
                // SAFETY: a misuse that is found.
                unsafe { KeFlushQueuedDpcs() };
                cpu::lower(old);
            })
            .expect("it ends");
        assert_eq!(world.violations().iter().map(|v| v.rule).collect::<Vec<_>>(), ["IRQL-01", "IRQL-03"]);
    }
}
