//! OID walk: a request from above is looked at, and goes on within the call: a clone of it as it is, a clone in an envelope
//! to another adapter, or requests of the driver's own in its place. It is completed exactly once when what went down is
//! back, whether that was at once or later. Own requests come back through the same door.

use crate::clock;
use crate::control::nic_status;
use crate::kernel::pool::PoolBox;
use crate::module::Module;
use crate::ndis::envelope::RedirectedRequest;
use crate::ndis::fan_out::FanOut;
use crate::ndis::member_query::Topics;
use crate::ndis::oid::{self, OwnKind, OwnRequest, Request, Returned, SentClone, Unsent};
use crate::ndis::status::NdisStatus;
use crate::requests::lifecycle;
use crate::requests::offload::{self, OidDisposition};
use crate::requests::runtime_state;
use crate::trace::Event;
use core::ffi::c_void;
use core::sync::atomic::Ordering;
use teaming::ids::MemberIndex;

/// `FilterOidRequest`. IRQL <= DISPATCH_LEVEL; NDIS sends one request at a time. Who answers or vetoes a request stands
/// at the front; what is left goes the way that the table of OIDs says (`teaming::oid`).
pub fn request(module: &Module, request: Request) -> NdisStatus {
    if let Some(status) = runtime_state::before(module, request) {
        return status;
    }
    if let Err(veto) = lifecycle::before(module, request) {
        return veto;
    }
    match offload::plan_request(module, request) {
        OidDisposition::Down(redirected) => forward(module, request, redirected),
        OidDisposition::Parts(parts) => originate(module, parts),
        OidDisposition::Refused(status) => status,
    }
}

/// Sends a clone. One path for both kinds of completion: the original is completed by us and reported as pending.
fn forward(module: &Module, request: Request, redirected: Option<PoolBox<RedirectedRequest>>) -> NdisStatus {
    module.forwarded_id.store(request.id(), Ordering::Release);
    match oid::forward(module.filter, request, redirected) {
        Ok((_, None)) => NdisStatus::PENDING,
        Ok((status, Some(clone))) => {
            clone_returned(module, clone, status);
            NdisStatus::PENDING
        }
        Err(Unsent { status, redirected }) => {
            module.forwarded_id.store(core::ptr::null_mut(), Ordering::Release);
            lifecycle::after(module, request, status, false);
            runtime_state::after(module, request, status);
            offload::returned(module, request, redirected.as_deref(), status);
            let event = Event::RequestNotForwarded { oid: request.oid() };
            module.control.lock().events.push(clock::now(), event);
            if let Some(member) = lifecycle::connects_member(request) {
                // It is connected all the same, when the request has been completed.
                nic_status::ask_later(module, member, Topics::ALL);
            }
            nic_status::indicate_pending(module);
            status
        }
    }
}

/// Sends requests of our own in place of one from above, which goes no further.
fn originate(module: &Module, parts: PoolBox<FanOut>) -> NdisStatus {
    module.forwarded_id.store(parts.original().id(), Ordering::Release);
    if let Some(done) = FanOut::send(parts, module.filter, &module.switch) {
        parts_returned(module, done);
    }
    NdisStatus::PENDING
}

/// `FilterOidRequestComplete`. IRQL <= DISPATCH_LEVEL.
pub fn returned(module: &Module, returned: Returned, status: NdisStatus) {
    match returned {
        Returned::Clone(clone) => clone_returned(module, clone, status),
        Returned::Own(own) => match OwnRequest::kind(own) {
            OwnKind::Sync => oid::query_returned(own, status),
            OwnKind::Member(member) => nic_status::answered(module, member, status),
            OwnKind::Part => {
                if let Some(done) = FanOut::returned(own, status, &module.switch) {
                    parts_returned(module, done);
                }
            }
        },
    }
}

fn clone_returned(module: &Module, clone: SentClone, status: NdisStatus) {
    module.forwarded_id.store(core::ptr::null_mut(), Ordering::Release);
    let (request, redirected) = clone.finish(module.filter);
    lifecycle::after(module, request, status, true);
    runtime_state::after(module, request, status);
    offload::returned(module, request, redirected.as_deref(), status);
    drop(redirected);
    let connected = lifecycle::connects_member(request).filter(|_| status == NdisStatus::SUCCESS);
    complete(module, request, status, connected);
}

/// Completes a request, and then does what had to wait for that. Completed, the request keeps the module attached no
/// longer; the reference does.
fn complete(module: &Module, request: Request, status: NdisStatus, connected: Option<MemberIndex>) {
    let work = module.work.enter();
    oid::complete(module.filter, request, status);
    if let Some(_work) = work {
        lifecycle::completed(module, connected);
        nic_status::indicate_pending(module);
    }
}

fn parts_returned(module: &Module, parts: PoolBox<FanOut>) {
    module.forwarded_id.store(core::ptr::null_mut(), Ordering::Release);
    let status = offload::joined(module, &parts);
    let request = parts.original();
    drop(parts);
    complete(module, request, status, None);
}

/// `FilterCancelOidRequest`: nothing is held here, so what went down for the request is to be cancelled. The parts of one
/// that goes to several members have its id.
pub fn cancel(module: &Module, request_id: *mut c_void) {
    if !request_id.is_null() && module.forwarded_id.load(Ordering::Acquire) == request_id {
        oid::cancel(module.filter, request_id);
    }
}
