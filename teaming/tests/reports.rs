//! The text of a team's status: complete, and never wider than 80 columns.

use std::collections::BTreeMap;
use teaming::ids::MEMBERS;
use teaming::report::Report;
use teaming::status::team_names;

fn text(fields: &[(&str, u64)], name: &dyn Fn(u16) -> Option<String>) -> String {
    let mut numbers: BTreeMap<String, u64> = team_names().into_iter().map(|(name, _)| (name, 0)).collect();
    for (field, value) in fields {
        *numbers.get_mut(*field).expect("a field") = *value;
    }
    Report { switch: "External", number: &|field| numbers.get(field).copied(), name }.to_string()
}

#[test]
fn the_report_says_who_carries_what_and_why_not_and_what_happened_last() {
    let fields = [
        ("Status", 1),
        ("TeamingMode", 1),
        ("LoadBalancingAlgorithm", 4),
        ("Ports", 1_012),
        ("MovingFlows", 1),
        ("Uplink", 3),
        ("Flooded", 1),
        ("DroppedNoDestination", 1),
        ("Member1State", 2),
        ("Member1FailureReason", 2),
        ("Member1SpeedMbps", 10_000),
        ("Member1MovedIn", 2_048),
        ("Member1MovedOut", 2_048),
        ("Member1Frames", 3),
        ("Member1Bytes", 4_500),
        ("Member1GuidHigh", 0x0707_0707_0707_0707),
        ("Member1GuidLow", 0x0707_0707_0707_0707),
        ("Member3State", 4),
        ("Member3SpeedMbps", 25_000),
        ("Member3Weight", 5_000),
        ("Member3WeightIsSet", 1),
        ("Member3SharePermille", 1_000),
        ("Member3MovedIn", 4_096),
        ("Member3Frames", 1),
        ("Member3Bytes", 60),
        ("Member3Queues", 2),
        ("Event1Id", 28),
        ("Event1AgeMs", 1_234),
        ("Event2Id", 26),
        ("Event2AgeMs", 1_234),
        ("Event3Id", 999),
        ("Event3AgeMs", 90_000_000),
    ];
    let name = |index| (index == 3).then(|| "Slot 3 Port 1".to_owned());
    let expected = "\
switch External: Degraded, SwitchIndependent HyperVPort, 1,012 ports
member  Mb/s  share          frames             bytes queues  state
     1  {07070707-0707-0707-0707-070707070707} PhysicalMediaDisconnected
        2,048 buckets of flows came to it, 2,048 left it
       10000    0.0%              3             4,500      0  Down
     3  Slot 3 Port 1
        weight 5,000 is set
        4,096 buckets of flows came to it, 0 left it
       25000  100.0%              1                60      2  Active
flows wait for a gap to change member
0 packets to one vNIC, 3 to a member, 1 to several
dropped 1 No connected adapter has the destination address.
last events, the newest first
      1.2 s ago: 28 TeamDegraded
      1.2 s ago: 26 MemberDown
       25 h ago: 999 unknown
";
    let text = text(&fields, &name);
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn a_number_that_was_not_told_is_not_made_up() {
    let text = Report { switch: "External", number: &|_| None, name: &|_| None }.to_string();
    let expected = "\
switch External: ?, ? ?, ? ports
member  Mb/s  share          frames             bytes queues  state
? packets to one vNIC, ? to a member, ? to several
";
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn no_line_is_wider_than_eighty_columns() {
    let names = team_names();
    let large = |name: &str| match name {
        "Status" => 1,
        "TeamingMode" => 1,
        "LoadBalancingAlgorithm" => 4,
        "Ports" => 1_024,
        "MovingFlows" => 1,
        _ if name.ends_with("Id") => 18,
        _ if name.ends_with("FailureReason") => 3,
        _ if name.ends_with("State") => 3,
        _ if name.ends_with("SpeedMbps") => 800_000,
        _ if name.ends_with("WeightIsSet") => 1,
        _ if name.ends_with("SharePermille") => 1_000,
        _ if name.ends_with("Queues") => 65_535,
        _ if name.ends_with("Bytes") => 9_999_999_999_999,
        _ if name.ends_with("Guid") => u64::MAX,
        _ if name.ends_with("AgeMs") => u64::MAX,
        _ => 9_999_999_999,
    };
    let fields: Vec<(&str, u64)> = names.iter().map(|(name, _)| (&**name, large(name))).collect();
    // As long as the driver and Windows make it.
    let text = text(&fields, &|_| Some("a long name of ".repeat(9).chars().take(64).collect()));
    assert!(text.lines().count() > 4 * MEMBERS, "every member has its lines: {}", text.lines().count());
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}
