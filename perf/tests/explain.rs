//! `teamctl explain` from the command line. That it says what the driver does is in `src/explain/agreement`.

mod tool;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tool::frames::{GENEVE, Udp, VXLAN, capture, tunnel};
use tool::schema::{self, broken, unnoticed};
use tool::{printed, refused};

const FLOW: &str = "10.0.0.5:49152>192.0.2.1:443/tcp";

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(&[&["explain", "--json"], arguments].concat())).expect("JSON")
}

/// Of every kind: flows and frames, all policies, members up and down.
const ASKED: [&[&str]; 15] = [
    &[FLOW],
    &["10.0.0.5,192.0.2.1/icmp", "--policy", "ip-addresses"],
    &["[2001:db8::5]:53>[2001:db8::1]:53/udp", "--vlan", "20", "--fail", "2", "--fail", "1"],
    &["2001:db8::5>2001:db8::1/esp:0x1001", "--symmetric", "--speeds", "25G,10G,1G"],
    &["10.0.0.5>192.0.2.1/arp", "--members", "1"],
    &["02:00:00:00:00:05>ff:ff:ff:ff:ff:ff/0x88b5", "--policy", "mac-addresses"],
    &[FLOW, "--mode", "switch-independent", "--port", "31", "--hash-seed", "9"],
    &[FLOW, "--mode", "switch-independent", "--policy", "vlan-source-mac", "--vlan", "7"],
    &[FLOW, "--members", "32", "--policy", "encapsulated", "--flow-label", "--fail", "9"],
    &[FLOW, "--policy", "encapsulated", "--vxlan-port", "8472", "--geneve-port", "16081"],
    &[FLOW, "--members", "2", "--fail", "1", "--fail", "2"],
    &["--frame", "3800"],
    &["--frame", "3801", "--fail", "1@0.5", "--fail", "2@10%", "--restore", "2@11%", "--fail", "3"],
    &["--capture", "perf/captures/varied/vxlan.pcap", "--frame", "1", "--machines", "all"],
    &["--capture", "perf/captures/varied/ipv6-udp-fragmented.pcap", "--frame", "2", "--machines", "all"],
];

#[test]
fn every_explanation_fits_80_columns_and_names_its_member_first() {
    for asked in ASKED {
        let text = printed(&[&["explain"], asked].concat());
        for line in text.lines() {
            assert!(line.chars().count() <= 80 && line.trim_end() == line, "{asked:?}: {line}");
        }
        let member = json(asked)["member"].as_u64();
        let first = member.map_or("No member".to_owned(), |member| format!("Member {member}: "));
        assert!(text.starts_with(&first), "{asked:?}: {text}");
    }
}

#[test]
fn every_object_is_as_the_schema_says_and_the_schema_notices_what_is_missing_or_new() {
    let schema = schema::of("explain");
    for asked in ASKED {
        let told = json(asked);
        let faults = broken(&schema, &told);
        assert!(faults.is_empty(), "{asked:?}: {faults:?}");
        assert_eq!(told["agrees"], true);
        let (members, missed) = unnoticed(&schema, &told, |_| false);
        assert!(members > 20 && missed.is_empty(), "{asked:?}, {members}: {missed:?}");
    }
}

/// For each frame the members whose file a replay put it into.
fn carriers(path: &str, frames: &[Vec<u8>], asked: &[&str]) -> Vec<Vec<u64>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(path.replace(['/', '.'], "-"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("made");
    printed(&[&["replay", path, "--save", folder.to_str().expect("text")], asked].concat());
    let mut files: Vec<_> =
        fs::read_dir(&folder).expect("there").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let saved: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).expect("read")).collect();
    assert_eq!(saved.len(), 3);
    let of = |bytes: &Vec<u8>| {
        let files = (1..).zip(&saved);
        let with = files.filter(|(_, file)| file.windows(bytes.len()).any(|part| part == bytes));
        with.map(|(member, _)| member).collect()
    };
    frames.iter().map(of).collect()
}

/// What is explained of each frame of a capture.
fn each(path: &str, frames: &[Vec<u8>], asked: &[&str]) -> Vec<Value> {
    let numbers = (1..=frames.len()).map(|number| number.to_string());
    numbers.map(|number| json(&[&["--capture", path, "--frame", &number], asked].concat())).collect()
}

#[test]
fn the_member_is_the_one_by_which_a_replay_sends_the_frame() {
    let frames: Vec<Vec<u8>> = (1..=24)
        .map(|port| {
            Udp::new([2, 0, 0, 0, 0, 5], "10.0.0.5", [2, 0, 0, 0, 9, 9], "192.0.2.7").ports(port, 443).bytes()
        })
        .collect();
    let path = capture("explained.pcap", &frames);
    for (policy, fail) in [("transport-ports", "none"), ("ip-addresses", "2@0"), ("hyper-v-port", "1@0")] {
        let asked = ["--policy", policy, "--speeds", "25G,10G,10G", "--fail", fail];
        let told = each(&path, &frames, &asked);
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        // The first is lost with the link that fails at its time.
        for (number, (carriers, told)) in
            carriers(&path, &frames, &asked).iter().zip(&told).enumerate().skip(1)
        {
            assert_eq!(*carriers, [told["member"].as_u64().expect("a member")], "{policy}, frame {number}");
            *seen.entry(carriers[0]).or_default() += 1;
        }
        assert!(policy != "transport-ports" || seen.len() == 3, "{seen:?}");
    }
}

#[test]
fn a_tunnel_at_another_port_is_read_where_the_driver_is_told_to_and_named_where_not() {
    let policy = ["--policy", "encapsulated", "--speeds", "25G,10G,10G", "--fail", "none"];
    for (header, name, option) in [(VXLAN, "VXLAN", "--vxlan-port"), (GENEVE, "GENEVE", "--geneve-port")] {
        let frames: Vec<Vec<u8>> = (1..=24).map(|port| tunnel(9_999, &header, port)).collect();
        let path = capture(&format!("explained-{name}.pcap"), &frames);
        let asked = [&policy[..], &[option, "9999"]].concat();
        let (told, otherwise) = (each(&path, &frames, &asked), each(&path, &frames, &policy));
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        for ((carriers, told), plain) in carriers(&path, &frames, &asked).iter().zip(&told).zip(&otherwise) {
            assert_eq!(*carriers, [told["member"].as_u64().expect("a member")], "{told}");
            *seen.entry(carriers[0]).or_default() += 1;
            assert_eq!(
                (&told["choice"]["basis"], &plain["choice"]["basis"]),
                (&"policy".into(), &"not_encapsulated".into())
            );
            assert!(
                told["choice"]["key_text"]
                    .as_str()
                    .is_some_and(|key| key.contains("172.16.0.1 > 172.16.0.2"))
            );
            assert!(told["read_in_tunnel"].is_string() && plain["read_in_tunnel"].is_null(), "{told}");
            assert!(
                plain["unused"].to_string().contains(&format!("looks like {name}; with {option} 9999")),
                "{plain}"
            );
        }
        assert_eq!(seen.len(), 3, "{seen:?}");
        // Under another policy the same ports say what could be had from this one.
        let usual = json(&["--capture", &path, "--frame", "2", option, "9999"]);
        let change =
            usual["changes"].as_array().expect("changes").iter().find(|c| c["value"] == "encapsulated");
        let same = json(&[&["--capture", &*path, "--frame", "2"], &asked[..2], &[option, "9999"]].concat());
        assert_eq!(change.map(|change| &change["bucket"]), Some(&same["choice"]["bucket"]));
        assert!(usual["read_in_tunnel"].is_string());
        // Where there is no tunnel, every port is named at which one would be read.
        let none = json(&[FLOW, "--policy", "encapsulated", option, "9999"]);
        assert!(
            none["unused"].to_string().contains(&format!("{name} at "))
                && none["unused"].to_string().contains(" or 9999")
        );
        assert_eq!((&none[&option[2..].replace('-', "_")], &usual["hash_seed"]), (&9_999.into(), &0.into()));
    }
}

#[test]
fn every_step_is_said_with_its_value() {
    let text = printed(&["explain", FLOW, "--speeds", "25G,10G,10G", "--fail", "1"]);
    for part in [
        "10.0.0.5:49152 > 192.0.2.1:443",
        "ports 49152 > 443, TCP",
        "transport ports",
        "hash",
        "bucket",
        "home",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let told = json(&["--capture", "perf/captures/varied/vxlan.pcap", "--frame", "1", "--machines", "all"]);
    assert!(told["read_in_tunnel"].is_string(), "{told}");
    assert!(told["unused"].to_string().contains("Encapsulated would go by these"), "{told}");
}

#[test]
fn a_field_that_does_not_count_is_told_with_the_reason() {
    let whole = Udp::new([2, 0, 0, 0, 0, 5], "10.0.0.5", [2, 0, 0, 0, 9, 9], "192.0.2.7").bytes();
    let (mut fragment, mut damaged) = (whole.clone(), whole.clone());
    (fragment[20], damaged[14]) = (0x20, 0x44);
    let path = capture("damaged.pcap", &[fragment, damaged, whole[..30].to_vec(), whole[..36].to_vec()]);
    for (frame, basis, why) in [
        ("1", "fragment", "not even of the first"),
        ("2", "malformed", "the header of IPv4 is damaged"),
        ("3", "cut_short", "the header of IPv4 lies behind the end of the frame, which has 30 bytes"),
        ("4", "cut_short", "the header behind the IP header lies behind the end of the frame"),
    ] {
        let told = json(&["--capture", &path, "--frame", frame, "--machines", "all"]);
        assert_eq!(told["choice"]["basis"], basis);
        assert!(told["unused"][0].as_str().is_some_and(|text| text.contains(why)), "{told}");
    }
}

#[test]
fn a_lent_bucket_has_the_bids_of_the_members_that_are_up_and_goes_to_the_least() {
    let mut lent = 0;
    for port in 1..=8 {
        let flow = format!("10.0.0.5:{port}>10.0.0.6:2/udp");
        let told = json(&[&flow, "--speeds", "10G,25G,10G,1G", "--fail", "1", "--fail", "2"]);
        let (member, choice) = (&told["member"], &told["choice"]);
        let bids = choice["bids"].as_array().expect("bids");
        if choice["lent_to"].is_null() {
            assert!(bids.is_empty() && choice["home"] == *member, "{told}");
            continue;
        }
        lent += 1;
        assert!(
            bids.len() == 2 && choice["home"].as_u64() < Some(3) && choice["lent_to"] == *member,
            "{told}"
        );
        let bid = |of: &Value| of["bid"].as_f64().expect("a number");
        let best = if bid(&bids[0]) < bid(&bids[1]) { &bids[0] } else { &bids[1] };
        assert_eq!(best["member"], *member);
    }
    assert!((1..8).contains(&lent), "{lent}");
}

#[test]
fn what_cannot_be_explained_is_refused_with_the_value_and_the_next_step() {
    let rows: [(&[&str], &[&str]); 21] = [
        (&[], &["Usage", "FLOW"]),
        (&["10.0.0.5:1>10.0.0.6:2"], &["10.0.0.5:1>10.0.0.6:2", "names no protocol", "/tcp"]),
        (&["10.0.0.5:1>10.0.0.6:2/nonsense"], &["nonsense", "known are tcp"]),
        (&["10.0.0.5>10.0.0.6/51"], &["--capture FILE --frame N"]),
        (&[FLOW, "--frame", "1"], &["cannot be used with"]),
        (&[FLOW, "--capture", "x.pcap"], &["--capture"]),
        (&["--capture", "perf/captures/office.pcapng"], &["--frame"]),
        (&["--frame", "0"], &["0", "1.."]),
        (&["--frame", "10864"], &["10864", "records 1 to 10863", "choose one"]),
        (&["--capture", "no/such.pcap", "--frame", "1"], &["no/such.pcap"]),
        (&[FLOW, "--fail", "5"], &["member 5", "members 1 to 4"]),
        (&[FLOW, "--fail", "2@4.5"], &["2@4.5", "has no time", "--frame"]),
        (&[FLOW, "--fail", "x"], &["\"x\" names no member", "2@33%"]),
        (&["--frame", "1", "--fail", "2@999"], &["999", "behind the end of the capture"]),
        (&[FLOW, "--restore", "2@4"], &["--frame"]),
        (&[FLOW, "--mode", "switch-independent", "--policy", "ip-addresses"], &["--mode static"]),
        (&[FLOW, "--vlan", "4095"], &["4095", "1..=4094"]),
        (&[FLOW, "--macs", "02:00:00:00:00:05"], &["no pair", "02:00:00:00:00:05>02:00:00:00:00:01"]),
        (&[FLOW, "--macs", "ff:ff:ff:ff:ff:ff>02:00:00:00:00:01"], &["group's address"]),
        (&[FLOW, "--machines", "all"], &["--machines", "--frame"]),
        (
            &[FLOW, "--mode", "switch-independent", "--vxlan-port", "8472"],
            &["no effect without --policy encapsulated"],
        ),
    ];
    for (asked, says) in rows {
        refused(&[&["explain"], asked].concat(), says);
    }
}
