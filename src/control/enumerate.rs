//! The switch as it is when the module joins it: `OID_SWITCH_PARAMETERS`, ports and network adapters, then the properties
//! of each port. Requests may change all of that at the same time on other threads; a picture is applied only if none
//! did meanwhile, and merges with what the requests have said.

use crate::clock;
use crate::control::nic_status;
use crate::control::settings;
use crate::kernel::pool::{PoolSlice, Tag};
use crate::module::Module;
use crate::ndis::irql::Passive;
use crate::ndis::member_query::Topics;
use crate::ndis::oid::query;
use crate::ndis::parameters::{ARRAY_HEADER, NicState, nic_array, port_array, switch_info, write_header};
use crate::ndis::raw::{SwitchParameters, oids};
use crate::ndis::status::NdisStatus;
use crate::requests::lifecycle;
use crate::requests::properties;
use crate::requests::runtime_state;
use crate::trace::Event;
use teaming::oid::nic::NicOp;
use teaming::ports::NicState as Nic;

/// Pictures taken before the module gives up because the switch will not stand still.
const ATTEMPTS: u32 = 64;

/// At the first restart: settings, and the configuration if the switch is active already. Later restarts find
/// everything up to date, because requests are handled while the module is paused.
pub fn at_restart(module: &Module, passive: &Passive) -> Result<(), NdisStatus> {
    if module.control.lock().enumerated {
        return Ok(());
    }
    let mut buffer = PoolSlice::try_new(Tag::REQUEST, size_of::<SwitchParameters>(), |_| 0u8)?;
    write_header(&mut buffer, SwitchParameters::SIZE_REVISION_1);
    let written = query(module.filter, oids::SWITCH_PARAMETERS, &mut buffer, passive);
    let written = written.map_err(|(status, _)| status)?;
    let info = switch_info(&buffer, written as usize).ok_or(NdisStatus::FAILURE)?;
    settings::load(module, info.name, passive)?;
    if info.is_active { snapshot_switch(module, passive) } else { Ok(()) }
}

/// When the switch reports its activation. A failure is told and leaves what requests have said and will say; ports that
/// were found and not read stay closed until a restart reads them.
pub fn at_activation(module: &Module, passive: &Passive) {
    if let Err(status) = snapshot_switch(module, passive) {
        module.control.lock().events.push(clock::now(), Event::NotEnumerated { status: status.0 });
    }
}

/// Reads the configuration once.
fn snapshot_switch(module: &Module, passive: &Passive) -> Result<(), NdisStatus> {
    if core::mem::replace(&mut module.control.lock().enumerated, true) {
        return Ok(());
    }
    let result = read_switch(module, passive);
    if result.is_err() {
        module.control.lock().enumerated = false;
    }
    result
}

/// Ports and NICs in one picture that was taken without a change meanwhile, then the properties of each port.
#[inline(never)] // a frame of its own
fn read_switch(module: &Module, passive: &Passive) -> Result<(), NdisStatus> {
    for _ in 0..ATTEMPTS {
        let changes = module.control.lock().changes;
        let ports = read_array(module, oids::SWITCH_PORT_ARRAY, passive)?;
        let nics = read_array(module, oids::SWITCH_NIC_ARRAY, passive)?;
        if apply(module, &ports, &nics, changes)? {
            runtime_state::arrived(module, None);
            read_properties(module, passive)?;
            nic_status::ask_all(module, Topics::ALL);
            nic_status::indicate_pending(module);
            return Ok(());
        }
    }
    Err(NdisStatus::FAILURE)
}

/// Reads an array of the switch, however large it becomes meanwhile.
#[inline(never)] // a frame of its own
fn read_array(module: &Module, oid: u32, passive: &Passive) -> Result<PoolSlice<u8>, NdisStatus> {
    let mut size = 4096;
    for _ in 0..ATTEMPTS {
        let mut buffer = PoolSlice::try_new(Tag::REQUEST, size, |_| 0u8)?;
        write_header(&mut buffer, ARRAY_HEADER);
        match query(module.filter, oid, &mut buffer, passive) {
            Ok(written) => {
                if let Some(rest) = buffer.get_mut(written as usize..) {
                    rest.fill(0);
                }
                return Ok(buffer);
            }
            // Too small: it says what it takes now, and may take more by then.
            Err((NdisStatus::INVALID_LENGTH, needed)) => size = size.max(needed as usize),
            Err((status, _)) => return Err(status),
        }
    }
    Err(NdisStatus::FAILURE)
}

/// Applies a picture if nothing has changed since `changes`. Ports come first, closed until their properties are known;
/// then the external NIC, because members hang on it.
#[inline(never)] // not below the requests
fn apply(module: &Module, ports: &[u8], nics: &[u8], changes: u32) -> Result<bool, NdisStatus> {
    let ports = || port_array(ports).filter(|port| port.is_created && !port.is_validation);
    let nics = || nic_array(nics).filter(|(_, state)| *state != NicState::Other);
    lifecycle::reserve(module, ports().count().saturating_add(nics().count()))?;
    let mut control = module.control.lock();
    if control.changes != changes {
        return Ok(false);
    }
    for port in ports() {
        // Room was made above.
        let _ = module.forwarding.write(control.dispatch()).create_port(port.id, true);
    }
    for (nic, state) in nics() {
        let id = nic.id.port;
        let known = module.forwarding.read().ports.get(id).is_some_and(|port| port.nic != Nic::Free);
        lifecycle::apply_locked(module, &mut control, NicOp::Create, &nic);
        if !known {
            // What it listened to before is not known.
            module.forwarding.write(control.dispatch()).ports.forget_groups(id);
        }
        if state == NicState::Connected {
            lifecycle::apply_locked(module, &mut control, NicOp::Connect, &nic);
        }
    }
    Ok(true)
}

/// Opens the ports of the picture, one after the other.
#[inline(never)] // a frame of its own
fn read_properties(module: &Module, passive: &Passive) -> Result<(), NdisStatus> {
    let mut from = 0;
    loop {
        let unread = module.forwarding.read().ports.unread(from);
        let Some((port, next)) = unread else { return Ok(()) };
        properties::read(module, port, passive)?;
        from = next;
    }
}
