//! Mutations with saved run-time state. A request that saves or restores is changed as FilterOidRequest gets it, or as
//! that returns.

use crate::inject::state::{commit, pending};
use crate::mutation::Mutation;
use crate::switch::control::offering::room_of;
use crate::switch::control::results;
use crate::switch::control::save::{FIXED, Other, field, word};
use crate::switch::ndis::State;
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{BUFFER_TOO_SHORT, OidRequest, SUCCESS, oids, request_type};
use teaming::migration::record::{PART_HEADER, decode, encode};

/// The payload of a request that is with the driver.
fn payload(state: &State, key: usize) -> Option<(u32, &'static mut [u8])> {
    let above = state.control.above.get(&key)?;
    let saves = (oids::SWITCH_NIC_SAVE..=oids::SWITCH_NIC_RESTORE_COMPLETE).contains(&above.oid);
    if !saves || above.length < FIXED {
        return None;
    }
    // SAFETY: the payload lives as long as the request, and nobody else touches it here.
    let bytes = unsafe { std::slice::from_raw_parts_mut(above.buffer as *mut u8, above.length) };
    Some((above.oid, bytes))
}

/// FilterOidRequest is about to be called: a status if it is not.
pub(crate) fn saving(state: &mut State, module: usize, key: usize) -> Option<i32> {
    let mutation = pending()?;
    let (oid, bytes) = payload(state, key)?;
    let nic = NicId::new(u32::from_le_bytes(field(bytes, 8)), 0);
    let ours = field(bytes, 16) == crate::switch::control::save::OURS;
    let restoring = oid == oids::SWITCH_NIC_RESTORE && ours;
    match mutation {
        Mutation::SaveNothing
            if oid == oids::SWITCH_NIC_SAVE && state.saves.injected.last_own.is_some() && commit() =>
        {
            Some(SUCCESS)
        }
        Mutation::SaveTwice if oid == oids::SWITCH_NIC_SAVE && !state.saves.injected.demanded => {
            let output = state.control.above.get(&key)?.output;
            let (at, room) = room_of(bytes, output);
            let fits = |last: &mut Vec<u8>| last[1] == bytes[1] && (at + 1..=at + room).contains(&last.len());
            let last = state.saves.injected.last_own.take_if(fits)?;
            if !commit() {
                return None;
            }
            bytes[16..566].copy_from_slice(&last[16..566]);
            bytes[FIXED..last.len()].copy_from_slice(&last[FIXED..]);
            // SAFETY: the request lives while it is in the table.
            unsafe { (*(key as *mut OidRequest)).method_bytes_written = last.len() as u32 };
            Some(SUCCESS)
        }
        Mutation::ForgetSecondSave
            if oid == oids::SWITCH_NIC_SAVE && state.saves.has_saved(module, nic) && commit() =>
        {
            pretend_forwarded(state, key);
            Some(SUCCESS)
        }
        Mutation::EndSave if oid == oids::SWITCH_NIC_SAVE_COMPLETE && commit() => {
            // That the driver goes on with the same save is another rule's matter.
            state.saves.forget(module, nic);
            Some(SUCCESS)
        }
        Mutation::TakeForeign
            if oid == oids::SWITCH_NIC_RESTORE && field(bytes, 16) == Other::Below.id() && commit() =>
        {
            Some(SUCCESS)
        }
        Mutation::LosePart if restoring && state.saves.injected.several && commit() => Some(SUCCESS),
        Mutation::LoseEarlyRestore
            if restoring && !state.modules[module].topology.is_connected(nic) && commit() =>
        {
            Some(SUCCESS)
        }
        Mutation::BelieveSpoilt if restoring => {
            let good = state.saves.injected.good.take().filter(|good| good.len() <= bytes.len())?;
            if commit() {
                lend(state, key, bytes);
                bytes[..good.len()].copy_from_slice(&good);
                bytes[8..12].copy_from_slice(&nic.port.to_le_bytes());
            }
            None
        }
        Mutation::CrossTalk if restoring => {
            let mut others = state.saves.under_way.iter().filter(|(m, other)| *m == module && *other != nic);
            let other = others.next().map(|(_, other)| *other)?;
            divert(state, key, bytes, other);
            None
        }
        Mutation::RestoreElsewhere if restoring && state.saves.under_way.len() == 1 => {
            let topology = &state.modules[module].topology;
            let other = topology.nics().find(|n| n.id.index == 0 && n.id != nic).map(|n| n.id)?;
            divert(state, key, bytes, other);
            None
        }
        _ => None,
    }
}

/// The driver sees another port in the request.
fn divert(state: &mut State, key: usize, bytes: &mut [u8], to: NicId) {
    if commit() {
        lend(state, key, bytes);
        bytes[8..12].copy_from_slice(&to.port.to_le_bytes());
    }
}

fn lend(state: &mut State, key: usize, bytes: &[u8]) {
    state.saves.injected.before = Some((key, bytes.to_vec()));
}

fn pretend_forwarded(state: &mut State, key: usize) {
    if let Some(above) = state.control.above.get_mut(&key) {
        above.reached_below = true;
        above.below_status = Some(SUCCESS);
        // SAFETY: the request lives while it is in the table.
        above.results = results(unsafe { &*(key as *const OidRequest) });
    }
}

/// A mutation completes a set request with success: apart from that it was handled as the pages ask.
pub(crate) fn as_if_handled(state: &State, key: usize, status: i32) {
    let Some(above) = state.control.above.get(&key) else { return };
    if above.kind == request_type::SET_INFORMATION && status == SUCCESS && !above.reached_below {
        // SAFETY: the request lives while it is in the table.
        let r = unsafe { &mut *(key as *mut OidRequest) };
        (r.word52, r.supported_revision) = (r.length, 1);
    }
}

/// FilterOidRequest has returned; the status that it seems to return.
pub(crate) fn saved(state: &mut State, key: usize, status: i32) -> i32 {
    let Some((oid, bytes)) = payload(state, key) else { return status };
    if let Some((_, before)) = state.saves.injected.before.take_if(|(lent, _)| *lent == key) {
        bytes.copy_from_slice(&before);
    }
    // SAFETY: the request lives until it is finished.
    let r = unsafe { &mut *(key as *mut OidRequest) };
    let taken = oid == oids::SWITCH_NIC_RESTORE && status == SUCCESS;
    if taken && pending() == Some(Mutation::TakeSilently) && commit() {
        (r.word52, r.supported_revision) = (0, 0);
    }
    if oid != oids::SWITCH_NIC_SAVE {
        return status;
    }
    if status == SUCCESS {
        let room = state.control.above.get(&key).map(|above| room_of(&above.payload_before, above.output));
        inject_filled(bytes, room.map_or(0, |(at, room)| at + room));
        let end = word(bytes, 566) + word(bytes, 564);
        state.saves.injected.last_own = bytes.get(..end).map(<[u8]>::to_vec);
    }
    match pending() {
        Some(Mutation::DemandNothing) if status == BUFFER_TOO_SHORT && commit() => r.method_bytes_needed = 0,
        Some(mutation @ (Mutation::DemandAgain | Mutation::DemandWhatIsThere))
            if status == SUCCESS
                && (mutation == Mutation::DemandAgain) == state.saves.injected.demanded
                && commit() =>
        {
            let written = word(bytes, 566) + word(bytes, 564);
            let before = state.control.above.get(&key).map(|above| above.payload_before.clone());
            bytes.copy_from_slice(&before.unwrap_or_default());
            r.method_bytes_needed = u32::try_from(written).unwrap_or(0);
            return BUFFER_TOO_SHORT;
        }
        Some(Mutation::CountDataAlone) if status == SUCCESS && commit() => {
            r.method_bytes_written = u32::try_from(word(bytes, 564)).unwrap_or(0);
        }
        _ => {}
    }
    status
}

/// The structure that the driver filled is spoilt; its room ends at `room_end`.
fn inject_filled(bytes: &mut [u8], room_end: usize) {
    let end = word(bytes, 566) + word(bytes, 564);
    let (revision, word_at) = (bytes[1], word(bytes, 566));
    match pending() {
        Some(Mutation::Miscount) if end < 1_000 && commit() => miscount(&mut bytes[word_at..end]),
        // The last byte belongs to nobody.
        Some(Mutation::SavePastRoom) if room_end < bytes.len() && commit() => bytes[bytes.len() - 1] ^= 1,
        Some(Mutation::OtherOwner) if commit() => bytes[16] ^= 1,
        Some(Mutation::OddName) if commit() => bytes[32] += 1,
        Some(Mutation::LeaveFeatureClass) if commit() => bytes[548] = 0xC6,
        Some(Mutation::WriteFlags) if commit() => bytes[4] = 1,
        Some(Mutation::LeaveOverflow) if revision >= 2 && commit() => bytes[FIXED] = 4,
        _ => {}
    }
}

/// The record that is the only part of these data has sent one frame more.
fn miscount(data: &mut [u8]) {
    let Some((_, record)) = data.split_at_mut_checked(PART_HEADER) else { return };
    let Ok((mut state, pins)) = decode(record) else { return };
    let pins: Vec<_> = pins.iter().collect();
    state.traffic.frames += 1;
    encode(&state, pins.into_iter(), record);
}
