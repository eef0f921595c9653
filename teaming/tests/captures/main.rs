//! Real captures: every frame is read as tshark reads it; every truncation of every frame and every bit flip of a
//! sample keeps the invariants.
//!
//! `LBFOEXT_CAPTURES=$(teaming/tests/captures/fetch DIR) cargo test -p teaming --test captures -- --include-ignored`

#[path = "../invariants/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod invariants;
mod made;
mod own;
mod reader;
mod tshark;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use reader::{Collection, Frame, bundled, write_pcap};
use teaming::frame::{Headers, Transport, TunnelPorts, WINDOW_MAX, parse, parse_innermost};
use teaming::ids::{MacAddr, VlanId};
use tshark::Facts;

/// Frames that tshark and this parser read differently: file, numbers, reason.
const EXCEPTIONS: &str = include_str!("exceptions.csv");

/// The bytes that the driver would pass to the parser. Generated frames with deep nesting are passed whole.
fn window(frame: &Frame) -> &[u8] {
    let longest = if frame.file == "made" { usize::MAX } else { WINDOW_MAX };
    &frame.bytes[..frame.bytes.len().min(longest)]
}

fn facts(headers: &Headers, window: &[u8]) -> Facts {
    let text = |mac: MacAddr| mac.0.map(|octet| format!("{octet:02x}")).join(":");
    Facts {
        macs: (window.len() >= 14).then(|| (text(headers.destination), text(headers.source))),
        vlan: headers.vlan().map(VlanId::get),
        tags: usize::from(headers.tags()),
        addresses: headers.addresses(),
        fragment: headers.transport == Transport::Fragment,
        ports: headers.ports(),
        spi: headers.spi(),
        flow_label: headers.flow_label(),
    }
}

/// File and number of each excepted frame, with its reason.
fn exceptions() -> BTreeMap<(String, usize), &'static str> {
    let mut exceptions = BTreeMap::new();
    for line in EXCEPTIONS.lines().skip(1) {
        let columns: Vec<&str> = line.splitn(3, ',').collect();
        let [file, numbers, reason] = columns[..] else { panic!("three columns: {line}") };
        for number in numbers.split(' ') {
            let place = (file.to_owned(), number.parse().expect("a number"));
            assert!(exceptions.insert(place, reason).is_none(), "twice: {line}");
        }
    }
    exceptions
}

#[test]
#[ignore = "needs tshark and public captures: bash .ci/run outside"]
fn every_frame_is_read_as_tshark_reads_it() {
    let folder = env::var("LBFOEXT_CAPTURES").expect("LBFOEXT_CAPTURES is a folder of captures");
    let mut collections: Vec<Collection> =
        bundled().iter().map(|(name, folder)| Collection::read(name, folder)).collect();
    collections.push(Collection::read("tcpdump", Path::new(&folder)));
    for collection in &collections {
        println!("{collection}");
    }
    let sizes: Vec<_> = collections.iter().map(|collection| (collection.files, collection.records)).collect();
    assert_eq!(
        sizes,
        [(18, 1152), (11, 5958), (667, 9469)],
        "files and records are those that were looked at"
    );

    let made = made::frames(0x4c42_464f, 4000);
    let frames: Vec<&Frame> =
        collections.iter().flat_map(|collection| &collection.frames).chain(&made).collect();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("captures.pcap");
    write_pcap(&path, frames.iter().copied());
    let readings = tshark::read(&path);
    assert_eq!(readings.len(), frames.len());
    let mut excepted = exceptions();
    let (mut wrong, mut seen) = (0, Seen::default());
    for (frame, reading) in frames.iter().zip(&readings) {
        let window = window(frame);
        let ours =
            [facts(&parse(window), window), facts(&parse_innermost(window, TunnelPorts::REGISTERED), window)];
        let theirs = [&reading.outer, &reading.innermost];
        seen.count(theirs);
        let is_excepted = excepted.remove(&(frame.file.clone(), frame.number)).is_some();
        if ours.iter().eq(theirs) == is_excepted {
            wrong += 1;
            let what = if is_excepted { "agrees, but is excepted" } else { "differs" };
            println!("{} {} {what}: {}", frame.file, frame.number, reading.protocols);
            println!("  ours   {ours:?}\n  tshark {theirs:?}");
        }
    }
    println!("{} frames: {seen:?}", frames.len());
    assert_eq!((wrong, excepted.len()), (0, 0), "frames that differ, exceptions for no frame: {excepted:?}");
    // The comparison proves something only if enough frames have these fields.
    assert!(seen.addresses > 10_000 && seen.ports > 7_000 && seen.tagged > 1_000 && seen.inner > 1_000);
    assert!(seen.fragments > 200 && seen.indexes > 200 && seen.labels > 500, "{seen:?}");
}

/// The bundled captures, and those in `LBFOEXT_CAPTURES` if it is set.
fn all_frames() -> Vec<Frame> {
    let others = env::var("LBFOEXT_CAPTURES").ok().map(|folder| ("tcpdump", PathBuf::from(folder)));
    let collections = bundled().into_iter().chain(others);
    let mut frames: Vec<Frame> =
        collections.flat_map(|(name, folder)| Collection::read(name, &folder).frames).collect();
    assert!(frames.len() > 7_000);
    frames.extend(made::frames(0x4c42_464f, 500));
    frames
}

#[test]
fn every_truncation_of_every_frame_reads_the_same_or_says_that_it_ran_out() {
    for frame in all_frames() {
        invariants::hold_for_every_truncation(&frame.bytes[..frame.bytes.len().min(WINDOW_MAX)]);
    }
}

#[test]
fn every_bit_flip_of_a_sample_falls_back_as_stated() {
    for frame in all_frames().iter().step_by(31) {
        let mut bytes = frame.bytes[..frame.bytes.len().min(WINDOW_MAX)].to_vec();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            invariants::hold(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// Number of frames in which tshark found each field.
#[derive(Debug, Default)]
struct Seen {
    addresses: usize,
    ports: usize,
    tagged: usize,
    fragments: usize,
    indexes: usize,
    labels: usize,
    inner: usize,
}

impl Seen {
    fn count(&mut self, [outer, innermost]: [&Facts; 2]) {
        self.addresses += usize::from(outer.addresses.is_some());
        self.ports += usize::from(outer.ports.is_some());
        self.tagged += usize::from(outer.tags != 0);
        self.fragments += usize::from(outer.fragment || innermost.fragment);
        self.indexes += usize::from(outer.spi.is_some() || innermost.spi.is_some());
        self.labels += usize::from(outer.flow_label != 0);
        self.inner += usize::from(outer.addresses != innermost.addresses);
    }
}
