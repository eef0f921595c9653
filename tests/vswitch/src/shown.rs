//! Arguments of calls as the event log shows them: counts, ports, flags, OIDs, statuses, numbers of packets. What is an
//! address, or depends on how a compiler lays out a structure, is left out. Packets, requests and indications are shown by
//! a hook of the switch's.

use crate::machine::world;
use lbfoext::kernel::sys::ObjectAttributes;
use lbfoext::ndis::raw::{self as status, NetBufferList, UnicodeString};
use std::any::Any;
use std::ffi::c_void;

/// An argument with its name.
pub(crate) type Argument<'a> = (&'static str, &'a dyn Any);

/// A closure that shows these variables.
macro_rules! arguments {
    ($($argument:ident),* $(,)?) => {
        || $crate::shown::line(&[$((stringify!($argument), &$argument as &dyn ::std::any::Any)),*])
    };
}
pub(crate) use arguments;

/// What is worth showing of the arguments, with commas.
pub(crate) fn line(arguments: &[Argument<'_>]) -> String {
    // A mutation may pass anything.
    if world::current().mutation().is_some() {
        return String::new();
    }
    let shown = arguments.iter().filter_map(|(name, value)| show(name, *value));
    shown.collect::<Vec<_>>().join(", ")
}

/// How a call ended, if it returned a status or a pointer to nothing.
pub(crate) fn result(value: &dyn Any) -> Option<String> {
    let null = value.downcast_ref::<*mut c_void>().is_some_and(|pointer| pointer.is_null())
        || value.downcast_ref::<*mut NetBufferList>().is_some_and(|pointer| pointer.is_null());
    if null {
        return Some("null".to_owned());
    }
    value.downcast_ref::<i32>().map(|status| status_text(*status))
}

fn show(name: &str, value: &dyn Any) -> Option<String> {
    // Sizes of structures are the compiler's.
    if name.starts_with('_') || name.contains("tag") || name == "size" {
        return None;
    }
    if let Some(number) = number(value) {
        return match name {
            "port_number" if number == 0 => None,
            "flags" | "filter" | "access" => Some(format!("{name} {number:#x}")),
            "status" | "code" => i32::try_from(number).ok().map(status_text),
            _ => Some(format!("{name} {number}")),
        };
    }
    let world = world::current();
    if let Some(shown) = world.show_hook.get().and_then(|hook| hook(name, value)) {
        return Some(shown);
    }
    // SAFETY: the driver, or the switch, passes structures that live for the call; without a mutation they are what
    // their types say.
    unsafe {
        if let Some(attributes) = value.downcast_ref::<*mut ObjectAttributes>() {
            return attributes
                .as_ref()
                .and_then(|attributes| attributes.object_name.as_ref())
                .map(|name| text(name));
        }
        let string = value.downcast_ref::<*mut UnicodeString>().map(|string| string.cast_const());
        let string = string.or(value.downcast_ref::<*const UnicodeString>().copied())?;
        string.as_ref().map(|string| text(string))
    }
}

/// Numbers of all sizes but those of an address, which may be one.
fn number(value: &dyn Any) -> Option<i64> {
    let small = value.downcast_ref::<u8>().map(|number| i64::from(*number));
    let small = small.or_else(|| value.downcast_ref::<i8>().map(|number| i64::from(*number)));
    let small = small.or_else(|| value.downcast_ref::<u16>().map(|number| i64::from(*number)));
    let small = small.or_else(|| value.downcast_ref::<u32>().map(|number| i64::from(*number)));
    let small = small.or_else(|| value.downcast_ref::<i32>().map(|number| i64::from(*number)));
    let large = small.or_else(|| value.downcast_ref::<i64>().copied());
    large.or_else(|| value.downcast_ref::<u64>().and_then(|number| i64::try_from(*number).ok()))
}

/// # Safety
/// It holds as many bytes as it says.
unsafe fn text(string: &UnicodeString) -> String {
    // SAFETY: the caller's promise.
    String::from_utf16_lossy(unsafe { string.text() })
}

/// A status by its name, or as a number.
pub fn status_text(value: i32) -> String {
    let name = match value {
        status::SUCCESS => "SUCCESS",
        status::PENDING => "PENDING",
        status::FAILURE => "FAILURE",
        status::INVALID_PARAMETER => "INVALID_PARAMETER",
        status::RESOURCES => "RESOURCES",
        status::NOT_SUPPORTED => "NOT_SUPPORTED",
        status::INVALID_STATE => "INVALID_STATE",
        status::DATA_NOT_ACCEPTED => "DATA_NOT_ACCEPTED",
        status::REQUEST_ABORTED => "REQUEST_ABORTED",
        status::INVALID_LENGTH => "INVALID_LENGTH",
        status::BUFFER_TOO_SHORT => "BUFFER_TOO_SHORT",
        status::FILE_NOT_FOUND => "FILE_NOT_FOUND",
        status::ADAPTER_NOT_FOUND => "ADAPTER_NOT_FOUND",
        status::SEND_ABORTED => "SEND_ABORTED",
        status::PAUSED => "PAUSED",
        _ => return format!("{value:#x}"),
    };
    name.to_owned()
}
