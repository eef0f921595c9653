//! NETIO.SYS: the interfaces of the machine (netioapi.h), by their GUID. Who has adapters provides what they are like.
//!
//! A locally unique identifier stays what it is when its interface is gone; then its row is not found. What a query
//! answers was true when it began, which may be long ago when it returns.

use crate::exports;
use crate::machine::clock;
use crate::machine::cpu;
use crate::machine::fault;
use crate::machine::memory::MemoryState;
use crate::machine::objects::{STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};
use crate::machine::world::{self, World};
use lbfoext::ndis::raw::{Guid, MibIfRow2};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A GUID as it lies in memory.
pub type Id = [u8; 16];

const STATUS_INVALID_PARAMETER: i32 = 0xC000_000D_u32 as i32;
const STATUS_NOT_FOUND: i32 = 0xC000_0225_u32 as i32;

/// What a row says, and how long it takes to say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// `NET_IF_MEDIA_CONNECT_STATE`, `IF_OPER_STATUS` and the bits of `InterfaceAndOperStatusFlags`.
    pub media: i32,
    pub oper: i32,
    pub flags: u8,
    pub bits_per_second: u64,
    /// The GUID in the row, which should be the one that was asked for.
    pub id: Id,
    pub takes: u64,
}

type Provider = Box<dyn Fn(&World, Id) -> Option<Interface> + Send + Sync>;

/// The interfaces of one machine.
#[derive(Default)]
pub struct Interfaces {
    provider: OnceLock<Provider>,
    known: Mutex<BTreeMap<u64, Id>>,
    asked: Mutex<Vec<(Id, u64)>>,
}

impl World {
    /// Says where interfaces come from; once for each world.
    pub fn provide_interfaces(
        &self,
        provider: impl Fn(&Self, Id) -> Option<Interface> + Send + Sync + 'static,
    ) {
        let provided = self.part::<Interfaces>().provider.set(Box::new(provider));
        assert!(provided.is_ok(), "interfaces come from two places");
    }

    /// Times at which rows of an interface were asked for.
    pub fn interface_asked(&self, id: Id) -> Vec<u64> {
        let asked = self.part::<Interfaces>().asked.lock();
        asked.iter().filter(|(of, _)| *of == id).map(|(_, at)| *at).collect()
    }

    fn interface(&self, id: Id) -> Option<Interface> {
        let provider = self.part::<Interfaces>().provider.get()?;
        provider(self, id)
    }
}

/// Of an Ethernet interface, unlike those of all others.
fn luid_of(id: Id) -> u64 {
    let [low, high] = [0, 8].map(|at| u64::from_le_bytes(id[at..at + 8].try_into().expect("8 bytes")));
    6 << 48 | (low.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ high).rotate_left(17) & 0xFFFF_FFFF_0000 | 1
}

fn row_of(interface: &Interface, luid: u64) -> MibIfRow2 {
    let up = interface.media == MibIfRow2::MEDIA_CONNECTED;
    MibIfRow2 {
        interface_luid: luid,
        interface_index: (luid >> 16) as u32 & 0xFF | 1,
        interface_guid: Guid::from_bytes(interface.id),
        mtu: 1500,
        kind: 6,
        interface_and_oper_status_flags: interface.flags,
        oper_status: interface.oper,
        admin_status: 1,
        media_connect_state: interface.media,
        transmit_link_speed: if up { interface.bits_per_second } else { u64::MAX },
        receive_link_speed: if up { interface.bits_per_second } else { u64::MAX },
        ..MibIfRow2::ZERO
    }
}

exports! {
    pub extern "win64" fn ConvertInterfaceGuidToLuid(guid: *const Guid, luid: *mut u64) -> i32
    where irql <= PASSIVE {
        let world = world::current();
        cpu::require_may_wait("ConvertInterfaceGuidToLuid");
        if guid.is_null() || luid.is_null() {
            return STATUS_INVALID_PARAMETER;
        }
        // SAFETY: the caller's own, not null.
        let (id, out) = unsafe { ((*guid).to_bytes(), &mut *luid) };
        *out = 0;
        if fault::fails("ConvertInterfaceGuidToLuid") {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        if world.interface(id).is_none() {
            return STATUS_INVALID_PARAMETER;
        }
        *out = luid_of(id);
        world.part::<Interfaces>().known.lock().insert(*out, id);
        STATUS_SUCCESS
    }

    pub extern "win64" fn GetIfEntry2Ex(level: i32, row: *mut MibIfRow2) -> i32 where irql <= APC {
        let world = world::current();
        cpu::require_may_wait("GetIfEntry2Ex");
        if level != MibIfRow2::WITHOUT_STATISTICS {
            // Statistics are asked of the adapter by a request, which may wait for the caller's (getifentry2).
            world.violate("LOCK-04", format!("GetIfEntry2Ex at level {level}, which may wait for a request"));
        }
        if row.is_null() || matches!(world.place(row.cast()), MemoryState::Freed(_)) {
            world.violate("MEM-02", "GetIfEntry2Ex without a row");
            return STATUS_INVALID_PARAMETER;
        }
        // SAFETY: the caller's own, not null.
        let luid = unsafe { (*row).interface_luid };
        let Some(id) = world.part::<Interfaces>().known.lock().get(&luid).copied() else {
            return if luid == 0 { STATUS_INVALID_PARAMETER } else { STATUS_NOT_FOUND };
        };
        world.part::<Interfaces>().asked.lock().push((id, world.now()));
        let found = world.interface(id);
        let takes = found.map_or(0, |interface| interface.takes);
        if takes > 0 {
            let until = world.now().saturating_add(takes);
            clock::block_until_deadline("the interface", until, || None::<()>);
        }
        if fault::fails("GetIfEntry2Ex") {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        let Some(interface) = found else { return STATUS_NOT_FOUND };
        // SAFETY: as above.
        unsafe { row.write(row_of(&interface, luid)) };
        STATUS_SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::world::Config;

    const HERE: Id = [3; 16];

    fn rules_of(provided: Option<Interface>, body: impl FnOnce() + Send) -> Vec<&'static str> {
        let world = World::new(Config::default());
        world.provide_interfaces(move |_, id| provided.filter(|_| id == HERE));
        world.enter(body).expect("it ends");
        world.violations().iter().map(|violation| violation.rule).collect()
    }

    fn interface() -> Interface {
        Interface { media: 1, oper: 1, flags: 0, bits_per_second: 7, id: HERE, takes: 0 }
    }

    fn convert(id: Id) -> (i32, u64) {
        let mut luid = 9;
        // SAFETY: both live through the call.
        let status = unsafe { ConvertInterfaceGuidToLuid(&Guid::from_bytes(id), &raw mut luid) };
        (status, luid)
    }

    fn get(level: i32, luid: u64) -> (i32, MibIfRow2) {
        let mut row = MibIfRow2 { interface_luid: luid, ..MibIfRow2::ZERO };
        // SAFETY: the row lives through the call.
        (unsafe { GetIfEntry2Ex(level, &raw mut row) }, row)
    }

    #[test]
    fn a_row_is_found_by_the_identifier_of_its_guid_and_no_other() {
        let rules = rules_of(Some(interface()), || {
            let (status, luid) = convert(HERE);
            let (found, row) = get(2, luid);
            assert_eq!((status, found), (STATUS_SUCCESS, STATUS_SUCCESS));
            let said = (row.interface_guid.to_bytes(), row.media_connect_state, row.transmit_link_speed);
            assert_eq!(said, (HERE, 1, 7));
            assert_eq!(convert([4; 16]), (STATUS_INVALID_PARAMETER, 0));
            assert_eq!(get(2, 0).0, STATUS_INVALID_PARAMETER);
            assert_eq!(get(2, luid + 1).0, STATUS_NOT_FOUND);
            assert_eq!(world::current().interface_asked(HERE), [clock::now()]);
        });
        assert_eq!(rules, [""; 0]);
    }

    #[test]
    fn a_query_takes_its_time_and_answers_what_was_true_when_it_began() {
        let rules = rules_of(Some(Interface { takes: 500, ..interface() }), || {
            let (_, luid) = convert(HERE);
            let began = clock::now();
            assert_eq!(get(2, luid).0, STATUS_SUCCESS);
            assert_eq!(clock::now(), began + 500);
        });
        assert_eq!(rules, [""; 0]);
    }

    #[test]
    fn a_query_with_statistics_under_a_lock_or_too_high_is_found() {
        let rules = rules_of(Some(interface()), || {
            let (_, luid) = convert(HERE);
            get(0, luid);
            let old = cpu::raise_to_dispatch();
            get(2, luid);
            convert(HERE);
            cpu::lower(old);
        });
        assert_eq!(rules, ["LOCK-04", "IRQL-01", "IRQL-03", "IRQL-01", "IRQL-03"]);
    }
}
