//! Run-time state of a partition's NIC: `OID_SWITCH_NIC_SAVE` and `_RESTORE` answered, their `_COMPLETE` watched
//! (managing-hyper-v-extensible-switch-run-time-data.md). The data is optional for the partition. If a save lacks memory,
//! or its lengths deny the room that the buffer has, nothing is saved and the request is passed on. Data that cannot be
//! used at a restore is discarded, and the request succeeds, because a failure would fail the partition's restore.
//! IRQL <= DISPATCH_LEVEL. NDIS serialises the requests; only `arrived` is also called by the enumeration.

use crate::control::events::{self, tell};
use crate::control::seats;
use crate::kernel::pool::{Pool, PoolSlice, Tag};
use crate::module::{EXTENSION_ID, FRIENDLY_NAME, Module};
use crate::ndis::oid::Request;
use crate::ndis::raw::oids;
use crate::ndis::save::{Blob, Offer, Owner, completed_nic, passed};
use crate::ndis::status::NdisStatus;
use crate::text;
use crate::trace::Event;
use teaming::ids::{HashId, NicId};
use teaming::migration::operations::OperationSlot;
use teaming::migration::record::{
    Handed, NicState, PINS_MAX, Pin, PinKind, Pins, Placement, encode, record_len,
};
use teaming::offload::HeldResource;
use teaming::oid::Resource;

const OWNER: Owner = Owner { id: text::guid(EXTENSION_ID), name: FRIENDLY_NAME };

/// Before a request goes down: the status to complete it with, or `None` to pass it on.
pub fn before(module: &Module, request: Request) -> Option<NdisStatus> {
    match request.oid() {
        oids::SWITCH_NIC_SAVE => save(module, Offer::of(request)?),
        oids::SWITCH_NIC_RESTORE => {
            let blob = Blob::of(request)?;
            continues(module, blob.nic);
            restore(module, blob)
        }
        _ => None,
    }
}

/// When a request is back, or could not be forwarded: ends the operations that it ends.
pub fn after(module: &Module, request: Request, status: NdisStatus) {
    match request.oid() {
        oids::SWITCH_NIC_SAVE_COMPLETE | oids::SWITCH_NIC_RESTORE_COMPLETE => {
            let Some(nic) = completed_nic(&request) else { return };
            if request.oid() == oids::SWITCH_NIC_SAVE_COMPLETE {
                module.operations.lock().save_complete(nic);
            } else {
                continues(module, nic);
                restored(module, nic);
            }
            if status != NdisStatus::SUCCESS {
                tell(module, Event::OperationFailed { oid: request.oid(), nic, status: status.0 });
            }
        }
        // Every extension below has been asked; with BUFFER_TOO_SHORT one of them has more to save.
        oids::SWITCH_NIC_SAVE if status != NdisStatus::BUFFER_TOO_SHORT => {
            let Some((nic, print)) = passed(&request) else { return };
            module.operations.lock().save_passed(nic, print, status != NdisStatus::SUCCESS);
        }
        // A disconnection ends a save for which no SAVE_COMPLETE came.
        oids::SWITCH_NIC_DISCONNECT => {
            if let Some(nic) = request.nic_parameters() {
                module.operations.lock().save_complete(nic.id);
            }
        }
        oids::SWITCH_NIC_DELETE => {
            if let Some(nic) = request.nic_parameters() {
                module.operations.lock().forget(nic.id);
            }
        }
        _ => {}
    }
}

fn is_known(module: &Module, nic: NicId) -> bool {
    module.forwarding.read().ports.get(nic.port).is_some_and(|port| port.is_station(nic))
}

fn slots(count: usize) -> Option<PoolSlice<OperationSlot<Pool>>> {
    PoolSlice::try_new(Tag::STATE, count, |_| OperationSlot::EMPTY).ok()
}

fn bytes(count: usize) -> Option<PoolSlice<u8>> {
    PoolSlice::try_new(Tag::STATE, count, |_| 0).ok()
}

/// Writes the next part of the NIC's record into the request. `None` if nothing is left to save: the request is passed
/// on.
fn save(module: &Module, mut offer: Offer) -> Option<NdisStatus> {
    let nic = offer.nic;
    if !is_known(module, nic) {
        return None;
    }
    let handed = {
        let print = offer.print();
        let mut operations = module.operations.lock();
        operations.save(nic, offer.room(), print, |carried| record(module, nic, carried), slots)
    };
    match handed {
        Ok(Handed::Part { bytes }) => {
            offer.fill(bytes, &OWNER);
            Some(NdisStatus::SUCCESS)
        }
        Ok(Handed::TooSmall { need }) => {
            let ((needed, has), print) = (offer.lengths(need), offer.print());
            if !module.operations.lock().may_demand(nic, print, needed, has) {
                tell(module, Event::NotSaved { nic });
                return None;
            }
            offer.demand(needed);
            Some(NdisStatus::BUFFER_TOO_SHORT)
        }
        Ok(Handed::Nothing) => None,
        Err(_) => {
            tell(module, Event::NotSaved { nic });
            None
        }
    }
}

/// Encodes the NIC's present state: the resources that it holds here, or else those of the restored record; traffic
/// counted here plus the restored counts. `None` if memory runs out.
#[inline(never)] // a frame of its own
fn record(module: &Module, nic: NicId, carried: Option<(NicState, Pins<'_>)>) -> Option<PoolSlice<u8>> {
    let (before, pins) = carried.unzip();
    let control = module.control.lock();
    let (hashed_as, sent) = {
        let forwarding = module.forwarding.read();
        (forwarding.hashed_as(nic), forwarding.ports.traffic(nic.port))
    };
    let associations = module.associations.read();
    let state = NicState {
        placement: Placement::of(&control.settings, &control.team),
        hashed_as: hashed_as.nic(),
        seat: hashed_as.seat(),
        traffic: before.map_or(sent, |state: NicState| state.traffic.plus(sent)),
    };
    let held = || pins_of(nic, control.resources.entries()).chain(pins_of(nic, associations.entries()));
    let held = || held().take(PINS_MAX);
    match held().count() {
        0 => write(&state, || pins.into_iter().flat_map(|pins: Pins<'_>| pins.iter())),
        _ => write(&state, held),
    }
}

/// The resources of a NIC that are saved: its queues and security associations, by member.
fn pins_of(nic: NicId, entries: &[HeldResource]) -> impl Iterator<Item = Pin> {
    entries.iter().filter(move |entry| entry.source == nic && !entry.is_gone()).filter_map(|entry| {
        let kind = match entry.resource {
            Resource::Queue => PinKind::Queue,
            Resource::Sa => PinKind::SecurityAssociation,
            Resource::Filter | Resource::Vf | Resource::Vport => return None,
        };
        Some(Pin { kind, member: entry.member()?, id: entry.id })
    })
}

fn write<I: Iterator<Item = Pin>>(state: &NicState, pins: impl Fn() -> I) -> Option<PoolSlice<u8>> {
    let mut record = bytes(record_len(pins().count()))?;
    encode(state, pins(), &mut record)?;
    Some(record)
}

/// The VM goes on where it was saved: its network stack has named its multicast groups before, elsewhere or to an earlier
/// NIC, and does not name them again. Whoever's data is restored tells that.
fn continues(module: &Module, nic: NicId) {
    if is_known(module, nic) {
        let control = module.control.lock();
        module.forwarding.write(control.dispatch()).ports.forget_groups(nic.port);
    }
}

/// Copies data of this extension; it takes effect at RESTORE_COMPLETE. `None` for data of others.
fn restore(module: &Module, blob: Blob) -> Option<NdisStatus> {
    if !blob.is_of(&OWNER) {
        return None;
    }
    let nic = blob.nic;
    let kept = {
        let mut operations = module.operations.lock();
        let data = blob.data().unwrap_or(&[]);
        operations.restore(nic, data, |nic| is_known(module, nic), bytes, slots)
    };
    if let Err(why) = kept {
        tell(module, Event::RestoreDiscarded { nic, why });
    }
    blob.taken();
    Some(NdisStatus::SUCCESS)
}

/// At RESTORE_COMPLETE: applies the record, and pushes an event that says how this host differs from the source.
fn restored(module: &Module, nic: NicId) {
    let Some(result) = module.operations.lock().restore_complete(nic) else { return };
    arrived(module, Some(nic));
    let mut control = module.control.lock();
    let event = match result {
        Ok(state) => {
            let here = Placement::of(&control.settings, &control.team);
            // A NIC that is not created yet will be hashed as the record says, if its seat is not too crowded.
            let is_known = is_known(module, nic);
            let forwarding = module.forwarding.read();
            let hashed_as = match is_known {
                true => forwarding.hashed_as(nic),
                false => forwarding.foresee(&control.team.homes(), HashId::new(state.hashed_as, state.seat)),
            };
            drop(forwarding);
            Event::Restored { nic, differences: state.differs_from(hashed_as, &here) }
        }
        Err(why) => Event::RestoreDiscarded { nic, why },
    };
    events::record(module, &mut control, event);
}

/// Applies restored records to a NIC, or to all NICs (`None`), once both the NIC and its record are there: from now on
/// HyperVPort hashes the id that the NIC had on its first host, and the NIC sits where it sat if that host was equal to this
/// one and no member gets too many. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn arrived(module: &Module, nic: Option<NicId>) {
    let operations = module.operations.lock();
    let mut control = module.control.lock();
    let here = Placement::of(&control.settings, &control.team);
    for (nic, state) in operations.brought(nic) {
        let is_equal = state.placement.differs_from(&here).is_empty();
        let id = HashId::new(state.hashed_as, state.seat);
        if module.forwarding.write(control.dispatch()).bring(nic, id, is_equal) {
            seats::seat(module, &mut control, nic);
        }
    }
}
