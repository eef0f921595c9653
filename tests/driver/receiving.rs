//! What comes in from outside, and where addresses are: named scenarios in every mode, and a storm in random networks.
//!
//! `RECEIVING_FRAMES` is the size of the storm (default 1,000,000 frames). With `--features teaming/few-credits` the table of
//! credits has a thousandth of its size: then run the storm alone.

use teaming::forward::credits::CREDIT_SLOTS;
use vswitch::adapter::network::Treatment;
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::guest::{BROADCAST, Flow, host_mac};
use vswitch::scenario::suite::policies::access;
use vswitch::scenario::suite::random::Draw;
use vswitch::scenario::suite::receiving::{ALL, Setting};
use vswitch::scenario::suite::receiving_storm::{Counted, VMS, drawn, storm};

/// Runs a scenario in every mode; what went wrong.
fn wrong_in(name: &str) -> Vec<String> {
    let case = ALL.iter().find(|case| case.name == name).expect("a scenario of this name");
    case.wrong(|plan, _| plan)
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let wrong = wrong_in(stringify!($name));
                assert!(wrong.is_empty(), "{}", wrong.join("\n"));
            }
        )*

        #[test]
        fn every_scenario_runs() {
            let named = [$(stringify!($name)),*];
            assert!(ALL.iter().all(|case| named.contains(&case.name)) && ALL.len() == named.len());
        }
    };
}

scenarios! {
    an_address_moves_outside
    a_frame_for_no_vnic_moves_no_young_address
    an_address_ages_and_moves
    adverts_reach_both_masters
    a_guest_reflects_the_gateway
    the_gateway_is_outside
    streams_follow_reports
    unicast_is_flooded
    unicast_after_silence
    the_same_bytes_again
    nothing_returns
    more_frames_than_any_table_holds_move_no_address
    segments_that_return_move_no_address
    more_frames_than_any_table_holds_hijack_no_address_outside
    a_probe_comes_back
    nested_machines
    padded_and_marked
    a_function_beside
}

#[test]
fn floods_in_a_vlan_arrive_once_at_an_access_port_wherever_their_tags_lie() {
    for setting in Setting::all() {
        for tags_in_bytes in [false, true] {
            let layout = setting.layout().treating(Treatment { tags_in_bytes, ..Treatment::default() });
            let net = setting.plan(1, 3, layout).property(1, access(7)).start();
            for n in 0..5 {
                net.host_sends(1, 7, &[Flow::new(host_mac(1), BROADCAST, n).frame(u32::from(n), 60)]);
                net.host_sends(1, 8, &[Flow::new(host_mac(1), BROADCAST, n).frame(u32::from(n), 60)]);
                net.send(net.vm(1), &[Flow { to: BROADCAST, ..net.flow(net.vm(1), n) }.frame(9, 60)]);
                net.settle();
            }
            let got = [0, 1, 2].map(|vm| net.delivered(net.vm(vm)).len());
            net.finish().assert_clean();
            assert_eq!(got, [0, 5, 0], "{setting:?}, tags in bytes: {tags_in_bytes}");
        }
    }
}

/// Frames in one simulated network of a storm.
const EACH: usize = 40_000;

#[test]
fn a_million_random_frames_lose_no_news_and_bring_nothing_twice() {
    let frames = std::env::var("RECEIVING_FRAMES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let mut all = Counted::default();
    let mut seed = std::env::var("RECEIVING_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    while all.frames < frames {
        let (setting, layout) = drawn(&mut Draw::new(seed));
        // What is told at the start is no part of the storm.
        let plan = setting.plan(seed, VMS, layout).setting("Announcements", Value::Dword(0));
        let net = plan.start();
        net.excuse_a_full_table();
        if CREDIT_SLOTS < EACH / 10 {
            net.excuse_a_small_table(CREDIT_SLOTS / 8);
        }
        all.add(storm(&net, seed, EACH.min(frames)));
        net.finish().assert_clean();
        seed += 1;
    }
    let (totals, residues) = (all.totals, all.residues);
    println!("{all:?}");
    assert!(residues.lost * 10_000 <= totals.arrivals, "gave way to what says the same: {all:?}");
    let may_repeat = CREDIT_SLOTS < EACH / 10;
    assert!(may_repeat || residues.repeated * 10_000 <= totals.arrivals, "came twice: {all:?}");
    assert_eq!(residues.changed, 0, "no team changes here: {all:?}");
}

#[test]
fn one_adapter_and_an_aggregate_take_in_everything() {
    for setting in Setting::all().filter(|s| s.aggregation == Aggregation::Static || s.members == 1) {
        let net = setting.plan(5, 3, setting.layout()).start();
        for n in 0..20 {
            let flood = Flow::new(host_mac(1), BROADCAST, 1).frame(7, 60);
            net.host_sends(n % 3, 0, &[flood]);
        }
        net.settle();
        assert_eq!([0, 1, 2].map(|vm| net.delivered(net.vm(vm)).len()), [20; 3], "{setting:?}");
        net.finish().assert_clean();
    }
}
