//! Small captures, made frame by frame.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

pub type Mac = [u8; 6];

/// A file of this test, which is there in whole or not at all.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Tests of one binary that make the same file run side by side, and none reads a part of it.
    let part = path.with_extension(format!("{:?}", std::thread::current().id()));
    fs::write(&part, bytes).expect("written");
    fs::rename(&part, &path).expect("renamed");
    path
}

/// A capture of these frames, one a second.
pub fn pcap(link: u32, frames: &[&[u8]]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        [0xA1B2_C3D4, 0x0004_0002, 0, 0, 65_535, link].into_iter().flat_map(u32::to_le_bytes).collect();
    for (number, frame) in (0..).zip(frames) {
        let length = u32::try_from(frame.len()).expect("short");
        bytes.extend([number, 0, length, length].into_iter().flat_map(u32::to_le_bytes));
        bytes.extend(*frame);
    }
    bytes
}

/// The path of a capture of Ethernet frames, each at a time in microseconds, in any order.
pub fn pcap_at(name: &str, frames: &[(u64, Vec<u8>)]) -> String {
    let mut bytes = pcap(1, &[]);
    let mut frames: Vec<&(u64, Vec<u8>)> = frames.iter().collect();
    frames.sort_by_key(|(at, _)| *at);
    for (at, frame) in frames {
        let length = u32::try_from(frame.len()).expect("short");
        let [seconds, rest] =
            [at / 1_000_000, at % 1_000_000].map(|part| u32::try_from(part).expect("short"));
        bytes.extend([seconds, rest, length, length].into_iter().flat_map(u32::to_le_bytes));
        bytes.extend(frame);
    }
    file(name, &bytes).to_str().expect("text").to_owned()
}

/// The path of a capture of these Ethernet frames.
pub fn capture(name: &str, frames: &[Vec<u8>]) -> String {
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    file(name, &pcap(1, &frames)).to_str().expect("text").to_owned()
}

/// A UDP packet of 100 bytes or more.
#[derive(Clone, Copy)]
pub struct Udp {
    pub to: Mac,
    pub from: Mac,
    pub source: IpAddr,
    pub target: IpAddr,
    pub hops: u8,
    pub ports: [u16; 2],
    pub length: usize,
}

pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

impl Udp {
    pub fn new(from: Mac, source: &str, to: Mac, target: &str) -> Self {
        let (source, target) = (address(source), address(target));
        Self { to, from, source, target, hops: 64, ports: [40_000, 443], length: 100 }
    }

    pub fn hops(self, hops: u8) -> Self {
        Self { hops, ..self }
    }

    pub fn ports(self, from: u16, to: u16) -> Self {
        Self { ports: [from, to], ..self }
    }

    pub fn bytes(self) -> Vec<u8> {
        self.packet(17)
    }

    /// Of another protocol than UDP.
    pub fn packet(self, protocol: u8) -> Vec<u8> {
        let mut frame = [self.to, self.from].concat();
        match (self.source, self.target) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                frame.extend([8, 0, 0x45, 0, 0, 86, 0, 0, 0, 0, self.hops, protocol, 0, 0]);
                frame.extend(source.octets().into_iter().chain(target.octets()));
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                frame.extend([0x86, 0xDD, 0x60, 0, 0, 0, 0, 46, protocol, self.hops]);
                frame.extend(source.octets().into_iter().chain(target.octets()));
            }
            _ => panic!("one family"),
        }
        frame.extend(self.ports.into_iter().flat_map(u16::to_be_bytes));
        frame.resize(self.length, 0);
        frame
    }
}

/// An ARP request by which an adapter says that an address is its own.
pub fn arp(from: Mac, source: &str) -> Vec<u8> {
    let IpAddr::V4(source) = address(source) else { panic!("IPv4") };
    let mut frame = [[0xFF; 6], from].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(from.into_iter().chain(source.octets()).chain([0; 6]).chain([10, 9, 9, 9]));
    frame.resize(60, 0);
    frame
}

/// A message of ICMPv6 with this type to all nodes.
pub fn discovery(from: Mac, source: &str, kind: u8, target: Ipv6Addr) -> Vec<u8> {
    let mut frame = Udp::new(from, source, [0x33, 0x33, 0, 0, 0, 1], "ff02::1").hops(255).packet(58);
    frame[54..62].copy_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
    frame[62..78].copy_from_slice(&target.octets());
    frame
}

/// A UDP packet to this port with an inner frame after the header of a tunnel; both ends are in an Ethernet frame.
pub fn tunnel(port: u16, header: &[u8], inner_port: u16) -> Vec<u8> {
    let mut outer =
        Udp::new([2, 0, 0, 0, 0, 5], "10.0.0.5", [2, 0, 0, 0, 9, 9], "192.0.2.7").ports(50_000, port);
    outer.length = 42;
    let mut frame = outer.bytes();
    let mut inner = Udp::new([2, 1, 0, 0, 0, 1], "172.16.0.1", [2, 1, 0, 0, 0, 2], "172.16.0.2");
    inner.ports = [inner_port, 80];
    let whole = [header, &inner.bytes()].concat();
    let length = |bytes: usize| u16::try_from(bytes).expect("short").to_be_bytes();
    frame[16..18].copy_from_slice(&length(28 + whole.len()));
    frame[38..40].copy_from_slice(&length(8 + whole.len()));
    frame.extend(whole);
    frame
}

/// Headers of tunnels with an Ethernet frame inside.
pub const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0, 7, 0];
pub const GENEVE: [u8; 8] = [0, 0, 0x65, 0x58, 0, 0, 7, 0];
