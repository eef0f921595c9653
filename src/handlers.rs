//! The handlers that NDIS calls, in the order of a module's life. Each calls the module where the work is done; start
//! reading here.

use crate::control::{announce, enumerate, failover, moves, nic_status, survey};
use crate::data::{complete, egress, ingress};
use crate::kernel::pool::PoolBox;
use crate::kernel::worker::Worker;
use crate::module::{Driver, Module};
use crate::ndis::filter::{FilterModule, NetEvent, Stack};
use crate::ndis::handle::Filter;
use crate::ndis::irql::Passive;
use crate::ndis::link::Indication;
use crate::ndis::nbl::NblQueue;
use crate::ndis::oid::{Request, Returned};
use crate::ndis::raw::{NetBufferList, ReceiveFlags, ReturnFlags, SendCompleteFlags, SendFlags};
use crate::ndis::status::NdisStatus;
use crate::requests::oid;
use core::ffi::c_void;
use core::ptr::NonNull;

impl FilterModule for Module {
    type Driver = Driver;

    /// NDIS forbids requests and packets here (attaching-a-filter-module.md), so the configuration is read at the first
    /// restart or at the activation after it.
    fn attach(
        driver: &'static Driver,
        stack: &Stack<'_>,
        passive: &Passive,
    ) -> Result<PoolBox<Self>, NdisStatus> {
        if !stack.is_ethernet() {
            return Err(NdisStatus::UNSUPPORTED_MEDIA);
        }
        let module = Self::try_new(driver, stack, passive)?;
        Worker::start(&*module, passive)?;
        Ok(module)
    }

    /// Reads settings and configuration once, then admits packets. A failed query is repeated later, because NDIS
    /// detaches a module that fails FilterRestart (starting-a-filter-module.md).
    fn restart(&self, passive: &Passive) {
        enumerate::read(self, passive);
        failover::finish(self, passive);
        announce::resume(self);
        moves::begin(self);
        // Last: a packet that comes now is sent, and nothing may be left to do then.
        self.walks.open(passive);
    }

    fn net_pnp_event(&self, event: NetEvent, passive: &Passive) {
        if event == NetEvent::SwitchActivate {
            survey::activated(self);
            enumerate::at_activation(self, passive);
            failover::finish(self, passive);
            moves::begin(self);
        }
    }

    /// Waits for the packet walks and for child NBLs; OID requests and status indications continue
    /// (pausing-a-filter-module.md).
    fn pause(&self, passive: &Passive) {
        self.walks.close(passive);
    }

    /// Sends no more queries and waits for pending requests. Then waits until the timer's handler has returned and the
    /// thread has ended, by functions of the kernel and not by a last step of the handler or thread itself. From then on
    /// adapters on other switches can take over no address of this one.
    fn detach(&self, passive: &Passive) {
        self.control.lock().detaching = true;
        self.work.close(passive);
        self.timer.stop(passive);
        self.worker.stop(passive);
        let control = self.control.lock();
        self.forwarding.write(control.dispatch()).ports.leave_host();
    }

    fn send(&self, lists: NblQueue, flags: SendFlags) {
        ingress::send(self, lists, flags);
    }

    fn send_complete(&self, lists: NblQueue, flags: SendCompleteFlags) {
        complete::send_complete(self, lists, flags);
    }

    fn receive(&self, lists: NonNull<NetBufferList>, count: u32, flags: ReceiveFlags) {
        egress::receive(self, lists, count, flags);
    }

    fn return_lists(&self, lists: NonNull<NetBufferList>, flags: ReturnFlags) {
        egress::return_lists(self, lists, flags);
    }

    fn oid_request(&self, request: Request) -> NdisStatus {
        oid::request(self, request)
    }

    fn oid_returned(&self, returned: Returned, status: NdisStatus) {
        oid::returned(self, returned, status);
    }

    fn cancel_oid_request(&self, request_id: *mut c_void) {
        oid::cancel(self, request_id);
    }

    fn status(&self, indication: Indication<'_>) {
        nic_status::status(self, indication);
    }

    fn filter(&self) -> Filter {
        self.filter
    }
}
