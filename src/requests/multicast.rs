//! Multicast groups of the partitions, from the requests of their network stacks, which the switch shows to extensions
//! in an OID_SWITCH_NIC_REQUEST with destination 0/0 (forwarding-oid-requests-from-a-hyper-v-child-partition.md). A
//! vNIC whose groups are all known gets frames of these groups only, unless it takes every group or its port may learn;
//! that is, with `PruneMulticast`, because what stacks name is information and no complete list. A vNIC whose groups are
//! not known gets every multicast frame: one that was there before the extension, and that of a VM that was not started
//! but restored (`NDIS_SWITCH_NIC_FLAGS_NIC_INITIALIZING` is not set, ns-ntddndis-_ndis_switch_nic_parameters.md). At most `GROUPS_MOST` groups of one vNIC are kept.

use crate::control::events;
use crate::kernel::pool::Pool;
use crate::module::Module;
use crate::ndis::oid::Request;
use crate::ndis::payload::{self, Shown};
use crate::ndis::raw::{PacketFilter, oids};
use crate::trace::Event;
use teaming::ids::MacAddr;
use teaming::ports::PortTable;
use teaming::ports::multicast::{GROUPS_MOST, GroupsChange};

/// With either bit the partition receives every multicast frame.
const EVERYTHING: PacketFilter = PacketFilter::ALL_MULTICAST.union(PacketFilter::PROMISCUOUS);

/// After a request has succeeded below. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn after(module: &Module, request: &Request) {
    let Some(shown) = payload::shown(request) else { return };
    let mut control = module.control.lock();
    let named = change(&mut module.forwarding.write(control.dispatch()).ports, &shown);
    if named == GroupsChange::TooMany {
        control.group_fallbacks = control.group_fallbacks.wrapping_add(1);
        let event = Event::GroupsNotKept { port: shown.from.port.get(), times: control.group_fallbacks };
        events::record(module, &mut control, event);
    }
}

/// A guest decides how long its lists are: one that is longer than what is kept is not read, with the lock held.
fn change(ports: &mut PortTable<Pool>, shown: &Shown<'_>) -> GroupsChange {
    let port = shown.from.port;
    let groups = shown.input.as_chunks::<6>().0;
    let too_many = groups.len() > usize::from(GROUPS_MOST);
    let mut groups = groups.iter().copied().map(MacAddr);
    match shown.oid {
        oids::IEEE_802_3_ADD_MULTICAST_ADDRESS
        | oids::IEEE_802_3_DELETE_MULTICAST_ADDRESS
        | oids::IEEE_802_3_MULTICAST_LIST
            if too_many =>
        {
            ports.give_groups_up(port)
        }
        oids::IEEE_802_3_ADD_MULTICAST_ADDRESS => {
            let too_many = groups.any(|group| ports.join(port, group) == GroupsChange::TooMany);
            if too_many { GroupsChange::TooMany } else { GroupsChange::Kept }
        }
        oids::IEEE_802_3_DELETE_MULTICAST_ADDRESS => {
            groups.for_each(|group| ports.leave(port, group));
            GroupsChange::Kept
        }
        oids::IEEE_802_3_MULTICAST_LIST => ports.listen(port, groups),
        oids::GEN_CURRENT_PACKET_FILTER => {
            if let Some(filter) = shown.input.first_chunk::<4>() {
                let filter = PacketFilter::from_bits_retain(u32::from_le_bytes(*filter));
                ports.listen_to_all(port, filter.intersects(EVERYTHING));
            }
            GroupsChange::Kept
        }
        _ => GroupsChange::Kept,
    }
}
