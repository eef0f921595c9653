//! `teamctl` from the command line: its output, the files that it writes, its errors.

#[path = "../examples/generate.rs"]
#[allow(dead_code, reason = "its command line is not wanted here")]
mod generate;
mod tool;

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use tool::frames::{file, pcap};
use tool::{json, refused, teamctl};

/// A UDP frame from 10.0.0.5 to an external address.
fn udp(port: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 9, 9, 2, 0, 0, 0, 0, 5, 8, 0];
    frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 5, 192, 0, 2, 7, 0x30, port, 0, 53]);
    frame.resize(60, 0);
    frame
}

#[test]
fn the_default_replay_is_fine_and_moves_only_what_it_must() {
    let report = json(&[]);
    assert_eq!(report["driver"], "native");
    assert_eq!(report["frames"], 10_863);
    for zero in ["reordered_frames", "violations", "leaks", "unaccounted", "lost", "unreachable"] {
        assert_eq!(report[zero], 0, "{zero}");
    }
    assert!(report["rules_exercised"].as_u64() > Some(100));
    let [down, up] = report["events"].as_array().expect("events").as_slice() else { panic!("two events") };
    for event in [down, up] {
        assert!(event["flows_moved"].as_u64() > Some(0));
        assert_eq!(
            (&event["flows_moved_needlessly"], &event["frames_to_dead_member"]),
            (&0.into(), &0.into())
        );
    }
    let carried: u64 =
        report["members"].as_array().expect("members").iter().filter_map(|m| m["frames"].as_u64()).sum();
    assert_eq!(carried, 5_863);
}

/// The control for the test above: the same latencies and the same failure, with an idle gap of 0.
#[test]
fn without_the_gap_flows_are_overtaken() {
    assert!(json(&["--gap-us", "0"])["reordered_frames"].as_u64() > Some(0));
}

#[test]
fn without_a_failure_nothing_moves() {
    let report = json(&["--fail", "none"]);
    assert_eq!(report["events"], Value::Array(vec![]));
    let text = teamctl(&["replay", "--fail", "none"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("no member failed"));
    assert_eq!(text.status.code(), Some(0));
}

#[test]
fn the_team_has_settled_before_the_first_frame_for_every_gap_and_speed() {
    for gap in ["500", "90000", "200000", "500000"] {
        for (speeds, mode) in
            [("10G,10G,10G,10G", "static"), ("100M,1G,10G", "static"), ("2500M,25G", "switch-independent")]
        {
            let asked = ["replay", "--gap-us", gap, "--speeds", speeds, "--mode", mode, "--fail", "none"];
            let output = teamctl(&asked);
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{gap}, {speeds}, {mode}: {text}");
        }
    }
}

#[test]
fn every_policy_and_mode_keeps_the_guarantees() {
    for policy in [
        "transport-ports",
        "ip-addresses",
        "mac-addresses",
        "hyper-v-port",
        "vlan-source-mac",
        "encapsulated",
    ] {
        let output = teamctl(&["replay", "--policy", policy]);
        assert_eq!(output.status.code(), Some(0), "{policy}: {}", String::from_utf8_lossy(&output.stdout));
    }
    for arguments in [&["--mode", "switch-independent"][..], &["--members", "1"], &["--members", "32"]] {
        let output = teamctl(&[&["replay"], arguments].concat());
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn with_every_member_down_each_frame_has_a_reason() {
    let report = json(&["--members", "1", "--fail", "1@50%"]);
    assert!(report["dropped"]["No member of the team is up."].as_u64() > Some(0), "{report}");
    assert!(report["unreachable"].as_u64() > Some(0));
    assert_eq!(report["unaccounted"], 0);
}

#[test]
fn the_default_replay_fits_a_screen() {
    let output = teamctl(&["replay"]);
    let text = String::from_utf8_lossy(&output.stdout);
    // The machines are listed in the first twelve.
    assert!(text.lines().count() <= 36, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let longest =
        ["replay", "--members", "32", "--mode", "switch-independent", "--policy", "vlan-source-mac"];
    let output = teamctl(&[&longest[..], &["--seed", &u64::MAX.to_string()]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

/// By default as many as fit a screen; with a number, that many for every member.
#[test]
fn the_largest_flows_are_shown_as_far_as_they_fit() {
    let lines = |arguments: &[&str]| {
        let text = String::from_utf8(teamctl(&[&["replay"], arguments].concat()).stdout).expect("text");
        let block =
            text.split("\n\n").find(|block| block.starts_with("member  its largest")).unwrap_or_default();
        block.lines().count().saturating_sub(1)
    };
    assert_eq!(lines(&[]), 4);
    assert_eq!(lines(&["--members", "1"]), 3);
    assert_eq!(lines(&["--members", "2"]), 4);
    assert_eq!(lines(&["--top", "3"]), 12);
    assert_eq!(lines(&["--members", "12", "--top", "1"]), 12);
    assert_eq!(lines(&["--top", "0"]), 0);
}

/// The grid also shows buckets without traffic, whose member is computed; for buckets with traffic that computation
/// must agree with the driver.
#[test]
fn the_grid_shows_every_bucket_and_agrees_with_what_the_driver_did() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grid.html");
    for arguments in
        [&["--fail", "none"][..], &["--fail", "none", "--speeds", "25G,10G,1G"], &["--fail", "3@0%"]]
    {
        let report = ["--report", path.to_str().expect("text")];
        let output = teamctl(&[&["replay"], arguments, &report].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let page = fs::read_to_string(&path).expect("written");
        let cells = page.matches("class=\"digit\"").count() + page.matches("class=\"idle\"").count();
        assert_eq!(cells, 4096);
        assert!(!page.contains(" elsewhere\""), "{arguments:?}");
    }
}

#[test]
fn the_page_is_one_file_that_loads_nothing() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.html");
    assert!(teamctl(&["replay", "--report", path.to_str().expect("text")]).status.success());
    let page = fs::read_to_string(path).expect("written");
    for part in ["<svg", "member 2 down at", "prefers-color-scheme:dark", "</html>"] {
        assert!(page.contains(part), "{part}");
    }
    for part in ["<script", "http:", "https:", "src=", "@import", "<link"] {
        assert!(!page.contains(part), "{part}");
    }
}

#[test]
fn what_left_on_a_member_is_saved_once_in_either_form() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("saved");
    let one = Path::new(env!("CARGO_TARGET_TMPDIR")).join("saved.pcapng");
    for path in [&folder, &one] {
        assert!(teamctl(&["replay", "--save", path.to_str().expect("text")]).status.success());
    }
    let blocks = |path: &Path| {
        let bytes = fs::read(path).expect("written");
        let (mut at, mut packets) = (0, 0);
        while at < bytes.len() {
            let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
            packets += usize::from(word(at) == 6);
            at += word(at + 4) as usize;
        }
        packets
    };
    let each: usize = (1..=4).map(|member| blocks(&folder.join(format!("member-{member}.pcapng")))).sum();
    assert_eq!((each, blocks(&one)), (5_863, 5_863));
}

#[test]
fn completions_name_the_options() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let output = teamctl(&["completions", shell]);
        assert!(String::from_utf8_lossy(&output.stdout).contains("restore"), "{shell}");
    }
}

#[test]
fn an_unusable_capture_is_refused_with_the_next_step() {
    let missing = &["replay", "no/such/file.pcap"];
    refused(missing, &["no/such/file.pcap", "give the path of a pcap or pcapng file"]);
    refused(&["replay", "perf"], &["is a folder"]);
    let replay = |name: &str, bytes: &[u8], says: &[&str]| {
        refused(&["replay", file(name, bytes).to_str().expect("text")], &[&[name], says].concat());
    };
    replay("short.pcap", &[1, 2], &["shorter than 4 bytes", "tcpdump -w"]);
    replay("nothing.pcap", &[], &["shorter than 4 bytes", "tcpdump -w"]);
    replay("text.pcap", b"#!/bin/sh\n", &["neither pcap nor pcapng", "23 21 2f 62", "editcap"]);
    replay("empty.pcap", &pcap(1, &[]), &["holds no frame", "choose a capture"]);
    replay("wireless.pcap", &pcap(105, &[&udp(1)]), &["802.11", "record on an Ethernet interface"]);
    let whole = pcap(1, &[&udp(1), &udp(2)]);
    replay("cut.pcap", &whole[..50], &["frame 1", "the file ends within it"]);
    let mut huge = whole;
    huge[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    replay("huge.pcap", &huge, &["frame 1", "damaged", "editcap"]);
    let mut there = udp(1);
    there[26] = 11;
    let mut back = there.clone();
    back[..12].rotate_left(6);
    back[26..34].rotate_left(4);
    replay("outside.pcap", &pcap(1, &[&there, &back]), &["which of its adapters are inside", "--machines"]);
}

/// Frames and warnings of a replay without failures.
fn taken(name: &str, bytes: &[u8]) -> (u64, String) {
    let report = json(&["--fail", "none", "--members", "2", file(name, bytes).to_str().expect("text")]);
    let warnings = report["warnings"].as_array().expect("warnings").iter().filter_map(Value::as_str);
    (report["frames"].as_u64().expect("frames"), warnings.collect::<Vec<_>>().join("; "))
}

#[test]
fn a_capture_that_was_broken_off_costs_its_last_record_and_a_warning() {
    let whole = pcap(1, &[&udp(1), &udp(2), &udp(3)]);
    for missing in [1, 7, 59, 60, 70] {
        let (frames, warnings) = taken("broken-off.pcap", &whole[..whole.len() - missing]);
        assert_eq!(frames, 2, "{missing}");
        assert!(
            warnings.contains("record 3 is cut off") && warnings.contains("the 2 before it"),
            "{warnings}"
        );
    }
    let office =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/office.pcapng")).expect("there");
    let (frames, warnings) = taken("broken-off.pcapng", &office[..5_000]);
    assert!(frames > 5 && warnings.contains("is cut off"), "{frames} {warnings}");
}

#[test]
fn any_snap_length_and_any_fraction_of_a_second_are_taken() {
    for snap in [0, 96, 40] {
        let mut bytes = pcap(1, &[&udp(1), &udp(2)]);
        bytes[16..20].copy_from_slice(&u32::to_le_bytes(snap));
        bytes[28..32].copy_from_slice(&u32::to_le_bytes(1_999_999));
        assert_eq!(taken("snap.pcap", &bytes), (2, String::new()), "{snap}");
    }
}

#[test]
fn compressed_captures_and_pipes_are_taken() {
    let plain = pcap(1, &[&udp(1), &udp(2), &udp(3)]);
    let gzip = |bytes: &[u8]| {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut writer, bytes).and_then(|()| writer.finish()).expect("compressed")
    };
    let zstd =
        |bytes: &[u8]| ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest);
    let skip = |low: u8, length: u32| {
        let rest = vec![0xAA; usize::try_from(length).expect("short")];
        [&[low, 0x2A, 0x4D, 0x18][..], &length.to_le_bytes(), &rest].concat()
    };
    for (name, parts) in [
        ("plain.pcap.gz", vec![gzip(&plain)]),
        ("parts.pcap.gz", vec![gzip(&plain[..100]), gzip(&plain[100..])]),
        ("plain.pcap.zst", vec![zstd(&plain)]),
        ("parts.pcap.zst", vec![zstd(&plain[..100]), zstd(&plain[100..])]),
        // As parallel compressors write them, and with what only they read at the end.
        (
            "skipped.pcap.zst",
            vec![skip(0x50, 4), zstd(&plain[..100]), skip(0x5F, 9_000), zstd(&plain[100..])],
        ),
        ("index.pcap.zst", vec![zstd(&plain), skip(0x5E, 17), skip(0x51, 0)]),
    ] {
        assert_eq!(taken(name, &parts.concat()), (3, String::new()), "{name}");
    }
    let cut = gzip(&plain);
    let name = file("cut.pcap.gz", &cut[..20]);
    refused(&["replay", name.to_str().expect("text")], &["cut.pcap.gz"]);
    let through = Command::new(env!("CARGO_BIN_EXE_teamctl"))
        .args(["replay", "--json", "--fail", "none", "-"])
        .stdin(fs::File::open(file("stdin.pcap", &plain)).expect("there"))
        .output()
        .expect("it starts");
    let report: Value = serde_json::from_slice(&through.stdout).expect("one object");
    assert_eq!(report["frames"], 3);
}

#[test]
fn ip_packets_without_an_ethernet_header_are_taken_and_other_records_are_counted() {
    let packets: Vec<Vec<u8>> = (1..4).map(|port| udp(port)[14..].to_vec()).collect();
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let (frames, warnings) = taken("raw.pcap", &pcap(101, &packets));
    assert_eq!(frames, 3);
    assert!(warnings.contains("3 records without an Ethernet header"), "{warnings}");
}

#[test]
fn a_wrong_command_line_is_refused_with_the_next_step() {
    refused(&["replay", "--fail", "9@50%"], &["member 9", "members 1 to 4", "choose one of them"]);
    refused(&["replay", "--fail", "0@50%"], &["member 0"]);
    refused(&["replay", "--fail", "1@999"], &["behind the end of the capture", "26.4"]);
    refused(&["replay", "--fail", "half"], &["write MEMBER@SECONDS"]);
    refused(&["replay", "--fail", "1@10%", "--fail", "1@20%"], &["is down already", "--restore"]);
    refused(&["replay", "--restore", "1@10%"], &["is not down then", "--fail"]);
    refused(&["replay", "--fail", "1@10%", "--restore", "1@5%"], &["is not down then"]);
    refused(&["replay", "--policy", "transport-port"], &["transport-ports"]);
    refused(&["replay", "--mode", "lacp"], &["static", "switch-independent"]);
    refused(&["replay", "--mode", "switch-independent", "--policy", "ip-addresses"], &["--mode static"]);
    refused(&["replay", "--speeds", "fast"], &["10G"]);
    refused(&["replay", "--members", "33"], &["33", "1..=32"]);
    refused(&["replay", "--members", "0"], &["1..=32"]);
    refused(&["replay", "--members", "99999999999"], &["1..=32"]);
    refused(&["replay", "--top", "51"], &["0..=50"]);
    refused(&["replay", "--seed", "x"], &["--seed"]);
    refused(&["replay", "--gap-us", "500001"], &["500001", "0..=500000"]);
    refused(&["replay", "--speeds", &vec!["1G"; 33].join(",")], &["at most 32"]);
    refused(&["replay", "--inside", "10.0.0"], &["10.0.0", "192.168.0.0/16"]);
    refused(&["replay", "--machines", "vm1"], &["vm1", "MAC address", "all"]);
    refused(&["replay", "--image", "no/such.sys"], &["no/such.sys", "cargo image"]);
    refused(&["replay", "--image", "Cargo.toml"], &["no driver that can be loaded"]);
    refused(&["replay", "--save", "perf/out.pcap"], &["FILE.pcapng"]);
    refused(&["replay", "--report", "no/such/folder/x.html"], &["no/such/folder/x.html"]);
    refused(&["explian"], &["Usage", "explain"]);
}

/// Its length is 0, so there is no default failure.
#[test]
fn a_capture_of_one_frame_is_replayed() {
    let path = file("one.pcap", &pcap(1, &[&udp(1)]));
    let report = json(&[path.to_str().expect("text")]);
    assert_eq!((&report["frames"], &report["flows"]), (&1.into(), &1.into()), "{report}");
    assert_eq!((&report["unaccounted"], &report["events"]), (&0.into(), &Value::Array(vec![])), "{report}");
    let text = teamctl(&["replay", path.to_str().expect("text")]);
    assert_eq!(text.status.code(), Some(0), "{}", String::from_utf8_lossy(&text.stdout));
}

#[test]
fn odd_frames_are_accounted_for() {
    let (tagged, long) = (udp(2), [udp(3), vec![7; 9_000]].concat());
    let tagged = [&tagged[..12], &[0x81, 0, 0, 20], &tagged[12..]].concat();
    let frames: [&[u8]; 6] = [&udp(1), &tagged, &long, &udp(4)[..13], &udp(5)[..1], &[]];
    let path = file("odd.pcap", &pcap(1, &frames));
    let report = json(&[path.to_str().expect("text"), "--fail", "none"]);
    assert_eq!((&report["unaccounted"], &report["violations"]), (&0.into(), &0.into()), "{report}");
    assert_eq!(report["frames"], 5);
}

/// The rows of `perf/captures/varied/README.md`: every file with its number of frames and the address range that
/// becomes VMs.
#[test]
fn tunnels_fragments_and_odd_files_leave_through_the_team() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/varied");
    let readme = fs::read_to_string(folder.join("README.md")).expect("there");
    let rows: Vec<Vec<&str>> = readme
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split(" | ").collect())
        .collect();
    let files =
        fs::read_dir(&folder).expect("there").filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    assert_eq!(files.filter(|name| name.contains(".pcap")).count(), rows.len());
    for row in rows {
        let path = folder.join(row[0].trim_matches(['|', ' ', '`']));
        let path = path.to_str().expect("text");
        for policy in ["transport-ports", "encapsulated"] {
            let report = json(&[path, "--inside", row[2], "--fail", "none", "--policy", policy]);
            assert_eq!(report["frames"].to_string(), row[1], "{path}");
            assert_eq!((&report["unaccounted"], &report["violations"]), (&0.into(), &0.into()), "{report}");
            let left: u64 = report["members"]
                .as_array()
                .expect("members")
                .iter()
                .filter_map(|m| m["frames"].as_u64())
                .sum();
            assert!(left > 0, "{path}: {report}");
        }
    }
}

/// The image that was built for Windows gives the same report.
#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn the_image_reports_what_the_native_driver_reports() {
    let native = json(&[]);
    let mut image = json(&["--image", "target/x86_64-pc-windows-msvc/release/lbfoext.sys"]);
    assert_eq!(image["driver"], "image");
    image["driver"] = native["driver"].clone();
    assert_eq!(image, native);
}

/// Peak memory in KiB while `teamctl replay` runs.
fn peak(capture: &Path) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_teamctl"))
        .arg("replay")
        .arg(capture)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let mut peak = 0;
    while child.try_wait().expect("a child").is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = high.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(peak > 0);
    peak
}

/// Both captures have the same flows, so any difference is due to frames.
#[test]
fn memory_does_not_grow_with_frames() {
    let [small, large] = [40_000, 120_000].map(|frames| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{frames}.pcap"));
        generate::write(frames, &path).expect("written");
        let peak = peak(&path);
        fs::remove_file(path).expect("it was there");
        peak
    });
    // 80,000 frames of 800 bytes are 61 MiB, without their records.
    assert!(large < small + 16 * 1024, "{small} KiB, then {large} KiB");
}
