//! Random frames over random physical networks, in both directions, with identical ones on purpose.

use crate::adapter::network::{Layout, Treatment};
use crate::adapter::physical_switch::Aggregation;
use crate::check::arrivals::{Residues, Totals};
use crate::machine::clock::SECOND;
use crate::scenario::Net;
use crate::scenario::frames::{self, Kind, virtual_router};
use crate::scenario::guest::{BROADCAST, Flow, Packet, host_mac, vm_mac};
use crate::scenario::suite::MS;
use crate::scenario::suite::random::Draw;
use crate::scenario::suite::receiving::Setting;
use crate::switch::frames::Frames;
use crate::switch::ndis::State;
use crate::switch::ports::{Mac, NicId};
use std::collections::VecDeque;

/// Guests of a storm.
pub const VMS: u16 = 6;
const HOSTS: u64 = 40;
const GROUPS: u64 = 6;

/// What a storm has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub frames: usize,
    pub totals: Totals,
    pub residues: Residues,
}

impl Counted {
    pub fn add(&mut self, other: Self) {
        self.frames += other.frames;
        let (t, o) = (&mut self.totals, other.totals);
        (t.arrivals, t.taken, t.dropped) =
            (t.arrivals + o.arrivals, t.taken + o.taken, t.dropped + o.dropped);
        let (r, o) = (&mut self.residues, other.residues);
        (r.lost, r.known) = (r.lost + o.lost, r.known + o.known);
        (r.repeated, r.changed) = (r.repeated + o.repeated, r.changed + o.changed);
        r.segments += o.segments;
    }
}

/// A random team and its network.
pub fn drawn(draw: &mut Draw) -> (Setting, Layout) {
    let members = 1 + draw.below(4) as u16;
    let aggregation = if draw.chance(85) { Aggregation::SwitchIndependent } else { Aggregation::Static };
    let setting = Setting { aggregation, members, two: members > 1 && draw.chance(50) };
    let mut layout = setting.layout();
    layout.snooping = draw.chance(50);
    for vm in 0..VMS {
        if draw.chance(15) {
            layout = layout.floods(vm_mac(vm));
        }
    }
    layout.treatment =
        Treatment { remarks: draw.chance(30), pads: draw.chance(30), tags_in_bytes: draw.chance(30) };
    (setting, layout)
}

struct Storm<'a> {
    net: &'a Net,
    draw: Draw,
    sequence: u32,
    /// Frames of hosts and of guests to be repeated.
    said: VecDeque<(Option<NicId>, u16, Vec<u8>)>,
    /// Frames that go in with the next chain.
    chain: Vec<(NicId, Packet)>,
}

/// Sends at least so many frames, those that come back included; `frames` of them are kept on record at most.
pub fn storm(net: &Net, seed: u64, frames: usize) -> Counted {
    let mut storm =
        Storm { net, draw: Draw::new(seed), sequence: 0, said: VecDeque::new(), chain: Vec::new() };
    for host in 0..HOSTS as u16 {
        net.place_host(host, storm.draw.below(2) as usize);
    }
    let mut made = 0;
    while made < frames && net.is_running() {
        for _ in 0..60 {
            storm.step();
        }
        storm.pass_on();
        made = clear(net, 200);
    }
    net.advance(2 * SECOND);
    net.settle();
    let (residues, totals) = net.residues();
    Counted { frames: made, totals, residues }
}

/// Removes the records of finished frames but for the newest; how many frames there were.
fn clear(net: &Net, newer: usize) -> usize {
    net.look(|state| {
        let State { frames: Frames { all, assignments, .. }, modules, .. } = state;
        assignments.clear();
        let mut oldest = None;
        while let Some(frame) = all.take_oldest(newer) {
            oldest = Some(frame.id + 1);
        }
        for module in modules {
            module.external.arrivals.clear();
            oldest.into_iter().for_each(|oldest| module.external.physical.forget_before(oldest));
        }
        all.next_id()
    })
    .unwrap_or(usize::MAX)
}

impl Storm<'_> {
    fn pass_on(&mut self) {
        let chain = std::mem::take(&mut self.chain);
        if !chain.is_empty() {
            self.net.send_packets(chain);
        }
        let wait = match self.draw.below(400) {
            0 => 310 * SECOND,
            1..8 => SECOND,
            8..40 => 100 * MS,
            _ => self.draw.below(2 * MS),
        };
        self.net.advance(wait);
    }

    fn step(&mut self) {
        match self.draw.below(100) {
            0..45 => self.host(),
            45..80 => self.guest(),
            80..92 => self.again(),
            92 => self.report(),
            93 => self.move_router(),
            94 => self.bridge(),
            95 => self.move_host(),
            96 => self.large(),
            _ => self.pass_on(),
        }
    }

    fn nested(&mut self) -> (u16, Mac) {
        let n = self.draw.below(8) as u8;
        (2 + u16::from(n & 1), [0x02, 0xCC, 0, 0, 0, n])
    }

    fn flow(&mut self, from: Mac, to: Mac) -> Vec<u8> {
        self.sequence += 1;
        let payload = self.draw.below(80) as usize;
        Flow::new(from, to, self.draw.below(50) as u16).frame(self.sequence, payload)
    }

    fn group(&mut self) -> [u8; 4] {
        [239, 7, 7, self.draw.below(GROUPS) as u8]
    }

    fn for_many(&mut self, from: Mac) -> Vec<u8> {
        self.sequence += 1;
        let n = self.sequence;
        match self.draw.below(5) {
            0 => frames::gratuitous_arp(from, n.to_be_bytes()),
            1 => frames::neighbour(from, 136, n as u16),
            2 => Flow { to: BROADCAST, ..Flow::new(from, BROADCAST, 1) }.frame(n, 4),
            _ => {
                let group = self.group();
                frames::to_group(from, group, n)
            }
        }
    }

    fn host(&mut self) {
        let host = self.draw.below(HOSTS) as u16;
        let from = host_mac(host);
        let frame = match self.draw.below(10) {
            0..4 => self.for_many(from),
            4..8 => {
                let to = vm_mac(self.draw.below(u64::from(VMS)) as u16);
                self.flow(from, to)
            }
            8 => {
                let (_, to) = self.nested();
                self.flow(from, to)
            }
            _ => {
                let to = host_mac(self.draw.below(2 * HOSTS) as u16);
                self.flow(from, to)
            }
        };
        self.say(None, host, frame);
    }

    fn guest(&mut self) {
        let mut vm = self.draw.below(u64::from(VMS)) as u16;
        let mut from = vm_mac(vm);
        if self.draw.chance(20) {
            (vm, from) = self.nested();
        }
        let frame = match self.draw.below(10) {
            0..4 => self.for_many(from),
            4 => {
                let to = vm_mac(self.draw.below(u64::from(VMS)) as u16);
                self.flow(from, to)
            }
            _ => {
                let to = host_mac(self.draw.below(2 * HOSTS) as u16);
                self.flow(from, to)
            }
        };
        self.say(Some(self.net.vm(vm)), 0, frame);
    }

    /// The same bytes once more, from the same sender.
    fn again(&mut self) {
        if self.said.is_empty() {
            return;
        }
        let at = self.draw.below(self.said.len() as u64) as usize;
        let (guest, host, frame) = self.said[at].clone();
        self.say(guest, host, frame);
    }

    fn say(&mut self, guest: Option<NicId>, host: u16, frame: Vec<u8>) {
        if self.said.len() == 20 {
            self.said.pop_front();
        }
        self.said.push_back((guest, host, frame.clone()));
        match guest {
            Some(guest) => self.chain.push((guest, Packet::of(frame))),
            None => self.net.host_sends(host, 0, &[frame]),
        }
    }

    fn report(&mut self) {
        let vm = self.draw.below(u64::from(VMS)) as u16;
        let group = self.group();
        self.chain.push((self.net.vm(vm), Packet::of(frames::igmp_report(vm_mac(vm), group))));
    }

    /// A virtual router's address is taken over: by a guest, or by a host.
    fn move_router(&mut self) {
        let router = virtual_router(self.draw.below(3) as u8);
        let kind = self.draw.pick(&Kind::ALL);
        self.sequence += 1;
        let frame = kind.frame(router, vm_mac(0), self.sequence as u16);
        if self.draw.chance(50) {
            self.chain.push((self.net.vm(2), Packet::of(frame)));
        } else {
            self.net.host_sends(HOSTS as u16 + 1, 0, &[frame]);
        }
        let towards = self.flow(vm_mac(1), router);
        self.chain.push((self.net.vm(1), Packet::of(towards)));
    }

    /// A large send, which the adapter divides: to one host, known or not.
    fn large(&mut self) {
        self.sequence += 1;
        let vm = self.draw.below(u64::from(VMS)) as u16;
        let to = host_mac(self.draw.below(2 * HOSTS) as u16);
        let frame = Flow::new(vm_mac(vm), to, 60).frame(self.sequence, 1_400);
        self.chain.push((self.net.vm(vm), Packet { segment: Some(500), ..Packet::of(frame) }));
    }

    /// A bridge in a guest sends on what it got last.
    fn bridge(&mut self) {
        let guest = self.net.vm(3);
        if let Some((frame, _)) = self.net.delivered(guest).last() {
            self.net.bridge_back(guest, *frame);
        }
    }

    fn move_host(&mut self) {
        let host = self.draw.below(HOSTS) as u16;
        self.net.place_host(host, self.draw.below(2) as usize);
    }
}
