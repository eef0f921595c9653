//! The member of every bucket at the end of a replay, also of buckets without traffic: computed with the driver's own
//! code from the speeds of the members and the events.

use crate::observer::{Event, LinkChange};
use teaming::Heap;
use teaming::forward::Forwarding;
use teaming::ids::{BUCKETS, MEMBERS, MemberIndex, Ticks};
use teaming::settings::{Lookup, Settings};
use teaming::team::Team;
use teaming::team::member::{LinkState, Member, MemberEvent};

/// The member of each bucket; 0 where no member is up.
pub fn owners(speeds: &[u64], events: &[Event]) -> Vec<u16> {
    // Every delay is 0, so that moves take effect at once.
    let (settings, _) = Settings::read(|setting| match setting.name {
        "FlowletGapUs" | "LinkUpDelayMs" | "FlapHoldDownMs" => Lookup::Value(0),
        _ => Lookup::Missing,
    });
    let mut forwarding = Forwarding::on_heap(1, &settings);
    let mut team: Team<Heap> =
        Team::new(vec![0; BUCKETS], teaming::team::Next::at_once(), vec![Member::ABSENT; MEMBERS], &settings);
    let mut take = |member: u16, event| {
        let Some(member) = u8::try_from(member).ok().and_then(MemberIndex::new) else { return };
        let plan = team.on(member, event, Ticks::ZERO);
        forwarding.publish(&plan, team.home(), Ticks::ZERO);
    };
    let up = |&speed| MemberEvent::Link(LinkState::Up { bits_per_second: Some(speed) });
    for (member, speed) in (1..).zip(speeds) {
        take(member, MemberEvent::Connected);
        take(member, up(speed));
    }
    for event in events {
        let speed = usize::from(event.member).checked_sub(1).and_then(|slot| speeds.get(slot));
        let link = match (event.kind, speed) {
            (LinkChange::Up, Some(speed)) => up(speed),
            _ => MemberEvent::Link(LinkState::Down),
        };
        take(event.member, link);
    }
    forwarding.table.owners().map(u16::from).collect()
}
