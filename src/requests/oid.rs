//! OID requests from above. Each is forwarded within the call: as a clone, as a clone redirected to another adapter,
//! or as the driver's own requests in its place. The original is completed once, when everything that was sent down is
//! completed.
//!
//! The modules in this folder handle a request twice: `begin` before it goes down, `finish` with its result.

use crate::control::{events, nic_status, survey};
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
use crate::requests::{lifecycle, multicast, properties, runtime_state, status};
use crate::trace::Event;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::Ordering;
use teaming::ids::MemberIndex;

/// `FilterOidRequest`. IRQL <= DISPATCH_LEVEL; NDIS sends one request at a time.
pub fn request(module: &Module, request: Request) -> NdisStatus {
    survey::asked(module, &request);
    let status = handle(module, request);
    if status != NdisStatus::PENDING {
        survey::ended(module, &request, status);
    }
    status
}

fn handle(module: &Module, request: Request) -> NdisStatus {
    // NDIS passes no request once FilterDetach has begun.
    let Some(work) = module.work.enter() else { return NdisStatus::FAILURE };
    match begin(module, request) {
        Ok(OidDisposition::Down(redirected)) => forward(module, work, request, redirected),
        Ok(OidDisposition::Parts(parts)) => originate(module, work, parts),
        Ok(OidDisposition::Refused(status)) | Err(status) => status,
    }
}

/// The work before a request goes down. `Err` is the status that completes it here: the driver's answer or a veto.
fn begin(module: &Module, request: Request) -> Result<OidDisposition, NdisStatus> {
    if let Some(status) = runtime_state::before(module, request) {
        return Err(status);
    }
    if let Some(status) = status::before(module, request) {
        return Err(status);
    }
    properties::before(module, &request)?;
    lifecycle::before(module, request)?;
    Ok(plan::plan_request(module, request))
}

/// Whether a request was sent down.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// Its clone was completed below with the status.
    Below,
    /// It could not be cloned, so no component below has seen it.
    Nobody,
}

/// Applies the result of a request before it is completed: the counterpart of `begin`. Releases what the request held.
/// Returns the team member that it connected.
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
    // A port or NIC request that must not be refused takes effect even if it was not sent down.
    let carried = reached == Reached::Below;
    lifecycle::after(module, request, status, carried);
    runtime_state::after(module, request, status);
    answers::returned(module, request, redirected.as_deref(), status);
    lifecycle::connects_member(request).filter(|_| succeeded || !carried)
}

/// Sends a clone. The original is pending in any case, because the driver completes it.
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
            properties::not_forwarded(module, &request);
            let connected = finish(module, request, redirected, status, Reached::Nobody);
            let event = Event::RequestNotForwarded { oid: request.oid() };
            events::tell(module, event);
            if let Some(member) = connected {
                // The member may be queried only after the request is completed, which is after this call has
                // returned.
                nic_status::ask_later(module, member, Topics::ALL);
            }
            nic_status::indicate_pending(module);
            status
        }
    }
}

/// Sends the driver's own requests in place of one from above, which is not forwarded.
fn originate(module: &Module, work: WorkGuard<'_>, parts: PoolBox<FanOut>) -> NdisStatus {
    set_forwarded(module, parts.original().id());
    if let Some(done) = FanOut::send(parts, work, module.filter, &module.switch) {
        parts_returned(module, done);
    }
    NdisStatus::PENDING
}

/// `FilterOidRequestComplete`, of clones and of the driver's own requests. IRQL <= DISPATCH_LEVEL.
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

/// Completes a request; then queries the member that it connected and sends indications. Detach waits for the work
/// reference, which was taken when the request arrived.
fn complete(
    module: &Module,
    work: WorkGuard<'_>,
    request: Request,
    status: NdisStatus,
    connected: Option<MemberIndex>,
) {
    survey::ended(module, &request, status);
    oid::complete(module.filter, request, status);
    lifecycle::completed(module, connected);
    nic_status::indicate_pending(module);
    drop(work);
}

/// Records the id of the request that is pending below, for `cancel`; null for none.
fn set_forwarded(module: &Module, id: *mut c_void) {
    module.forwarded_id.store(id, Ordering::Release);
}

/// `FilterCancelOidRequest`. IRQL <= DISPATCH_LEVEL. The driver queues no request, so it cancels the clone, or its own
/// requests, which have the original's id.
pub fn cancel(module: &Module, request_id: *mut c_void) {
    if !request_id.is_null() && module.forwarded_id.load(Ordering::Acquire) == request_id {
        oid::cancel(module.filter, request_id);
    }
}
