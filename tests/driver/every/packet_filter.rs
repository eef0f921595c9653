//! Delivery by packet filters and multicast lists: every filter, with every state of the multicast list, and random
//! sequences of requests, of which some concern another NIC, fail or are truncated.

use super::driver::{next_frame, reached};
use std::collections::{BTreeMap, BTreeSet};
use vswitch::machine::registry::Value;
use vswitch::scenario::guest::{BROADCAST, Flow};
use vswitch::scenario::suite::random::Draw;
use vswitch::scenario::{Enumeration, Net, Scenario};
use vswitch::switch::control::below::Plan;
use vswitch::switch::control::envelope::Inner;
use vswitch::switch::ports::{Mac, NicId};

const FILTER: u32 = 0x0001_010E;
const LIST: u32 = 0x0101_0103;
const ADD: u32 = 0x0101_0208;
const DELETE: u32 = 0x0101_0209;

// NDIS_PACKET_TYPE_*
const MULTICAST: u32 = 0x2;
const ALL_MULTICAST: u32 = 0x4;
const PROMISCUOUS: u32 = 0x20;

const GROUPS: [Mac; 3] = [[0x01, 0, 0x5E, 1, 1, 1], [0x33, 0x33, 0, 0, 0, 7], [0x01, 0, 0x5E, 1, 1, 2]];
/// VM 0 sends, the others receive.
const VMS: u16 = 6;

/// The documented effect of a vNIC's requests. If the stack has not set a list, or the extension missed its first
/// requests, the vNIC must receive every group.
#[derive(Clone, Debug, Default)]
struct Listener {
    /// The vNIC existed before the attachment.
    found: bool,
    named: bool,
    groups: BTreeSet<Mac>,
    filter: u32,
}

impl Listener {
    fn add(&mut self, group: Mac) {
        if self.found && !self.named {
            return;
        }
        self.named = true;
        self.groups.insert(group);
    }

    fn list(&mut self, groups: &[Mac]) {
        (self.named, self.groups) = (true, groups.iter().copied().collect());
    }

    fn is_member_of(&self, group: Mac) -> bool {
        !self.named || self.filter & (ALL_MULTICAST | PROMISCUOUS) != 0 || self.groups.contains(&group)
    }
}

type Listeners = BTreeMap<NicId, Listener>;

fn start(seed: u64, found: bool) -> (Net, Listeners) {
    let order = if found { Enumeration::Arrays } else { Enumeration::Requests };
    let plan = Scenario::new(seed).members(&[10, 10]).vms(VMS).enumeration(order);
    let net = plan.setting("PruneMulticast", Value::Dword(1)).start();
    let all = (1..VMS).map(|n| (net.vm(n), Listener { found, ..Listener::default() })).collect();
    (net, all)
}

fn set_filter(net: &Net, nic: NicId, filter: u32) {
    let answer =
        net.ask_nic(nic, NicId::NOWHERE, &Inner::set(FILTER, filter.to_le_bytes().to_vec()), Plan::default());
    assert_eq!(answer.map(|answer| answer.status), Some(0));
}

/// Sends frames from a VM and from the external network to each group, to broadcast, to one vNIC, and to an address
/// that no vNIC has.
fn probe(net: &Net, listeners: &Listeners, sequence: u32, when: &str) {
    let all = |wanted: &dyn Fn(&Listener) -> bool| -> BTreeSet<NicId> {
        listeners.iter().filter(|(_, listener)| wanted(listener)).map(|(nic, _)| *nic).collect()
    };
    let one = *listeners.keys().next().expect("a listener");
    let mut cases: Vec<(Mac, BTreeSet<NicId>)> =
        GROUPS.iter().map(|group| (*group, all(&|listener| listener.is_member_of(*group)))).collect();
    cases.push((BROADCAST, all(&|_| true)));
    cases.push((net.mac(one), [one].into()));
    cases.push(([0x02, 0xBB, 0, 0, 0, 9], BTreeSet::new()));
    for external in [false, true] {
        let first = next_frame(net);
        let flow = if external { net.external_flow(one, 1) } else { net.flow(net.vm(0), 1) };
        let frames: Vec<_> =
            cases.iter().map(|(to, _)| Flow { to: *to, ..flow }.frame(sequence, 60)).collect();
        if external {
            net.receive_external(1, &frames)
        } else {
            net.send(net.vm(0), &frames)
        }
        net.settle();
        for (at, (to, expected)) in cases.iter().enumerate() {
            let mut got = reached(net, first + at).0;
            if external {
                // The VM that sent in the other round receives every group, because it has set no list.
                got.remove(&net.vm(0));
            }
            assert_eq!(
                got, *expected,
                "{when}: to {to:02x?}, from the external network {external}, {listeners:?}"
            );
        }
    }
}

/// All combinations of the filters that present stacks set, and each bit alone.
fn filters() -> impl Iterator<Item = u32> {
    (0..64).chain((0..32).map(|bit| 1 << bit)).chain([u32::MAX, !(ALL_MULTICAST | PROMISCUOUS)])
}

#[test]
fn each_filter_gives_every_vnic_its_groups_and_only_two_bits_give_it_all() {
    for found in [false, true] {
        let (net, mut listeners) = start(3, found);
        let [g, h, _] = GROUPS;
        net.set_groups(net.vm(2), &[g]);
        listeners.get_mut(&net.vm(2)).unwrap().list(&[g]);
        net.set_groups(net.vm(3), &[]);
        listeners.get_mut(&net.vm(3)).unwrap().list(&[]);
        net.set_groups(net.vm(4), &[g, h]);
        listeners.get_mut(&net.vm(4)).unwrap().list(&[g, h]);
        net.join(net.vm(5), h);
        listeners.get_mut(&net.vm(5)).unwrap().add(h);
        for filter in filters() {
            for (nic, listener) in &mut listeners {
                set_filter(&net, *nic, filter);
                listener.filter = filter;
            }
            probe(&net, &listeners, filter, &format!("filter {filter:#x}, found {found}"));
        }
        net.finish().assert_clean();
    }
}

#[test]
fn a_filter_stays_through_new_lists_and_the_list_through_new_filters() {
    let (net, mut listeners) = start(4, false);
    let nic = net.vm(1);
    let of = |listeners: &mut Listeners, change: &dyn Fn(&mut Listener)| {
        change(listeners.get_mut(&net.vm(1)).expect("there"));
    };
    net.set_groups(nic, &GROUPS[..1]);
    of(&mut listeners, &|listener| listener.list(&GROUPS[..1]));
    for filter in [PROMISCUOUS, MULTICAST, ALL_MULTICAST, 0, PROMISCUOUS | ALL_MULTICAST, 1] {
        set_filter(&net, nic, filter);
        of(&mut listeners, &|listener| listener.filter = filter);
        for groups in [&GROUPS[1..2], &GROUPS[..0], &GROUPS[..1]] {
            net.set_groups(nic, groups);
            of(&mut listeners, &|listener| listener.list(groups));
            probe(&net, &listeners, filter, &format!("filter {filter:#x}, then {groups:02x?}"));
        }
    }
    net.finish().assert_clean();
}

/// Issues one random request and updates the model.
fn step(net: &Net, draw: &mut Draw, listeners: &mut Listeners) -> String {
    let vm = 1 + draw.below(u64::from(VMS) - 1) as u16;
    let nic = net.vm(vm);
    let group = draw.pick(&GROUPS);
    let filter = draw.pick(&[0, 1, 2, 4, 8, 0x0B, 0x0F, 0x20, 0x24, 0x2B, 0x80, u32::MAX]);
    let listener = listeners.get_mut(&nic).expect("every VM listens");
    let bytes = filter.to_le_bytes().to_vec();
    let oid = draw.pick(&[FILTER, ADD, DELETE, LIST]);
    let payload = if oid == FILTER { bytes.clone() } else { group.to_vec() };
    let failing = Plan { status: lbfoext::ndis::raw::FAILURE, completion: None };
    match draw.below(12) {
        0 | 1 => {
            set_filter(net, nic, filter);
            listener.filter = filter;
        }
        2 => {
            net.join(nic, group);
            listener.add(group);
        }
        3 => {
            net.leave(nic, group);
            listener.groups.remove(&group);
        }
        4 => {
            let groups: Vec<Mac> = GROUPS.into_iter().filter(|_| draw.chance(50)).collect();
            net.set_groups(nic, &groups);
            listener.list(&groups);
        }
        // Fails below, so it has no effect.
        5 => _ = net.ask_nic(nic, NicId::NOWHERE, &Inner::set(oid, payload), failing),
        // Sent to a member, so it is not the partition's own membership.
        6 => _ = net.ask_nic(nic, net.member(0), &Inner::set(oid, payload), Plan::default()),
        // A query, or an undefined method.
        7 => {
            let kind = draw.pick(&[
                lbfoext::ndis::raw::request_type::QUERY_INFORMATION,
                lbfoext::ndis::raw::request_type::METHOD,
            ]);
            net.ask_nic(nic, NicId::NOWHERE, &Inner::new(oid, kind, payload), Plan::default());
        }
        // Truncated, so it has no effect.
        8 => {
            let short = bytes[..draw.below(4) as usize].to_vec();
            net.ask_nic(nic, NicId::NOWHERE, &Inner::set(FILTER, short), Plan::default());
        }
        // Longer than needed: only the first four bytes count.
        9 => {
            let long = [&bytes[..], &[0xFF; 9]].concat();
            net.ask_nic(nic, NicId::NOWHERE, &Inner::set(FILTER, long), Plan::default());
            listener.filter = filter;
        }
        10 => {
            net.remove_vm(vm);
            net.add_vm(vm);
            *listener = Listener::default();
        }
        _ => {
            net.pause();
            net.restart();
        }
    }
    format!("{nic}, {oid:#x}, {filter:#x}")
}

#[test]
fn any_walk_of_requests_leaves_every_vnic_what_the_taken_ones_say() {
    for seed in 0..6 {
        let (net, mut listeners) = start(seed, seed % 2 == 0);
        let mut draw = Draw::new(seed);
        for number in 0..60 {
            let what = step(&net, &mut draw, &mut listeners);
            probe(&net, &listeners, number, &format!("seed {seed}, step {number}: {what}"));
        }
        net.finish().assert_clean();
    }
}
