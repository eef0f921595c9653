//! The frames that the driver itself makes, as tshark reads them.

use std::process;

use super::reader::{Frame, write_pcap};
use teaming::frame::queries::{GroupProtocol, QUERIER, general_query};
use teaming::frame::rarp;
use teaming::ids::MacAddr;

/// What is asked of each frame, and what a right one has; an empty column is a field that is not in it. Bad check sums have the
/// status 0, good ones 1.
const EXPECTED: [(&str, [&str; 3]); 14] = [
    ("_ws.malformed", ["", "", ""]),
    ("_ws.expert.severity", ["", "", ""]),
    ("eth.src", ["02:15:5d:00:00:07", "02:4c:42:46:4f:00", "02:4c:42:46:4f:00"]),
    ("eth.dst", ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01"]),
    ("arp.opcode", ["3", "", ""]),
    ("arp.src.hw_mac", ["02:15:5d:00:00:07", "", ""]),
    ("ip.checksum.status", ["", "1", ""]),
    ("ip.ttl", ["", "1", ""]),
    ("igmp.checksum.status", ["", "1", ""]),
    ("igmp.type", ["", "0x11", ""]),
    ("igmp.version", ["", "3", ""]),
    ("icmpv6.checksum.status", ["", "", "1"]),
    ("icmpv6.type", ["", "", "130"]),
    ("ipv6.src", ["", "", "fe80::4c:42ff:fe46:4f00"]),
];

#[test]
#[ignore = "needs tshark: bash .ci/run outside"]
fn every_frame_that_the_driver_makes_is_well_formed_for_tshark() {
    assert_eq!(QUERIER, MacAddr([0x02, 0x4c, 0x42, 0x46, 0x4f, 0x00]));
    let bytes = [
        rarp::announcement(MacAddr([0x02, 0x15, 0x5d, 0, 0, 7])).to_vec(),
        general_query(GroupProtocol::Igmp).bytes().to_vec(),
        general_query(GroupProtocol::Mld).bytes().to_vec(),
    ];
    let frames: Vec<_> =
        (1..).zip(bytes).map(|(number, bytes)| Frame { file: "own".to_owned(), number, bytes }).collect();
    let path = std::env::temp_dir().join(format!("lbfoext-own-{}.pcap", process::id()));
    write_pcap(&path, frames.iter());
    let mut command = process::Command::new("tshark");
    command.arg("-r").arg(&path).args(["-n", "-T", "fields", "-E", "separator=|", "-E", "occurrence=f"]);
    command.args(["-o", "ip.check_checksum:TRUE"]);
    for (field, _) in EXPECTED {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark is installed");
    std::fs::remove_file(&path).expect("it was written");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(rows.len(), frames.len(), "{text}");
    for (column, (field, values)) in EXPECTED.into_iter().enumerate() {
        let found: Vec<&str> = rows.iter().map(|row| row[column]).collect();
        assert_eq!(found, values, "{field}");
    }
}
