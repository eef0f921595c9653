//! Multicast groups of the partitions, from the requests of their network stacks, which the switch shows to extensions
//! in an OID_SWITCH_NIC_REQUEST with destination 0/0 (forwarding-oid-requests-from-a-hyper-v-child-partition.md). A
//! vNIC whose groups are all known gets frames of these groups only, unless it takes every group or its port may learn.
//! A vNIC whose groups are not known gets every multicast frame.

use crate::module::Module;
use crate::ndis::oid::Request;
use crate::ndis::payload::{self, Shown};
use crate::ndis::raw::{PacketFilter, oids};
use teaming::ids::MacAddr;

/// With either bit the partition receives every multicast frame.
const EVERYTHING: PacketFilter = PacketFilter::ALL_MULTICAST.union(PacketFilter::PROMISCUOUS);

/// After a request has succeeded below. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn after(module: &Module, request: &Request) {
    let Some(shown) = payload::shown(request) else { return };
    let control = module.control.lock();
    let mut forwarding = module.forwarding.write(control.dispatch());
    let (ports, port) = (&mut forwarding.ports, shown.from.port);
    match shown.oid {
        oids::IEEE_802_3_ADD_MULTICAST_ADDRESS => {
            addresses(&shown).for_each(|group| ports.join(port, group));
        }
        oids::IEEE_802_3_DELETE_MULTICAST_ADDRESS => {
            addresses(&shown).for_each(|group| ports.leave(port, group));
        }
        oids::IEEE_802_3_MULTICAST_LIST => ports.listen(port, addresses(&shown)),
        oids::GEN_CURRENT_PACKET_FILTER => {
            if let Some(filter) = shown.input.first_chunk::<4>() {
                let filter = PacketFilter::from_bits_retain(u32::from_le_bytes(*filter));
                ports.listen_to_all(port, filter.intersects(EVERYTHING));
            }
        }
        _ => {}
    }
}

fn addresses<'a>(shown: &Shown<'a>) -> impl Iterator<Item = MacAddr> + use<'a> {
    shown.input.as_chunks::<6>().0.iter().copied().map(MacAddr)
}
