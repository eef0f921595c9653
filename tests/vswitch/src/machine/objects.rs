//! Objects of the kernel that threads wait for: events in the driver's memory, events and threads behind handles.
//!
//! An object is a word that says what it is, its state (1 when signalled) and its type, so that an event of the driver's and
//! one of the system's are alike. One that has a handle lives until its handles are closed and its references given up; a
//! thread also until it has ended.

use crate::exports;
use crate::machine::clock;
use crate::machine::cpu;
use crate::machine::fault;
use crate::machine::locks::wait_mutations;
use crate::machine::memory::{AllocationKind, MemoryState};
use crate::machine::slots::OBJECT;
use crate::machine::world::{self, World};
use lbfoext::kernel::sys::{KEvent, ObjectAttributes};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

pub const STATUS_SUCCESS: i32 = 0;
const STATUS_TIMEOUT: i32 = 0x102;
pub const STATUS_INVALID_HANDLE: i32 = 0xC000_0008_u32 as i32;
const STATUS_INVALID_PARAMETER: i32 = 0xC000_000D_u32 as i32;
pub const STATUS_INSUFFICIENT_RESOURCES: i32 = 0xC000_009A_u32 as i32;

const EVENT: u64 = u64::from_le_bytes(*b"KEvent\0\0");
const THREAD: u64 = u64::from_le_bytes(*b"KThread\0");
/// `SynchronizationEvent`: one wait resets it. The other type, 0, stays set.
const SYNCHRONIZATION: u64 = 1;
const OBJECT_BYTES: usize = 24;
const WAIT_ANY: i32 = 1;
/// `THREAD_WAIT_OBJECTS`: for more the caller has to bring wait blocks.
const BUILT_IN_WAIT_BLOCKS: u32 = 3;
const OBJ_KERNEL_HANDLE: u32 = 0x200;
/// Apart from those of registry keys.
const FIRST_HANDLE: usize = 0xFFFF_FFFF_9000_0004;

/// What the system knows of objects with handles.
#[derive(Default)]
pub struct Objects {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Object behind each handle.
    handles: BTreeMap<usize, usize>,
    /// Handles, references and, of a thread that runs, one for that; by object.
    counts: BTreeMap<usize, usize>,
    opened: usize,
}

/// The words of an object.
#[derive(Clone, Copy)]
struct Words(&'static [AtomicU64; 3]);

impl Words {
    fn is_set(self) -> bool {
        self.0[1].load(Ordering::Acquire) != 0
    }

    /// True if a wait is satisfied, with what that does to the object.
    fn take(self) -> bool {
        let resets = self.0[0].load(Ordering::Relaxed) == EVENT
            && self.0[2].load(Ordering::Relaxed) == SYNCHRONIZATION;
        if !resets {
            return self.is_set();
        }
        self.0[1].compare_exchange(1, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

fn words(world: &World, object: *mut c_void, function: &'static str) -> Option<Words> {
    let aligned = object.cast::<u64>().is_aligned();
    if object.is_null() || !aligned || matches!(world.place(object.cast()), MemoryState::Freed(_)) {
        world.violate("MEM-02", format!("{function} of an object that is no live memory"));
        return None;
    }
    // SAFETY: live memory of an object, whose words are accessed only atomically.
    let words = Words(unsafe { &*object.cast::<[AtomicU64; 3]>() });
    if !matches!(words.0[0].load(Ordering::Relaxed), EVENT | THREAD) {
        world.violate("MEM-02", format!("{function} of an event that was never initialised"));
        return None;
    }
    Some(words)
}

fn write(object: *mut c_void, kind: u64, state: u64, of_type: u64) {
    // SAFETY: memory of an object that nobody uses yet.
    unsafe { object.cast::<[u64; 3]>().write([kind, state, of_type]) };
}

impl World {
    /// Makes an object with one reference.
    fn make_object(&self, kind: AllocationKind, words: (u64, u64, u64)) -> usize {
        let object = self.alloc(kind, OBJECT_BYTES, 0, "object").expose_provenance();
        write(ptr::with_exposed_provenance_mut(object), words.0, words.1, words.2);
        self.part::<Objects>().table.lock().counts.insert(object, 1);
        object
    }

    /// Opens a handle, which takes over one reference.
    fn open_handle(&self, object: usize) -> usize {
        let mut table = self.part::<Objects>().table.lock();
        let handle = FIRST_HANDLE + 4 * table.opened;
        table.opened += 1;
        table.handles.insert(handle, object);
        drop(table);
        self.track(AllocationKind::Handle, handle, 0, "handle of an object");
        handle
    }

    /// A new thread object, and its handle; it runs until `thread_ended`.
    pub(crate) fn make_thread(&self) -> (usize, usize) {
        let object = self.make_object(AllocationKind::ThreadObject, (THREAD, 0, 0));
        *self.part::<Objects>().table.lock().counts.entry(object).or_default() += 1;
        (object, self.open_handle(object))
    }

    /// A thread has ended: its object is signalled, and what kept it for that is given up in one step, so that who has
    /// waited finds nothing of it left.
    pub(crate) fn thread_ended(&self, object: usize) {
        let mut table = self.part::<Objects>().table.lock();
        if let Some(words) = words(self, ptr::with_exposed_provenance_mut(object), "end of a thread") {
            words.0[1].store(1, Ordering::Release);
        }
        let left = self.one_less(&mut table, object);
        drop(table);
        self.free_object(object, left);
        self.scheduler.wake(OBJECT);
    }

    /// Sets or resets an object of the system's.
    pub(crate) fn signal(&self, object: usize, set: bool) {
        if let Some(words) = words(self, ptr::with_exposed_provenance_mut(object), "signal") {
            words.0[1].store(u64::from(set), Ordering::Release);
            self.scheduler.wake(OBJECT);
        }
    }

    /// References the object behind a handle.
    pub(crate) fn reference_handle(&self, handle: usize) -> Option<usize> {
        let mut table = self.part::<Objects>().table.lock();
        let object = *table.handles.get(&handle)?;
        *table.counts.entry(object).or_default() += 1;
        Some(object)
    }

    /// Gives a reference up; the last one takes the object along. How many are left.
    pub(crate) fn dereference(&self, object: usize) -> usize {
        let mut table = self.part::<Objects>().table.lock();
        let left = self.one_less(&mut table, object);
        drop(table);
        self.free_object(object, left);
        left.unwrap_or(0)
    }

    /// How many references are left, of an object that has any.
    fn one_less(&self, table: &mut Table, object: usize) -> Option<usize> {
        let Some(count) = table.counts.get_mut(&object) else {
            self.violate("MEM-02", "an object was dereferenced more often than referenced");
            return None;
        };
        *count -= 1;
        let left = *count;
        if left == 0 {
            table.counts.remove(&object);
        }
        Some(left)
    }

    fn free_object(&self, object: usize, left: Option<usize>) {
        if left != Some(0) {
            return;
        }
        let pointer = ptr::with_exposed_provenance_mut::<c_void>(object);
        let thread =
            words(self, pointer, "dereference").is_some_and(|w| w.0[0].load(Ordering::Relaxed) == THREAD);
        self.free(
            if thread { AllocationKind::ThreadObject } else { AllocationKind::EventObject },
            pointer.cast(),
            0,
        );
    }

    /// Closes a handle of an object; false if there is none.
    pub(crate) fn close_object(&self, handle: usize) -> bool {
        let object = self.part::<Objects>().table.lock().handles.remove(&handle);
        let Some(object) = object else { return false };
        self.untrack(AllocationKind::Handle, handle);
        self.dereference(object);
        true
    }
}

/// Waits until any of the objects is signalled: its number, or nothing if the time is over first.
fn wait_any(objects: &[Words], timeout: Option<i64>) -> Option<usize> {
    let world = world::current();
    let poll = || objects.iter().position(|words| words.take());
    let Some(timeout) = timeout else { return Some(cpu::block_on(OBJECT, "object", poll)) };
    let deadline = if timeout <= 0 {
        world.now().saturating_add(timeout.unsigned_abs())
    } else {
        timeout.unsigned_abs()
    };
    let event = world.at(deadline, "end of a wait", || cpu::wake(OBJECT));
    let over = || (clock::now() >= deadline).then_some(None);
    let found = cpu::block_on(OBJECT, "object or time", || poll().map(Some).or_else(over));
    world.cancel(event);
    found
}

/// What every wait must keep to.
fn begin_wait(function: &'static str, alertable: u8, timeout: Option<i64>) {
    if timeout != Some(0) {
        wait_mutations();
        cpu::require_may_wait(function);
    }
    if alertable != 0 {
        world::current().violate("LOCK-04", format!("{function} that an alert may end"));
    }
}

fn named_for_the_kernel(world: &World, attributes: *const ObjectAttributes) {
    // SAFETY: null, or the driver's own.
    let kernel = unsafe { attributes.as_ref() }.is_some_and(|a| a.attributes.bits() & OBJ_KERNEL_HANDLE != 0);
    if !kernel {
        world.warn("MEM-02", "handle opened without OBJ_KERNEL_HANDLE: any process could close it");
    }
}

exports! {
    pub extern "win64" fn KeInitializeEvent(event: *mut KEvent, kind: i32, state: u8) where irql <= ANY_LEVEL {
        write(event.cast(), EVENT, u64::from(state != 0), u64::from(kind != 0));
        event.expose_provenance();
    }

    pub extern "win64" fn KeSetEvent(event: *mut KEvent, _increment: i32, wait: u8) -> i32 where irql <= DISPATCH {
        let world = world::current();
        if wait != 0 {
            world.violate("IRQL-02", "KeSetEvent that keeps the IRQL for a wait that follows");
        }
        let Some(words) = words(&world, event.cast(), "KeSetEvent") else { return 0 };
        let before = words.0[1].swap(1, Ordering::AcqRel);
        world.scheduler.wake(OBJECT);
        i32::from(before != 0)
    }

    pub extern "win64" fn KeWaitForMultipleObjects(
        count: u32,
        objects: *mut *mut c_void,
        wait_type: i32,
        _reason: i32,
        mode: i8,
        alertable: u8,
        timeout: *mut i64,
        wait_blocks: *mut c_void,
    ) -> i32 where irql <= DISPATCH {
        let world = world::current();
        // SAFETY: null, or the driver's own.
        let timeout = unsafe { timeout.as_ref() }.copied();
        begin_wait("KeWaitForMultipleObjects", alertable, timeout);
        let bad = count == 0 || count > BUILT_IN_WAIT_BLOCKS && wait_blocks.is_null();
        if bad || wait_type != WAIT_ANY || mode != 0 {
            world.violate("MEM-02", format!("KeWaitForMultipleObjects of {count} objects, type {wait_type}, mode {mode}"));
            return STATUS_INVALID_PARAMETER;
        }
        // SAFETY: the driver passes so many pointers.
        let objects = unsafe { std::slice::from_raw_parts(objects, count as usize) };
        let known: Option<Vec<Words>> =
            objects.iter().map(|object| words(&world, *object, "KeWaitForMultipleObjects")).collect();
        let Some(known) = known else { return STATUS_INVALID_PARAMETER };
        wait_any(&known, timeout).map_or(STATUS_TIMEOUT, |index| index as i32)
    }

    pub extern "win64" fn ZwCreateEvent(
        handle: *mut *mut c_void,
        access: u32,
        attributes: *mut ObjectAttributes,
        kind: i32,
        state: u8,
    ) -> i32 where irql <= PASSIVE {
        let _ = access;
        let world = world::current();
        named_for_the_kernel(&world, attributes);
        if fault::fails("ZwCreateEvent") {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        let object =
            world.make_object(AllocationKind::EventObject, (EVENT, u64::from(state != 0), u64::from(kind != 0)));
        let opened = world.open_handle(object);
        // SAFETY: the driver passes a place for the handle.
        unsafe { handle.write(ptr::without_provenance_mut(opened)) };
        STATUS_SUCCESS
    }

    pub extern "win64" fn ObReferenceObjectByHandle(
        handle: *mut c_void,
        access: u32,
        _object_type: *mut c_void,
        mode: i8,
        object: *mut *mut c_void,
        _information: *mut c_void,
    ) -> i32 where irql <= PASSIVE {
        let _ = access;
        let world = world::current();
        let found = world.reference_handle(handle.addr());
        crate::machine::verify::rule(&world, "MEM-02", found.is_some() && mode == 0, || {
            "ObReferenceObjectByHandle of a handle that is not open, or as a user".to_owned()
        });
        let Some(found) = found else { return STATUS_INVALID_HANDLE };
        // SAFETY: the driver passes a place for the pointer.
        unsafe { object.write(ptr::with_exposed_provenance_mut(found)) };
        STATUS_SUCCESS
    }

    pub extern "win64" fn ObfDereferenceObject(object: *mut c_void) -> isize where irql <= DISPATCH {
        world::current().dereference(object.addr()) as isize
    }

    pub extern "win64" fn ZwWaitForSingleObject(handle: *mut c_void, alertable: u8, timeout: *mut i64) -> i32
    where irql <= PASSIVE {
        let world = world::current();
        // SAFETY: null, or the driver's own.
        let timeout = unsafe { timeout.as_ref() }.copied();
        begin_wait("ZwWaitForSingleObject", alertable, timeout);
        let Some(object) = world.reference_handle(handle.addr()) else {
            world.violate("MEM-02", "ZwWaitForSingleObject of a handle that is not open");
            return STATUS_INVALID_HANDLE;
        };
        let found = words(&world, ptr::with_exposed_provenance_mut(object), "ZwWaitForSingleObject");
        let is_thread = found.is_some_and(|words| words.0[0].load(Ordering::Relaxed) == THREAD);
        let skipped = is_thread && world.mutation() == Some(crate::mutation::Mutation::NoJoin);
        let ended = found.filter(|_| !skipped).is_none_or(|words| wait_any(&[words], timeout).is_some());
        world.dereference(object);
        if ended { STATUS_SUCCESS } else { STATUS_TIMEOUT }
    }
}
