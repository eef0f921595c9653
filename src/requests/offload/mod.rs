//! Offload requests to team members: `plan` carries out what `teaming::offload` decides, `answers` records what the
//! adapters allocated and freed. This file holds what both use: the checked view of a request, and access to the tables
//! of resources. From the plan of a request to its completion, only the loss of a member changes those tables: NDIS
//! serialises OID requests (synchronous-oid-request-interface-in-ndis-6-80.md).

pub mod answers;
pub mod plan;

use crate::kernel::pool::Pool;
use crate::module::{Module, TeamLock, new_resources};
use crate::ndis::envelope::Envelope;
use crate::ndis::nbl::Nbl;
use crate::ndis::oid::Request;
use crate::ndis::status::OutOfMemory;
use teaming::ids::{NicId, NicIndex};
use teaming::offload::{NO_PARTITION, OffloadResources, Pin};
use teaming::oid::payload::{self, Command};
use teaming::oid::{self, OidContext, Resource, Row, Treatment};

/// An offload request whose headers and payload have been checked: the envelope, its row in `teaming::oid::OIDS`, and
/// the command that the payload encodes.
struct Task {
    envelope: Envelope,
    row: &'static Row,
    command: Command,
}

impl Task {
    /// `None` for a request that the driver passes on unread: neither a row nor a virtual port as its target, a damaged
    /// header, or a destination other than the external port's NIC 0 (the switch has chosen a physical adapter already, or
    /// 0/0 as for multicast lists). While the external port is not known, NIC 0 of any port may be that one.
    /// IRQL <= DISPATCH_LEVEL; takes the forwarding lock for reading.
    fn of(module: &Module, request: Request) -> Option<Self> {
        let envelope = Envelope::of(request)?;
        let row = oid::find(OidContext::Envelope, envelope.oid(), envelope.kind()?);
        let row = row.unwrap_or(&oid::TARGETS_VPORT);
        let command = match row.payload {
            Some(_) => payload::command(row.oid, envelope.payload())?,
            None => Command::Use { resource: Resource::Vport, id: envelope.vport()?.into() },
        };
        let to = envelope.destination();
        let external = module.forwarding.read().external.unwrap_or(to.port);
        (to != NO_PARTITION && to == NicId::new(external, NicIndex::DEFAULT)).then_some(())?;
        Some(Self { envelope, row, command })
    }

    const fn resource(&self) -> Option<Resource> {
        match self.row.treatment {
            Treatment::Place(resource) | Treatment::Follow(resource) | Treatment::Release(resource) => {
                Some(resource)
            }
            _ => None,
        }
    }
}

/// Calls `f` with the table that holds resources of this type. Security associations have a table and a lock of their
/// own, because packets look them up; all others are under the team lock.
fn with_resources<R>(
    module: &Module,
    control: &mut TeamLock<'_>,
    resource: Resource,
    f: impl FnOnce(&mut OffloadResources<Pool>) -> R,
) -> R {
    match resource {
        Resource::Sa => f(&mut module.associations.write(control.dispatch())),
        Resource::Queue | Resource::Filter | Resource::Vf | Resource::Vport => f(&mut control.resources),
    }
}

/// Which member may send a packet that an adapter is to encrypt, or `None` for a packet without a handle. The answer may
/// be a member that is down: the packet is dropped then, like one whose association no member is known to have, because
/// any other adapter would send it unencrypted. What came from outside has flags in the place of handles; it leaves by no
/// member anyway. IRQL <= DISPATCH_LEVEL; takes the associations lock for reading if the packet has a handle.
#[inline]
pub fn pinned(module: &Module, list: &Nbl) -> Option<Pin> {
    match list.ipsec_handles() {
        [0, 0] => None,
        handles => Some(pin(module, list.source(), handles)),
    }
}

#[inline(never)]
fn pin(module: &Module, source: NicId, handles: [u64; 2]) -> Pin {
    module.associations.read().pin(source, handles)
}

/// Reserves `count` entries of the table, so that recording an answer cannot fail; grows the table if necessary.
/// `break_promise` releases them. IRQL <= DISPATCH_LEVEL, no lock held.
///
/// # Errors
///
/// `OutOfMemory` if the table would have to grow and the pool is exhausted.
fn promise(module: &Module, resource: Resource, count: usize) -> Result<(), OutOfMemory> {
    if count == 0 {
        return Ok(());
    }
    loop {
        let capacity = {
            let mut control = module.control.lock();
            let promised = with_resources(module, &mut control, resource, |resources| {
                resources.promise(count).map_err(|_| resources.capacity())
            });
            match promised {
                Ok(()) => return Ok(()),
                Err(capacity) => capacity,
            }
        };
        let larger = new_resources(capacity.saturating_mul(2).max(capacity.saturating_add(count)))?;
        let old = {
            let mut control = module.control.lock();
            with_resources(module, &mut control, resource, |resources| resources.grow(larger))
        };
        drop(old);
    }
}

/// Releases what `promise` reserved. IRQL <= DISPATCH_LEVEL, no lock held.
fn break_promise(module: &Module, resource: Resource, count: usize) {
    if count != 0 {
        let mut control = module.control.lock();
        with_resources(module, &mut control, resource, |resources| resources.release_promise(count));
    }
}
