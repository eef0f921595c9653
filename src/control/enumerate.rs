//! Reads the configuration of the switch: `OID_SWITCH_PARAMETERS`, ports and NICs, then the properties of each port.
//! Requests on other threads may change it meanwhile; a snapshot is applied only if none did, without what a pending
//! request removes, and is merged with what earlier requests have set.
//!
//! Whatever is refused is asked again on the module's thread, at intervals that double up to a minute, until it is known:
//! a module that fails its restart is detached for good (starting-a-filter-module.md), and one that reads no activation
//! would stay closed. Until then ports whose properties are not known are closed, each by itself.

use crate::control::events;
use crate::control::failover;
use crate::control::member_settings;
use crate::control::nic_status;
use crate::control::settings;
use crate::control::{private_oids, resource_lists, survey};
use crate::kernel::pool::{PoolSlice, Tag};
use crate::kernel::worker::Reasons;
use crate::module::Module;
use crate::ndis::irql::Passive;
use crate::ndis::member_query::Topics;
use crate::ndis::oid::query;
use crate::ndis::parameters::{
    ARRAY_HEADER, ArrayNic, NicState, SwitchInfo, announced, nic_array, port_array, switch_info, write_header,
};
use crate::ndis::raw::{SwitchParameters, oids};
use crate::ndis::status::NdisStatus;
use crate::requests::lifecycle;
use crate::requests::properties;
use crate::requests::runtime_state;
use crate::trace::Event;
use teaming::enumeration::{Next, Step};
use teaming::event::log_entry::UNITS;
use teaming::oid::nic::NicOp;
use teaming::ports::NicState as Nic;

/// Number of snapshots in a row that changed meanwhile, after which the module tries again later.
const ATTEMPTS: u32 = 64;
/// First and largest buffer for an array, in bytes; the largest is enough for some 25,000 NICs.
const FIRST_ROOM: usize = 4_096;
const LARGEST: usize = 64 << 20;

/// When the switch reports its activation. PASSIVE_LEVEL, no lock held.
pub fn at_activation(module: &Module, passive: &Passive) {
    module.control.lock().enumeration.want(Step::Arrays);
    read(module, passive);
}

/// Reads the parts that are due; a failed query is repeated later. At the first restart these are the settings, and
/// the configuration if the switch is active already. Later restarts need nothing, because requests are handled while
/// the module is paused. PASSIVE_LEVEL, no lock held.
#[inline(never)] // a frame of its own
pub fn read(module: &Module, passive: &Passive) {
    let mut next = module.control.lock().enumeration.begin();
    while let Next::Read(step) = next {
        let result = match step {
            Step::Parameters => read_parameters(module, passive),
            Step::Arrays => read_switch(module, passive),
            Step::Properties => read_properties(module, passive),
        };
        let mut control = module.control.lock();
        if let Err(status) = result {
            events::record(module, &mut control, Event::NotEnumerated { status: status.0 });
        }
        next = if control.detaching { Next::Rest } else { control.enumeration.finish(step, result.is_ok()) };
    }
    module.worker.wake(Reasons::SEATS);
    if next == Next::Later {
        failover::retry_later(module);
    }
}

#[inline(never)] // a frame of its own
fn read_parameters(module: &Module, passive: &Passive) -> Result<(), NdisStatus> {
    let mut buffer = PoolSlice::try_new(Tag::REQUEST, size_of::<SwitchParameters>(), |_| 0u8)?;
    write_header(&mut buffer, SwitchParameters::SIZE_REVISION_1);
    query(module.filter, oids::SWITCH_PARAMETERS, &mut buffer, passive).map_err(|(status, _)| status)?;
    let info = switch_info(&buffer).ok_or(NdisStatus::FAILURE)?;
    if module.texts.switch_title.get().is_none() {
        module.texts.switch_title.set(title_of(&info)?)?;
    }
    settings::load(module, info.name, passive)?;
    survey::restarted(module, info.is_active, &buffer);
    if info.is_active {
        module.control.lock().enumeration.want(Step::Arrays);
    }
    Ok(())
}

/// What people call the switch, for the event log; as much as an entry may have room for.
#[inline(never)] // a frame of its own
fn title_of(info: &SwitchInfo<'_>) -> Result<PoolSlice<u16>, NdisStatus> {
    let units = info.title.chunks_exact(2).filter_map(|unit| Some(u16::from_le_bytes(unit.try_into().ok()?)));
    Ok(PoolSlice::collect(Tag::SETTINGS, units.take(UNITS))?)
}

/// Reads ports and NICs in one snapshot without a change meanwhile.
#[inline(never)] // a frame of its own
fn read_switch(module: &Module, passive: &Passive) -> Result<(), NdisStatus> {
    for _ in 0..ATTEMPTS {
        let changes = module.control.lock().changes.count();
        let ports = read_array(module, oids::SWITCH_PORT_ARRAY, passive)?;
        let nics = read_array(module, oids::SWITCH_NIC_ARRAY, passive)?;
        if let Some(picture) = apply(module, &ports, &nics, changes)? {
            runtime_state::arrived(module, None);
            member_settings::at_start(module, passive);
            nic_status::ask_all(module, Topics::ALL);
            nic_status::indicate_pending(module);
            return picture.check(module);
        }
    }
    module.worker.wake(Reasons::RESOURCES);
    Err(NdisStatus::FAILURE)
}

/// Reads an array of the switch, however large it becomes meanwhile. Its elements are found by its own members,
/// whatever BytesWritten is: the rest of the buffer is zero, in which no element is found.
#[inline(never)] // a frame of its own
fn read_array(module: &Module, oid: u32, passive: &Passive) -> Result<PoolSlice<u8>, NdisStatus> {
    let mut size = FIRST_ROOM;
    loop {
        let mut buffer = PoolSlice::try_new(Tag::REQUEST, size, |_| 0u8)?;
        write_header(&mut buffer, ARRAY_HEADER);
        let answer = query(module.filter, oid, &mut buffer, passive);
        let (status, written, needed) = match answer {
            Ok(written) => (NdisStatus::SUCCESS, written, 0),
            Err((status, needed)) => (status, 0, needed),
        };
        survey::answered(module, oid, None, status, (written as usize, needed as usize));
        match answer {
            Ok(_) => {
                survey::array(module, oid, &buffer);
                return Ok(buffer);
            }
            // BytesNeeded is the present length; the array may grow until the next query.
            Err((status, needed)) if status.is_too_short() && size < LARGEST => {
                size = usize::max(needed as usize, size.saturating_add(FIRST_ROOM)).min(LARGEST);
            }
            Err((status, _)) => return Err(status),
        }
    }
}

/// Numbers of elements in both arrays: announced by the switch, and read.
struct Picture {
    announced: u32,
    understood: u32,
}

impl Picture {
    /// If an element could not be read, records an event and requests that the arrays are read again.
    fn check(&self, module: &Module) -> Result<(), NdisStatus> {
        let Self { announced, understood } = *self;
        if understood == announced {
            return Ok(());
        }
        let event = Event::PictureIncomplete { announced, understood };
        events::tell(module, event);
        Err(NdisStatus::FAILURE)
    }
}

/// Applies a snapshot, in a hold of the team lock for each element; stops, with `None`, if a request has changed something
/// since `changes`, because the snapshot is outdated then. What it has applied until then was right. Ports are applied
/// first, closed until their properties are known; then NICs, also those on a port that could not be read. The external
/// NIC is first, because members need it.
#[inline(never)] // not below the requests
fn apply(
    module: &Module,
    ports: &[u8],
    nics: &[u8],
    mut changes: u32,
) -> Result<Option<Picture>, NdisStatus> {
    let announced = announced(ports).saturating_add(announced(nics));
    let understood = port_array(ports).count().saturating_add(nic_array(nics).count());
    let ports = || port_array(ports).filter(|port| port.is_created && !port.is_validation);
    let nics = || nic_array(nics).filter(|nic| nic.state != NicState::Other);
    lifecycle::reserve(module, ports().count().saturating_add(nics().count()))?;
    // A pending request may remove some of that.
    for port in ports() {
        let control = module.control.lock();
        if control.changes.count() != changes {
            return Ok(None);
        }
        if control.changes.stays(port.id) {
            // Memory was reserved above.
            let _ = module.forwarding.write(control.dispatch()).create_port(port.id, true);
        }
    }
    for ArrayNic { parameters: nic, state, name } in nics() {
        let mut control = module.control.lock();
        if control.changes.count() != changes {
            return Ok(None);
        }
        if !control.changes.nic_stays(nic.id) {
            continue;
        }
        let is_connected = state == NicState::Connected && control.changes.stays_connected(nic.id);
        let id = nic.id.port;
        let known = module.forwarding.read().ports.get(id).is_some_and(|port| port.nic != Nic::Free);
        lifecycle::apply_locked(module, &mut control, NicOp::Create, &nic, name);
        if !known {
            // Its earlier multicast groups are not known.
            module.forwarding.write(control.dispatch()).ports.forget_groups(id);
        }
        if is_connected {
            let before = control.team.connected();
            lifecycle::apply_locked(module, &mut control, NicOp::Connect, &nic, name);
            let found = control.team.connected().minus(before);
            resource_lists::note_unknown(&mut control, found);
            control.found = control.found.union(found);
            failover::note_earlier(module, &mut control);
            private_oids::connected_locked(module, &mut control, found);
        }
        changes = control.changes.count();
    }
    // Now that the vNICs are known whose addresses the lists say.
    module.worker.wake(Reasons::RESOURCES);
    module.control.lock().enumeration.want(Step::Properties);
    Ok(Some(Picture { announced, understood: u32::try_from(understood).unwrap_or(u32::MAX) }))
}

/// Opens the ports whose properties can be read, one after the other; a failure for one port does not affect others.
#[inline(never)] // a frame of its own
fn read_properties(module: &Module, passive: &Passive) -> Result<(), NdisStatus> {
    let mut result = Ok(());
    let mut from = 0;
    loop {
        let unread = module.forwarding.read().ports.unread(from);
        let Some((port, next)) = unread else { return result };
        if let Err(status) = properties::read(module, port, passive) {
            result = Err(status);
        }
        from = next;
    }
}
