//! Properties of ports: `OID_SWITCH_PORT_PROPERTY_*` from above, and properties from before the attachment.
//!
//! VLAN and security properties are enforced, and isolation modes that need no enforcement. A property that is damaged
//! or cannot be enforced is vetoed; other types are forwarded unread. A property takes effect when its request has
//! succeeded below. On a validation port, which is not in the tables, it is only checked. The driver has no custom
//! property, so those of other extensions and of the switch are forwarded.

use crate::control::{events, failover, survey};
use crate::kernel::pool::{PoolSlice, Tag};
use crate::module::{Module, new_sets};
use crate::ndis::irql::Passive;
use crate::ndis::oid::{Request, method};
use crate::ndis::payload;
use crate::ndis::raw::oids;
use crate::ndis::status::NdisStatus;
use crate::ndis::switch::PortRef;
use crate::requests::lifecycle;
use crate::trace::Event;
use teaming::enumeration::Step;
use teaming::ids::PortId;
use teaming::ports::policy::Security;
use teaming::ports::property::{self, Malformed, Property, PropertyType};
use teaming::ports::vlan::RequestedVlans;

/// The change that a request makes to a port.
enum Change<'a> {
    Vlan(Option<RequestedVlans<'a>>),
    Security(Option<Security>),
}

/// The change that a request makes, if it makes one; `Err` vetoes it.
fn change(request: &Request) -> Result<Option<(PortId, Change<'_>)>, NdisStatus> {
    if !request.is_set() {
        return Ok(None);
    }
    match request.oid() {
        oids::SWITCH_PORT_PROPERTY_ADD | oids::SWITCH_PORT_PROPERTY_UPDATE => {}
        oids::SWITCH_PORT_PROPERTY_DELETE => return Ok(deleted(request)),
        _ => return Ok(None),
    }
    // A header that does not match: forwarded unread.
    let Ok(given) = Property::parse(payload::input(request)) else { return Ok(None) };
    let change = match given.kind {
        PropertyType::Vlan => Change::Vlan(Some(wanted(given.body)?)),
        PropertyType::Security => {
            let body = given.body.map_err(|Malformed| NdisStatus::INVALID_PARAMETER)?;
            Change::Security(Some(read_security(body)?))
        }
        PropertyType::Isolation => return isolation(given.body).map(|()| None),
        PropertyType::Other => return Ok(None),
    };
    Ok(Some((given.port, change)))
}

fn deleted(request: &Request) -> Option<(PortId, Change<'_>)> {
    match property::deletion(payload::input(request)) {
        Ok((port, PropertyType::Vlan)) => Some((port, Change::Vlan(None))),
        Ok((port, PropertyType::Security)) => Some((port, Change::Security(None))),
        Ok((_, PropertyType::Isolation | PropertyType::Other)) | Err(Malformed) => None,
    }
}

fn wanted(body: Result<&[u8], Malformed>) -> Result<RequestedVlans<'_>, NdisStatus> {
    let read = body.and_then(property::vlan).map_err(|Malformed| NdisStatus::INVALID_PARAMETER)?;
    read.check().map_err(|_| NdisStatus::DATA_NOT_ACCEPTED)
}

fn read_security(body: &[u8]) -> Result<Security, NdisStatus> {
    property::security(body).map_err(|Malformed| NdisStatus::INVALID_PARAMETER)
}

fn isolation(body: Result<&[u8], Malformed>) -> Result<(), NdisStatus> {
    match body.and_then(property::isolation_is_enforced) {
        Ok(true) => Ok(()),
        Ok(false) => Err(NdisStatus::DATA_NOT_ACCEPTED),
        Err(Malformed) => Err(NdisStatus::INVALID_PARAMETER),
    }
}

/// Before a request goes down. `Err` vetoes it (only PORT_PROPERTY_ADD and _UPDATE).
pub fn before(module: &Module, request: &Request) -> Result<(), NdisStatus> {
    let checked = match change(request) {
        Ok(Some((_, Change::Vlan(Some(_))))) => reserve_set(module),
        Ok(_) => return Ok(()),
        Err(status) => Err(status),
    };
    if let Err(status) = checked {
        let event = Event::PropertyRefused { oid: request.oid(), status: status.0 };
        events::tell(module, event);
    }
    checked
}

/// After a request has succeeded below.
pub fn after(module: &Module, request: &Request) {
    if let Ok(Some((port, change))) = change(request) {
        apply(module, port, &change);
    }
    if let Some(port) = concerned(request) {
        read_if_closed(module, port);
    }
}

/// The port whose properties a request changes.
fn concerned(request: &Request) -> Option<PortId> {
    let input = payload::input(request);
    match request.oid() {
        oids::SWITCH_PORT_PROPERTY_ADD | oids::SWITCH_PORT_PROPERTY_UPDATE => {
            Property::parse(input).ok().map(|given| given.port)
        }
        oids::SWITCH_PORT_PROPERTY_DELETE => property::deletion(input).ok().map(|(port, _)| port),
        _ => None,
    }
}

/// Reads the properties of a closed port again after one of them has changed.
fn read_if_closed(module: &Module, port: PortId) {
    let mut control = module.control.lock();
    let closed =
        module.forwarding.read().ports.get(port).is_some_and(|port| port.policy.closed && !port.is_leaving());
    if closed && control.enumeration.knows_ports() {
        control.enumeration.want(Step::Properties);
        failover::retry_locked(module, &mut control);
    }
}

/// A request about a property could not be sent down for lack of memory, so it failed. The port may have the property all the
/// same, if the switch had it before the extension knew of the port: the port is closed until its properties have been read.
pub fn not_forwarded(module: &Module, request: &Request) {
    let Some(port) = concerned(request) else { return };
    let mut control = module.control.lock();
    let stays = module.forwarding.read().ports.get(port).is_some_and(|port| !port.is_leaving());
    if !stays {
        return;
    }
    control.changes.note();
    module.forwarding.write(control.dispatch()).close(port);
    if control.enumeration.knows_ports() {
        control.enumeration.want(Step::Properties);
        failover::retry_locked(module, &mut control);
    }
}

fn apply(module: &Module, port: PortId, change: &Change<'_>) {
    let mut control = module.control.lock();
    control.changes.note();
    let mut forwarding = module.forwarding.write(control.dispatch());
    match change {
        Change::Vlan(wanted) => {
            if forwarding.set_vlans(port, wanted.as_ref()).is_err() {
                // Another change used the reserved entry. The port is closed, because a frame in a wrong VLAN is worse
                // than none.
                forwarding.close(port);
            }
        }
        Change::Security(security) => forwarding.set_security(port, *security),
    }
    drop(forwarding);
    lifecycle::note_unshared(module, &mut control);
}

/// Reserves memory for one more set of VLANs. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn reserve_set(module: &Module) -> Result<(), NdisStatus> {
    let (has_room, count) = {
        let forwarding = module.forwarding.read();
        (forwarding.ports.has_room_for_set(), forwarding.ports.sets().len())
    };
    if has_room {
        return Ok(());
    }
    let sets = new_sets(count.saturating_mul(2).max(1))?;
    let old = {
        let control = module.control.lock();
        module.forwarding.write(control.dispatch()).ports.grow_sets(sets)
    };
    drop(old);
    Ok(())
}

/// Number of attempts to read the properties of one port while they change.
const ATTEMPTS: u32 = 64;

/// Reads the properties of a port that an enumeration found, and opens it. On an error the caller repeats it later. A
/// property that cannot be enforced leaves the port closed, as does a teardown that has begun. PASSIVE_LEVEL, no lock
/// held.
pub fn read(module: &Module, port: PortId, passive: &Passive) -> Result<(), NdisStatus> {
    let _reference = match reference(module, port) {
        Referenced::Yes(reference) => reference,
        Referenced::Going => return Ok(()),
        Referenced::Refused => return Err(NdisStatus::RESOURCES),
    };
    for _ in 0..ATTEMPTS {
        let Some(revision) = module.forwarding.read().ports.revision(port) else { return Ok(()) };
        let answers = [PropertyType::VLAN, PropertyType::SECURITY, PropertyType::ISOLATION];
        let [vlans, security, isolation_mode] = answers.map(|kind| ask(module, port, kind, passive));
        let (vlans, security, isolation_mode) = (vlans?, security?, isolation_mode?);
        let vlans = vlans.first().map(|body| body.and_then(|body| wanted(Ok(body)))).transpose();
        let security = security.first().map(|body| body.and_then(read_security)).transpose();
        let isolation =
            isolation_mode.first().map(|body| body.and_then(|body| isolation(Ok(body)))).transpose();
        // A property that cannot be enforced can no longer be vetoed here, so the port stays closed.
        let problems = [vlans.as_ref().err(), security.as_ref().err(), isolation.as_ref().err()];
        let closed = problems.iter().any(Option::is_some);
        let unreadable =
            problems.into_iter().flatten().find(|status| **status != NdisStatus::DATA_NOT_ACCEPTED);
        let result = unreadable.map_or(Ok(()), |status| Err(*status));
        reserve_set(module)?;
        let mut control = module.control.lock();
        let replaced = module.forwarding.write(control.dispatch()).replace_policy(
            port,
            revision,
            vlans.as_ref().ok().and_then(Option::as_ref),
            security.as_ref().ok().copied().flatten(),
            closed,
        );
        if replaced == Ok(true) {
            lifecycle::note_unshared(module, &mut control);
            if closed {
                events::record(module, &mut control, Event::PortClosed { port: port.get() });
            }
            return result;
        }
    }
    Err(NdisStatus::FAILURE)
}

/// The result of a request for a port's reference.
enum Referenced<'a> {
    Yes(PortRef<'a>),
    /// The port is deleted, or its teardown has begun.
    Going,
    Refused,
}

/// References a port under the team lock. A teardown takes that lock before its request goes down, so no reference is
/// requested afterwards.
fn reference(module: &Module, port: PortId) -> Referenced<'_> {
    let _control = module.control.lock();
    let stays = module.forwarding.read().ports.get(port).is_some_and(|port| !port.is_leaving());
    match stays.then(|| module.switch.reference_port(port)) {
        None => Referenced::Going,
        Some(None) => Referenced::Refused,
        Some(Some(reference)) => Referenced::Yes(reference),
    }
}

/// The output of an enumeration of one property type, and its length; `None` if the switch does not know the type.
struct Answer(PoolSlice<u8>, Option<usize>);

impl Answer {
    /// The first property, if the port has one.
    fn first(&self) -> Option<Result<&[u8], NdisStatus>> {
        let answer = self.0.get(..self.1?).unwrap_or(&self.0);
        property::first_answer(answer).map_err(|Malformed| NdisStatus::INVALID_PARAMETER).transpose()
    }
}

/// First and largest size of the output buffer, in bytes.
const FIRST_ROOM: usize = 2_048;
const LARGEST: usize = 1 << 20;

fn ask(module: &Module, port: PortId, kind: i32, passive: &Passive) -> Result<Answer, NdisStatus> {
    let mut size = FIRST_ROOM;
    loop {
        let mut buffer = PoolSlice::try_new(Tag::REQUEST, size, |_| 0u8)?;
        property::ask(&mut buffer, port, kind);
        match method(module.filter, oids::SWITCH_PORT_PROPERTY_ENUM, &mut buffer, passive) {
            Ok(written) => {
                let answer = Answer(buffer, Some(written as usize));
                survey::read_property(module, port, kind, || answer.first());
                return Ok(answer);
            }
            Err((status, needed)) if status.is_too_short() && size < LARGEST => {
                size = usize::max(needed as usize, size).saturating_add(FIRST_ROOM).min(LARGEST);
            }
            Err((status, _)) => {
                survey::answered(module, oids::SWITCH_PORT_PROPERTY_ENUM, None, status, (0, 0));
                return if status == NdisStatus::NOT_SUPPORTED {
                    Ok(Answer(buffer, None))
                } else {
                    Err(status)
                };
            }
        }
    }
}
