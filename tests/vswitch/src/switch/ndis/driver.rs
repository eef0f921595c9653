//! The driver: entry, registration, unload.
//!
//! The functions above the exports are what the system does; the scenario calls them on a simulated thread at PASSIVE.

use crate::check::rule;
use crate::exports;
use crate::inject;
use crate::machine::driver_object::DriverEntry;
use crate::machine::memory::AllocationKind;
use crate::machine::world::{self, World};
use crate::switch::ndis::detach::detach;
use crate::switch::ndis::module::{attach, pause};
use crate::switch::ndis::{Driver, Life, call, leaks, with};
use lbfoext::ndis::raw::{
    FilterDriverCharacteristics, Handle, RESOURCES, SUCCESS, UnicodeString, object_type,
};
use std::ffi::c_void;
use std::ptr;

const DRIVER_OBJECT_SIZE: usize = 336;
const DRIVER_UNLOAD_OFFSET: usize = 104;
/// The product's service: the last part of the registry path, and `ServiceName` of the registration.
pub const SERVICE: &str = "lbfoext";

/// The role of an extension: the `FilterClass` of its INF (inf-requirements-for-hyper-v-extensions), and whether it is
/// a teaming provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// `ms_switch_filter`: the switch itself determines destinations (filtering-extensions).
    Filtering,
    /// `ms_switch_forward`: the extension determines destinations (forwarding-extensions).
    Forwarding,
    /// The same, and it distributes traffic over a team whose adapters may fail (teaming-provider-extensions).
    TeamingProvider,
}

impl Role {
    /// Whether the extension determines destinations.
    pub const fn forwards(self) -> bool {
        matches!(self, Self::Forwarding | Self::TeamingProvider)
    }

    /// Whether the checks for teams apply; they are promises of the product only.
    pub const fn has_team(self) -> bool {
        matches!(self, Self::TeamingProvider)
    }
}

/// The extension as its INF installs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Installed {
    pub service: String,
    pub role: Role,
}

impl Installed {
    /// It is the driver of the package in `inf`, and not another extension.
    pub fn is_of_the_package(&self) -> bool {
        self.service == SERVICE && matches!(self.role, Role::TeamingProvider)
    }
}

impl Default for Installed {
    fn default() -> Self {
        Self { service: SERVICE.to_owned(), role: Role::TeamingProvider }
    }
}

/// A string in memory of the switch, which is overwritten with poison when it is freed.
pub struct Text {
    structure: *mut UnicodeString,
    units: *mut u8,
}

impl Text {
    pub fn new(world: &World, text: &str) -> Self {
        let units: Vec<u16> = text.encode_utf16().collect();
        let bytes = units.len() * 2;
        let buffer = world.alloc(AllocationKind::Switch, bytes.max(2), 0, "text");
        let structure = world.alloc(AllocationKind::Switch, 16, 0, "UNICODE_STRING").cast::<UnicodeString>();
        // SAFETY: both were just allocated with these sizes.
        unsafe {
            ptr::copy_nonoverlapping(units.as_ptr().cast::<u8>(), buffer, bytes);
            let mut value = UnicodeString::ZERO;
            value.length = u16::try_from(bytes).unwrap_or(0);
            value.maximum_length = value.length;
            value.buffer = buffer.cast();
            structure.write(value);
        }
        Self { structure, units: buffer }
    }

    pub fn as_ptr(&self) -> *const UnicodeString {
        self.structure
    }

    pub fn free(self, world: &World) {
        world.free(AllocationKind::Switch, self.units, 0);
        world.free(AllocationKind::Switch, self.structure.cast(), 0);
    }
}

/// Loads the driver: creates its object and calls DriverEntry.
pub fn load(entry: DriverEntry) -> i32 {
    let world = world::current();
    let object = world.alloc(AllocationKind::Switch, DRIVER_OBJECT_SIZE, 0, "driver object");
    // SAFETY: just allocated with this size.
    unsafe { object.write_bytes(0, DRIVER_OBJECT_SIZE) };
    with(|_, state| {
        let next_handle = state.driver.next_handle;
        let attach_inside = std::mem::take(&mut state.driver.attach_inside);
        state.driver = Driver { object: object as usize, next_handle, attach_inside, ..Driver::default() };
    });
    let service = with(|_, state| state.installed.service.clone());
    let path = Text::new(&world, &format!("{}\\{service}", crate::machine::registry::SERVICES));
    let mark = leaks::newest(&world);
    // SAFETY: the entry point of a driver, with arguments as documented.
    let status = call("DriverEntry", 0, || unsafe { entry(object.cast(), path.as_ptr()) });
    path.free(&world);
    with(|world, state| {
        let registered = state.driver.registered;
        rule(world, "STATE-27", inject::entry(status) == SUCCESS || !registered, || {
            "DriverEntry failed and left the driver registered".to_owned()
        });
    });
    if status != SUCCESS {
        world.free_driver_object_extensions(object.cast());
        leaks::after_failure(&world, mark, None, "STATE-27");
        world.free(AllocationKind::Switch, object, 0);
    }
    status
}

/// Unloads the driver: DriverUnload, then the driver object is freed.
pub fn unload() {
    let world = world::current();
    let (object, registered) = with(|world, state| {
        state.driver.unloading = true;
        state.driver.frees_at_unload = world.pool_frees();
        (state.driver.object as *mut u8, state.driver.registered)
    });
    if object.is_null() || !registered {
        return;
    }
    // SAFETY: the driver object lives, and the member holds a function or null.
    let unload: Option<unsafe extern "win64" fn(*mut c_void)> = unsafe {
        object.add(DRIVER_UNLOAD_OFFSET).cast::<Option<unsafe extern "win64" fn(*mut c_void)>>().read()
    };
    if let Some(unload) = unload {
        // SAFETY: the driver set it.
        call("DriverUnload", 0, || unsafe { unload(object.cast()) });
    }
    with(|world, state| {
        let running = world.timer_functions_running(None);
        rule(world, "STATE-32", running == 0, || {
            format!("{running} timer functions have not returned when the driver is unloaded")
        });
        world.check_system_threads();
        world.check_providers();
        rule(world, "STATE-26", state.driver.deregistered, || {
            "DriverUnload returned without NdisFDeregisterFilterDriver".to_owned()
        });
        state.driver.object = 0;
    });
    world.free_driver_object_extensions(object.cast());
    world.free(AllocationKind::Switch, object, 0);
}

exports! {
    pub extern "win64" fn NdisFRegisterFilterDriver(
        driver_object: *mut c_void,
        filter_driver_context: Handle,
        characteristics: *mut FilterDriverCharacteristics,
        filter_driver_handle: *mut Handle,
    ) -> i32 where irql <= PASSIVE {
        // SAFETY: the driver passes a readable structure.
        let c = unsafe { *characteristics };
        let fails = crate::machine::fault::fails("NdisFRegisterFilterDriver");
        let (handle, waiting) = with(|world, state| {
            check_characteristics(world, &inject::characteristics(c), &state.installed.service);
            rule(world, "STATE-02", state.driver.object == driver_object as usize, || {
                "registration for another driver object".to_owned()
            });
            if fails {
                return (0, Vec::new());
            }
            let handle = state.fresh_handle(3);
            state.driver.handle = handle;
            state.driver.handle_context = filter_driver_context as usize;
            state.driver.characteristics = Some(c);
            state.driver.registered = true;
            state.driver.registering = true;
            (handle, std::mem::take(&mut state.driver.attach_inside))
        });
        if fails {
            return RESOURCES;
        }
        world::current().track(AllocationKind::DriverRegistration, handle, 0, "filter driver");
        // SAFETY: the driver passes a writable handle.
        unsafe { *filter_driver_handle = handle as Handle };
        // No module is attached before the driver has set its options (initializing-a-filter-driver).
        let options = c.set_options.map_or(SUCCESS, |set_options| {
            // SAFETY: the driver registered this handler.
            call("FilterSetOptions", 0, || unsafe { set_options(handle as Handle, filter_driver_context) })
        });
        if options != SUCCESS {
            with(|world, state| {
                state.driver.registered = false;
                state.driver.characteristics = None;
                world.untrack(AllocationKind::DriverRegistration, handle);
            });
            return options;
        }
        for module in waiting {
            attach(module);
        }
        with(|_, state| state.driver.registering = false);
        SUCCESS
    }

    pub extern "win64" fn NdisFDeregisterFilterDriver(handle: Handle) where irql <= PASSIVE {
        inject::deregistering();
        let attached = with(|world, state| {
            let known = state.driver.registered && state.driver.handle == handle as usize;
            rule(world, "STATE-24", known, || "NdisFDeregisterFilterDriver with an unknown handle".to_owned());
            let freed = world.pool_frees() > state.driver.frees_at_unload;
            rule(world, "STATE-26", !(freed && state.driver.unloading), || {
                "memory was freed in DriverUnload before deregistration".to_owned()
            });
            let live = state.modules.iter().filter(|m| m.life != Life::Detached);
            live.map(|m| (m.index, m.life)).collect::<Vec<_>>()
        });
        for (module, life) in attached {
            if life == Life::Running {
                pause(module);
            }
            detach(module);
        }
        with(|world, state| {
            state.driver.registered = false;
            state.driver.deregistered = true;
            state.driver.characteristics = None;
            world.untrack(AllocationKind::DriverRegistration, state.driver.handle);
        });
    }
}

fn check_characteristics(world: &World, c: &FilterDriverCharacteristics, installed: &str) {
    let version = (c.major_ndis_version, c.minor_ndis_version);
    let header_fits = match c.header.revision {
        2 => c.header.size >= 224,
        3 => version >= (6, 80) && c.header.size >= 240,
        _ => false,
    };
    let header = c.header.object_type == object_type::FILTER_DRIVER_CHARACTERISTICS && header_fits;
    rule(world, "STATE-02", header && version >= (6, 40), || {
        format!("characteristics of revision {} for NDIS {version:?}", c.header.revision)
    });
    let text = |s: &UnicodeString| {
        if s.buffer.is_null() {
            return String::new();
        }
        // SAFETY: the driver's counted string.
        String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(s.buffer, usize::from(s.length / 2)) })
    };
    let (unique, service) = (text(&c.unique_name), text(&c.service_name));
    let guid = unique.len() == 38 && unique.starts_with('{') && unique.ends_with('}');
    rule(world, "STATE-02", guid, || format!("UniqueName {unique:?} is no GUID in braces"));
    rule(world, "STATE-02", service == installed, || format!("ServiceName {service:?}"));
    let pairs = [
        ("oid request and its completion", c.oid_request.is_some() == c.oid_request_complete.is_some()),
        (
            "receive or return without status",
            c.receive.is_none() && c.return_lists.is_none() || c.status.is_some(),
        ),
        ("send and its completion", c.send.is_none() || c.send_complete.is_some()),
        ("receive and return", c.receive.is_some() == c.return_lists.is_some()),
        ("life", c.attach.is_some() && c.detach.is_some() && c.restart.is_some() && c.pause.is_some()),
    ];
    for (what, holds) in pairs {
        rule(world, "STATE-03", holds, || format!("handlers: {what}"));
    }
}
