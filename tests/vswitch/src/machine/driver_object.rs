//! Extensions of driver objects: the driver's only place for what must outlive its entry.

use crate::exports;
use crate::machine::fault;
use crate::machine::memory::AllocationKind;
use crate::machine::world::{self, World};
use lbfoext::ndis::raw::UnicodeString;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;

const STATUS_SUCCESS: i32 = 0;
const STATUS_OBJECT_NAME_COLLISION: i32 = 0xC000_0035_u32 as i32;
const STATUS_INSUFFICIENT_RESOURCES: i32 = 0xC000_009A_u32 as i32;

/// The entry point of a driver.
pub type DriverEntry = unsafe extern "win64" fn(*mut c_void, *const UnicodeString) -> i32;

/// Extensions by driver object and client identification.
#[derive(Default)]
pub struct DriverObjects {
    extensions: Mutex<BTreeMap<(usize, usize), usize>>,
}

impl World {
    /// What the I/O manager does with a driver object that goes away: its extensions go too.
    pub fn free_driver_object_extensions(&self, driver_object: *const c_void) {
        let mut extensions = self.driver_objects.extensions.lock();
        let object = driver_object.addr();
        let gone: Vec<_> =
            extensions.range((object, 0)..=(object, usize::MAX)).map(|(k, v)| (*k, *v)).collect();
        extensions.retain(|(of, _), _| *of != object);
        drop(extensions);
        for (_, block) in gone {
            self.free(AllocationKind::DriverObjectExtension, ptr::with_exposed_provenance(block), 0);
        }
    }
}

exports! {
    pub extern "win64" fn IoAllocateDriverObjectExtension(
        driver_object: *mut c_void,
        client_identification: *mut c_void,
        size: u32,
        extension: *mut *mut c_void,
    ) -> i32 where irql <= DISPATCH {
        let world = world::current();
        let key = (driver_object.addr(), client_identification.addr());
        // SAFETY: the driver passes a place for the pointer.
        unsafe { extension.write(ptr::null_mut()) };
        if fault::fails("IoAllocateDriverObjectExtension") {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        if world.driver_objects.extensions.lock().contains_key(&key) {
            return STATUS_OBJECT_NAME_COLLISION;
        }
        let block = world.alloc(AllocationKind::DriverObjectExtension, size as usize, 0, "driver object extension");
        world.driver_objects.extensions.lock().insert(key, block.expose_provenance());
        // SAFETY: fresh memory of that size, and the place as above.
        unsafe {
            block.write_bytes(0, size as usize);
            extension.write(block.cast());
        }
        STATUS_SUCCESS
    }

    pub extern "win64" fn IoGetDriverObjectExtension(
        driver_object: *mut c_void,
        client_identification: *mut c_void,
    ) -> *mut c_void where irql <= DISPATCH {
        let key = (driver_object.addr(), client_identification.addr());
        let found = world::current().driver_objects.extensions.lock().get(&key).copied();
        found.map_or(ptr::null_mut(), ptr::with_exposed_provenance_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::world::Config;

    #[test]
    fn an_extension_is_zeroed_found_again_and_freed_with_its_object() {
        let world = World::new(Config::default());
        world
            .enter(|| {
                let object: *mut c_void = ptr::without_provenance_mut(0x1000);
                let client = ptr::without_provenance_mut(0x2000);
                let mut extension = ptr::null_mut();
                // SAFETY: the object is only a key.
                unsafe {
                    assert!(IoGetDriverObjectExtension(object, client).is_null());
                    let allocate =
                        |out: *mut *mut c_void| IoAllocateDriverObjectExtension(object, client, 16, out);
                    assert_eq!(allocate(&raw mut extension), STATUS_SUCCESS);
                    assert_eq!(extension.cast::<u128>().read(), 0);
                    assert_eq!(IoGetDriverObjectExtension(object, client), extension);
                    assert_eq!(allocate(&raw mut extension), STATUS_OBJECT_NAME_COLLISION);
                }
                assert_eq!(world::current().live().len(), 1);
                world::current().free_driver_object_extensions(object);
            })
            .expect("it ends");
        assert!(world.violations().is_empty() && world.live().is_empty());
    }
}
