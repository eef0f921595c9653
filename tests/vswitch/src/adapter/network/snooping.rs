//! IGMP and MLD snooping (RFC 4541): the frames of a group leave where a member of it was heard, and to routers.

use super::port::Port;
use super::wire::Wire;
use crate::machine::clock::SECOND;
use crate::switch::ports::Mac;
use std::collections::{BTreeMap, BTreeSet};

/// A membership ends so long after its last report (RFC 3376, 8.4).
const AGE: u64 = 260 * SECOND;

#[derive(Default, Debug)]
pub struct Snooping {
    members: BTreeMap<(u16, Mac), BTreeMap<Port, u64>>,
    routers: BTreeSet<Port>,
}

impl Snooping {
    pub fn router(&mut self, port: Port) {
        self.routers.insert(port);
    }

    pub fn forget_port(&mut self, port: Port) {
        self.members.values_mut().for_each(|ports| _ = ports.remove(&port));
    }

    /// The ports to which a frame goes; `None` if snooping does not restrict it.
    pub fn listeners(&mut self, from: Port, wire: &Wire, now: u64) -> Option<BTreeSet<Port>> {
        let reported = wire.reports();
        if !reported.is_empty() {
            for group in reported {
                self.members.entry((wire.vid, group)).or_default().insert(from, now);
            }
            // A report goes to routers and to other switches, so that hosts do not suppress theirs (RFC 4541, 2.1.1).
            return Some(self.routers.iter().copied().chain([Port::Link]).collect());
        }
        if !is_restricted(wire.to()) {
            return None;
        }
        let members = self.members.get(&(wire.vid, wire.to()))?;
        let heard: BTreeSet<Port> =
            members.iter().filter(|(_, at)| now < **at + AGE).map(|(port, _)| *port).collect();
        // An unregistered group is flooded (RFC 4541, 2.1.2, item 3, permits it).
        (!heard.is_empty()).then(|| heard.into_iter().chain(self.routers.iter().copied()).collect())
    }
}

/// 224.0.0.x and ff02::1 always go everywhere (RFC 4541, 2.1.2 and 3).
fn is_restricted(to: Mac) -> bool {
    match to {
        [0x01, 0x00, 0x5E, 0, 0, _] | [0x33, 0x33, 0, 0, 0, 1] => false,
        [0x01, 0x00, 0x5E, ..] | [0x33, 0x33, ..] => true,
        _ => false,
    }
}
