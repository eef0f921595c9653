//! Misdeeds: the border bends one call in the driver's name, and a check must name the rule that is broken by it.

use crate::ndis::State;
use lbfoext::ndis::raw::{
    FilterDriverCharacteristics, FilterRestartParameters, ForwardingDestinationArray, Handle, NetBufferList,
    ObjectHeader, PortDestination, SwitchContext, UnicodeString,
};

/// One misbehaviour of the driver.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Misdeed {
    /// Sends to a switch port number instead of the default port.
    SendPortNumber,
}

pub fn send(lists: *mut NetBufferList, port: u32, flags: u32) -> (*mut NetBufferList, u32, u32) {
    (lists, port, flags)
}
pub fn sent() {}
pub fn complete(lists: *mut NetBufferList, flags: u32) -> (*mut NetBufferList, u32) {
    (lists, flags)
}
pub fn indicate(lists: *mut NetBufferList, port: u32, count: u32, flags: u32) -> (*mut NetBufferList, u32, u32, u32) {
    (lists, port, count, flags)
}
pub fn indicated() {}
pub fn give_back(lists: *mut NetBufferList, flags: u32) -> (*mut NetBufferList, u32) {
    (lists, flags)
}
pub fn destination(element: PortDestination) -> PortDestination {
    element
}
pub fn added(_context: SwitchContext, _list: *mut NetBufferList) {}
pub fn update(
    _list: *mut NetBufferList,
    count: u32,
    array: *mut ForwardingDestinationArray,
) -> (u32, *mut ForwardingDestinationArray) {
    (count, array)
}
pub fn copy(flags: u32) -> u32 {
    flags
}
pub fn report(name: *const UnicodeString, port: u32, count: u32) -> (*const UnicodeString, u32, u32) {
    (name, port, count)
}
pub fn context(_state: &State, context: Handle) -> Handle {
    context
}
pub fn attached(status: i32, _is_switch: bool) -> i32 {
    status
}
pub fn restarted(_parameters: &mut FilterRestartParameters, _attributes: *mut u8) {}
pub fn paused(status: i32) -> i32 {
    status
}
pub fn characteristics(c: FilterDriverCharacteristics) -> FilterDriverCharacteristics {
    c
}
pub fn deregistration(handle: Handle) -> Handle {
    handle
}
pub fn attribute_calls() -> u32 {
    1
}
pub fn handlers_header(header: ObjectHeader) -> ObjectHeader {
    header
}
pub fn use_newer_handler() {}
pub fn loses_event() -> bool {
    false
}
pub fn query_fails() -> bool {
    false
}
