//! The switch as it is when the module joins it: `OID_SWITCH_PARAMETERS`, then the network adapters. NICs may be
//! created and deleted by requests at the same time on other threads; the picture is applied only if none was
//! meanwhile, and merges with what the requests have said.

use crate::clock;
use crate::filter::Module;
use crate::kernel::pool::{PoolSlice, Tag};
use crate::ndis::irql::Passive;
use crate::ndis::member_query::Topics;
use crate::ndis::oid::{NIC_ARRAY_HEADER, NicState, nic_array, query, switch_info, write_header};
use crate::ndis::raw::{SwitchParameters, oids};
use crate::ndis::status::NdisStatus;
use crate::trace::Event;
use crate::{lifecycle, nic_status, settings};
use teaming::switch::{NicKind, NicOp};

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
    if info.is_active { take_picture(module, passive) } else { Ok(()) }
}

/// When the switch reports its activation. A failure is told and leaves what requests have said and will say.
pub fn at_activation(module: &Module, passive: &Passive) {
    if let Err(status) = take_picture(module, passive) {
        module.control.lock().events.push(clock::now(), Event::NotEnumerated { status: status.0 });
    }
}

/// Reads the NIC array once, until it was read without a change meanwhile.
fn take_picture(module: &Module, passive: &Passive) -> Result<(), NdisStatus> {
    if core::mem::replace(&mut module.control.lock().enumerated, true) {
        return Ok(());
    }
    let result = read_nics(module, passive);
    if result.is_err() {
        module.control.lock().enumerated = false;
    }
    result
}

#[inline(never)] // a frame of its own
fn read_nics(module: &Module, passive: &Passive) -> Result<(), NdisStatus> {
    let mut size = 4096;
    for _ in 0..ATTEMPTS {
        let mut buffer = PoolSlice::try_new(Tag::REQUEST, size, |_| 0u8)?;
        write_header(&mut buffer, NIC_ARRAY_HEADER);
        let changes = module.control.lock().changes;
        match query(module.filter, oids::SWITCH_NIC_ARRAY, &mut buffer, passive) {
            Ok(written) => {
                let picture = buffer.get(..written as usize).unwrap_or(&buffer);
                if apply(module, picture, changes)? {
                    nic_status::ask_all(module, Topics::ALL);
                    nic_status::announce(module);
                    return Ok(());
                }
            }
            // Too small: it says what it takes now, and may take more by then.
            Err((NdisStatus::INVALID_LENGTH, needed)) => size = size.max(needed as usize),
            Err((status, _)) => return Err(status),
        }
    }
    Err(NdisStatus::FAILURE)
}

/// Applies a picture if nothing has changed since `changes`. The external port comes first: members hang on it.
fn apply(module: &Module, picture: &[u8], changes: u32) -> Result<bool, NdisStatus> {
    let nics = || nic_array(picture).filter(|(_, state)| *state != NicState::Other);
    lifecycle::reserve(module, nics().filter(|(nic, _)| nic.kind != NicKind::External).count())?;
    let mut control = module.control.lock();
    if control.changes != changes {
        return Ok(false);
    }
    for (nic, state) in nics() {
        lifecycle::apply_locked(module, &mut control, NicOp::Create, &nic);
        if state == NicState::Connected {
            lifecycle::apply_locked(module, &mut control, NicOp::Connect, &nic);
        }
    }
    Ok(true)
}
