//! The handlers of the switch for extensions: forwarding contexts, destinations, sources, references, reports of
//! dropped packets.

use crate::check::rule;
use crate::exports::Frame;
use crate::inject;
use crate::machine::cpu::DISPATCH;
use crate::machine::memory::MemoryState;
use crate::machine::world::World;
use crate::shown::arguments;
use crate::switch::ndis::{Life, State, with};
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{
    ForwardingDestinationArray, Handle, INVALID_PARAMETER, NetBufferList, PortDestination, SUCCESS,
    SwitchContext, SwitchOptionalHandlers, UnicodeString,
};

/// The table that NdisFGetOptionalSwitchHandlers returns.
pub fn table() -> SwitchOptionalHandlers {
    SwitchOptionalHandlers {
        allocate_net_buffer_list_forwarding_context: Some(entry::allocate_context),
        free_net_buffer_list_forwarding_context: Some(entry::free_context),
        set_net_buffer_list_source: Some(entry::set_source),
        add_net_buffer_list_destination: Some(entry::add_destination),
        grow_net_buffer_list_destinations: Some(entry::grow_destinations),
        get_net_buffer_list_destinations: Some(entry::get_destinations),
        update_net_buffer_list_destinations: Some(entry::update_destinations),
        copy_net_buffer_list_info: Some(entry::copy_info),
        reference_switch_nic: Some(entry::reference_nic),
        dereference_switch_nic: Some(entry::dereference_nic),
        reference_switch_port: Some(entry::reference_port),
        dereference_switch_port: Some(entry::dereference_port),
        report_filtered_net_buffer_lists: Some(entry::report_filtered),
        ..SwitchOptionalHandlers::ZERO
    }
}

/// The entry points of the handlers: each first records the driver's stack depth.
pub(crate) mod entry {
    use super::{
        ForwardingDestinationArray, NetBufferList, PortDestination, SwitchContext as Context, UnicodeString,
    };

    macro_rules! entries {
        ($($name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {
            $(
                /// # Safety
                /// As for the documented handler.
                #[unsafe(naked)]
                pub unsafe extern "win64" fn $name($($arg: $ty),*) $(-> $ret)? {
                    /// Has the same type.
                    const _: unsafe extern "win64" fn($($ty),*) $(-> $ret)? = super::$name;
                    crate::import_entry!(super::$name)
                }
            )*
        };
    }

    entries! {
        beyond_the_revision() -> i32;
        allocate_context(context: Context, list: *mut NetBufferList) -> i32;
        free_context(context: Context, list: *mut NetBufferList);
        set_source(context: Context, list: *mut NetBufferList, port: u32, nic: u16) -> i32;
        add_destination(context: Context, list: *mut NetBufferList, one: *mut PortDestination) -> i32;
        grow_destinations(
            context: Context, list: *mut NetBufferList, more: u32, array: *mut *mut ForwardingDestinationArray
        ) -> i32;
        get_destinations(
            context: Context, list: *mut NetBufferList, array: *mut *mut ForwardingDestinationArray
        );
        update_destinations(
            context: Context, list: *mut NetBufferList, count: u32, array: *mut ForwardingDestinationArray
        ) -> i32;
        copy_info(context: Context, to: *mut NetBufferList, from: *mut NetBufferList, flags: u32) -> i32;
        reference_nic(context: Context, port: u32, nic: u16) -> i32;
        dereference_nic(context: Context, port: u32, nic: u16) -> i32;
        reference_port(context: Context, port: u32) -> i32;
        dereference_port(context: Context, port: u32) -> i32;
        report_filtered(
            context: Context, guid: *const UnicodeString, name: *const UnicodeString, port: u32, flags: u32,
            count: u32, lists: *mut NetBufferList, reason: *const UnicodeString
        );
    }
}

/// Stored in the members that only revision 2 of the table has; calling one breaks STATE-05.
///
/// # Safety
/// None; it reads nothing.
pub unsafe extern "win64" fn beyond_the_revision() -> i32 {
    let _frame = Frame::enter("a switch handler of revision 2", DISPATCH, arguments!());
    crate::machine::world::current()
        .violate("STATE-05", "a handler was called that the returned revision does not have");
    INVALID_PARAMETER
}

/// Whether this call fails: as a fault of a sweep, or because the switch has no memory.
fn refused(handler: &'static str) -> bool {
    crate::machine::fault::fails(handler) || with(|world, state| world.chance(state.style.refuse, 100))
}

unsafe extern "win64" fn allocate_context(context: SwitchContext, list: *mut NetBufferList) -> i32 {
    let frame = Frame::enter("AllocateNetBufferListForwardingContext", DISPATCH, arguments!(list));
    let fails = refused("AllocateNetBufferListForwardingContext");
    frame.ended(with(|world, s| {
        inject::allocating(world, s, context, list);
        s.allocate_context(world, context, list, fails)
    }))
}

unsafe extern "win64" fn free_context(context: SwitchContext, list: *mut NetBufferList) {
    let _frame = Frame::enter("FreeNetBufferListForwardingContext", DISPATCH, arguments!(list));
    with(|world, s| {
        s.free_context(world, context, list);
        inject::freed_context(world, s, context, list);
    });
}

unsafe extern "win64" fn set_source(
    context: SwitchContext,
    list: *mut NetBufferList,
    port: u32,
    nic: u16,
) -> i32 {
    let frame = Frame::enter("SetNetBufferListSource", DISPATCH, arguments!(list, port, nic));
    frame.ended(with(|world, s| s.set_source(world, context, list, NicId::new(port, nic))))
}

unsafe extern "win64" fn add_destination(
    context: SwitchContext,
    list: *mut NetBufferList,
    destination: *mut PortDestination,
) -> i32 {
    let frame = Frame::enter("AddNetBufferListDestination", DISPATCH, arguments!(list, destination));
    let fails = refused("AddNetBufferListDestination");
    // SAFETY: the driver passes a readable element.
    let element = match inject::destination(context, list, unsafe { *destination }) {
        Ok(element) => element,
        Err(status) => return status,
    };
    let status = with(|world, s| s.add_destination(world, context, list, element, fails));
    inject::added(list);
    frame.ended(status)
}

unsafe extern "win64" fn grow_destinations(
    context: SwitchContext,
    list: *mut NetBufferList,
    more: u32,
    array: *mut *mut ForwardingDestinationArray,
) -> i32 {
    let frame = Frame::enter("GrowNetBufferListDestinations", DISPATCH, arguments!(list, more));
    let fails = refused("GrowNetBufferListDestinations");
    let (status, pointer) = with(|world, s| {
        inject::growing(world, s, context, list);
        let grown = s.grow(world, context, list, more, fails);
        inject::grown(s, list);
        grown
    });
    if status == SUCCESS {
        // SAFETY: the driver passes a writable pointer.
        unsafe { *array = pointer };
    }
    frame.ended(status)
}

unsafe extern "win64" fn get_destinations(
    context: SwitchContext,
    list: *mut NetBufferList,
    array: *mut *mut ForwardingDestinationArray,
) {
    let _frame = Frame::enter("GetNetBufferListDestinations", DISPATCH, arguments!(list));
    let pointer = with(|world, s| s.get(world, context, list));
    // SAFETY: the driver passes a writable pointer.
    unsafe { *array = pointer };
}

unsafe extern "win64" fn update_destinations(
    context: SwitchContext,
    list: *mut NetBufferList,
    count: u32,
    array: *mut ForwardingDestinationArray,
) -> i32 {
    let frame = Frame::enter("UpdateNetBufferListDestinations", DISPATCH, arguments!(list, count));
    let fails = refused("UpdateNetBufferListDestinations");
    frame.ended(with(|world, s| {
        inject::updating(world, s, context, list, array);
        let count = inject::destinations_written(s, list, count);
        s.update(world, context, list, count, array, fails)
    }))
}

unsafe extern "win64" fn copy_info(
    context: SwitchContext,
    to: *mut NetBufferList,
    from: *mut NetBufferList,
    flags: u32,
) -> i32 {
    let frame = Frame::enter("CopyNetBufferListInfo", DISPATCH, arguments!(to, from, flags));
    let fails = refused("CopyNetBufferListInfo");
    let flags = inject::copy_flags(flags);
    frame.ended(with(|world, s| {
        inject::copying(world, s, context, to, from);
        let status = s.copy_info(world, context, to, from, flags, fails);
        inject::copied(world, s, context, to, from);
        status
    }))
}

unsafe extern "win64" fn reference_nic(context: SwitchContext, port: u32, nic: u16) -> i32 {
    let frame = Frame::enter("ReferenceSwitchNic", DISPATCH, arguments!(port, nic));
    let fails = crate::machine::fault::fails("ReferenceSwitchNic");
    frame.ended(with(|world, s| {
        inject::referencing(world, s, context);
        s.reference_nic(world, context, NicId::new(port, nic), fails)
    }))
}

unsafe extern "win64" fn dereference_nic(context: SwitchContext, port: u32, nic: u16) -> i32 {
    let frame = Frame::enter("DereferenceSwitchNic", DISPATCH, arguments!(port, nic));
    frame.ended(with(|world, s| {
        let mut status = SUCCESS;
        for _ in 0..inject::dereferences(s) {
            status = s.dereference_nic(world, context, NicId::new(port, nic));
        }
        status
    }))
}

unsafe extern "win64" fn reference_port(context: SwitchContext, port: u32) -> i32 {
    let frame = Frame::enter("ReferenceSwitchPort", DISPATCH, arguments!(port));
    let fails = crate::machine::fault::fails("ReferenceSwitchPort");
    frame.ended(with(|world, s| s.reference_port(world, context, port, fails)))
}

unsafe extern "win64" fn dereference_port(context: SwitchContext, port: u32) -> i32 {
    let frame = Frame::enter("DereferenceSwitchPort", DISPATCH, arguments!(port));
    frame.ended(with(|world, s| s.dereference_port(world, context, port)))
}

unsafe extern "win64" fn report_filtered(
    context: SwitchContext,
    guid: *const UnicodeString,
    name: *const UnicodeString,
    port: u32,
    flags: u32,
    count: u32,
    lists: *mut NetBufferList,
    reason: *const UnicodeString,
) {
    let _frame =
        Frame::enter("ReportFilteredNetBufferLists", DISPATCH, arguments!(reason, port, flags, count, lists));
    with(|world, s| {
        let Some(module) = s.owner(world, context, "ReportFilteredNetBufferLists") else { return };
        let said = inject::Report { name, port, flags, count };
        let Some(said) = inject::report(world, s, module, said, lists) else { return };
        let inject::Report { name, port, flags, count } = said;
        for text in [guid, name] {
            let valid = is_text(world, text);
            rule(world, "DATA-82", valid, || "report without a valid name of the extension".to_owned());
        }
        let reason = if is_text(world, reason) { read_text(reason) } else { String::new() };
        s.report(world, module, (port, flags, count), lists, &reason);
    });
}

/// Whether a counted string is valid: not null, not in freed memory.
fn is_text(world: &World, text: *const UnicodeString) -> bool {
    if text.is_null() || matches!(world.place(text.cast()), MemoryState::Freed(_)) {
        return false;
    }
    // SAFETY: not null and not freed; the driver passes a structure.
    let text = unsafe { *text };
    let freed = matches!(world.place(text.buffer.cast()), MemoryState::Freed(_));
    !freed && text.length % 2 == 0 && (text.length == 0 || !text.buffer.is_null())
}

fn read_text(text: *const UnicodeString) -> String {
    // SAFETY: checked by `is_text`.
    let units = unsafe { std::slice::from_raw_parts((*text).buffer, usize::from((*text).length / 2)) };
    String::from_utf16_lossy(units)
}

impl State {
    /// The module of a switch context.
    pub fn owner(&mut self, world: &World, context: Handle, function: &'static str) -> Option<usize> {
        let module = self.modules.iter().position(|m| m.switch == context as usize && m.switch != 0);
        rule(world, "DATA-23", module.is_some(), || format!("{function} with a context of no switch"));
        let module = module?;
        rule(world, "STATE-24", self.life(module) != Life::Detached, || format!("{function} after detach"));
        self.tick();
        Some(module)
    }

    /// A packet that the extension may pass to a handler of this module.
    pub fn target(
        &mut self,
        world: &World,
        module: usize,
        list: *mut NetBufferList,
        function: &'static str,
    ) -> bool {
        let decoy = self.decoy();
        let packet = self.packets.get(list);
        let Some(packet) = packet else {
            let id = if list == decoy { "DATA-03" } else { "DATA-08" };
            world.violate(id, format!("{function} for something that is no list"));
            return false;
        };
        let name = packet.name;
        rule(world, "STATE-09", packet.switch == module, || {
            format!("{function} for packet {name} with another module's context")
        });
        let theirs = packet.place.is_the_extensions();
        rule(world, "DATA-03", theirs, || format!("{function} for packet {name} while it is others'"));
        theirs
    }
}
