//! The registry: values and subkeys of a key, and notifications of their changes. PASSIVE_LEVEL throughout.

use super::event::EventHandle;
use super::pool::{PoolBox, Tag};
use super::sys::{self, ChangeFilter, IoStatusBlock, KeyAccess, ObjectAttributes, ObjectFlags};
use crate::ndis::irql::Passive;
use crate::ndis::raw::UnicodeString;
use core::cell::UnsafeCell;
use core::ffi::c_void;

/// `KeyValuePartialInformation`: TitleIndex, Type, DataLength, then the data.
const PARTIAL_INFORMATION: i32 = 2;
/// `KeyBasicInformation`: LastWriteTime, TitleIndex, NameLength, then the name.
const BASIC_INFORMATION: i32 = 0;
const REG_BINARY: u32 = 3;
const REG_DWORD: u32 = 4;
const REG_QWORD: u32 = 11;

/// The name of a key or value, cut to 64 units. Without `collect`, which could panic for all that the compiler knows.
fn utf16_name(name: &str) -> heapless::Vec<u16, 64> {
    let mut units = heapless::Vec::new();
    for unit in name.encode_utf16() {
        if units.push(unit).is_err() {
            break;
        }
    }
    units
}

/// An open key.
pub struct Key(*mut c_void);

/// A registry value, as far as the settings distinguish types.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Value {
    Missing,
    Number(u64),
    OtherType,
}

/// The system refused access; a later attempt may succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable;

impl Key {
    /// Opens a key by its full path; `None` if it does not exist.
    ///
    /// # Errors
    /// `Unreadable` if the key may exist, but could not be opened.
    pub fn open(path: &[u16], _: &Passive) -> Result<Option<Self>, Unreadable> {
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
        // SAFETY: PASSIVE_LEVEL by the token; all arguments are valid during the call.
        let status = unsafe { sys::ZwOpenKey(&mut handle, KeyAccess::READ.bits(), &mut attributes) };
        match status {
            OBJECT_NAME_NOT_FOUND | OBJECT_PATH_NOT_FOUND => Ok(None),
            _ if sys::nt_success(status) => Ok(Some(Self(handle))),
            _ => Err(Unreadable),
        }
    }

    /// Asks for a value as `KEY_VALUE_PARTIAL_INFORMATION`. `T` is made of integers without padding.
    fn query<T: Copy>(&self, name: &str, out: &mut T, _: &Passive) -> i32 {
        let name = utf16_name(name);
        let mut name = UnicodeString::of(&name);
        let mut length = 0;
        // SAFETY: PASSIVE_LEVEL by the token; the buffer has the stated size.
        unsafe {
            sys::ZwQueryValueKey(
                self.0,
                &mut name,
                PARTIAL_INFORMATION,
                core::ptr::from_mut(out).cast(),
                size_of::<T>() as u32,
                &mut length,
            )
        }
    }

    /// Reads a DWORD or QWORD value.
    ///
    /// # Errors
    /// `Unreadable` if the value may exist, but could not be read.
    pub fn number(&self, name: &str, passive: &Passive) -> Result<Value, Unreadable> {
        let mut buffer = [0u32; 5];
        let status = self.query(name, &mut buffer, passive);
        let [_, kind, bytes, low, high] = buffer;
        match (status, kind, bytes) {
            (0, REG_DWORD, 4) => Ok(Value::Number(u64::from(low))),
            (0, REG_QWORD, 8) => Ok(Value::Number(u64::from(low) | u64::from(high) << 32)),
            (0, ..) | (BUFFER_OVERFLOW | BUFFER_TOO_SMALL, ..) => Ok(Value::OtherType),
            // The key may have been deleted since it was opened.
            (OBJECT_NAME_NOT_FOUND | KEY_DELETED, ..) => Ok(Value::Missing),
            _ => Err(Unreadable),
        }
    }
}

/// The name of a subkey.
#[derive(Clone, PartialEq, Eq)]
pub enum Subkey {
    /// There are no more.
    None,
    /// UTF-16.
    Name(heapless::Vec<u16, NAME_MOST>),
    /// A name that is longer than a GUID.
    Long,
}

/// Units of a subkey's name that are read: a GUID in braces.
const NAME_MOST: usize = 38;

/// `KEY_BASIC_INFORMATION` with room for one unit more than is read.
#[repr(C)]
#[derive(Clone, Copy)]
struct BasicInformation {
    _last_write: i64,
    _title: u32,
    /// In bytes.
    length: u32,
    name: [u16; 40],
}

impl Key {
    /// The name of the subkey with this number, in no order (nf-wdm-zwenumeratekey.md: KeyBasicInformation).
    ///
    /// # Errors
    /// `Unreadable` if there may be one, but its name could not be read.
    #[inline(never)] // a frame of its own
    pub fn subkey(&self, number: u32, _: &Passive) -> Result<Subkey, Unreadable> {
        let mut found = BasicInformation { _last_write: 0, _title: 0, length: 0, name: [0; 40] };
        let mut length = 0;
        // SAFETY: PASSIVE_LEVEL by the token; the buffer has the stated size.
        let status = unsafe {
            sys::ZwEnumerateKey(
                self.0,
                number,
                BASIC_INFORMATION,
                (&raw mut found).cast(),
                size_of::<BasicInformation>() as u32,
                &mut length,
            )
        };
        match status {
            NO_MORE_ENTRIES | KEY_DELETED => Ok(Subkey::None),
            BUFFER_OVERFLOW | BUFFER_TOO_SMALL => Ok(Subkey::Long),
            0 => {
                let units = found.name.get(..found.length as usize / 2);
                let name = units.and_then(|units| heapless::Vec::from_slice(units).ok());
                Ok(name.map_or(Subkey::Long, Subkey::Name))
            }
            _ => Err(Unreadable),
        }
    }
}

/// A binary value of the registry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    Missing,
    /// So many bytes were read.
    Read(usize),
    /// Another type, or more bytes than there is room for.
    Refused,
}

/// Largest binary value that is read, in bytes.
const BINARY_MAX: usize = 256;

/// `KEY_VALUE_PARTIAL_INFORMATION` with room for a binary value.
#[repr(C)]
#[derive(Clone, Copy)]
struct PartialBytes {
    _title: u32,
    kind: u32,
    length: u32,
    data: [u8; BINARY_MAX],
}

impl Key {
    /// Reads a REG_BINARY value of at most 256 bytes into `out`.
    ///
    /// # Errors
    /// `Unreadable` if the value may exist, but could not be read.
    #[inline(never)] // a frame of its own
    pub fn bytes(&self, name: &str, out: &mut [u8], passive: &Passive) -> Result<Bytes, Unreadable> {
        let mut found = PartialBytes { _title: 0, kind: 0, length: 0, data: [0; BINARY_MAX] };
        let status = self.query(name, &mut found, passive);
        match (status, found.kind) {
            (0, REG_BINARY) => {
                let data = found.data.get(..found.length as usize);
                match data.and_then(|data| Some((data, out.get_mut(..data.len())?))) {
                    Some((data, place)) => {
                        place.copy_from_slice(data);
                        Ok(Bytes::Read(data.len()))
                    }
                    None => Ok(Bytes::Refused),
                }
            }
            (0, _) | (BUFFER_OVERFLOW | BUFFER_TOO_SMALL, _) => Ok(Bytes::Refused),
            (OBJECT_NAME_NOT_FOUND | KEY_DELETED, _) => Ok(Bytes::Missing),
            _ => Err(Unreadable),
        }
    }
}

/// The data is longer than a QWORD.
const BUFFER_OVERFLOW: i32 = 0x8000_0005_u32.cast_signed();
const BUFFER_TOO_SMALL: i32 = 0xC000_0023_u32.cast_signed();
const OBJECT_NAME_NOT_FOUND: i32 = 0xC000_0034_u32.cast_signed();
const OBJECT_PATH_NOT_FOUND: i32 = 0xC000_003A_u32.cast_signed();
const NO_MORE_ENTRIES: i32 = 0x8000_001A_u32.cast_signed();
const KEY_DELETED: i32 = 0xC000_017C_u32.cast_signed();

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: opened by ZwOpenKey, closed once; a `Key` is dropped where it was opened, at PASSIVE_LEVEL.
        unsafe { sys::ZwClose(self.0) };
    }
}

/// Notifications of changes of a key and its subkeys (ZwNotifyChangeKey).
///
/// The fields are dropped in this order: closing the key completes a pending notification, which writes the status and
/// sets the event.
pub struct Watch {
    key: Key,
    event: EventHandle,
    status: PoolBox<UnsafeCell<IoStatusBlock>>,
    /// A notification is pending.
    pending: bool,
}

/// The result of a request for the next notification.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Armed {
    /// The notification is pending; the event will be set.
    Pending,
    /// The key has already changed; the event may or may not be set (the page of ZwNotifyChangeKey allows both).
    AtOnce,
    Refused,
}

const STATUS_PENDING: i32 = 0x103;

impl Watch {
    /// `None` if the key does not exist or an object cannot be created. Requests no notification yet.
    pub fn open(path: &[u16], passive: &Passive) -> Option<Self> {
        let key = Key::open(path, passive).ok()??;
        let event = EventHandle::try_new(passive)?;
        let status = UnsafeCell::new(IoStatusBlock { status: 0, information: 0 });
        Some(Self { key, event, status: PoolBox::try_new(Tag::THREAD, status).ok()?, pending: false })
    }

    /// The event that is set by a change after `arm` returned `Pending`.
    pub fn event(&self) -> &EventHandle {
        &self.event
    }

    /// Called when the event was set, so the notification is completed.
    pub fn told(&mut self) {
        self.pending = false;
    }

    /// Requests the next notification, unless one is pending. The event is reset first, because an earlier
    /// notification that completed at once may have set it.
    pub fn arm(&mut self, passive: &Passive) -> Armed {
        if self.pending {
            return Armed::Pending;
        }
        self.event.reset(passive);
        let changes = ChangeFilter::NAME | ChangeFilter::LAST_SET;
        // SAFETY: PASSIVE_LEVEL by the token; key, event and status live until the notification is over.
        let status = unsafe {
            sys::ZwNotifyChangeKey(
                self.key.0,
                self.event.handle(),
                core::ptr::null_mut(),
                core::ptr::null_mut(),
                self.status.get(),
                changes.bits(),
                1,
                core::ptr::null_mut(),
                0,
                1,
            )
        };
        match status {
            STATUS_PENDING => {
                self.pending = true;
                Armed::Pending
            }
            _ if sys::nt_success(status) => Armed::AtOnce,
            _ => Armed::Refused,
        }
    }
}
