//! What a command line or a capture says is taken as it is said: speeds, folders, clocks, ports of tunnels, numbers.

mod tool;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tool::frames::{GENEVE, Udp, VXLAN, capture, pcap_at, tunnel};
use tool::{json, printed, refused, teamctl};

const OUTSIDE: [u8; 6] = [2, 0, 0, 0, 9, 9];

fn udp(port: u16) -> Vec<u8> {
    Udp::new([2, 0, 0, 0, 0, 5], "10.0.0.5", OUTSIDE, "192.0.2.7").ports(port, 53).bytes()
}

fn differences(speeds: &str, target: &str) -> Vec<String> {
    let text = printed(&["migrate", "--json", "--speeds", speeds, "--target-speeds", target]);
    let report: Value = serde_json::from_str(&text).expect("one object");
    let all = report["differences"].as_array().expect("a list").iter();
    all.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

#[test]
fn a_migration_compares_the_speeds_that_were_said() {
    for (speeds, target) in
        [("100M,2500M", "1G,2G"), ("2.5G,10G", "2G,10G"), ("100M,1G", "1G,1G"), ("1500M,1G", "1G,1G")]
    {
        assert_eq!(differences(speeds, target), ["positions or speeds of the members"], "{speeds} {target}");
    }
    // Members' shares alone count.
    for (speeds, target) in [("100M,1G", "1G,10G"), ("2.5G,10G", "2500M,10000M"), ("0.1G", "25G")] {
        assert_eq!(differences(speeds, target), Vec::<String>::new(), "{speeds} {target}");
    }
    let text = printed(&["migrate", "--speeds", "100M,2500M", "--target-speeds", "2.5G"]);
    assert!(text.contains("from a team of 100M,2.5G to a team of 2.5G\n"), "{text}");
}

#[test]
fn a_replay_shares_by_the_speeds_that_were_said() {
    let speeds = |said: &str| -> Vec<Value> {
        let report = json(&["--fail", "none", "--speeds", said]);
        report["members"].as_array().expect("members").iter().map(|m| m["bits_per_second"].clone()).collect()
    };
    assert_eq!(speeds("2.5G,100M"), [Value::from(2_500_000_000_u64), 100_000_000.into()]);
}

#[test]
fn a_folder_holds_the_members_of_the_last_replay_and_what_was_there_besides() {
    let path = capture("saving.pcap", &[udp(1), udp(2), udp(3)]);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("used");
    let _ = fs::remove_dir_all(&folder);
    let name = folder.to_str().expect("text");
    let names = || -> BTreeSet<String> {
        let entries = fs::read_dir(&folder).expect("there").flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    for members in ["12", "2", "3"] {
        printed(&["replay", &path, "--members", members, "--save", name]);
        let count: usize = members.parse().expect("a number");
        let mut expected: BTreeSet<String> =
            (1..=count).map(|member| format!("member-{member}.pcapng")).collect();
        if members != "12" {
            expected.extend(
                ["notes.txt", "member-x.pcapng", "member-.pcapng", "member-4.pcap"].map(str::to_owned),
            );
        }
        assert_eq!(names(), expected);
        for other in ["notes.txt", "member-x.pcapng", "member-.pcapng", "member-4.pcap"] {
            fs::write(folder.join(other), "mine").expect("written");
        }
    }
}

#[test]
fn a_return_in_a_capture_without_time_is_refused_for_what_is_wrong() {
    for (name, frames) in [
        ("no-time.pcap", vec![(5, udp(1))]),
        ("no-time-either.pcap", vec![(5, udp(1)), (5, udp(2))]),
        ("little-time.pcap", vec![(5, udp(1)), (4_000, udp(2))]),
    ] {
        let path = pcap_at(name, &frames);
        for arguments in [
            &["--restore", "1@0"][..],
            &["--fail", "2@0%", "--restore", "2@50%"],
            &["--restore", "1@0", "--fail", "1@0"],
        ] {
            let asked = [&["replay", &path], arguments].concat();
            refused(&asked, &["the capture is 0.00", "s long", "5 ms", "leave --restore out"]);
            let error = teamctl(&asked).stderr;
            assert!(!String::from_utf8_lossy(&error).contains("--fail"), "{asked:?}");
        }
        printed(&["replay", &path, "--fail", "1@0"]);
    }
}

#[test]
fn a_step_of_the_clock_is_no_time_and_is_told() {
    let year = 1_700_000_000_000_000;
    let rows: [(&str, Vec<u64>, f64, &str); 4] = [
        (
            "ahead.pcap",
            vec![0, 1_000_000, year, year + 2_000_000],
            3.0,
            "jumps 1 time, most by 1,699,999,999 seconds ahead",
        ),
        ("back.pcap", vec![year, year + 1_000_000, 0, 2_000_000], 3.0, "seconds back"),
        (
            "hour-back.pcap",
            vec![7_200_000_000, 7_201_000_000, 3_600_000_000, 3_602_000_000],
            3.0,
            "jumps 1 time, most by 3,601 seconds back",
        ),
        ("one-record.pcap", vec![year, year + 1_000_000, 0, year + 4_000_000], 4.0, "jumps 1 time"),
    ];
    for (name, times, seconds, says) in rows {
        let mut bytes = tool::frames::pcap(1, &[]);
        for (port, at) in (1..).zip(times) {
            let frame = udp(port);
            let head =
                [(at / 1_000_000) as u32, (at % 1_000_000) as u32, frame.len() as u32, frame.len() as u32];
            bytes.extend(head.into_iter().flat_map(u32::to_le_bytes));
            bytes.extend(frame);
        }
        let path = tool::frames::file(name, &bytes);
        let path = path.to_str().expect("text");
        let report = json(&[path]);
        let length = report["length_seconds"].as_f64().expect("a number");
        assert!((length - seconds).abs() < 1e-6, "{name}: {length}");
        assert!(report["warnings"].to_string().contains(says), "{name}: {}", report["warnings"]);
        let text = printed(&["replay", path]).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("note: the clock of the recording jumps"), "{text}");
    }
    // A silent night is one.
    let path = pcap_at("night.pcap", &[(0, udp(1)), (40_000_000_000, udp(2))]);
    let report = json(&[&path, "--fail", "none"]);
    assert_eq!((&report["length_seconds"], &report["warnings"]), (&40_000.0.into(), &Value::Array(vec![])));
}

/// Words that are counted in the outputs.
const COUNTED: [&str; 19] = [
    "frames",
    "flows",
    "machines",
    "members",
    "violations",
    "rules",
    "leaks",
    "requests",
    "structures",
    "bytes",
    "queues",
    "stages",
    "disagreements",
    "times",
    "runs",
    "values",
    "records",
    "seconds",
    "adapters",
];

#[test]
fn one_of_a_kind_is_told_in_the_singular() {
    let one = capture("one-of-a-kind.pcap", &[udp(1)]);
    let two = pcap_at("two-of-a-kind.pcap", &[(0, udp(1)), (2_000_000, udp(1)), (4_000_000, udp(2))]);
    let reg = tool::frames::file(
        "one-value.reg",
        b"Windows Registry Editor Version 5.00\r\n\r\n[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\lbfoext\\Parameters]\r\n\"TeamingMode\"=dword:00000001\r\n",
    );
    let reg = reg.to_str().expect("text");
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("one.html");
    let page = page.to_str().expect("text");
    let commands: [&[&str]; 10] = [
        &["replay", &one, "--members", "1", "--fail", "none"],
        &["replay", &one, "--members", "1", "--fail", "none", "--queues", "--queue-limits", "1"],
        &["replay", &two, "--members", "2", "--report", page],
        &["replay", &two, "--fail", "2@50%", "--policy", "encapsulated"],
        &["migrate", &two, "--speeds", "1G"],
        &["migrate", &two, "--speeds", "1G", "--target-speeds", "1G,1G,1G", "--at", "100"],
        &["compare", &two, "--members", "1,2"],
        &["scenario", "failover"],
        &["settings", "--check", reg],
        &["rules", "DATA-33"],
    ];
    for command in commands {
        singular(&printed(command), command);
    }
    singular(&fs::read_to_string(page).expect("written").replace(['<', '>'], " "), &["the page"]);
}

#[test]
fn records_without_a_byte_are_counted_and_are_no_frames() {
    let path = capture("empty-records.pcap", &[udp(1), vec![], udp(2), vec![]]);
    let report = json(&[&path, "--fail", "none"]);
    assert_eq!(report["frames"], 2);
    assert_eq!(report["warnings"][0], "left out, for they are no frames: 2 records without a byte");
    refused(
        &["replay", &capture("only-empty.pcap", &[vec![], vec![]])],
        &["only-empty.pcap", "holds no frame"],
    );
}

fn singular(text: &str, command: &[&str]) {
    let words: Vec<&str> = text.split_whitespace().collect();
    for pair in words.windows(2) {
        let word = pair[1].trim_matches(|letter: char| !letter.is_ascii_alphabetic());
        assert!(pair[0] != "1" || !COUNTED.contains(&word), "{command:?} says \"1 {word}\":\n{text}");
    }
}
#[test]
fn tunnels_at_other_ports_are_read_if_they_are_named_and_what_falls_back_is_counted() {
    for (name, header, registered, option) in [
        ("vxlan-8472.pcap", VXLAN, 4_789, "--vxlan-port"),
        ("geneve-8472.pcap", GENEVE, 6_081, "--geneve-port"),
    ] {
        let mut frames: Vec<Vec<u8>> = (0..60).map(|port| tunnel(8_472, &header, 1_000 + port)).collect();
        frames.extend((0..20).map(|port| tunnel(registered, &header, 2_000 + port)));
        frames.extend((0..3).map(udp));
        let path = capture(name, &frames);
        let asked = [&*path, "--fail", "none", "--policy", "encapsulated"];
        let hashed = |arguments: &[&str]| {
            let report = json(&[&asked[..], arguments].concat());
            let frames =
                report["members"].as_array().expect("members").iter().filter_map(|m| m["frames"].as_u64());
            let busiest = frames.max().expect("members");
            let told = &report["encapsulated"];
            let counts = [&told["by_inner_headers"], &told["by_own_headers"]]
                .map(|count| count.as_u64().expect("a count"));
            (counts, told["own_udp_ports"].clone(), report["flows"].as_u64().expect("a count"), busiest)
        };
        let (counts, ports, flows, busiest) = hashed(&[]);
        assert_eq!((counts, flows), ([20, 63], 24), "{name}");
        // By the outer headers all packets of the tunnel are one flow, which the driver keeps on one member.
        assert!(busiest >= 60, "{busiest}");
        let kind = &option[2..option.len() - 5];
        assert_eq!(
            (&ports[0]["port"], &ports[0]["frames"], &ports[0]["looks_like"]),
            (&8_472.into(), &60.into(), &kind.into())
        );
        assert_eq!((&ports[1]["port"], &ports[1]["looks_like"]), (&53.into(), &Value::Null));
        let (counts, ports, flows, busiest) = hashed(&[option, "8472"]);
        assert_eq!((counts, flows, ports.as_array().map(Vec::len)), ([80, 3], 83, Some(1)), "{name}");
        assert!(busiest < 60, "{busiest}");
        let text = printed(&[&["replay"], &asked[..]].concat());
        let says = format!("60 frames to UDP port 8472 look like {}: {option} 8472", kind.to_uppercase());
        assert!(
            text.contains("by the headers in a tunnel 20 frames, by their own 63 frames")
                && text.contains(&says),
            "{text}"
        );
        // The hosts of a migration must agree in it.
        printed(&["migrate", &path, "--policy", "encapsulated", option, "8472"]);
    }
    assert_eq!(json(&["--fail", "none"]).get("encapsulated"), None);
    for command in ["replay", "migrate"] {
        refused(&[command, "--vxlan-port", "8472"], &["no effect without --policy encapsulated"]);
        refused(&[command, "--geneve-port", "0", "--policy", "encapsulated"], &["--geneve-port"]);
    }
}
