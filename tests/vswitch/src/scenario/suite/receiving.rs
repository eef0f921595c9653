//! Scenarios of what comes in from outside, and of addresses that move: for any extension that takes the frames of a team in.
//!
//! Guests 2 and 3 may use any source address. Whatever breaks a rule is found by the checks; the scenarios say in addition
//! who must have got what.

use crate::adapter::network::{Layout, Treatment};
use crate::adapter::physical_switch::Aggregation;
use crate::machine::clock::SECOND;
use crate::scenario::frames::{self, Kind, virtual_router};
use crate::scenario::guest::{BROADCAST, Flow, host_mac, vm_mac};
use crate::scenario::suite::reached::{Counter, speak};
use crate::scenario::suite::{MS, receiving_full};
use crate::scenario::{Net, Scenario};
use crate::switch::ports::Mac;
use crate::switch::ports::policy::{Property, Security};

/// A team and its network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    pub aggregation: Aggregation,
    pub members: u16,
    /// The members are cabled to two switches.
    pub two: bool,
}

impl Setting {
    pub fn all() -> impl Iterator<Item = Self> {
        let modes = [Aggregation::Static, Aggregation::SwitchIndependent];
        modes.into_iter().flat_map(|aggregation| {
            let wires = [(1, false), (2, false), (2, true), (4, true)];
            wires.into_iter().map(move |(members, two)| Self { aggregation, members, two })
        })
    }

    pub fn layout(self) -> Layout {
        if self.two { Layout::two(self.members) } else { Layout::one(self.members) }
    }

    /// Several members that are separate ports.
    pub fn is_separate(self) -> bool {
        self.aggregation == Aggregation::SwitchIndependent && self.members > 1
    }

    /// A host with such a team, and `vms` guests.
    pub fn plan(self, seed: u64, vms: u16, layout: Layout) -> Scenario {
        let any = || Property::Security(Security { spoofing: true, ..Security::default() });
        let own = || Property::Security(Security::default());
        let plan = Scenario::new(seed)
            .members(&vec![10; usize::from(self.members)])
            .vms(vms)
            .aggregation(self.aggregation)
            .network(layout)
            .style(|style| {
                // Frames come in the order in which they were sent.
                style.awkward_memory = false;
            });
        let with = |plan: Scenario, vm| {
            let property = if matches!(vm, 2 | 3) { any() } else { own() };
            plan.property(vm, property)
        };
        (0..vms).fold(plan, with)
    }
}

pub struct Receiving {
    pub name: &'static str,
    pub about: &'static str,
    pub vms: u16,
    pub layout: fn(Setting) -> Layout,
    pub run: fn(&Net, Setting),
}

impl Receiving {
    /// Runs the scenario in every mode with two seeds each, with the driver that `with` puts in; what went wrong.
    ///
    /// # Panics
    /// Never: what a run panics of is caught and told.
    pub fn wrong(&self, with: impl Fn(Scenario, Setting) -> Scenario) -> Vec<String> {
        let mut wrong = Vec::new();
        for setting in Setting::all() {
            for seed in 0..2 {
                let run = || {
                    let plan = setting.plan(seed, self.vms, (self.layout)(setting));
                    let net = with(plan, setting).start();
                    (self.run)(&net, setting);
                    let residues = net.residues().0;
                    // Whoever excuses copies has said so.
                    let repeated = if net.excuses_a_full_table() { 0 } else { residues.repeated };
                    assert_eq!((residues.lost, repeated, residues.changed), (0, 0, 0));
                    net.finish().assert_clean();
                };
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
                    wrong.push(format!("{}, {setting:?}, seed {seed}", self.name));
                }
            }
        }
        wrong
    }
}

const fn plain(name: &'static str, about: &'static str, run: fn(&Net, Setting)) -> Receiving {
    Receiving { name, about, vms: 4, layout: Setting::layout, run }
}

pub const ALL: [Receiving; 18] = [
    plain(
        "an_address_moves_outside",
        "a virtual router's address goes to another host and back",
        address_moves,
    ),
    plain(
        "a_frame_for_no_vnic_moves_no_young_address",
        "what comes for a member, for a NIC that is not connected, or for a stranger may be a guest's own",
        unaddressed,
    ),
    plain(
        "an_address_ages_and_moves",
        "the same after silence longer than any table remembers",
        aged_address_moves,
    ),
    plain("adverts_reach_both_masters", "who was master hears the adverts of who became it", both_masters),
    plain(
        "a_guest_reflects_the_gateway",
        "a bridge in a VM sends on what the gateway sent",
        gateway_reflected,
    ),
    plain(
        "the_gateway_is_outside",
        "unicast for it is nobody's else, and displaces no address inside",
        gateway_known,
    ),
    Receiving {
        vms: 8,
        layout: |setting| setting.layout().snooping(),
        ..plain("streams_follow_reports", "each machine gets its group where its report went", streams)
    },
    Receiving {
        layout: |setting| setting.layout().floods(vm_mac(0)),
        ..plain("unicast_is_flooded", "a cluster's address that no switch learns", flooded_unicast)
    },
    plain("unicast_after_silence", "the switches have forgotten everybody", silence),
    plain("the_same_bytes_again", "bursts of gratuitous ARPs, adverts, wake-on-LAN, UDP with id 0", repeats),
    plain("nothing_returns", "all that guests send for many", reflections),
    plain(
        "more_frames_than_any_table_holds_move_no_address",
        "a guest's own frames for many, too many to be known again, say nothing of a machine behind it",
        |net, _| receiving_full::crowded(net),
    ),
    plain(
        "segments_that_return_move_no_address",
        "a large send to an address that no switch knows comes back as frames that nobody sent",
        |net, _| receiving_full::large_returns(net),
    ),
    plain(
        "more_frames_than_any_table_holds_hijack_no_address_outside",
        "a bridge sends back what came from outside, too much to be known again",
        |net, _| receiving_full::crowded_from_outside(net),
    ),
    plain(
        "a_probe_comes_back",
        "a loop outside returns what a guest sent; its sender does not get it",
        probe,
    ),
    plain("nested_machines", "addresses behind a guest, spoken to from outside, and after silence", nested),
    Receiving {
        layout: |setting| {
            setting.layout().treating(Treatment { remarks: true, pads: true, tags_in_bytes: false })
        },
        ..plain(
            "padded_and_marked",
            "short frames and frames that the network re-marks",
            reflections_and_repeats,
        )
    },
    plain(
        "a_function_beside",
        "a machine with a virtual function, whose frames do not pass the switch",
        function,
    ),
];

fn heard(net: &Net, host: u16, from: Mac) -> usize {
    net.heard_by(host).iter().filter(|(_, source, _)| *source == from).count()
}

const ROUTER: Mac = virtual_router(10);
const GATEWAY: Mac = host_mac(1);

fn address_moves(net: &Net, setting: Setting) {
    moves_after(net, setting, 6 * SECOND);
    // Just sent from here: one frame for many may still be its own return.
    moves_after(net, setting, 100 * MS);
}

fn aged_address_moves(net: &Net, setting: Setting) {
    moves_after(net, setting, 310 * SECOND);
}

fn moves_after(net: &Net, setting: Setting, silence: u64) {
    for (n, kind) in (0..).zip(Kind::ALL) {
        let n = n * 100;
        net.host_sends(1, 0, &[Kind::Arp.frame(GATEWAY, BROADCAST, n)]);
        net.send(net.vm(2), &[kind.frame(ROUTER, GATEWAY, n)]);
        assert_eq!(speak(net, ROUTER, n), [0, 0, 1, 0], "{kind:?}: behind guest 2");
        net.advance(silence);
        let counter = Counter::new(net, 2);
        let to = vm_mac(0);
        net.host_sends(7, 0, &[kind.frame(ROUTER, to, n + 1)]);
        if setting.is_separate() && silence < 5 * SECOND && kind.is_for_many() {
            net.host_sends(7, 0, &[kind.frame(ROUTER, to, n + 2)]);
            assert_eq!(counter.got()[0], 2, "{kind:?}: both");
        } else {
            // A switch that has forgotten guest 0 floods the first unicast to it.
            let copies = 1 + usize::from(!kind.is_for_many() && setting.is_separate());
            assert!((1..=copies).contains(&counter.got()[0]), "{kind:?}");
        }
        net.heard_by(7);
        assert_eq!(speak(net, ROUTER, n + 3), [0, 0, 0, 0], "{kind:?}: not behind guest 2 any more");
        assert_eq!(heard(net, 7, vm_mac(0)), 1, "{kind:?}: at its new place");
        net.send(net.vm(2), &[kind.frame(ROUTER, GATEWAY, n + 4)]);
        assert_eq!(speak(net, ROUTER, n + 5), [0, 0, 1, 0], "{kind:?}: back");
        net.advance(SECOND);
    }
}

fn unaddressed(net: &Net, setting: Setting) {
    net.remove_vm(1);
    for (n, to) in (0..).zip([net.mac(net.member(1)), vm_mac(1), host_mac(40)]) {
        // Each has an address of its own: one that was outside once goes back there with one frame.
        let (router, n) = (virtual_router(20 + n), u16::from(n) * 100);
        net.host_sends(1, 0, &[Kind::Arp.frame(GATEWAY, BROADCAST, n)]);
        net.send(net.vm(2), &[Kind::Arp.frame(router, BROADCAST, n)]);
        net.advance(100 * MS);
        // Guest 3 may have such an address, so it gets the frame.
        let counter = Counter::new(net, 4);
        net.host_sends(7, 0, &[Flow::new(router, to, n).frame(u32::from(n), 60)]);
        assert_eq!(counter.got()[3], 1, "{to:x?}");
        let stays = [0, 0, usize::from(setting.is_separate()), 0];
        assert_eq!(speak(net, router, n + 1), stays, "{to:x?}: one frame");
        net.host_sends(7, 0, &[Flow::new(router, to, n + 2).frame(u32::from(n), 60)]);
        assert_eq!(speak(net, router, n + 3), [0; 4], "{to:x?}: another");
        net.advance(SECOND);
    }
}

fn both_masters(net: &Net, _: Setting) {
    for _ in 0..3 {
        net.send(net.vm(2), &[frames::vrrp(10)]);
        net.advance(SECOND);
    }
    net.advance(5 * SECOND);
    let counter = Counter::new(net, 4);
    for _ in 0..3 {
        net.host_sends(7, 0, &[frames::vrrp(10)]);
        net.advance(SECOND);
    }
    assert_eq!(counter.got(), [3, 3, 3, 3]);
    assert_eq!(speak(net, ROUTER, 9), [0, 0, 0, 0]);
}

fn gateway_reflected(net: &Net, setting: Setting) {
    for (n, kind) in (0..).zip(Kind::ALL) {
        let n = n * 100;
        let from = host_mac(20 + n / 100);
        let to = vm_mac(2);
        net.host_sends(1, 0, &[kind.frame(from, to, n)]);
        net.settle();
        let last = net.delivered(net.vm(2)).last().map(|(frame, _)| *frame);
        net.bridge_back(net.vm(2), last.unwrap_or(0));
        net.settle();
        net.advance(SECOND);
        net.host_sends(1, 0, &[kind.frame(from, to, n + 1)]);
        if setting.is_separate() {
            net.host_sends(1, 0, &[kind.frame(from, to, n + 2)]);
        }
        net.settle();
        net.heard_by(1);
        assert_eq!(speak(net, from, n), [0, 0, 0, 0], "{kind:?}: the gateway is outside");
        assert_eq!(heard(net, 1, vm_mac(0)), 1, "{kind:?}");
        net.advance(SECOND);
    }
}

fn gateway_known(net: &Net, _: Setting) {
    let nested = [0x02, 0xCC, 0, 0, 0, 1];
    net.place_host(1, 0);
    assert_eq!(speak(net, GATEWAY, 0), [0, 0, 1, 1], "unknown: also where addresses may be behind a guest");
    net.send(net.vm(3), &[Kind::Arp.frame(nested, BROADCAST, 0)]);
    let others_speak = |hosts: std::ops::Range<u16>| {
        hosts.for_each(|n| net.host_sends(n, 0, &[Kind::Arp.frame(host_mac(n), BROADCAST, n)]));
    };
    others_speak(1..31);
    net.heard_by(1);
    assert_eq!(speak(net, GATEWAY, 1), [0, 0, 0, 0]);
    assert_eq!(heard(net, 1, vm_mac(0)), 1);
    others_speak(31..231);
    assert_eq!(speak(net, nested, 2), [0, 0, 0, 1], "no address outside displaces one inside");
    net.advance(310 * SECOND);
    assert_eq!(speak(net, GATEWAY, 3)[2..], [1, 1], "forgotten");
}

fn streams(net: &Net, _: Setting) {
    net.place_host(9, 1);
    net.make_router(9);
    let group = |vm: u16| [239, 1, 1, vm as u8];
    for vm in 0..8 {
        net.send(net.vm(vm), &[frames::igmp_report(vm_mac(vm), group(vm))]);
    }
    net.settle();
    let counter = Counter::new(net, 8);
    for n in 0..5 {
        for vm in 0..8 {
            net.host_sends(9, 0, &[frames::to_group(host_mac(9), group(vm), n)]);
        }
        net.advance(10 * MS);
    }
    // Who listens to what is the guests' own matter: each got every group, once.
    assert_eq!(counter.got(), [40; 8]);
}

fn flooded_unicast(net: &Net, _: Setting) {
    let counter = Counter::new(net, 4);
    for n in 0..20 {
        net.host_sends(1, 0, &[Flow::new(GATEWAY, vm_mac(0), n).frame(u32::from(n), 60)]);
        net.advance(MS);
    }
    let got = counter.got();
    assert!(got[0] >= 20, "{got:?}");
    assert!(got[0] <= 20 + 3, "once it is known to get them from several members, once each: {got:?}");
    assert_eq!(got[1..], [0; 3]);
}

fn silence(net: &Net, _: Setting) {
    for vm in 0..4 {
        net.send(net.vm(vm), &[Kind::Arp.frame(vm_mac(vm), BROADCAST, vm)]);
    }
    for silent in [310 * SECOND, 3_600 * SECOND] {
        net.advance(silent);
        for vm in 0..4 {
            let counter = Counter::new(net, 4);
            for n in 0..4 {
                net.host_sends(1, 0, &[Flow::new(GATEWAY, vm_mac(vm), n).frame(u32::from(n), 60)]);
            }
            let got = counter.got();
            assert!((4..=7).contains(&got[usize::from(vm)]), "guest {vm}: {got:?}");
            assert_eq!(got.iter().filter(|count| **count > 0).count(), 1);
        }
    }
}

fn repeats(net: &Net, _: Setting) {
    let counter = Counter::new(net, 4);
    let bursts = [
        frames::gratuitous_arp(GATEWAY, [10, 0, 0, 1]),
        frames::vrrp(77),
        frames::wake(GATEWAY, vm_mac(0)),
        frames::to_group(GATEWAY, [239, 0, 0, 1], 1),
        frames::neighbour(GATEWAY, 136, 1),
    ];
    for burst in &bursts {
        for wait in [0, MS, 100 * MS, 300 * MS, 1] {
            net.host_sends(1, 0, std::slice::from_ref(burst));
            net.advance(wait);
        }
    }
    assert_eq!(counter.got(), [25; 4]);
    let counter = Counter::new(net, 4);
    for _ in 0..5 {
        net.send(net.vm(0), &[frames::gratuitous_arp(vm_mac(0), [10, 0, 0, 9])]);
        net.advance(MS);
    }
    assert_eq!(counter.got(), [0, 5, 5, 5]);
}

fn reflections(net: &Net, _: Setting) {
    net.place_host(1, 0);
    for round in 0..6 {
        for vm in 0..4 {
            let counter = Counter::new(net, 4);
            net.heard_by(1);
            let own: Vec<_> =
                Kind::ALL.map(|kind| kind.frame(vm_mac(vm), host_mac(99), 10 * round + vm)).to_vec();
            net.send(net.vm(vm), &own);
            let mut expected = [3, 3, 4, 4];
            expected[usize::from(vm)] = 0;
            assert_eq!(counter.got(), expected, "guest {vm}: three for many, one for an unknown address");
            assert_eq!(heard(net, 1, vm_mac(vm)), 4);
        }
        net.advance([MS, 100 * MS, SECOND, 310 * SECOND][usize::from(round % 4)]);
    }
}

fn reflections_and_repeats(net: &Net, setting: Setting) {
    reflections(net, setting);
    net.advance(SECOND);
    repeats(net, setting);
}

fn probe(net: &Net, _: Setting) {
    for n in 0..4 {
        let probe = frames::neighbour(vm_mac(0), 135, n);
        net.send(net.vm(0), std::slice::from_ref(&probe));
        net.settle();
        net.advance(SECOND);
        // A loop that holds it for longer than copies are waited for.
        let counter = Counter::new(net, 4);
        net.host_sends(5, 0, &[probe]);
        assert_eq!(counter.got(), [0, 1, 1, 1]);
        net.advance(SECOND);
    }
}

fn nested(net: &Net, _: Setting) {
    let behind = |n: u8| [0x02, 0xCC, 0, 0, 0, n];
    for n in 0..5 {
        net.send(net.vm(2), &[Kind::Arp.frame(behind(n), BROADCAST, u16::from(n))]);
    }
    for silent in [0, 310 * SECOND] {
        net.advance(silent);
        for n in 0..5 {
            let counter = Counter::new(net, 4);
            net.host_sends(1, 0, &[Flow::new(GATEWAY, behind(n), 1).frame(u32::from(n), 60)]);
            let got = counter.got();
            assert_eq!((got[0], got[1], got[2]), (0, 0, 1), "nested machine {n}, {got:?}");
            net.send(net.vm(2), &[Flow::new(behind(n), GATEWAY, 1).frame(1, 60)]);
        }
    }
}

fn function(net: &Net, setting: Setting) {
    for n in 0..4 {
        let counter = Counter::new(net, 4);
        net.function_sends(1 + n % setting.members, &[Kind::ALL[1].frame(vm_mac(1), BROADCAST, n)]);
        assert_eq!(counter.got(), [1, 0, 1, 1]);
        net.advance(SECOND);
    }
}
