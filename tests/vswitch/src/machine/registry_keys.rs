//! The driver's enumeration of the keys below one (nf-wdm-zwenumeratekey, ns-wdm-_key_basic_information).

use crate::exports;
use crate::machine::fault;
use crate::machine::registry_calls::{
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, answer, with_handle,
};
use crate::machine::world;
use std::ffi::c_void;

const STATUS_NO_MORE_ENTRIES: i32 = 0x8000_001A_u32 as i32;
const STATUS_KEY_DELETED: i32 = 0xC000_017C_u32 as i32;
const KEY_ENUMERATE_SUB_KEYS: u32 = 0x8;
const BASIC_INFORMATION: i32 = 0;
/// LastWriteTime, TitleIndex and NameLength, before the name.
const FIXED: usize = 16;

exports! {
    pub extern "win64" fn ZwEnumerateKey(
        handle: *mut c_void,
        index: u32,
        class: i32,
        buffer: *mut c_void,
        length: u32,
        result_length: *mut u32,
    ) -> i32 where irql <= PASSIVE {
        let world = world::current();
        let path = match with_handle(&world, handle, KEY_ENUMERATE_SUB_KEYS, |open| open.path.clone()) {
            Ok(path) => path,
            Err(status) => return status,
        };
        if class != BASIC_INFORMATION {
            return STATUS_INVALID_PARAMETER;
        }
        if fault::fails("ZwEnumerateKey") {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        let Some(names) = world.registry.subkeys(&path) else { return STATUS_KEY_DELETED };
        if index as usize >= names.len() {
            return STATUS_NO_MORE_ENTRIES;
        }
        // The page states no order.
        let name = &names[(index as usize + world.config().seed as usize % 7) % names.len()];
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut bytes = vec![0x5A; FIXED - 4];
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend(name);
        // SAFETY: the driver passes a buffer of `length` bytes and a place for the needed length.
        unsafe { answer(&bytes, FIXED, (buffer.cast(), length), result_length) }
    }
}
