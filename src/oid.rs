//! OID walk: a request from above is looked at, cloned and passed on within the call, and completed exactly once when
//! its clone is back. Own requests come back through the same door.

use crate::clock;
use crate::filter::Module;
use crate::lifecycle;
use crate::ndis::oid::{self, OwnKind, OwnRequest, Request, Returned, SentClone};
use crate::ndis::status::NdisStatus;
use crate::nic_status;
use crate::runtime_state;
use crate::trace::Event;
use core::ffi::c_void;
use core::sync::atomic::Ordering;

/// `FilterOidRequest`. IRQL <= DISPATCH_LEVEL; NDIS sends one request at a time.
pub fn request(module: &Module, request: Request) -> NdisStatus {
    if let Some(status) = runtime_state::before(module, request) {
        return status;
    }
    if let Err(veto) = lifecycle::before(module, request) {
        return veto;
    }
    module.forwarded_id.store(request.id(), Ordering::Release);
    match oid::forward(module.filter, request) {
        Ok((_, None)) => NdisStatus::PENDING,
        Ok((status, Some(clone))) => {
            // One path for both kinds of completion: the original is completed here and reported as pending.
            clone_returned(module, clone, status);
            NdisStatus::PENDING
        }
        Err(status) => {
            module.forwarded_id.store(core::ptr::null_mut(), Ordering::Release);
            lifecycle::after(module, request, status, false);
            runtime_state::after(module, request, status);
            let event = Event::RequestNotForwarded { oid: request.oid() };
            module.control.lock().events.push(clock::now(), event);
            status
        }
    }
}

/// `FilterOidRequestComplete`. IRQL <= DISPATCH_LEVEL.
pub fn returned(module: &Module, returned: Returned, status: NdisStatus) {
    match returned {
        Returned::Clone(clone) => clone_returned(module, clone, status),
        Returned::Own(own) => match OwnRequest::kind(own) {
            OwnKind::Sync => oid::query_returned(own, status),
            OwnKind::LinkState(member) => nic_status::answered(module, member, status),
        },
    }
}

fn clone_returned(module: &Module, clone: SentClone, status: NdisStatus) {
    module.forwarded_id.store(core::ptr::null_mut(), Ordering::Release);
    let request = clone.finish(module.filter);
    lifecycle::after(module, request, status, true);
    runtime_state::after(module, request, status);
    let connected = lifecycle::connects_member(request).filter(|_| status == NdisStatus::SUCCESS);
    oid::complete(module.filter, request, status);
    lifecycle::completed(module, connected);
}

/// `FilterCancelOidRequest`: nothing is held here, so the clone that is below is the one to cancel.
pub fn cancel(module: &Module, request_id: *mut c_void) {
    if !request_id.is_null() && module.forwarded_id.load(Ordering::Acquire) == request_id {
        oid::cancel(module.filter, request_id);
    }
}
