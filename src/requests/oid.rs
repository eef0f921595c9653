//! OID requests from above. Each one goes on within the call: as a clone, as a clone in an envelope to another adapter,
//! or as requests of our own in its place. The original is completed once, when all that went down is back, at once or
//! later.
//!
//! The modules in this folder see a request twice, in one order: `begin` before it goes down, `finish` with its result.

use crate::clock;
use crate::control::nic_status;
use crate::kernel::pool::PoolBox;
use crate::kernel::rundown::WorkGuard;
use crate::module::Module;
use crate::ndis::envelope::RedirectedRequest;
use crate::ndis::fan_out::FanOut;
use crate::ndis::member_query::Topics;
use crate::ndis::oid::{self, OwnKind, OwnRequest, Request, Returned, SentClone, Unsent};
use crate::ndis::status::NdisStatus;
use crate::requests::offload::answers;
use crate::requests::offload::plan::{self, OidDisposition};
use crate::requests::{lifecycle, multicast, properties, runtime_state};
use crate::trace::Event;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::Ordering;
use teaming::ids::MemberIndex;

/// `FilterOidRequest`. IRQL <= DISPATCH_LEVEL; NDIS sends one request at a time.
pub fn request(module: &Module, request: Request) -> NdisStatus {
    // NDIS sends none once FilterDetach has begun.
    let Some(work) = module.work.enter() else { return NdisStatus::FAILURE };
    match begin(module, request) {
        Ok(OidDisposition::Down(redirected)) => forward(module, work, request, redirected),
        Ok(OidDisposition::Parts(parts)) => originate(module, work, parts),
        Ok(OidDisposition::Refused(status)) | Err(status) => status,
    }
}

/// What happens before a request goes down. `Err` is the status that ends it here: an answer of ours, or a veto.
fn begin(module: &Module, request: Request) -> Result<OidDisposition, NdisStatus> {
    if let Some(status) = runtime_state::before(module, request) {
        return Err(status);
    }
    properties::before(module, &request)?;
    lifecycle::before(module, request)?;
    Ok(plan::plan_request(module, request))
}

/// How far a request came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// Its clone came back from below with the status.
    Below,
    /// It could not be cloned, so nobody below has seen it.
    Nobody,
}

/// What follows from the status of a request, before it completes: the counterpart of `begin`. Gives back what the
/// request held. The answer is the team member that it connected.
fn finish(
    module: &Module,
    request: Request,
    redirected: Option<PoolBox<RedirectedRequest>>,
    status: NdisStatus,
    reached: Reached,
) -> Option<MemberIndex> {
    let succeeded = status == NdisStatus::SUCCESS;
    if succeeded {
        properties::after(module, &request);
        multicast::after(module, &request);
    }
    // What must not be refused happens to ports and NICs even if nobody below was told.
    let carried = reached == Reached::Below;
    lifecycle::after(module, request, status, carried);
    runtime_state::after(module, request, status);
    answers::returned(module, request, redirected.as_deref(), status);
    lifecycle::connects_member(request).filter(|_| succeeded || !carried)
}

/// Sends a clone. The original is pending in either case, because we complete it ourselves.
fn forward(
    module: &Module,
    work: WorkGuard<'_>,
    request: Request,
    redirected: Option<PoolBox<RedirectedRequest>>,
) -> NdisStatus {
    set_forwarded(module, request.id());
    match oid::forward(module.filter, request, work, redirected) {
        Ok((_, None)) => NdisStatus::PENDING,
        Ok((status, Some(clone))) => {
            clone_returned(module, clone, status);
            NdisStatus::PENDING
        }
        Err(Unsent { status, redirected }) => {
            set_forwarded(module, null_mut());
            let connected = finish(module, request, redirected, status, Reached::Nobody);
            let event = Event::RequestNotForwarded { oid: request.oid() };
            module.control.lock().events.push(clock::now(), event);
            if let Some(member) = connected {
                // The member may be asked once the request has completed, which is when this call has returned.
                nic_status::ask_later(module, member, Topics::ALL);
            }
            nic_status::indicate_pending(module);
            status
        }
    }
}

/// Sends requests of our own in place of one from above, which goes no further.
fn originate(module: &Module, work: WorkGuard<'_>, parts: PoolBox<FanOut>) -> NdisStatus {
    set_forwarded(module, parts.original().id());
    if let Some(done) = FanOut::send(parts, work, module.filter, &module.switch) {
        parts_returned(module, done);
    }
    NdisStatus::PENDING
}

/// `FilterOidRequestComplete`, of clones and of requests of our own. IRQL <= DISPATCH_LEVEL.
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
    set_forwarded(module, null_mut());
    let (request, redirected, work) = clone.finish(module.filter, &module.work);
    let connected = finish(module, request, redirected, status, Reached::Below);
    complete(module, work, request, status, connected);
}

fn parts_returned(module: &Module, parts: PoolBox<FanOut>) {
    set_forwarded(module, null_mut());
    let status = answers::joined(module, &parts);
    let (request, work) = (parts.original(), FanOut::finish(parts, &module.work));
    complete(module, work, request, status, None);
}

/// Completes a request, and then does what had to wait for that: asks the member that it connected, sends indications.
/// Detach waits for the work reference, which was taken when the request came.
fn complete(
    module: &Module,
    work: WorkGuard<'_>,
    request: Request,
    status: NdisStatus,
    connected: Option<MemberIndex>,
) {
    oid::complete(module.filter, request, status);
    lifecycle::completed(module, connected);
    nic_status::indicate_pending(module);
    drop(work);
}

/// Notes the id of the request that is below, for `cancel`; null for none.
fn set_forwarded(module: &Module, id: *mut c_void) {
    module.forwarded_id.store(id, Ordering::Release);
}

/// `FilterCancelOidRequest`. IRQL <= DISPATCH_LEVEL. No request is held here, so the clone is cancelled, or the
/// requests of our own, which have the original's id.
pub fn cancel(module: &Module, request_id: *mut c_void) {
    if !request_id.is_null() && module.forwarded_id.load(Ordering::Acquire) == request_id {
        oid::cancel(module.filter, request_id);
    }
}
