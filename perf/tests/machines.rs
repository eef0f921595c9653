//! Which adapters of a capture become machines, what the output says of it, and how it is corrected.

mod tool;

use serde_json::Value;
use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;
use tool::frames::{Mac, Udp, arp, capture, discovery, file};
use tool::{json, printed, refused};

const ROUTER: Mac = [0x02, 0, 0, 0, 0, 0xFE];
const OUTSIDE: &str = "198.51.100.20";
const OUTSIDE_6: &str = "2001:db8:51::20";

fn vm(number: u8) -> Mac {
    [0x02, 0, 0, 0, 0, number]
}

fn text(mac: Mac) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// The MAC addresses of a list of adapters.
fn macs(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().filter_map(|adapter| adapter["mac"].as_str()).collect()
}

/// The role of an adapter; `None` if it is not listed.
fn role(report: &Value, mac: Mac) -> Option<&str> {
    let mut all =
        ["machines", "other_adapters"].into_iter().flat_map(|list| report[list].as_array().expect("a list"));
    all.find(|adapter| adapter["mac"] == text(mac))?["role"].as_str()
}

/// Each adapter of `inside` sends four packets out; the router answers some.
fn replay(name: &str, frames: &[Vec<u8>]) -> Value {
    json(&["--fail", "none", &capture(name, frames)])
}

#[test]
fn a_machine_with_private_and_global_addresses_is_inside_whoever_else_has_them() {
    for mask in 0..8_u8 {
        let mut frames = Vec::new();
        for number in 1..=3 {
            for port in 0..10 {
                let v4 = format!("192.168.1.{number}");
                frames.push(Udp::new(vm(number), &v4, ROUTER, OUTSIDE).ports(port, 443).bytes());
                if mask & 1 << (number - 1) != 0 {
                    let v6 = format!("2001:db8:1::{number}");
                    frames.push(Udp::new(vm(number), &v6, ROUTER, OUTSIDE_6).ports(port, 443).bytes());
                }
            }
        }
        let report = replay(&format!("dual-{mask}.pcap"), &frames);
        assert_eq!(macs(&report["machines"]).len(), 3, "{mask}");
        assert_eq!((&report["ends"]["dropped"], &report["verdict"]), (&0.into(), &"fine".into()), "{mask}");
    }
}

/// The bundled recording with other addresses: nothing of it is private any more.
#[test]
fn machines_with_global_addresses_alone_are_found_before_their_router() {
    let office =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/office.pcapng")).expect("there");
    let replace = |bytes: Vec<u8>, from: &[u8], to: &[u8]| {
        let mut bytes = bytes;
        let mut at = 0;
        while at + from.len() <= bytes.len() {
            if bytes[at..].starts_with(from) {
                bytes[at..at + to.len()].copy_from_slice(to);
            }
            at += 1;
        }
        bytes
    };
    let global = replace(office, &[192, 168, 10], &[131, 107, 10]);
    let global = replace(global, &[192, 168, 20], &[131, 107, 20]);
    let global = replace(global, &[0xFD, 0x5E, 0xB0, 0xE4], &[0x20, 0x01, 0x06, 0x7C]);
    let path = file("global.pcapng", &global);
    let (report, private) =
        (json(&["--fail", "none", path.to_str().expect("text")]), json(&["--fail", "none"]));
    assert_eq!(macs(&report["machines"]), macs(&private["machines"]));
    assert_eq!(report["ends"], private["ends"]);
    assert_eq!(report["verdict"], "fine");
    for router in [[2, 0, 0x5E, 0, 0x0A, 1], [2, 0, 0x5E, 0, 0x14, 1]] {
        assert_eq!(role(&report, router), Some("gateway"));
        assert_eq!(role(&private, router), Some("gateway"));
    }
}

#[test]
fn an_adapter_without_a_routable_address_can_be_inside() {
    let from = |source: &str, target: &str| Udp::new(vm(1), source, ROUTER, target).bytes();
    let raw = |ethertype: u16| {
        let mut frame = [ROUTER, vm(1)].concat();
        frame.extend(ethertype.to_be_bytes());
        frame.resize(60, 7);
        frame
    };
    let mut ask = Udp::new(vm(1), "0.0.0.0", [0xFF; 6], "255.255.255.255").ports(68, 67).bytes();
    ask[22] = 128;
    for (name, frame) in [
        ("apipa", from("169.254.7.7", OUTSIDE)),
        ("link-local", from("fe80::7", "fe80::1")),
        ("global", from("203.0.113.7", OUTSIDE)),
        ("global-6", from("2001:db8:1::7", OUTSIDE_6)),
        ("mac-only", raw(0x88B5)),
        ("llc", raw(46)),
        ("dhcp", ask),
    ] {
        let report = replay(&format!("{name}.pcap"), &vec![frame; 10]);
        assert_eq!(macs(&report["machines"]), [text(vm(1))], "{name}");
        let left: u64 =
            report["members"].as_array().expect("members").iter().filter_map(|m| m["frames"].as_u64()).sum();
        assert_eq!((left, &report["verdict"]), (10, &"fine".into()), "{name}: {report}");
    }
}

/// Two machines, and traffic from elsewhere through these routers: none of them is a machine.
fn with_routers(name: &str, routers: &[Mac], frames: Vec<Vec<u8>>) {
    let mut all = frames;
    for number in 1..=2 {
        for port in 0..5 {
            let own = format!("10.0.0.{number}");
            all.push(Udp::new(vm(number), &own, routers[0], "10.9.0.1").ports(port, 443).bytes());
        }
    }
    let report = replay(&format!("{name}.pcap"), &all);
    assert_eq!(macs(&report["machines"]), [text(vm(1)), text(vm(2))], "{name}: {report}");
    for router in routers {
        assert_ne!(role(&report, *router), Some("machine"), "{name}");
    }
    assert_eq!(report["verdict"], "fine", "{name}");
}

#[test]
fn addresses_that_routers_share_are_no_machines_whatever_is_sent_from_them() {
    for router in [
        [0x00, 0x00, 0x0C, 0x07, 0xAC, 0x05],
        [0x00, 0x00, 0x0C, 0x9F, 0xF0, 0x05],
        [0x00, 0x00, 0x5E, 0x00, 0x01, 0x05],
        [0x00, 0x00, 0x5E, 0x00, 0x02, 0x05],
        [0x00, 0x07, 0xB4, 0x00, 0x01, 0x05],
    ] {
        let one = Udp::new(router, "10.9.0.1", vm(1), "10.0.0.1").bytes();
        with_routers(
            &format!("virtual-{}", text(router).replace(':', "")),
            &[router],
            vec![one, arp(router, "10.0.0.254")],
        );
    }
}

#[test]
fn a_router_is_told_by_what_passes_through_it() {
    let through = |source: &str| Udp::new(ROUTER, source, vm(1), "10.0.0.1");
    // Many addresses, all private, none of them said to be its own.
    let many = (1..=5).map(|host| through(&format!("10.9.0.{host}")).bytes()).collect();
    with_routers("many-addresses", &[ROUTER], many);
    let networks = (1..=3).map(|network| through(&format!("10.9.{network}.1")).bytes()).collect();
    with_routers("many-networks", &[ROUTER], networks);
    // One address, whose packets have passed it, and its own address.
    let few = vec![arp(ROUTER, "10.0.0.254"), through("10.9.0.1").hops(63).bytes()];
    with_routers("hops", &[ROUTER], few);
    with_routers(
        "inside-and-outside",
        &[ROUTER],
        vec![arp(ROUTER, "10.0.0.254"), through("192.0.2.9").bytes()],
    );
    // What goes to the far end goes to one adapter, what comes from it comes from another.
    let (shared, real) = (ROUTER, [0x02, 0, 0, 0, 0, 0xFD]);
    let split = Udp::new(real, "10.9.0.1", vm(1), "10.0.0.1").bytes();
    with_routers("split", &[shared, real], vec![split]);
}

#[test]
fn a_router_is_told_by_the_protocols_that_only_routers_speak() {
    let hello = |group: &str| Udp::new(ROUTER, "10.0.0.254", [1, 0, 0x5E, 0, 0, 2], group).hops(1);
    let solicited: Ipv6Addr = "fe80::254".parse().expect("an address");
    for (name, frame) in [
        ("hsrp", hello("224.0.0.2").ports(1985, 1985).bytes()),
        ("glbp", hello("224.0.0.102").ports(3222, 3222).bytes()),
        ("vrrp", hello("224.0.0.18").packet(112)),
        ("ospf", hello("224.0.0.5").packet(89)),
        ("advertisement", discovery(ROUTER, "fe80::254", 134, solicited)),
    ] {
        with_routers(name, &[ROUTER], vec![frame]);
    }
}

#[test]
fn a_bridge_that_speaks_to_its_link_alone_is_no_machine() {
    let port = [0x02, 0, 0, 0, 0, 0xB1];
    let mut frame = [[0x01, 0x80, 0xC2, 0, 0, 0], port].concat();
    frame.extend([0, 38, 0x42, 0x42, 3]);
    frame.resize(60, 0);
    with_routers("spanning-tree", &[ROUTER, port], vec![frame]);
}

#[test]
fn a_guest_on_the_link_is_a_machine_beside_those_with_private_addresses() {
    let guests = [
        ("answers", arp(vm(9), "203.0.113.9")),
        ("link-local", Udp::new(vm(9), "fe80::9", ROUTER, "fe80::1").bytes()),
        ("same network", Udp::new(vm(9), "2001:db8:1::9", ROUTER, OUTSIDE_6).bytes()),
    ];
    for (name, frame) in guests {
        let mut frames = vec![frame];
        for port in 0..5 {
            frames.push(Udp::new(vm(1), "10.0.0.1", ROUTER, OUTSIDE).ports(port, 443).bytes());
            frames.push(Udp::new(vm(1), "2001:db8:1::1", ROUTER, OUTSIDE_6).ports(port, 443).bytes());
        }
        let report = replay(&format!("guest-{name}.pcap"), &frames);
        assert_eq!(macs(&report["machines"]), [text(vm(1)), text(vm(9))], "{name}");
    }
}

/// Two hosts with global addresses that talk to each other: either can be the one inside.
fn equals(name: &str) -> String {
    let mut frames = Vec::new();
    for port in 0..10 {
        let (one, other) = ("203.0.113.1", "203.0.113.200");
        frames.push(Udp::new(vm(1), one, vm(2), other).ports(port, 443).bytes());
        frames.push(Udp::new(vm(2), other, vm(1), one).ports(443, port).bytes());
    }
    capture(name, &frames)
}

#[test]
fn where_nothing_says_who_is_inside_the_tool_asks_and_names_the_choices() {
    let path = equals("equals.pcap");
    refused(
        &["replay", &path],
        &["which of its adapters are inside", "--machines", &text(vm(1)), "203.0.113.200"],
    );
    refused(&["replay", &path, "--inside", "192.0.2.0/24"], &["--inside", "--machines", &text(vm(2))]);
    refused(&["replay", &path, "--machines", "192.0.2.1"], &["192.0.2.1", "no such adapter", &text(vm(1))]);
    refused(&["replay", &path, "--machines", "all,-all"], &["leaves no adapter"]);
}

#[test]
fn machines_are_named_by_address_by_network_all_at_once_and_one_by_one() {
    let path = equals("named.pcap");
    let (one, two) = (text(vm(1)), text(vm(2)));
    for (named, expected) in [
        (one.as_str(), vec![&one]),
        ("02-00-00-00-00-02", vec![&two]),
        ("203.0.113.1", vec![&one]),
        ("203.0.113.1/32", vec![&one]),
        ("203.0.113.128/25", vec![&two]),
        ("all", vec![&one, &two]),
        ("all,-203.0.113.1", vec![&two]),
        ("203.0.113.1,203.0.113.200", vec![&one, &two]),
    ] {
        let report = json(&["--fail", "none", &path, "--machines", named]);
        assert_eq!(macs(&report["machines"]), expected, "{named}");
        let lists: usize = ["machines", "other_adapters"].iter().map(|list| macs(&report[list]).len()).sum();
        assert_eq!(lists, 2, "{named}: every adapter is listed once");
    }
    for named in ["203.0.113.1", "203.0.113.200"] {
        assert_eq!(json(&["--fail", "none", &path, "--inside", named])["machines"][0]["addresses"][0], named);
    }
}

#[test]
fn a_sign_before_a_name_corrects_the_guess() {
    let guessed = json(&["--fail", "none"]);
    let all = macs(&guessed["machines"]);
    let fewer = json(&["--fail", "none", "--machines", &format!("-{},-192.168.10.12", all[0])]);
    assert_eq!(macs(&fewer["machines"]), all[2..]);
    assert_eq!(fewer["other_adapters"].as_array().map(Vec::len), Some(4));
    let more = json(&["--fail", "none", "--machines", "+02:00:5e:00:0a:01"]);
    assert_eq!(macs(&more["machines"])[0], "02:00:5e:00:0a:01");
    assert_eq!(macs(&more["machines"])[1..], all);
}

#[test]
fn the_machines_are_listed_before_all_else_with_number_address_and_reason() {
    let output = printed(&["replay", "--fail", "none"]);
    let mut lines = output.lines().skip(3);
    assert!(lines.next().is_some_and(|line| line.starts_with("machine  adapter")), "{output}");
    let first = lines.next().expect("a machine");
    for part in ["      1  02:5d:00:00:0a:11", "192.168.10.11 +", "private address"] {
        assert!(first.contains(part), "{first}");
    }
    assert!(output.contains(" router  02:00:5e:00:0a:01"), "{output}");
    // The numbers are those of migrate.
    let moved: Value =
        serde_json::from_str(&printed(&["migrate", "--machine", "3", "--json"])).expect("one object");
    assert_eq!(moved["mac"], "02:5d:00:00:0a:13");
}

#[test]
fn a_long_list_is_cut_and_says_so() {
    let frames: Vec<Vec<u8>> = (1..=40)
        .map(|number| Udp::new(vm(number), &format!("10.0.0.{number}"), ROUTER, OUTSIDE).bytes())
        .collect();
    let path = capture("forty.pcap", &frames);
    let output = printed(&["replay", "--fail", "none", &path]);
    assert!(output.contains("and 24 machines: --json"), "{output}");
    assert!(output.lines().all(|line| line.chars().count() <= 80), "{output}");
    // The longest reasons.
    let mut frames: Vec<Vec<u8>> = vec![
        arp([0, 0, 0x5E, 0, 1, 9], "10.0.0.254"),
        discovery([2, 0, 0, 0, 1, 1], "fe80::1", 134, Ipv6Addr::LOCALHOST),
        Udp::new(vm(1), "10.0.0.1", ROUTER, OUTSIDE).bytes(),
    ];
    frames
        .extend((0..70).map(|host| Udp::new(ROUTER, &format!("192.0.2.{host}"), vm(1), "10.0.0.1").bytes()));
    let output = printed(&["replay", "--fail", "none", &capture("reasons.pcap", &frames)]);
    for reason in ["router address (VRRP/CARP)", "sends router advertisements", "sends for over 64 addresses"]
    {
        assert!(output.contains(reason), "{reason}: {output}");
    }
    assert!(output.lines().all(|line| line.chars().count() <= 80), "{output}");
}

#[test]
fn a_run_that_says_little_of_the_team_does_not_begin_with_fine() {
    let between = |from: u8, to: u8| {
        Udp::new(vm(from), &format!("10.0.0.{from}"), vm(to), &format!("10.0.0.{to}")).bytes()
    };
    let path = capture("between.pcap", &[vec![between(1, 2); 10], vec![between(2, 1); 10]].concat());
    let first = |arguments: &[&str]| {
        let output = printed(&[&["replay", "--fail", "none"], arguments].concat());
        output.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(first(&[&path]), "Little crossed the team, 0 of 20 frames: are these the machines?");
    assert_eq!(json(&["--fail", "none", &path])["verdict"], "little_crossed");
    // Without the other one it is Fine.
    assert!(first(&[&path, "--machines", "10.0.0.1"]).starts_with("Fine: 20 frames"));
    let out = |number: u8| Udp::new(vm(number), &format!("10.0.0.{number}"), ROUTER, OUTSIDE).bytes();
    let path = capture("elsewhere.pcap", &[vec![out(1); 5], vec![out(2); 15]].concat());
    assert_eq!(
        first(&[&path, "--machines", "10.0.0.1"]),
        "Much was dropped, 15 of 20 frames: are these the machines?"
    );
    assert_eq!(json(&["--fail", "none", &path, "--machines", "10.0.0.1"])["verdict"], "much_dropped");
    assert!(first(&[&path]).starts_with("Fine: 20 frames"));
}

#[test]
fn a_run_without_a_member_does_not_doubt_the_machines() {
    let text = printed(&["replay", "--members", "1", "--fail", "1@50%"]);
    assert!(text.starts_with("For much of the traffic no member was up, "), "{text}");
    assert!(!text.contains("are these the machines") && !text.contains("others: --machines"), "{text}");
    assert_eq!(json(&["--members", "1", "--fail", "1@50%"])["verdict"], "no_member_up");
    // It does if most of it would have been dropped all the same.
    let sent = |number: u8| Udp::new(vm(number), &format!("10.0.0.{number}"), ROUTER, OUTSIDE).bytes();
    let path = capture("without.pcap", &[vec![sent(2); 20], vec![sent(1); 5]].concat());
    let arguments = ["--members", "1", "--fail", "1@90%", "--machines", "10.0.0.1", &path];
    assert_eq!(json(&arguments)["verdict"], "much_dropped");
}

/// Five equal flows between two adapters: the policy decides how evenly they can be shared.
#[test]
fn the_least_imbalance_is_that_of_the_policy_and_of_these_flows() {
    let frames: Vec<Vec<u8>> = (0..20)
        .map(|number| Udp::new(vm(1), "10.0.0.1", ROUTER, OUTSIDE).ports(1_000 + number % 5, 443).bytes())
        .collect();
    let path = capture("five-flows.pcap", &frames);
    let least = |arguments: &[&str]| {
        let report = json(&[&["--fail", "none", &path], arguments].concat());
        let (least, is) =
            (report["imbalance_floor"].as_f64().expect("a number"), report["imbalance"].as_f64());
        assert_eq!(report["imbalance_floor_exact"], true);
        assert!(is >= Some(least), "{report}");
        least
    };
    for (arguments, expected) in [
        (&["--policy", "transport-ports"][..], 1.6),
        (&["--policy", "ip-addresses"], 4.0),
        (&["--policy", "mac-addresses"], 4.0),
        (&["--policy", "hyper-v-port"], 4.0),
        (&["--policy", "vlan-source-mac"], 4.0),
        (&["--policy", "transport-ports", "--members", "2"], 1.2),
        (&["--policy", "transport-ports", "--speeds", "20G,30G"], 1.0),
        (&["--policy", "hyper-v-port", "--speeds", "25G,10G,15G"], 2.0),
        (&["--policy", "hyper-v-port", "--members", "1"], 1.0),
    ] {
        let found = least(arguments);
        assert!((found - expected).abs() < 0.001, "{arguments:?}: {found}");
    }
    let output = printed(&["replay", "--fail", "none", &path, "--policy", "hyper-v-port"]);
    assert!(
        output.contains("imbalance 4.00 of a fair share at the busiest; 4.00 is the least possible"),
        "{output}"
    );
}
