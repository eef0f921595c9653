//! DATA-64: a decision must follow from one reading of the packet.
//!
//! A guest shows two versions of its bytes in turn. Either version, sent as safe data, goes to some member; the packet
//! that flickers between them must go to one of these two. Any other member means that a decision was put together from
//! two readings.

use crate::switch::ports::NicId;
use std::collections::HashMap;

/// Members of flows that were sent as safe data.
#[derive(Default)]
pub struct Flows {
    member: HashMap<Vec<u8>, (u16, u64)>,
    /// A member came (back): flows may move at any time from here on.
    volatile: bool,
}

impl Flows {
    pub fn a_member_came_up(&mut self) {
        self.volatile = true;
        self.member.clear();
    }

    pub fn note(&mut self, source: NicId, bytes: &[u8], member: u16, generation: u64) {
        // Index 0 is the team: another rule's matter.
        if !self.volatile && member != 0 {
            self.member.insert(key(source, bytes), (member, generation));
        }
    }

    /// Members of both versions, if both are known for this state of the team.
    pub fn members(&self, source: NicId, versions: &[Vec<u8>; 2], generation: u64) -> Option<[u16; 2]> {
        let find = |bytes: &[u8]| match self.member.get(&key(source, bytes)) {
            Some((member, then)) if *then == generation && !self.volatile => Some(*member),
            _ => None,
        };
        Some([find(&versions[0])?, find(&versions[1])?])
    }
}

/// Everything that a policy may look at: source, addresses, protocol and ports of plain Ethernet with IPv4 or IPv6 and
/// TCP or UDP in it; all bytes of anything else, tunnels among it.
fn key(source: NicId, bytes: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.extend(source.port.to_le_bytes());
    key.extend(source.index.to_le_bytes());
    let part = |from: usize, to: usize| bytes.get(from..to.min(bytes.len())).unwrap_or(&[]);
    key.extend(part(0, 14));
    match part(12, 14) {
        [0x08, 0x00] if bytes.get(14) == Some(&0x45) && ends(bytes, 23, 34) => {
            key.extend(part(20, 22));
            key.extend(part(23, 24));
            key.extend(part(26, 38));
        }
        [0x86, 0xDD] if ends(bytes, 20, 54) => {
            key.extend(part(20, 21));
            key.extend(part(22, 58));
        }
        _ => key.extend(bytes),
    }
    key
}

/// The headers end with the ports: TCP or UDP without a tunnel in it.
fn ends(bytes: &[u8], protocol: usize, ports: usize) -> bool {
    const TUNNELS: [[u8; 2]; 3] = [2152_u16.to_be_bytes(), 4789_u16.to_be_bytes(), 6081_u16.to_be_bytes()];
    let tunnel = TUNNELS.iter().any(|port| bytes.get(ports + 2..ports + 4) == Some(port));
    matches!(bytes.get(protocol), Some(6)) || matches!(bytes.get(protocol), Some(17)) && !tunnel
}
