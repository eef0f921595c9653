//! The handlers that the extensible switch offers to extensions (NDIS_SWITCH_OPTIONAL_HANDLERS): destinations,
//! references, reports of filtered packets. Each may be called at IRQL <= DISPATCH_LEVEL with the driver's locks held,
//! because none re-enters the driver.

use super::handle::Filter;
use super::nbl::{Nbl, NblChain};
use super::raw::{
    self, CopyInfoFlags, DestinationBits, ForwardingDestinationArray, NetBufferList, ObjectHeader,
    PortDestination, ReportFiltered, ReportFilteredFlags, SwitchContext, SwitchOptionalHandlers,
    UnicodeString,
};
use super::status::NdisStatus;
use super::sys;
use core::mem::offset_of;
use teaming::forward::Target;
use teaming::ids::{NicId, PortId};
use teaming::ports::port::Preserve;

/// The NdisSwitchContext of a filter module, and the handlers that the driver uses.
pub struct Switch {
    context: SwitchContext,
    allocate: unsafe extern "win64" fn(SwitchContext, *mut NetBufferList) -> i32,
    free: unsafe extern "win64" fn(SwitchContext, *mut NetBufferList),
    copy_info: unsafe extern "win64" fn(SwitchContext, *mut NetBufferList, *mut NetBufferList, u32) -> i32,
    add: unsafe extern "win64" fn(SwitchContext, *mut NetBufferList, *mut PortDestination) -> i32,
    grow: unsafe extern "win64" fn(
        SwitchContext,
        *mut NetBufferList,
        u32,
        *mut *mut ForwardingDestinationArray,
    ) -> i32,
    get: unsafe extern "win64" fn(SwitchContext, *mut NetBufferList, *mut *mut ForwardingDestinationArray),
    update: unsafe extern "win64" fn(
        SwitchContext,
        *mut NetBufferList,
        u32,
        *mut ForwardingDestinationArray,
    ) -> i32,
    reference: unsafe extern "win64" fn(SwitchContext, u32, u16) -> i32,
    dereference: unsafe extern "win64" fn(SwitchContext, u32, u16) -> i32,
    reference_port: unsafe extern "win64" fn(SwitchContext, u32) -> i32,
    dereference_port: unsafe extern "win64" fn(SwitchContext, u32) -> i32,
    report: ReportFiltered,
}

// SAFETY: the context is an opaque handle, and the handlers may be called on every processor.
unsafe impl Send for Switch {}
// SAFETY: as above.
unsafe impl Sync for Switch {}

impl Switch {
    /// NdisFGetOptionalSwitchHandlers. NDIS_STATUS_NOT_SUPPORTED if the module is not attached to an extensible
    /// switch, or a handler that the driver needs is missing. PASSIVE_LEVEL, in FilterAttach.
    #[inline(never)] // a frame of its own
    pub(crate) fn of(filter: Filter) -> Result<Self, NdisStatus> {
        let mut handlers = SwitchOptionalHandlers::ZERO;
        handlers.header = ObjectHeader::new(
            raw::object_type::SWITCH_OPTIONAL_HANDLERS,
            1,
            SwitchOptionalHandlers::SIZE_REVISION_1,
        );
        let mut context: SwitchContext = core::ptr::null_mut();
        // SAFETY: both results are valid for the call.
        NdisStatus(unsafe {
            sys::NdisFGetOptionalSwitchHandlers(filter.handle(), &mut context, &mut handlers)
        })
        .ok()?;
        Self::resolve(context, &handlers).ok_or(NdisStatus::NOT_SUPPORTED)
    }

    fn resolve(context: SwitchContext, handlers: &SwitchOptionalHandlers) -> Option<Self> {
        Some(Self {
            context,
            allocate: handlers.allocate_net_buffer_list_forwarding_context?,
            free: handlers.free_net_buffer_list_forwarding_context?,
            copy_info: handlers.copy_net_buffer_list_info?,
            add: handlers.add_net_buffer_list_destination?,
            grow: handlers.grow_net_buffer_list_destinations?,
            get: handlers.get_net_buffer_list_destinations?,
            update: handlers.update_net_buffer_list_destinations?,
            reference: handlers.reference_switch_nic?,
            dereference: handlers.dereference_switch_nic?,
            reference_port: handlers.reference_switch_port?,
            dereference_port: handlers.dereference_switch_port?,
            report: handlers.report_filtered_net_buffer_lists?,
        })
    }

    /// Adds the only destination of a packet. On failure none is added.
    pub fn add_destination(&self, list: &mut Nbl, target: Target) -> Result<(), NdisStatus> {
        if list.detail().available_destinations() == 0 {
            return self.add_without_room(list, target);
        }
        let mut destination = destination(target);
        // SAFETY: the list is owned and has a free element for a destination.
        NdisStatus(unsafe { (self.add)(self.context, list.as_ptr(), &mut destination) }).ok()
    }

    /// The same for a list that has no free element, as children and some sources have.
    #[inline(never)] // apart from what every packet needs
    fn add_without_room(&self, list: &mut Nbl, target: Target) -> Result<(), NdisStatus> {
        self.add_destinations(list, 1, core::iter::once(target))
    }

    /// Adds `count` more destinations; `targets` must yield at least as many. On failure none of them is added.
    pub fn add_destinations(
        &self,
        list: &mut Nbl,
        count: u32,
        targets: impl Iterator<Item = Target>,
    ) -> Result<(), NdisStatus> {
        let mut array: *mut ForwardingDestinationArray = core::ptr::null_mut();
        let free = u32::from(list.detail().available_destinations());
        if free < count {
            // SAFETY: the list is owned; the result is checked.
            NdisStatus(unsafe { (self.grow)(self.context, list.as_ptr(), count - free, &mut array) }).ok()?;
        } else {
            // SAFETY: the list is owned.
            unsafe { (self.get)(self.context, list.as_ptr(), &mut array) };
        }
        let written = write_destinations(array, count, targets);
        if written == 0 {
            return Err(NdisStatus::FAILURE);
        }
        // SAFETY: `written` new elements follow those already committed.
        NdisStatus(unsafe { (self.update)(self.context, list.as_ptr(), written, array) }).ok()
    }

    /// Allocates the forwarding context of a child NBL and copies the parent's source and out-of-band data.
    pub(crate) fn adopt(&self, child: &mut Nbl, parent: &Nbl) -> Result<(), NdisStatus> {
        self.allocate_context(child)?;
        // Without a flag, destinations are not copied.
        let flags = CopyInfoFlags::empty().bits();
        // SAFETY: both lists are owned and have contexts.
        let status = unsafe { (self.copy_info)(self.context, child.as_ptr(), parent.as_ptr(), flags) };
        let copied = NdisStatus(status).ok();
        if copied.is_err() {
            self.release(child);
        }
        copied
    }

    /// Allocates the forwarding context of a list of our own, which has the default port as its source then.
    pub(crate) fn allocate_context(&self, list: &mut Nbl) -> Result<(), NdisStatus> {
        // SAFETY: the list is owned, its source handle is set, and it has no context yet.
        NdisStatus(unsafe { (self.allocate)(self.context, list.as_ptr()) }).ok()
    }

    /// Frees the forwarding context of a list of our own.
    pub(crate) fn release(&self, child: &mut Nbl) {
        // SAFETY: allocated in `allocate_context`, freed once.
        unsafe { (self.free)(self.context, child.as_ptr()) };
    }

    /// References a NIC, which the switch then does not delete. `None` if its disconnection or deletion has begun.
    pub fn reference_nic(&self, nic: NicId) -> Option<NicRef<'_>> {
        // SAFETY: the switch checks the pair.
        let status = NdisStatus(unsafe { (self.reference)(self.context, nic.port.get(), nic.index.get()) });
        (status == NdisStatus::SUCCESS).then(|| NicRef { switch: self, nic })
    }

    /// References a port, which the switch then does not delete. `None` if its teardown has begun.
    pub fn reference_port(&self, port: PortId) -> Option<PortRef<'_>> {
        // SAFETY: the switch checks the port ID.
        let status = NdisStatus(unsafe { (self.reference_port)(self.context, port.get()) });
        (status == NdisStatus::SUCCESS).then(|| PortRef { switch: self, port })
    }

    /// Reports packets that are dropped for one reason, before they are completed. `incoming`: `port` is the source
    /// port of all of them; otherwise it is the destination port
    /// (nc-ndis-ndis_switch_report_filtered_net_buffer_lists).
    pub fn report_filtered(&self, lists: &NblChain, port: PortId, incoming: bool, reason: &Reason<'_>) {
        let flags = if incoming { ReportFilteredFlags::IS_INCOMING } else { ReportFilteredFlags::empty() };
        // SAFETY: lists and strings live through the call.
        unsafe {
            (self.report)(
                self.context,
                reason.extension,
                reason.friendly_name,
                port.get(),
                flags.bits(),
                lists.len(),
                lists.head(),
                reason.text,
            );
        }
    }
}

/// The strings of a report of filtered packets.
pub struct Reason<'a> {
    pub extension: &'a UnicodeString,
    pub friendly_name: &'a UnicodeString,
    pub text: &'a UnicodeString,
}

/// All of it at once: `Target` is the same word.
#[inline(always)]
fn destination(target: Target) -> PortDestination {
    const {
        assert!(DestinationBits::PRESERVE_VLAN.bits() == Preserve::VLAN.bits() as u16);
        assert!(DestinationBits::PRESERVE_PRIORITY.bits() == Preserve::PRIORITY.bits() as u16);
        assert!(offset_of!(PortDestination, nic_index) == 4 && offset_of!(PortDestination, bits) == 6);
    }
    // SAFETY: three integers without padding, of which every bit pattern is valid.
    unsafe { core::mem::transmute::<u64, PortDestination>(target.word()) }
}

/// Writes up to `count` elements after the committed ones and returns how many.
fn write_destinations(
    array: *mut ForwardingDestinationArray,
    count: u32,
    targets: impl Iterator<Item = Target>,
) -> u32 {
    // SAFETY: the array that the switch returned is valid while the list is owned.
    let Some(array) = (unsafe { array.as_ref() }) else { return 0 };
    let room = array.num_elements.saturating_sub(array.num_destinations).min(count);
    let mut written = 0;
    // `for_each`: a loop over a chain of iterators asks at each step which of them it is in.
    targets.take(room as usize).for_each(|target| {
        let index = (array.num_destinations + written) as usize;
        let offset = array.element_size as usize * index;
        // SAFETY: the element lies inside the array: `index < num_elements`.
        let element = unsafe { array.first_element.add(offset) }.cast::<PortDestination>();
        // SAFETY: as above. The whole element is written, because a free element has old contents.
        unsafe { element.write_unaligned(destination(target)) };
        written += 1;
    });
    written
}

/// A reference to a NIC of the switch; released on drop.
pub struct NicRef<'a> {
    switch: &'a Switch,
    nic: NicId,
}

impl NicRef<'_> {
    pub fn nic(&self) -> NicId {
        self.nic
    }

    /// Keeps the reference while a request is pending; `adopt` takes it over when the request is completed.
    pub(crate) fn keep(self) {
        core::mem::forget(self);
    }

    /// # Safety
    /// One call for each kept reference to this pair.
    pub(crate) unsafe fn adopt(switch: &Switch, nic: NicId) -> NicRef<'_> {
        NicRef { switch, nic }
    }
}

impl Drop for NicRef<'_> {
    fn drop(&mut self) {
        // SAFETY: the pair was referenced once for this value. The status is ignored: nothing can be done about a
        // failure.
        unsafe { (self.switch.dereference)(self.switch.context, self.nic.port.get(), self.nic.index.get()) };
    }
}

/// A reference to a port of the switch; released on drop.
pub struct PortRef<'a> {
    switch: &'a Switch,
    port: PortId,
}

impl Drop for PortRef<'_> {
    fn drop(&mut self) {
        // SAFETY: the port was referenced once for this value.
        unsafe { (self.switch.dereference_port)(self.switch.context, self.port.get()) };
    }
}
