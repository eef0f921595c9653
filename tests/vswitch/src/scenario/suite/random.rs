//! Random switches and frames from a seed: every kind of port policy, and frames that conform to it, test its limits
//! or violate it. The reference of the simulated switch determines the expected outcome of each frame.

use crate::adapter::physical_switch::Aggregation;
use crate::scenario::guest::{BROADCAST, Flow, Packet, host_mac, vm_mac};
use crate::scenario::{EXTERNAL_PORT, Net, Scenario};
use crate::switch::ports::policy::{Private, Property, Security, Vlan};
use crate::switch::ports::{Mac, NicId};

/// A random generator (splitmix64).
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D001_7AB3)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ mixed >> 31) >> 16) % n
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// VLAN ids in use; no port uses two of them.
const VLANS: [u16; 8] = [0, 10, 11, 20, 100, 101, 102, 4094];
const GROUPS: [Mac; 4] = [
    [0x01, 0, 0x5E, 0, 0, 1],
    [0x33, 0x33, 0, 0, 0, 7],
    [0x01, 0x80, 0xC2, 0, 0, 0x0E],
    [0x01, 0x00, 0x0C, 0xCC, 0xCC, 0xCD],
];

pub fn vlan(draw: &mut Draw) -> Vlan {
    let set =
        |draw: &mut Draw, percent| VLANS.into_iter().filter(|v| *v != 0 && draw.chance(percent)).collect();
    match draw.below(9) {
        8 => Vlan::Unknown,
        0..3 => Vlan::Access(draw.pick(&[0, 10, 11])),
        3..5 => {
            let native = draw.pick(&[0, 10, 20]);
            Vlan::Trunk { native, allowed: set(draw, 60), pruned: set(draw, 15) }
        }
        _ => Vlan::Private(private(draw)),
    }
}

fn private(draw: &mut Draw) -> Private {
    let primary = 100;
    match draw.below(3) {
        0 => Private::Isolated { primary, secondary: 101 },
        1 => Private::Community { primary, secondary: draw.pick(&[102, 103]) },
        _ => {
            let secondaries = [101, 102, 103].into_iter().filter(|_| draw.chance(80)).collect();
            Private::Promiscuous { primary, secondaries }
        }
    }
}

pub fn security(draw: &mut Draw) -> Security {
    Security {
        spoofing: draw.chance(25),
        priority_tag: draw.chance(50),
        subnet: if draw.chance(20) { draw.pick(&[5_001, 5_002]) } else { 0 },
        teaming: draw.chance(25),
    }
}

/// A random property of a port.
pub fn property(draw: &mut Draw) -> Property {
    match draw.below(10) {
        0..4 => Property::Vlan(vlan(draw)),
        4..7 => Property::Security(security(draw)),
        7 => Property::Profile,
        8 => Property::Custom { id: [7; 16], data: vec![1; draw.below(40) as usize] },
        _ => Property::Unknown { kind: 77 },
    }
}

/// Number of guests of a random switch.
pub const VMS: u16 = 8;

/// A random switch with policies of every kind.
pub fn switch(seed: u64, members: &[u64], aggregation: Aggregation) -> Scenario {
    let draw = &mut Draw::new(seed);
    let mut plan = Scenario::new(seed).members(members).vms(VMS).internal(1 + draw.below(2) as u16);
    plan = plan.aggregation(aggregation).one_vm(&[0, 1]).one_vm(&[2, 3]);
    plan = plan.style(|style| style.silent_about_vlans = draw.pick(&[0, 0, 50, 100]));
    match draw.below(8) {
        0 => plan = plan.port_property(EXTERNAL_PORT, Property::Vlan(Vlan::Access(0))),
        1 => plan = plan.port_property(EXTERNAL_PORT, Property::Vlan(Vlan::Unknown)),
        _ => {}
    }
    // On some switches all ports have policies of one kind, so that more frames are delivered; on most they differ.
    let tame = draw.chance(20);
    for vm in 0..VMS {
        if !tame && draw.chance(75) {
            plan = plan.property(vm, Property::Vlan(vlan(draw)));
        }
        if draw.chance(80) {
            let security = if tame { Security::default() } else { security(draw) };
            plan = plan.property(vm, Property::Security(security));
        }
        if draw.chance(10) {
            plan = plan.property(vm, Property::Custom { id: [9; 16], data: vec![3; 9] });
        }
    }
    plan
}

/// The frames of a random switch.
pub struct Traffic {
    draw: Draw,
    members: u16,
    sequence: u32,
}

impl Traffic {
    pub fn new(seed: u64, members: usize) -> Self {
        Self { draw: Draw::new(seed ^ 0xFEED), members: members as u16, sequence: 0 }
    }

    pub fn draw(&mut self) -> &mut Draw {
        &mut self.draw
    }

    fn guest(&mut self, net: &Net) -> NicId {
        if self.draw.chance(10) { net.internal(0) } else { net.vm(self.draw.below(u64::from(VMS)) as u16) }
    }

    fn target(&mut self, net: &Net, from: NicId) -> Mac {
        match self.draw.below(20) {
            0..11 => {
                let to = self.guest(net);
                net.mac(to)
            }
            11..13 => BROADCAST,
            13..15 => self.draw.pick(&GROUPS),
            15 => stray(self.draw.below(6) as u8),
            16 => net.mac(from),
            _ => host_mac(self.draw.below(8) as u16),
        }
    }

    fn sender(&mut self, net: &Net, from: NicId) -> Mac {
        match self.draw.below(20) {
            0..16 => net.mac(from),
            16 => vm_mac(self.draw.below(u64::from(VMS)) as u16),
            17 => host_mac(100 + self.draw.below(8) as u16),
            _ => stray(self.draw.below(6) as u8),
        }
    }

    /// A packet from a random source to a random destination, with or without a tag, with one or several frames.
    pub fn packet(&mut self, net: &Net) -> (NicId, Packet) {
        let external = self.members > 0 && self.draw.chance(25);
        let from = if external {
            net.member(1 + self.draw.below(u64::from(self.members)) as u16)
        } else {
            self.guest(net)
        };
        let to = self.target(net, from);
        let sender = match external {
            // Sometimes a frame with the source address of a VM on this host.
            true if self.draw.chance(5) => vm_mac(self.draw.below(u64::from(VMS)) as u16),
            true => host_mac(self.draw.below(8) as u16),
            false => self.sender(net, from),
        };
        self.sequence += 1;
        let flow = Flow::new(sender, to, self.draw.below(64) as u16);
        let mut frame = flow.frame(self.sequence, 40 + self.draw.below(40) as usize);
        let tag = self.draw.pick(&VLANS);
        let priority = self.draw.below(8) as u8;
        let tagged = self.draw.below(12);
        if matches!(tagged, 0 | 1 | 3 | 4) && self.draw.chance(25) {
            // Behind the one that is put in front of it, or beside the bytes.
            let (tpid, inner) = (self.draw.pick(&TPIDS), self.draw.pick(&VLANS));
            insert_tag_of(&mut frame, tpid, if self.draw.chance(30) { 0 } else { inner }, 0);
        }
        if matches!(tagged, 1 | 3 | 4) {
            let tpid = if self.draw.chance(30) { self.draw.pick(&TPIDS) } else { TPIDS[0] };
            insert_tag_of(&mut frame, tpid, if tagged == 3 { 0 } else { tag }, priority);
        }
        if self.draw.chance(1) {
            frame.truncate(self.draw.below(28) as usize);
        }
        let mut packet = match tagged {
            0 | 4 => Packet::tagged(frame, tag, priority),
            2 => Packet::tagged(frame, 0, priority),
            _ => Packet::of(frame),
        };
        if self.draw.chance(3) {
            packet.subnet = Some(self.draw.pick(&[5_001, 5_002, 5_003]));
        }
        if self.draw.chance(8) {
            let other = self.target(net, from);
            let copies = 1 + self.draw.below(3) as usize;
            let mut second = packet.frames[0].clone();
            if second.len() >= 14 && self.draw.chance(50) {
                second[..6].copy_from_slice(&other);
            }
            packet.frames.extend(vec![second; copies]);
        }
        (from, packet)
    }

    /// A chain of packets.
    pub fn chain(&mut self, net: &Net, length: usize) -> Vec<(NicId, Packet)> {
        (0..length).map(|_| self.packet(net)).collect()
    }

    /// Sends `packets` packets in chains of 1 to 40, with time between the chains.
    pub fn send(&mut self, net: &Net, packets: usize) {
        let mut left = packets;
        while left > 0 {
            let length = (1 + self.draw.below(40) as usize).min(left);
            left -= length;
            let chain = self.chain(net, length);
            net.from_both_sides(chain);
            if self.draw.chance(30) {
                net.advance(self.draw.below(2_000));
            }
        }
    }
}

/// An address that no NIC has: behind a port that may use any source address, or nowhere.
pub fn stray(n: u8) -> Mac {
    [0x02, 0xBB, 0, 0, 0, n]
}

/// TPIDs of the tags that lie in a frame's bytes: of 802.1Q, of service tags (802.1ad), and of those of older equipment.
pub const TPIDS: [u16; 3] = [0x8100, 0x88A8, 0x9100];

/// Inserts an 802.1Q tag after the addresses.
pub fn insert_tag(frame: &mut Vec<u8>, vid: u16, priority: u8) {
    insert_tag_of(frame, TPIDS[0], vid, priority);
}

/// Inserts a tag with this TPID after the addresses.
pub fn insert_tag_of(frame: &mut Vec<u8>, tpid: u16, vid: u16, priority: u8) {
    let [high, low] = (vid | u16::from(priority) << 13).to_be_bytes();
    let [first, second] = tpid.to_be_bytes();
    frame.splice(12..12, [first, second, high, low]);
}
