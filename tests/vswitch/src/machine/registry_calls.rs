//! The driver's access to the registry: handles, queries, notifications by work item.
//!
//! A notification lasts for one change; what changes before the next one is asked for completes that one at once.
//! Closing the handle completes a pending one with STATUS_NOTIFY_CLEANUP.

use crate::exports;
use crate::machine::cpu;
use crate::machine::fault;
use crate::machine::memory::{AllocationKind, MemoryState};
use crate::machine::registry::{Path, Value, canonical};
use crate::machine::world::{self, World};
use lbfoext::kernel::sys::{IoStatusBlock, ObjectAttributes, WorkQueueItem};
use lbfoext::ndis::raw::UnicodeString;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

const STATUS_SUCCESS: i32 = 0;
const STATUS_PENDING: i32 = 0x103;
const STATUS_NOTIFY_CLEANUP: i32 = 0x10B;
const STATUS_NOTIFY_ENUM_DIR: i32 = 0x10C;
const STATUS_BUFFER_OVERFLOW: i32 = 0x8000_0005_u32 as i32;
const STATUS_INVALID_HANDLE: i32 = 0xC000_0008_u32 as i32;
const STATUS_INVALID_PARAMETER: i32 = 0xC000_000D_u32 as i32;
const STATUS_ACCESS_DENIED: i32 = 0xC000_0022_u32 as i32;
const STATUS_BUFFER_TOO_SMALL: i32 = 0xC000_0023_u32 as i32;
const STATUS_OBJECT_NAME_NOT_FOUND: i32 = 0xC000_0034_u32 as i32;
const STATUS_OBJECT_PATH_SYNTAX_BAD: i32 = 0xC000_003B_u32 as i32;
const STATUS_INSUFFICIENT_RESOURCES: i32 = 0xC000_009A_u32 as i32;

const KEY_QUERY_VALUE: u32 = 0x1;
const KEY_NOTIFY: u32 = 0x10;
/// Rights that stand for a set which holds both of the above.
const GENERIC_READ: u32 = 0x8000_0000;
const OBJ_KERNEL_HANDLE: u32 = 0x200;
/// Kernel handles have the top bit, as on a real machine, and count in fours.
const FIRST_HANDLE: usize = 0xFFFF_FFFF_8000_0004;

/// Work queue types: critical 0, delayed 1.
const DELAYED_WORK_QUEUE: usize = 1;

const FULL_INFORMATION: i32 = 1;
const PARTIAL_INFORMATION: i32 = 2;

/// A pending notification.
#[derive(Clone, Copy)]
struct Pending {
    item: usize,
    status_block: usize,
}

struct Handle {
    path: Path,
    access: u32,
    /// Filter and depth of the first notification; they stay for the handle's life.
    watch: Option<(u32, bool)>,
    pending: Option<Pending>,
    missed: bool,
}

#[derive(Default)]
pub struct Watches {
    handles: Mutex<BTreeMap<usize, Handle>>,
    opened: AtomicUsize,
}

impl World {
    /// A key changed: completes what watches it.
    pub(crate) fn registry_changed(&self, path: &[String], change: u32) {
        let mut due = Vec::new();
        for handle in self.registry.watches.handles.lock().values_mut() {
            let Some((filter, tree)) = handle.watch else { continue };
            let inside = handle.path == path || (tree && path.starts_with(&handle.path));
            if !inside || filter & change == 0 {
                continue;
            }
            match handle.pending.take() {
                Some(pending) => due.push(pending),
                None => handle.missed = true,
            }
        }
        due.into_iter().for_each(|pending| self.complete_notification(pending, STATUS_NOTIFY_ENUM_DIR));
    }

    fn complete_notification(&self, pending: Pending, status: i32) {
        let block = ptr::with_exposed_provenance_mut::<IoStatusBlock>(pending.status_block);
        if matches!(self.place(block.cast()), MemoryState::Freed(_)) {
            self.violate("MEM-02", "status block of a registry notification was freed while it was pending");
        } else {
            // SAFETY: the driver keeps the block until the notification completes.
            unsafe { block.write(IoStatusBlock { status, information: 0 }) };
        }
        self.queue_work("registry notification", move || run_item(pending.item));
    }
}

/// Calls the routine of the driver's work item.
fn run_item(item: usize) {
    let world = world::current();
    let pointer = ptr::with_exposed_provenance::<WorkQueueItem>(item);
    // From here on the driver may queue the item again.
    world.untrack(AllocationKind::WorkItem, item);
    if matches!(world.place(pointer.cast()), MemoryState::Freed(_)) {
        return world.violate("MEM-02", "work item was freed while it was queued");
    }
    // SAFETY: the driver keeps the item until its routine is called.
    let (routine, parameter) = unsafe { ((*pointer).worker_routine, (*pointer).parameter) };
    let Some(routine) = routine else { return world.violate("MEM-02", "work item without a routine") };
    world.track(AllocationKind::RunningWork, item, 0, "routine of a work item");
    cpu::call_driver("WorkerRoutine", || {
        // SAFETY: the driver's routine, called as documented.
        unsafe { routine(parameter) }
    });
    world.untrack(AllocationKind::RunningWork, item);
}

/// Text of a counted string of the driver.
///
/// # Safety
/// The pointer is null or leads to a valid string.
pub unsafe fn text(string: *const UnicodeString) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: by the caller.
    let UnicodeString { length, buffer, .. } = unsafe { string.read() };
    if buffer.is_null() {
        return String::new();
    }
    // SAFETY: as above; the length is in bytes.
    let units = unsafe { std::slice::from_raw_parts(buffer, usize::from(length) / 2) };
    String::from_utf16_lossy(units)
}

/// The path that object attributes name.
fn path_of(world: &World, attributes: &ObjectAttributes) -> Result<Path, i32> {
    if attributes.length as usize != size_of::<ObjectAttributes>() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    // SAFETY: the driver passes attributes with its own string.
    let name = unsafe { text(attributes.object_name) };
    if attributes.root_directory.is_null() {
        return if name.starts_with('\\') {
            Ok(canonical(&name))
        } else {
            Err(STATUS_OBJECT_PATH_SYNTAX_BAD)
        };
    }
    if name.starts_with('\\') {
        return Err(STATUS_OBJECT_PATH_SYNTAX_BAD);
    }
    let handles = world.registry.watches.handles.lock();
    let root = handles.get(&attributes.root_directory.addr()).ok_or(STATUS_INVALID_HANDLE)?;
    Ok(root.path.iter().cloned().chain(canonical(&name)).collect())
}

fn open(world: &World, path: Path, access: u32) -> usize {
    let nth = world.registry.watches.opened.fetch_add(1, Ordering::Relaxed);
    let handle = FIRST_HANDLE + 4 * nth;
    let entry = Handle { path, access, watch: None, pending: None, missed: false };
    world.registry.watches.handles.lock().insert(handle, entry);
    world.track(AllocationKind::RegistryKey, handle, 0, "registry key");
    handle
}

/// Runs the closure on an open handle that has the right, or gives the status of what is wrong.
fn with_handle<T>(
    world: &World,
    handle: *mut c_void,
    right: u32,
    run: impl FnOnce(&mut Handle) -> T,
) -> Result<T, i32> {
    let mut handles = world.registry.watches.handles.lock();
    let Some(open) = handles.get_mut(&handle.addr()) else {
        drop(handles);
        world.violate("MEM-02", "registry handle that is not open");
        return Err(STATUS_INVALID_HANDLE);
    };
    if open.access & (right | GENERIC_READ) == 0 {
        return Err(STATUS_ACCESS_DENIED);
    }
    Ok(run(open))
}

/// The bytes of an information class, and how many of them are its fixed part.
fn information(class: i32, name: &str, value: &Value) -> Option<(Vec<u8>, usize)> {
    let (kind, data) = value.encode();
    let number = |n: usize| (n as u32).to_le_bytes();
    let mut out = Vec::new();
    out.extend(number(0));
    out.extend(kind.to_le_bytes());
    match class {
        PARTIAL_INFORMATION => {
            out.extend(number(data.len()));
            out.extend(data);
            Some((out, 12))
        }
        FULL_INFORMATION => {
            let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let offset = (20 + name.len()).next_multiple_of(4);
            out.extend([number(offset), number(data.len()), number(name.len())].concat());
            out.extend(name);
            out.resize(offset, 0);
            out.extend(data);
            Some((out, 20))
        }
        _ => None,
    }
}

/// Asks for one notification; what was missed since the last completes it at once.
fn watch(world: &World, handle: *mut c_void, filter: u32, tree: bool, pending: Pending) -> i32 {
    let missed = with_handle(world, handle, KEY_NOTIFY, |open| {
        open.watch.get_or_insert((filter, tree));
        if open.pending.is_some() {
            return None;
        }
        let missed = std::mem::take(&mut open.missed);
        open.pending = (!missed).then_some(pending);
        Some(missed)
    });
    match missed {
        Err(status) => return status,
        Ok(None) => {
            world
                .violate("MEM-02", "a second registry notification on one handle while the first is pending");
            return STATUS_INVALID_PARAMETER;
        }
        Ok(Some(_)) if world.tracked(AllocationKind::WorkItem, pending.item) > 0 => {
            world.violate("MEM-02", "work item given to a second notification while it is queued");
        }
        Ok(_) => {}
    }
    world.track(AllocationKind::WorkItem, pending.item, 0, "work item of a registry notification");
    if missed == Ok(Some(true)) {
        world.complete_notification(pending, STATUS_NOTIFY_ENUM_DIR);
    }
    STATUS_PENDING
}

exports! {
    pub extern "win64" fn ZwOpenKey(handle: *mut *mut c_void, access: u32, attributes: *mut ObjectAttributes) -> i32
    where irql <= PASSIVE {
        let world = world::current();
        // SAFETY: the driver passes its attributes and a place for the handle.
        let attributes = unsafe { &*attributes };
        if attributes.attributes.bits() & OBJ_KERNEL_HANDLE == 0 {
            world.warn("MEM-02", "registry key opened without OBJ_KERNEL_HANDLE: any process could close it");
        }
        if fault::fails("ZwOpenKey") {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        let path = match path_of(&world, attributes) {
            Ok(path) if world.registry.has_key(&path) => path,
            Ok(_) => return STATUS_OBJECT_NAME_NOT_FOUND,
            Err(status) => return status,
        };
        // SAFETY: as above.
        unsafe { handle.write(ptr::without_provenance_mut(open(&world, path, access))) };
        STATUS_SUCCESS
    }

    pub extern "win64" fn ZwQueryValueKey(
        handle: *mut c_void,
        name: *mut UnicodeString,
        class: i32,
        buffer: *mut c_void,
        length: u32,
        result_length: *mut u32,
    ) -> i32 where irql <= PASSIVE {
        let world = world::current();
        let path = match with_handle(&world, handle, KEY_QUERY_VALUE, |open| open.path.clone()) {
            Ok(path) => path,
            Err(status) => return status,
        };
        if fault::fails("ZwQueryValueKey") {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        // SAFETY: the driver passes its own string.
        let name = unsafe { text(name) };
        let Some(value) = world.registry.value(&path, &name) else { return STATUS_OBJECT_NAME_NOT_FOUND };
        let Some((bytes, fixed)) = information(class, &name, &value) else { return STATUS_INVALID_PARAMETER };
        let room = length as usize;
        // SAFETY: the driver passes a buffer of `length` bytes and a place for the needed length.
        unsafe {
            result_length.write(bytes.len() as u32);
            if room < fixed {
                return STATUS_BUFFER_TOO_SMALL;
            }
            ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), bytes.len().min(room));
        }
        if bytes.len() > room { STATUS_BUFFER_OVERFLOW } else { STATUS_SUCCESS }
    }

    pub extern "win64" fn ZwNotifyChangeKey(
        handle: *mut c_void,
        event: *mut c_void,
        apc_routine: *mut c_void,
        apc_context: *mut c_void,
        status: *mut IoStatusBlock,
        filter: u32,
        watch_tree: u8,
        _buffer: *mut c_void,
        _buffer_size: u32,
        asynchronous: u8,
    ) -> i32 where irql <= PASSIVE {
        let world = world::current();
        if !event.is_null() || apc_routine.is_null() || asynchronous == 0 || status.is_null() {
            world.violate("LOCK-04", "ZwNotifyChangeKey other than with a work item would block or needs an event");
            return STATUS_INVALID_PARAMETER;
        }
        let queue = apc_context.addr() <= DELAYED_WORK_QUEUE;
        crate::machine::verify::rule(&world, "IRQL-05", queue, || {
            "ZwNotifyChangeKey with a work item, but no type of work queue in its context".to_owned()
        });
        if !queue {
            return STATUS_INVALID_PARAMETER;
        }
        if fault::fails("ZwNotifyChangeKey") {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        let pending = Pending { item: apc_routine.expose_provenance(), status_block: status.expose_provenance() };
        watch(&world, handle, filter, watch_tree != 0, pending)
    }

    pub extern "win64" fn ZwClose(handle: *mut c_void) -> i32 where irql <= PASSIVE {
        let world = world::current();
        let closed = world.registry.watches.handles.lock().remove(&handle.addr());
        let Some(closed) = closed else {
            world.violate("MEM-02", "registry handle closed that is not open");
            return STATUS_INVALID_HANDLE;
        };
        world.untrack(AllocationKind::RegistryKey, handle.addr());
        if let Some(pending) = closed.pending {
            world.complete_notification(pending, STATUS_NOTIFY_CLEANUP);
        }
        STATUS_SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::registry;
    use crate::machine::world::{Config, Mode};

    const PATH: &str = r"\Registry\Machine\Software\Test";

    fn counted(text: &[u16]) -> UnicodeString {
        let bytes = (text.len() * 2) as u16;
        UnicodeString { length: bytes, maximum_length: bytes, buffer: text.as_ptr() }
    }

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    fn open(path: &str, access: u32) -> Result<*mut c_void, i32> {
        let text = wide(path);
        let name = counted(&text);
        let mut attributes = ObjectAttributes {
            length: 48,
            root_directory: ptr::null_mut(),
            object_name: &raw const name,
            attributes: lbfoext::kernel::sys::ObjectFlags::from_bits_retain(0x240),
            security_descriptor: ptr::null_mut(),
            security_quality_of_service: ptr::null_mut(),
        };
        let mut handle = ptr::null_mut();
        // SAFETY: the caller's own structures.
        match unsafe { ZwOpenKey(&raw mut handle, access, &raw mut attributes) } {
            STATUS_SUCCESS => Ok(handle),
            status => Err(status),
        }
    }

    fn query(handle: *mut c_void, name: &str, room: usize) -> (i32, u32, Vec<u8>) {
        let text = wide(name);
        let mut name = counted(&text);
        let mut buffer = vec![0_u8; room];
        let mut needed = 0;
        let out = buffer.as_mut_ptr().cast();
        // SAFETY: the caller's own structures.
        let status = unsafe {
            ZwQueryValueKey(handle, &raw mut name, PARTIAL_INFORMATION, out, room as u32, &raw mut needed)
        };
        (status, needed, buffer)
    }

    fn close(handle: *mut c_void) {
        // SAFETY: an open handle.
        assert_eq!(unsafe { ZwClose(handle) }, STATUS_SUCCESS);
    }

    #[test]
    fn values_are_found_by_any_case_and_short_buffers_are_told() {
        let world = World::new(Config::default());
        world.registry_set(PATH, "Weight", Value::Dword(7));
        world
            .enter(|| {
                assert_eq!(open(r"\Registry\Machine\Software\Other", 1), Err(STATUS_OBJECT_NAME_NOT_FOUND));
                let key = open(r"\REGISTRY\machine\software\TEST", 0x2_0019).expect("the key exists");
                let (status, needed, bytes) = query(key, "WEIGHT", 32);
                assert_eq!((status, needed), (STATUS_SUCCESS, 16));
                assert_eq!(bytes[..16], [0, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0]);
                assert_eq!(query(key, "Weight", 14).0, STATUS_BUFFER_OVERFLOW);
                assert_eq!(query(key, "Weight", 11).0, STATUS_BUFFER_TOO_SMALL);
                assert_eq!(query(key, "Width", 32).0, STATUS_OBJECT_NAME_NOT_FOUND);
                close(key);
                let key = open(PATH, KEY_NOTIFY).expect("the key exists");
                assert_eq!(query(key, "Weight", 32).0, STATUS_ACCESS_DENIED);
                close(key);
            })
            .expect("it ends");
        assert!(world.violations().is_empty() && world.live().is_empty());
    }

    /// What a driver keeps for one notification; the routine logs its status and, unless it is the last, asks again.
    #[repr(C)]
    struct Watcher {
        item: WorkQueueItem,
        status: IoStatusBlock,
        key: *mut c_void,
    }

    unsafe extern "win64" fn notified(parameter: *mut c_void) {
        assert_eq!(cpu::irql(), cpu::PASSIVE);
        let watcher = parameter.cast::<Watcher>();
        // SAFETY: the watcher outlives the world's last thread.
        let status = unsafe { (*watcher).status.status };
        world::current().log(|| format!("notified {status:#x}"));
        if status != STATUS_NOTIFY_CLEANUP {
            // SAFETY: as above.
            unsafe { ask(watcher) };
        }
    }

    unsafe fn ask(watcher: *mut Watcher) {
        // SAFETY: by the caller.
        let status = unsafe {
            ZwNotifyChangeKey(
                (*watcher).key,
                ptr::null_mut(),
                (&raw mut (*watcher).item).cast(),
                ptr::without_provenance_mut(1),
                &raw mut (*watcher).status,
                registry::CHANGE_LAST_SET,
                1,
                ptr::null_mut(),
                0,
                1,
            )
        };
        assert_eq!(status, STATUS_PENDING);
    }

    #[test]
    fn changes_below_a_watched_key_notify_and_closing_it_cleans_up() {
        for mode in [Mode::Baton, Mode::Free] {
            let world = World::new(Config { mode, keep_log: true, ..Config::default() });
            world.registry_create(PATH);
            world
                .enter(|| {
                    let watcher = crate::machine::memory::alloc(
                        AllocationKind::Switch,
                        size_of::<Watcher>(),
                        0,
                        "watcher",
                    )
                    .cast::<Watcher>();
                    let key = open(PATH, 0x2_0019).expect("the key exists");
                    let item = WorkQueueItem {
                        list: [ptr::null_mut(); 2],
                        worker_routine: Some(notified),
                        parameter: watcher.cast(),
                    };
                    // SAFETY: fresh memory of that size, used by this machine only.
                    unsafe {
                        watcher.write(Watcher {
                            item,
                            status: IoStatusBlock { status: 0, information: 0 },
                            key,
                        });
                        ask(watcher);
                    }
                    assert_eq!(world::current().tracked(AllocationKind::WorkItem, watcher.addr()), 1);
                    registry::set(r"\Registry\Machine\Software\Elsewhere", "Other", Value::Dword(1));
                    for n in 0..3 {
                        registry::set(&format!(r"{PATH}\Below"), "Weight", Value::Dword(n));
                        cpu::settle();
                    }
                    registry::delete_value(PATH, "Absent");
                    cpu::settle();
                    close(key);
                })
                .expect("it ends");
            let lines = world.log_lines();
            let seen: Vec<_> =
                lines.iter().filter_map(|l| l.split_once("notified ")).map(|(_, s)| s).collect();
            assert_eq!(seen, ["0x10c", "0x10c", "0x10c", "0x10b"], "{mode:?}");
            assert!(world.violations().is_empty() && world.live().is_empty());
        }
    }

    #[test]
    fn a_change_between_two_requests_is_not_lost() {
        let world = World::new(Config { keep_log: true, ..Config::default() });
        world.registry_create(PATH);
        world
            .enter(|| {
                let watcher =
                    crate::machine::memory::alloc(AllocationKind::Switch, size_of::<Watcher>(), 0, "watcher")
                        .cast::<Watcher>();
                let key = open(PATH, 0x2_0019).expect("the key exists");
                let item = WorkQueueItem {
                    list: [ptr::null_mut(); 2],
                    worker_routine: Some(notified),
                    parameter: watcher.cast(),
                };
                // SAFETY: fresh memory of that size, used by this machine only.
                unsafe {
                    watcher.write(Watcher { item, status: IoStatusBlock { status: 0, information: 0 }, key });
                    ask(watcher);
                }
                registry::set(PATH, "Weight", Value::Dword(1));
                registry::set(PATH, "Weight", Value::Dword(2));
                cpu::settle();
                close(key);
            })
            .expect("it ends");
        let notified = world.log_lines().iter().filter(|l| l.ends_with("notified 0x10c")).count();
        assert_eq!(notified, 2);
        assert!(world.violations().is_empty());
    }
}
