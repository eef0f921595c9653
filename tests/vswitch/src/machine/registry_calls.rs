//! The driver's access to the registry: handles, queries, notifications by an event.
//!
//! A notification lasts for one change; what changes before the next one is asked for completes that one at once, with
//! STATUS_PENDING or, as the page allows, with STATUS_SUCCESS and the event set or not. Closing the handle completes a
//! pending one with STATUS_NOTIFY_CLEANUP.

use crate::exports;
use crate::machine::fault;
use crate::machine::memory::{AllocationKind, MemoryState};
use crate::machine::registry::{Path, Value, canonical};
use crate::machine::world::{self, World};
use lbfoext::kernel::sys::{IoStatusBlock, ObjectAttributes};
use lbfoext::ndis::raw::UnicodeString;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) const STATUS_SUCCESS: i32 = 0;
const STATUS_PENDING: i32 = 0x103;
const STATUS_NOTIFY_CLEANUP: i32 = 0x10B;
const STATUS_NOTIFY_ENUM_DIR: i32 = 0x10C;
pub(super) const STATUS_BUFFER_OVERFLOW: i32 = 0x8000_0005_u32 as i32;
const STATUS_INVALID_HANDLE: i32 = 0xC000_0008_u32 as i32;
pub(super) const STATUS_INVALID_PARAMETER: i32 = 0xC000_000D_u32 as i32;
const STATUS_ACCESS_DENIED: i32 = 0xC000_0022_u32 as i32;
pub(super) const STATUS_BUFFER_TOO_SMALL: i32 = 0xC000_0023_u32 as i32;
const STATUS_OBJECT_NAME_NOT_FOUND: i32 = 0xC000_0034_u32 as i32;
const STATUS_OBJECT_PATH_SYNTAX_BAD: i32 = 0xC000_003B_u32 as i32;
pub(super) const STATUS_INSUFFICIENT_RESOURCES: i32 = 0xC000_009A_u32 as i32;

const KEY_QUERY_VALUE: u32 = 0x1;
const KEY_NOTIFY: u32 = 0x10;
/// Rights that stand for a set which holds both of the above.
const GENERIC_READ: u32 = 0x8000_0000;
const OBJ_KERNEL_HANDLE: u32 = 0x200;
/// Kernel handles have the top bit, as on a real machine, and count in fours.
const FIRST_HANDLE: usize = 0xFFFF_FFFF_8000_0004;

const FULL_INFORMATION: i32 = 1;
const PARTIAL_INFORMATION: i32 = 2;

/// A pending notification.
#[derive(Clone, Copy)]
struct Pending {
    /// The event, referenced.
    event: usize,
    status_block: usize,
}

pub(super) struct Handle {
    pub(super) path: Path,
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
        self.signal(pending.event, true);
        self.dereference(pending.event);
    }
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
pub(super) fn with_handle<T>(
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
    let result = match missed {
        Err(status) => status,
        Ok(None) => {
            world
                .violate("MEM-02", "a second registry notification on one handle while the first is pending");
            STATUS_INVALID_PARAMETER
        }
        Ok(Some(false)) => return STATUS_PENDING,
        Ok(Some(true)) if world.chance(1, 2) => {
            world.complete_notification(pending, STATUS_NOTIFY_ENUM_DIR);
            return STATUS_PENDING;
        }
        Ok(Some(true)) => {
            world.signal(pending.event, world.chance(1, 2));
            STATUS_SUCCESS
        }
    };
    world.dereference(pending.event);
    result
}

/// Gives a structure whose first `fixed` bytes must fit, and as much of the rest as there is room for.
///
/// # Safety
/// The buffer has the stated length; `needed` is writable.
pub(super) unsafe fn answer(
    bytes: &[u8],
    fixed: usize,
    (buffer, length): (*mut u8, u32),
    needed: *mut u32,
) -> i32 {
    let room = length as usize;
    // SAFETY: by the caller.
    unsafe {
        needed.write(bytes.len() as u32);
        if room < fixed {
            return STATUS_BUFFER_TOO_SMALL;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len().min(room));
    }
    if bytes.len() > room { STATUS_BUFFER_OVERFLOW } else { STATUS_SUCCESS }
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
        // SAFETY: the driver passes a buffer of `length` bytes and a place for the needed length.
        unsafe { answer(&bytes, fixed, (buffer.cast(), length), result_length) }
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
        let asked = !event.is_null() && apc_routine.is_null() && apc_context.is_null();
        if !asked || asynchronous == 0 || status.is_null() {
            world.violate("LOCK-04", "ZwNotifyChangeKey other than with an event and at once back");
            return STATUS_INVALID_PARAMETER;
        }
        if fault::fails("ZwNotifyChangeKey") {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        let Some(object) = world.reference_handle(event.addr()) else {
            world.violate("MEM-02", "ZwNotifyChangeKey with the handle of no event");
            return STATUS_INVALID_HANDLE;
        };
        // Whether the event is reset by this is said nowhere.
        if world.chance(1, 2) {
            world.signal(object, false);
        }
        let pending = Pending { event: object, status_block: status.expose_provenance() };
        watch(&world, handle, filter, watch_tree != 0, pending)
    }

    pub extern "win64" fn ZwClose(handle: *mut c_void) -> i32 where irql <= PASSIVE {
        let world = world::current();
        let closed = world.registry.watches.handles.lock().remove(&handle.addr());
        let Some(closed) = closed else {
            if world.close_object(handle.addr()) {
                return STATUS_SUCCESS;
            }
            world.violate("MEM-02", "handle closed that is not open");
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
    use crate::machine::objects::{ZwCreateEvent, ZwWaitForSingleObject};
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

    /// What a driver keeps for its notifications.
    struct Watcher {
        key: *mut c_void,
        event: *mut c_void,
        status: *mut IoStatusBlock,
    }

    impl Watcher {
        fn new(access: u32) -> Self {
            let mut event = ptr::null_mut();
            let mut attributes = ObjectAttributes {
                length: 48,
                root_directory: ptr::null_mut(),
                object_name: ptr::null(),
                attributes: lbfoext::kernel::sys::ObjectFlags::KERNEL_HANDLE,
                security_descriptor: ptr::null_mut(),
                security_quality_of_service: ptr::null_mut(),
            };
            // SAFETY: the caller's own structures.
            let status = unsafe { ZwCreateEvent(&raw mut event, 3, &raw mut attributes, 1, 0) };
            assert_eq!(status, STATUS_SUCCESS);
            let status = crate::machine::memory::alloc(
                AllocationKind::Switch,
                size_of::<IoStatusBlock>(),
                0,
                "status",
            );
            status.expose_provenance();
            Self { key: open(PATH, access).expect("the key exists"), event, status: status.cast() }
        }

        fn ask(&self) -> i32 {
            // SAFETY: key, event and status live until the end.
            unsafe {
                ZwNotifyChangeKey(
                    self.key,
                    self.event,
                    ptr::null_mut(),
                    ptr::null_mut(),
                    self.status,
                    registry::CHANGE_LAST_SET,
                    1,
                    ptr::null_mut(),
                    0,
                    1,
                )
            }
        }

        /// Whether the event is set; it is reset by that.
        fn is_told(&self) -> bool {
            let mut at_once = 0;
            // SAFETY: an open handle.
            unsafe { ZwWaitForSingleObject(self.event, 0, &raw mut at_once) == STATUS_SUCCESS }
        }
    }

    #[test]
    fn changes_below_a_watched_key_notify_and_closing_it_cleans_up() {
        for mode in [Mode::Baton, Mode::Free] {
            let world = World::new(Config { mode, ..Config::default() });
            world.registry_create(PATH);
            world
                .enter(|| {
                    let watcher = Watcher::new(0x2_0019);
                    for n in 0..3 {
                        assert_eq!(watcher.ask(), STATUS_PENDING);
                        registry::set(r"\Registry\Machine\Software\Elsewhere", "Other", Value::Dword(1));
                        assert!(!watcher.is_told());
                        registry::set(&format!(r"{PATH}\Below"), "Weight", Value::Dword(n));
                        assert!(watcher.is_told() && !watcher.is_told());
                        // SAFETY: the notification is over.
                        assert_eq!(unsafe { (*watcher.status).status }, STATUS_NOTIFY_ENUM_DIR);
                    }
                    assert_eq!(watcher.ask(), STATUS_PENDING);
                    close(watcher.key);
                    assert!(watcher.is_told());
                    // SAFETY: as above.
                    assert_eq!(unsafe { (*watcher.status).status }, STATUS_NOTIFY_CLEANUP);
                    close(watcher.event);
                })
                .expect("it ends");
            assert!(world.violations().is_empty() && world.live().is_empty(), "{mode:?}");
        }
    }

    #[test]
    fn a_change_between_two_requests_ends_the_second_at_once_in_one_of_the_documented_ways() {
        let mut ways = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let world = World::new(Config { seed, ..Config::default() });
            world.registry_create(PATH);
            let way = world.enter(|| {
                let watcher = Watcher::new(0x2_0019);
                watcher.ask();
                registry::set(PATH, "Weight", Value::Dword(1));
                registry::set(PATH, "Weight", Value::Dword(2));
                assert!(watcher.is_told());
                let status = watcher.ask();
                let way = (status, watcher.is_told());
                close(watcher.key);
                close(watcher.event);
                way
            });
            ways.insert(way.expect("it ends"));
            assert!(world.violations().is_empty() && world.live().is_empty());
        }
        let expected = [(STATUS_SUCCESS, false), (STATUS_SUCCESS, true), (STATUS_PENDING, true)];
        assert_eq!(ways, std::collections::BTreeSet::from(expected));
    }
}
