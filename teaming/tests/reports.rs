//! The text of a team's report: complete, and never wider than 80 columns.

use teaming::Heap;
use teaming::forward::counters::{Counters, Load};
use teaming::forward::drop_reason::DropReason;
use teaming::forward::{Forwarding, Verdict};
use teaming::ids::{AdapterId, BUCKETS, MEMBERS, MemberIndex, Ticks};
use teaming::report::Report;
use teaming::settings::Settings;
use teaming::team::Team;
use teaming::team::member::{LinkState, Member, MemberEvent};

fn member(number: u8) -> MemberIndex {
    MemberIndex::new(number).unwrap()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn report(events: &[(u8, MemberEvent)], counters: &Counters) -> Report {
    let settings = Settings::default();
    let mut team = Team::<Heap>::new(
        vec![0; BUCKETS],
        teaming::team::Next::at_once(),
        vec![Member::ABSENT; MEMBERS],
        &settings,
    );
    let mut forwarding = Forwarding::on_heap(4, &settings);
    team.identify(member(1), AdapterId::new([7; 16]), &utf16("Slot 3 Port 1"));
    team.identify(member(2), AdapterId::new([8; 16]), &[]);
    team.identify(member(3), AdapterId::UNKNOWN, &utf16("Slot 3 Port 3"));
    for &(number, event) in events {
        let plan = team.on(member(number), event, Ticks::ZERO);
        forwarding.publish(&plan, team.home(), Ticks::ZERO);
        forwarding.settle(team.home(), Ticks::from_ms(1000));
    }
    Report::new(&settings, &team, &forwarding, counters)
}

fn up(bits_per_second: u64) -> MemberEvent {
    MemberEvent::Link(LinkState::Up { bits_per_second: Some(bits_per_second) })
}

#[test]
fn the_report_says_who_carries_what_and_why_not() {
    let mut counters = Counters::ZERO;
    for _ in 0..3 {
        counters.count(Verdict::Uplink(member(1)), Load { frames: 1, bytes: 1500 });
    }
    counters.count(Verdict::Flood { uplink: Some(member(3)) }, Load { frames: 1, bytes: 60 });
    counters.count(Verdict::Drop(DropReason::NoDestination), Load { frames: 1, bytes: 60 });
    let events = [
        (1, MemberEvent::Connected),
        (1, up(10_000_000_000)),
        (2, MemberEvent::Connected),
        (2, up(10_000_000_000)),
        (3, MemberEvent::Connected),
        (3, up(25_000_000_000)),
        (4, MemberEvent::Created),
        (2, MemberEvent::Link(LinkState::Down)),
        (2, up(10_000_000_000)),
        (1, MemberEvent::Link(LinkState::Down)),
    ];
    let expected = "\
team SwitchIndependent HyperVPort, 0 stations
member state                          speed  share   home     frames     bytes
     1 PhysicalMediaDisconnected      10.0G   0.0%  22.2%          3      4.5k
       Slot 3 Port 1
       {07070707-0707-0707-0707-070707070707}
     2 WaitingForStableConnectivity   10.0G   0.0%  22.2%          0        0 
       {08080808-0808-0808-0808-080808080808}
     3 Active                         25.0G 100.0%  55.6%          1       60 
       Slot 3 Port 3
       adapter not known yet
     4 AdministrativeDecision             ?   0.0%   0.0%          0        0 
       adapter not known yet
delivered 0, uplink 3, flooded 1, native 0, split 0
dropped 1: No connected adapter has the destination address.
";
    let text = report(&events, &counters).to_string();
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn no_line_is_wider_than_eighty_columns() {
    let mut counters = Counters::ZERO;
    counters.members = [Load { frames: 9_999_999_999, bytes: u64::MAX }; MEMBERS];
    counters.dropped = [9_999_999_999; DropReason::COUNT];
    let events: Vec<(u8, MemberEvent)> = (1..=32)
        .flat_map(|number| [(number, MemberEvent::Connected), (number, up(400_000_000_000))])
        .collect();
    let mut report = report(&events, &counters);
    for line in &mut report.members {
        line.member.identify(AdapterId::new([9; 16]), &utf16(&"a long name ".repeat(9)));
    }
    let text = report.to_string();
    assert!(text.lines().count() > 100);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}
