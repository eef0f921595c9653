//! The survey of a host: with the setting `Survey`, what arrives from Windows is recorded for trace sessions
//! (`teaming::event::survey`): requests, properties, status indications, arrays, answers. By codes, lengths, headers and
//! indexes: no byte of a packet, no address, no name. Packets pass none of this. Without the setting each place below
//! reads one flag.
//!
//! Records wait in a ring until the module's thread writes them. Its lock is the last one: nothing is called under it, and
//! any other may be held. Any function here is for IRQL <= DISPATCH_LEVEL, if nothing else is said.

use crate::clock::{self, Start};
use crate::kernel::pool::{Pool, PoolSlice, Tag};
use crate::kernel::worker::Reasons;
use crate::module::Module;
use crate::ndis::envelope::Envelope;
use crate::ndis::link::Indication;
use crate::ndis::lock::SpinLock;
use crate::ndis::oid::Request;
use crate::ndis::parameters::{announced, element_heads, element_size, nic_array, port_array};
use crate::ndis::payload;
use crate::ndis::raw::oids;
use crate::ndis::save;
use crate::ndis::status::{NdisStatus, OutOfMemory};
use core::sync::atomic::Ordering;
use teaming::event::survey::{About, NUMBERS, Record, Survey, WAITING, head};
use teaming::ids::{AdapterId, MemberIndex, PortId, Ticks};
use teaming::oid::RequestType;
use teaming::oid::nic::{NicKind, NicParameters};
use teaming::ports::property::{self, Malformed, Property, PropertyType};
use teaming::team::member::LinkState;

/// Whether anything is recorded.
#[inline]
fn is_on(module: &Module) -> bool {
    module.survey.on.load(Ordering::Acquire)
}

/// Begins or ends the survey. `at_start`: by the settings that the first restart reads. PASSIVE_LEVEL, no lock held.
///
/// # Errors
///
/// `OutOfMemory` if there is no memory for records: the survey is off, and nothing else is changed.
#[inline(never)] // a frame of its own
pub fn set(module: &Module, on: bool, at_start: bool) -> Result<(), OutOfMemory> {
    if on == is_on(module) {
        return Ok(());
    }
    if !on {
        note(module, About::Survey, [2, 0, 0, 0, 0]);
    } else if module.survey.records.get().is_none() {
        let waiting = PoolSlice::try_new(Tag::TABLE, WAITING, |_| Survey::<Pool>::NONE)?;
        module.survey.records.set(SpinLock::new(Survey::new(waiting)))?;
    }
    module.survey.on.store(on, Ordering::Release);
    if on {
        note(module, About::Survey, [u32::from(!at_start), 0, 0, 0, 0]);
    }
    Ok(())
}

/// Records something, and wakes the thread that writes it.
#[cold]
#[inline(never)] // called from everywhere
fn note(module: &Module, about: About, numbers: [u32; NUMBERS]) {
    if let Some(records) = module.survey.records.get() {
        records.lock().put(clock::now(), about, numbers);
        module.worker.wake(Reasons::EVENTS);
    }
}

/// The next record to write; without `tell`, what was lost is not told yet.
pub fn next(module: &Module, tell: bool) -> Option<(Ticks, Record)> {
    module.survey.records.get()?.lock().take(clock::now(), tell)
}

/// A record was not written.
pub fn refused(module: &Module, about: About) {
    if let Some(records) = module.survey.records.get() {
        records.lock().refused(about);
    }
}

/// Whether losses are left to be told.
pub fn is_behind(module: &Module) -> bool {
    module.survey.records.get().is_some_and(|records| records.lock().is_behind())
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

const fn type_of(kind: Option<RequestType>) -> u32 {
    match kind {
        Some(RequestType::Query) => 0,
        Some(RequestType::Set) => 1,
        Some(RequestType::Method) => 2,
        None => 3,
    }
}

/// A request has arrived from above.
#[inline]
pub fn asked(module: &Module, request: &Request) {
    if is_on(module) {
        record_request(module, request);
    }
}

#[cold]
#[inline(never)] // a frame of its own
fn record_request(module: &Module, request: &Request) {
    let input = payload::input(request);
    let output = if request.kind() == Some(RequestType::Method) { request.output_length() } else { 0 };
    let numbers = [request.oid(), type_of(request.kind()), number(input.len()), output, head(input)];
    note(module, About::Request, numbers);
    match request.oid() {
        oids::SWITCH_NIC_REQUEST => record_inner(module, *request),
        oids::SWITCH_NIC_CREATE => record_nic_request(module, request, 0),
        oids::SWITCH_NIC_CONNECT => record_nic_request(module, request, 1),
        oids::SWITCH_NIC_UPDATED => record_nic_request(module, request, 2),
        oids::SWITCH_NIC_DISCONNECT => record_nic_request(module, request, 3),
        oids::SWITCH_NIC_DELETE => record_nic_request(module, request, 4),
        oids::SWITCH_NIC_SAVE | oids::SWITCH_NIC_RESTORE => {
            let (size, at) = save::stated(input);
            note(module, About::Save, [size, at, 0, 0, 0]);
        }
        oids::SWITCH_PORT_PROPERTY_ADD => record_property_request(module, input, 0),
        oids::SWITCH_PORT_PROPERTY_UPDATE => record_property_request(module, input, 1),
        oids::SWITCH_PORT_PROPERTY_DELETE => {
            if let Ok((port, kind)) = property::deletion(input) {
                record_property(module, port, kind, Ok(&[]), 2);
            }
        }
        _ => {}
    }
}

#[inline(never)] // as above
fn record_inner(module: &Module, request: Request) {
    let Some(inside) = Envelope::of(request) else { return };
    let (input, to) = (inside.payload(), inside.destination().index.get());
    let numbers = [inside.oid(), type_of(inside.kind()), number(input.len()), to.into(), head(input)];
    note(module, About::Inner, numbers);
}

#[inline(never)] // as above
fn record_nic_request(module: &Module, request: &Request, via: u32) {
    if let Some(nic) = request.nic_parameters() {
        record_nic(module, &nic, via);
    }
}

#[inline(never)] // as above
fn record_nic(module: &Module, nic: &NicParameters, via: u32) {
    if nic.kind == NicKind::External {
        let guid = nic.adapter.get();
        let digest = if nic.adapter == AdapterId::UNKNOWN { 0 } else { crc32fast::hash(&guid) };
        note(module, About::Nic, [nic.id.index.get().into(), via, digest, 0, 0]);
    }
}

fn record_property_request(module: &Module, input: &[u8], by: u32) {
    if let Ok(given) = Property::parse(input) {
        record_property(module, given.port, given.kind, given.body, by);
    }
}

#[inline(never)] // as above
fn record_property(
    module: &Module,
    port: PortId,
    kind: PropertyType,
    body: Result<&[u8], Malformed>,
    by: u32,
) {
    let external = u32::from(module.forwarding.read().external == Some(port));
    let body = body.unwrap_or_default();
    let kind = match kind {
        PropertyType::Security => PropertyType::SECURITY,
        PropertyType::Vlan => PropertyType::VLAN,
        PropertyType::Isolation => PropertyType::ISOLATION,
        PropertyType::Other => 0,
    };
    let numbers = [kind.cast_unsigned(), external, head(body), number(body.len()), by];
    note(module, About::Property, numbers);
    if kind == PropertyType::VLAN && !body.is_empty() {
        let (mode, vlan) = property::stated_vlan(body);
        note(module, About::Vlan, [mode.min(4), vlan.into(), external, 0, 0]);
    }
}

/// A property of a port was read; `None` if the port has none of its type.
#[inline]
pub fn read_property<'b>(
    module: &Module,
    port: PortId,
    kind: i32,
    body: impl FnOnce() -> Option<Result<&'b [u8], NdisStatus>>,
) {
    // Of hundreds of ports there is no room for all.
    if is_on(module) && module.forwarding.read().external == Some(port) {
        let body = body().map_or(Ok(&[][..]), |body| body.map_err(|_| Malformed));
        record_property(module, port, PropertyType::of(kind), body, 3);
    }
}

/// A request from above is about to be completed.
#[inline]
pub fn ended(module: &Module, request: &Request, status: NdisStatus) {
    if is_on(module) {
        record_end(module, request, status);
    }
}

#[cold]
#[inline(never)] // as above
fn record_end(module: &Module, request: &Request, status: NdisStatus) {
    let (done, needed, revision) = request.results();
    let numbers = [request.oid(), status.0.cast_unsigned(), done, needed, revision.into()];
    note(module, About::End, numbers);
}

/// A member allocated something under an id, or was asked to free it. The team lock may be held.
#[inline]
pub fn named(module: &Module, oid: u32, id: u64, member: Option<MemberIndex>, status: NdisStatus) {
    if is_on(module) {
        record_id(module, oid, id, member, status);
    }
}

#[cold]
#[inline(never)] // as above
fn record_id(module: &Module, oid: u32, id: u64, member: Option<MemberIndex>, status: NdisStatus) {
    let to = member.map_or(0, |member| u32::from(member.get()));
    let id = u32::try_from(id).unwrap_or(u32::MAX);
    note(module, About::Id, [id, oid, to, status.0.cast_unsigned(), 0]);
}

/// A query of the driver's own has ended: of a member, or of the switch. Bytes written, and bytes needed.
#[inline]
pub fn answered(
    module: &Module,
    oid: u32,
    member: Option<MemberIndex>,
    status: NdisStatus,
    lengths: (usize, usize),
) {
    if is_on(module) {
        record_answer(module, oid, member, status, lengths);
    }
}

#[cold]
#[inline(never)] // as above
fn record_answer(
    module: &Module,
    oid: u32,
    member: Option<MemberIndex>,
    status: NdisStatus,
    lengths: (usize, usize),
) {
    let to = member.map_or(0, |member| u32::from(member.get()));
    let numbers = [oid, to, status.0.cast_unsigned(), number(lengths.0), number(lengths.1)];
    note(module, About::Ask, numbers);
}

/// The time at which a call begins whose length is recorded.
#[inline]
pub fn start(module: &Module) -> Option<Start> {
    is_on(module).then(Start::now)
}

/// How a link state became known.
#[derive(Clone, Copy)]
pub enum By {
    Status,
    Query,
    Row,
}

/// What a member's link was said to be; `None` if nothing could be read. How long the call took, in microseconds.
#[inline]
pub fn link(
    module: &Module,
    member: MemberIndex,
    by: By,
    link: Option<LinkState>,
    status: NdisStatus,
    took: u32,
) {
    if is_on(module) {
        record_link(module, member, by, link, (status, took));
    }
}

#[cold]
#[inline(never)] // as above
fn record_link(
    module: &Module,
    member: MemberIndex,
    by: By,
    link: Option<LinkState>,
    (status, took): (NdisStatus, u32),
) {
    let state = match link {
        Some(LinkState::Unknown) => 0,
        Some(LinkState::Down) => 1,
        Some(LinkState::Up { .. }) => 2,
        None => 3,
    };
    let numbers = [state, member.get().into(), by as u32, status.0.cast_unsigned(), took];
    note(module, About::Link, numbers);
}

/// A status indication has come from below.
#[inline]
pub fn indicated(module: &Module, indication: Indication<'_>) {
    if is_on(module) {
        record_status(module, indication);
    }
}

#[cold]
#[inline(never)] // as above
fn record_status(module: &Module, indication: Indication<'_>) {
    let shape = indication.shape();
    let (code, size) = (shape.code.cast_unsigned(), shape.size);
    match shape.envelope {
        None => note(module, About::Other, [code, size, 0, 0, 0]),
        Some(envelope) => {
            let external = module.forwarding.read().external;
            let from_it = shape.from.is_some_and(|from| external.is_none_or(|port| port == from.port));
            let nic = shape.from.map_or(0, |from| from.index.get());
            note(module, About::Status, [code, nic.into(), size, envelope, from_it.into()]);
        }
    }
}

/// The switch's parameters were read.
#[inline]
pub fn restarted(module: &Module, is_active: bool, parameters: &[u8]) {
    if is_on(module) {
        note(module, About::Switch, [is_active.into(), head(parameters), 0, 0, 0]);
    }
}

/// The switch has become active.
#[inline]
pub fn activated(module: &Module) {
    if is_on(module) {
        note(module, About::Switch, [2, 0, 0, 0, 0]);
    }
}

/// An array of the switch was read.
#[inline]
pub fn array(module: &Module, oid: u32, buffer: &[u8]) {
    if is_on(module) {
        record_array(module, oid == oids::SWITCH_NIC_ARRAY, buffer);
    }
}

#[cold]
#[inline(never)] // as above
fn record_array(module: &Module, nics: bool, buffer: &[u8]) {
    let mut read = 0;
    if nics {
        for nic in nic_array(buffer) {
            record_nic(module, &nic.parameters, 5);
            read += 1;
        }
    } else {
        read = port_array(buffer).count();
    }
    let numbers = [nics.into(), announced(buffer), number(read), element_size(buffer), 0];
    note(module, About::Array, numbers);
    let first = element_heads(buffer).next().unwrap_or(0);
    let odd = element_heads(buffer).filter(|other| *other != first).count();
    note(module, About::Shape, [nics.into(), first, head(buffer), number(odd), 0]);
}
