//! The registry: values of a key, and notifications of their change. PASSIVE_LEVEL throughout.

use super::rundown::WorkRundown;
use super::sys::{
    self, ChangeFilter, IoStatusBlock, KeyAccess, ObjectAttributes, ObjectFlags, WorkQueueItem,
};
use crate::ndis::irql::Passive;
use crate::ndis::raw::UnicodeString;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

/// `KeyValuePartialInformation`: TitleIndex, Type, DataLength, then the data.
const PARTIAL_INFORMATION: i32 = 2;
const REG_DWORD: u32 = 4;
const REG_QWORD: u32 = 11;

/// An open key.
pub struct Key(*mut c_void);

/// A value as far as the settings know types.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Value {
    Missing,
    Number(u64),
    OtherType,
}

impl Key {
    /// Opens a key by its full path; `None` when it is not there or cannot be read.
    pub fn open(path: &[u16], _: &Passive) -> Option<Self> {
        let name = UnicodeString::of(path);
        let mut attributes = ObjectAttributes {
            length: size_of::<ObjectAttributes>() as u32,
            root_directory: core::ptr::null_mut(),
            object_name: &raw const name,
            attributes: ObjectFlags::CASE_INSENSITIVE | ObjectFlags::KERNEL_HANDLE,
            security_descriptor: core::ptr::null_mut(),
            security_quality_of_service: core::ptr::null_mut(),
        };
        let mut handle = core::ptr::null_mut();
        // SAFETY: PASSIVE_LEVEL by the token; everything lives through the call.
        let status = unsafe { sys::ZwOpenKey(&mut handle, KeyAccess::READ.bits(), &mut attributes) };
        sys::nt_success(status).then(|| Self(handle))
    }

    /// A DWORD or QWORD value.
    pub fn number(&self, name: &str, _: &Passive) -> Value {
        let name: heapless::Vec<u16, 64> = name.encode_utf16().take(64).collect();
        let mut name = UnicodeString::of(&name);
        let mut buffer = [0u32; 5];
        let mut length = 0;
        // SAFETY: PASSIVE_LEVEL by the token; the buffer has the stated size.
        let status = unsafe {
            sys::ZwQueryValueKey(
                self.0,
                &mut name,
                PARTIAL_INFORMATION,
                buffer.as_mut_ptr().cast(),
                size_of_val(&buffer) as u32,
                &mut length,
            )
        };
        let [_, kind, bytes, low, high] = buffer;
        match (status, kind, bytes) {
            (0, REG_DWORD, 4) => Value::Number(u64::from(low)),
            (0, REG_QWORD, 8) => Value::Number(u64::from(low) | u64::from(high) << 32),
            (0, ..) | (BUFFER_OVERFLOW | BUFFER_TOO_SMALL, ..) => Value::OtherType,
            _ => Value::Missing,
        }
    }
}

/// The data does not fit: it is longer than any number.
const BUFFER_OVERFLOW: i32 = 0x8000_0005_u32.cast_signed();
const BUFFER_TOO_SMALL: i32 = 0xC000_0023_u32.cast_signed();

impl Drop for Key {
    fn drop(&mut self) {
        close(self.0);
    }
}

fn close(handle: *mut c_void) {
    // SAFETY: opened by ZwOpenKey, closed once; a drop of `Key` happens where it was opened, at PASSIVE_LEVEL.
    unsafe { sys::ZwClose(handle) };
}

/// The owner of a watch; it outlives the last notification, which its work rundown counts.
pub trait Changed: Sync {
    fn changed(&self, passive: &Passive);
    fn work(&self) -> &WorkRundown;
    fn watch(&self) -> &Watch;
}

/// A repeated request to be notified of changes below a key (ZwNotifyChangeKey).
///
/// `key` holds the handle of the key while no thread uses it. The thread that arms the notification takes the handle
/// out and puts it back. `stop` stores `CLOSED`; the thread that then has the handle closes it, which completes a
/// pending notification.
///
/// # Invariants
/// One reference of the owner's work rundown is held for each notification that is still to come.
pub struct Watch {
    key: AtomicUsize,
    request: UnsafeCell<Request>,
}

struct Request {
    status: IoStatusBlock,
    item: WorkQueueItem,
}

// SAFETY: `request` belongs to the kernel while a notification is pending and to `arm` otherwise; `key` says which.
unsafe impl Send for Watch {}
// SAFETY: as above.
unsafe impl Sync for Watch {}

/// No key is watched, or the watch is stopped.
const CLOSED: usize = 0;
/// A thread is arming.
const TAKEN: usize = 1;
/// A thread is arming, and another notification has come meanwhile.
const TAKEN_AGAIN: usize = 2;

/// `DelayedWorkQueue`.
const DELAYED_WORK_QUEUE: usize = 1;

impl Watch {
    pub const fn idle() -> Self {
        let item = WorkQueueItem {
            list: [core::ptr::null_mut(); 2],
            worker_routine: None,
            parameter: core::ptr::null_mut(),
        };
        let status = IoStatusBlock { status: 0, information: 0 };
        Self { key: AtomicUsize::new(CLOSED), request: UnsafeCell::new(Request { status, item }) }
    }

    /// Begins to watch `key` and its subkeys. PASSIVE_LEVEL.
    pub fn start<T: Changed>(owner: &T, key: Key, passive: &Passive) {
        let handle = key.0 as usize;
        core::mem::forget(key);
        if owner.watch().key.compare_exchange(CLOSED, TAKEN, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            arm(owner, handle, passive);
        } else {
            close(handle as *mut c_void);
        }
    }

    /// Ends the watch. A pending notification completes once more and is the last. PASSIVE_LEVEL.
    pub fn stop(&self, _: &Passive) {
        let key = self.key.swap(CLOSED, Ordering::AcqRel);
        if key > TAKEN_AGAIN {
            close(key as *mut c_void);
        }
    }
}

/// Requests the next notification and puts the handle back.
fn arm<T: Changed>(owner: &T, handle: usize, passive: &Passive) {
    let watch = owner.watch();
    loop {
        let pending = request_notification(owner, handle);
        if pending && watch.key.compare_exchange(TAKEN, handle, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return;
        }
        // The watch was stopped, the request failed, or a notification came before the handle was back.
        let again = pending
            && watch.key.compare_exchange(TAKEN_AGAIN, TAKEN, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !again {
            watch.key.store(CLOSED, Ordering::Release);
            close(handle as *mut c_void);
            return;
        }
        owner.changed(passive);
    }
}

fn request_notification<T: Changed>(owner: &T, handle: usize) -> bool {
    let Some(reference) = owner.work().enter() else { return false };
    let request = owner.watch().request.get();
    // SAFETY: the handle is taken, so no notification is pending and nobody else touches the request.
    let (status_block, item) = unsafe {
        (*request).item.worker_routine = Some(notified::<T>);
        (*request).item.parameter = core::ptr::from_ref(owner).cast_mut().cast();
        (&raw mut (*request).status, &raw mut (*request).item)
    };
    let changes = ChangeFilter::NAME | ChangeFilter::LAST_SET;
    // SAFETY: PASSIVE_LEVEL; in kernel mode a work item takes the place of the APC routine and the queue type that of
    // its context (the page of ZwNotifyChangeKey). Both outlive the notification, which the work rundown counts.
    let status = unsafe {
        sys::ZwNotifyChangeKey(
            handle as *mut c_void,
            core::ptr::null_mut(),
            item.cast(),
            DELAYED_WORK_QUEUE as *mut c_void,
            status_block,
            changes.bits(),
            1,
            core::ptr::null_mut(),
            0,
            1,
        )
    };
    if !sys::nt_success(status) {
        return false;
    }
    reference.keep();
    true
}

unsafe extern "win64" fn notified<T: Changed>(owner: *mut c_void) {
    // SAFETY: work items run at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    // SAFETY: the owner outlives the notification.
    let Some(owner) = (unsafe { owner.cast::<T>().as_ref() }) else { return };
    handle_notification(owner, &passive);
    // SAFETY: this notification's own reference; the last use of the owner.
    drop(unsafe { owner.work().adopt() });
}

/// Calls the owner and requests the next notification, unless another thread is about to.
fn handle_notification<T: Changed>(owner: &T, passive: &Passive) {
    let key = &owner.watch().key;
    loop {
        let now = key.load(Ordering::Acquire);
        let next = match now {
            CLOSED => return,
            TAKEN | TAKEN_AGAIN => TAKEN_AGAIN,
            _ => TAKEN,
        };
        if key.compare_exchange(now, next, Ordering::AcqRel, Ordering::Acquire).is_err() {
            continue;
        }
        if next == TAKEN {
            owner.changed(passive);
            arm(owner, now, passive);
        }
        return;
    }
}
