//! Ports and network adapters: `OID_SWITCH_PORT_*` and `OID_SWITCH_NIC_*` requests, applied to the tables. Creations,
//! disconnections and tear-downs are applied before the request goes down; connections, updates and deletions when it
//! is back, before it completes. So no packet is assigned to a NIC or port that the switch considers gone.

use crate::control::events;
use crate::control::failover;
use crate::control::nic_status;
use crate::control::{private_oids, resource_lists, seats};
use crate::kernel::pool::Pool;
use crate::kernel::worker::Reasons;
use crate::module::{Module, TeamLock, new_counters, new_room};
use crate::ndis::member_query::Topics;
use crate::ndis::oid::Request;
use crate::ndis::raw::oids;
use crate::ndis::status::NdisStatus;
use crate::requests::runtime_state;
use crate::trace::Event;
use teaming::enumeration::{Leaving, Step};
use teaming::forward::Forwarding;
use teaming::ids::{MemberIndex, MemberSet, PortId};
use teaming::oid::nic::{NicOp, NicParameters, Route, route};
use teaming::ports::growth::{self, Copying, SharedPorts};
use teaming::ports::{Full, PORTS_MAX, PortTable};
use teaming::team::member::MemberEvent;

/// The NIC operation of a request; `None` if it is another request, or its payload is damaged: that is passed on
/// unread.
fn operation(request: Request) -> Option<(NicOp, NicParameters)> {
    let op = match request.oid() {
        oids::SWITCH_NIC_CREATE => NicOp::Create,
        oids::SWITCH_NIC_CONNECT => NicOp::Connect,
        oids::SWITCH_NIC_UPDATED => NicOp::Update,
        oids::SWITCH_NIC_DISCONNECT => NicOp::Disconnect,
        oids::SWITCH_NIC_DELETE => NicOp::Delete,
        _ => return None,
    };
    if !request.is_set() {
        return None;
    }
    Some((op, request.nic_parameters()?))
}

/// The OID and the port of a port request; `None` for other requests and for validation ports, which are not recorded.
fn port_operation(request: Request) -> Option<(u32, PortId)> {
    let oid = request.oid();
    let concerns =
        matches!(oid, oids::SWITCH_PORT_CREATE | oids::SWITCH_PORT_TEARDOWN | oids::SWITCH_PORT_DELETE);
    if !concerns || !request.is_set() {
        return None;
    }
    request.port_parameters().filter(|port| !port.is_validation).map(|port| (oid, port.id))
}

/// What the request takes away.
fn leaving(request: Request) -> Option<Leaving> {
    match (port_operation(request), operation(request)) {
        (Some((oids::SWITCH_PORT_TEARDOWN | oids::SWITCH_PORT_DELETE, port)), _) => Some(Leaving::Port(port)),
        (_, Some((NicOp::Disconnect, nic))) => Some(Leaving::Connection(nic.id)),
        (_, Some((NicOp::Delete, nic))) => Some(Leaving::Nic(nic.id)),
        _ => None,
    }
}

/// Before the request goes down. IRQL <= DISPATCH_LEVEL, no lock held.
///
/// # Errors
///
/// NDIS_STATUS_RESOURCES vetoes the creation of a port or of a NIC with index 0.
pub fn before(module: &Module, request: Request) -> Result<(), NdisStatus> {
    if let Some(leaving) = leaving(request) {
        module.control.lock().changes.leaves(leaving);
    }
    match port_operation(request) {
        Some((oids::SWITCH_PORT_CREATE, port)) => return create_port(module, port),
        // From here on the port is not referenced any more (oid-switch-port-teardown.md).
        Some((oids::SWITCH_PORT_TEARDOWN, port)) => change(module, |forwarding| forwarding.tear_down(port)),
        _ => {}
    }
    let Some((op, nic)) = operation(request) else { return Ok(()) };
    match (op, route(op, &nic)) {
        (NicOp::Create, Route::Vnic(_)) => {
            create_vnic(module, &nic)?;
            runtime_state::arrived(module, Some(nic.id));
            Ok(())
        }
        // A disconnected NIC gets no packets from here on
        // (adding-extensible-switch-destination-port-data-to-a-packet.md).
        (NicOp::Create | NicOp::Disconnect, _) => {
            apply(module, op, &nic, request.nic_name());
            Ok(())
        }
        (NicOp::Connect | NicOp::Update | NicOp::Delete, _) => Ok(()),
    }
}

/// When the request is back, before it completes. `carried` is false if it could not be forwarded: then operations that
/// the protocol does not allow to fail are applied all the same. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn after(module: &Module, request: Request, status: NdisStatus, carried: bool) {
    if leaving(request).is_some() {
        module.control.lock().changes.left();
    }
    let succeeded = status == NdisStatus::SUCCESS || !carried;
    match port_operation(request) {
        Some((oids::SWITCH_PORT_CREATE, port)) if status != NdisStatus::SUCCESS => {
            change(module, |forwarding| forwarding.delete_port(port));
            read_again(module);
        }
        Some((oids::SWITCH_PORT_DELETE, port)) if succeeded => {
            change(module, |forwarding| forwarding.delete_port(port));
        }
        _ => {}
    }
    let Some((op, nic)) = operation(request) else { return };
    match op {
        NicOp::Create if status != NdisStatus::SUCCESS => {
            apply(module, NicOp::Delete, &nic, &[]);
            read_again(module);
        }
        NicOp::Create | NicOp::Disconnect => {}
        NicOp::Connect | NicOp::Update if !succeeded => {}
        NicOp::Connect | NicOp::Update | NicOp::Delete => apply(module, op, &nic, request.nic_name()),
    }
}

/// A creation failed, and what it was to make is forgotten. If the arrays had it already, which an activation may have
/// told first, it is there all the same: they are read again.
fn read_again(module: &Module) {
    let mut control = module.control.lock();
    if control.enumeration.knows_ports() {
        control.enumeration.want_arrays_again();
        failover::retry_locked(module, &mut control);
    }
}

/// After the request has completed: queries the member that it connected.
pub fn completed(module: &Module, connected: Option<MemberIndex>) {
    if let Some(member) = connected {
        nic_status::ask(module, member, Topics::ALL);
        resource_lists::ask(module, MemberSet::EMPTY.with(member));
        private_oids::connected(module, MemberSet::EMPTY.with(member));
    }
}

/// The member that a request connects.
pub fn connects_member(request: Request) -> Option<MemberIndex> {
    let (op, nic) = operation(request)?;
    match route(op, &nic) {
        Route::Member(member, MemberEvent::Connected) => Some(member),
        _ => None,
    }
}

/// Changes the port table, and invalidates an enumeration that is under way.
fn change(module: &Module, what: impl FnOnce(&mut Forwarding<Pool>)) {
    let mut control = module.control.lock();
    control.changes.note();
    what(&mut module.forwarding.write(control.dispatch()));
}

/// Adds a port; grows the table if it is full.
fn create_port(module: &Module, port: PortId) -> Result<(), NdisStatus> {
    loop {
        {
            let mut control = module.control.lock();
            control.changes.note();
            if module.forwarding.write(control.dispatch()).create_port(port, false).is_ok() {
                return Ok(());
            }
        }
        reserve(module, 1)?;
    }
}

/// Applies a NIC operation to the tables. `name` is the adapter's, as `parameters::friendly_name` gives it. Memory has been
/// reserved before.
fn apply(module: &Module, op: NicOp, nic: &NicParameters, name: &[u8]) {
    apply_locked(module, &mut module.control.lock(), op, nic, name);
    if op == NicOp::Connect {
        // The module may have been attached after the creation.
        runtime_state::arrived(module, Some(nic.id));
    }
}

#[inline(never)] // a frame of its own
fn external(module: &Module, control: &mut TeamLock<'_>, op: NicOp, nic: &NicParameters) -> Result<(), Full> {
    let expected = expect_port(module, control, op, nic.id.port);
    module.forwarding.write(control.dispatch()).on_external(op, nic);
    expected
}

#[inline(never)] // likewise
fn lacks_external(module: &Module) -> bool {
    module.forwarding.read().external.is_none()
}

#[inline(never)] // likewise
fn vnic(module: &Module, control: &mut TeamLock<'_>, op: NicOp, nic: &NicParameters) -> Result<(), Full> {
    let applied = expect_port(module, control, op, nic.id.port)
        .and_then(|()| module.forwarding.write(control.dispatch()).on_vnic(op, nic));
    if op == NicOp::Connect {
        seats::seat(module, control, nic.id);
        resource_lists::vnic_connected(module, control);
    }
    applied
}

/// The same with the team lock held.
pub fn apply_locked(
    module: &Module,
    control: &mut TeamLock<'_>,
    op: NicOp,
    nic: &NicParameters,
    name: &[u8],
) {
    control.changes.note();
    if nic
        .member()
        .is_some_and(|member| control.team.identify(member, nic.adapter, name) || op == NicOp::Delete)
    {
        module.worker.wake(Reasons::MEMBER_SETTINGS);
    }
    let applied = match route(op, nic) {
        Route::Member(member, event) => {
            // A member that connects before the external port was read of tells which port that is.
            let unknown = op == NicOp::Connect && lacks_external(module);
            let expected = if unknown { external(module, control, op, nic) } else { Ok(()) };
            failover::member_locked(module, control, member, event);
            expected
        }
        Route::External(op) => external(module, control, op, nic),
        Route::Vnic(op) => vnic(module, control, op, nic),
        Route::Ignore => Ok(()),
    };
    note_unshared(module, control);
    if nic.member().is_some_and(|member| control.team.polled_adapter(member).is_some()) {
        module.worker.wake(Reasons::MEMBERS);
    }
    if applied == Err(Full) {
        // A NIC whose creation was never seen, and no room for it: the arrays have it.
        control.enumeration.want_arrays_again();
        failover::retry_locked(module, control);
    }
}

/// After a change of ports: records an event if there are more addresses that the host's table has no room for.
pub fn note_unshared(module: &Module, control: &mut TeamLock<'_>) {
    let unshared = module.forwarding.read().ports.unshared();
    let before = core::mem::replace(&mut control.unshared, unshared);
    if unshared > before {
        let ports = u32::try_from(unshared).unwrap_or(u32::MAX);
        events::record(module, control, Event::AddressesNotShared { ports });
    }
}

/// A NIC comes on a port that nobody announced: the port is older than the module, and closed until its properties are
/// known.
fn expect_port(module: &Module, control: &mut TeamLock<'_>, op: NicOp, port: PortId) -> Result<(), Full> {
    let comes = matches!(op, NicOp::Create | NicOp::Connect);
    if !comes || module.forwarding.read().ports.get(port).is_some() {
        return Ok(());
    }
    module.forwarding.write(control.dispatch()).create_port(port, true)?;
    if control.enumeration.knows_ports() {
        control.enumeration.want(Step::Properties);
        failover::retry_locked(module, control);
    }
    Ok(())
}

/// Adds a vNIC; grows the table if it is full.
fn create_vnic(module: &Module, nic: &NicParameters) -> Result<(), NdisStatus> {
    loop {
        {
            let mut control = module.control.lock();
            control.changes.note();
            let expected = expect_port(module, &mut control, NicOp::Create, nic.id.port);
            let created = expected
                .and_then(|()| module.forwarding.write(control.dispatch()).on_vnic(NicOp::Create, nic));
            if created.is_ok() {
                note_unshared(module, &mut control);
                return Ok(());
            }
        }
        reserve(module, 1)?;
    }
}

/// Makes room for `more` ports beyond the known ones. IRQL <= DISPATCH_LEVEL, no lock held.
///
/// # Errors
///
/// NDIS_STATUS_RESOURCES if the table must grow and the pool is exhausted.
pub fn reserve(module: &Module, more: usize) -> Result<(), NdisStatus> {
    loop {
        let (needed, capacity, lacks_counters) = {
            let forwarding = module.forwarding.read();
            let ports = &forwarding.ports;
            (ports.len().saturating_add(more), ports.capacity(), ports.lacks_counters())
        };
        if needed <= capacity || capacity >= PORTS_MAX {
            return Ok(());
        }
        if lacks_counters {
            let counters = new_counters()?;
            let control = module.control.lock();
            let _unused = module.forwarding.write(control.dispatch()).ports.add_counters(counters);
        } else {
            let mut room = new_room(needed.max(capacity.saturating_mul(2)))?;
            growth::grow(module, &mut room, COPYING);
        }
    }
}

/// `cargo bench -p perf --bench holds` counts what a part takes.
const COPYING: Copying = Copying { part: 2_048, attempts: 16 };

impl SharedPorts<Pool> for Module {
    fn read<R>(&self, look: impl FnOnce(&PortTable<Pool>, u32) -> R) -> R {
        let forwarding = self.forwarding.read();
        look(&forwarding.ports, forwarding.writers())
    }

    fn write<R>(&self, change: impl FnOnce(&mut PortTable<Pool>, u32) -> R) -> R {
        let control = self.control.lock();
        let mut forwarding = self.forwarding.write(control.dispatch());
        let writers = forwarding.writers();
        change(&mut forwarding.ports, writers)
    }
}
