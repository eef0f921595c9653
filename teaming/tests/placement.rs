//! Which member gets a resource that nobody has yet.

mod resources;

use proptest::prelude::*;
use resources::{facts, ledger, member, nic, set};
use teaming::Heap;
use teaming::ids::{MEMBERS, MemberIndex, MemberSet, NicId};
use teaming::offload::{Facts, HeldResource, NO_PARTITION, OffloadPlacement, OffloadResources};
use teaming::oid::payload::{Command, PHYSICAL_FUNCTION};
use teaming::oid::{OidPlan, Refusal, Resource};

const ALLOCATE: Command = Command::AllocateQueue { group: 0, processors: 0 };

#[test]
fn each_placement_puts_a_queue_where_its_name_says() {
    let mut ledger = ledger(8);
    let plan = |ledger: &OffloadResources<Heap>, source, facts: &Facts| ledger.plan(source, &ALLOCATE, facts);
    use OffloadPlacement::{EveryMember, FollowFlows, SingleMember};
    assert_eq!(plan(&ledger, nic(5), &facts(&[1, 2, 3], 3, FollowFlows)), OidPlan::Redirect(member(3)));
    assert_eq!(plan(&ledger, nic(5), &facts(&[1, 2], 3, FollowFlows)), OidPlan::Redirect(member(1)));
    assert_eq!(plan(&ledger, nic(5), &facts(&[2, 3], 3, SingleMember)), OidPlan::Redirect(member(2)));
    assert_eq!(plan(&ledger, nic(5), &facts(&[1, 2], 1, EveryMember)), OidPlan::Originate(set(&[1, 2])));
    // The driver's own requests must name a partition, so a request from 0/0 goes to one member only.
    assert_eq!(plan(&ledger, NO_PARTITION, &facts(&[1, 2], 2, EveryMember)), OidPlan::Redirect(member(2)));
    ledger.record(nic(6), Resource::Queue, 1, member(3)).unwrap();
    assert_eq!(plan(&ledger, nic(5), &facts(&[2, 3], 2, SingleMember)), OidPlan::Redirect(member(3)));
    for placement in [FollowFlows, SingleMember, EveryMember] {
        assert_eq!(plan(&ledger, nic(5), &facts(&[], 1, placement)), OidPlan::Refuse(Refusal::NoMember));
        // A security association is never refused and never offloaded to two members.
        assert_eq!(ledger.plan(nic(5), &Command::AddSas, &facts(&[], 1, placement)), OidPlan::Pass);
        let one = ledger.plan(nic(5), &Command::AddSas, &facts(&[1, 2, 3], 1, placement));
        assert!(matches!(one, OidPlan::Redirect(_)), "{placement:?}");
    }
}

#[test]
fn a_function_and_its_filter_meet_on_a_member_that_has_functions() {
    let mut ledger = ledger(8);
    let mut facts = facts(&[1, 2, 3], 1, OffloadPlacement::FollowFlows);
    facts.able_vf = set(&[2, 3]);
    let filter = Command::SetFilter { queue: 0, vport: 0 };
    // Traffic arrives on member 1, which has no functions: the filter waits where one can be.
    assert_eq!(ledger.plan(nic(5), &filter, &facts), OidPlan::Redirect(member(2)));
    facts.flows = Some(member(3));
    assert_eq!(ledger.plan(nic(5), &filter, &facts), OidPlan::Redirect(member(3)));
    ledger.record(nic(5), Resource::Filter, 1, member(3)).unwrap();
    (facts.able, facts.flows) = (facts.able_vf, Some(member(2)));
    assert_eq!(ledger.plan(nic(5), &Command::AllocateVf, &facts), OidPlan::Redirect(member(3)));
    // Without a link nobody can use it, and elsewhere the filter could not follow.
    facts.live = set(&[1, 2]);
    assert_eq!(ledger.plan(nic(5), &Command::AllocateVf, &facts), OidPlan::Refuse(Refusal::NotNow));
    // Another partition is not bound to that member.
    assert_eq!(ledger.plan(nic(6), &Command::AllocateVf, &facts), OidPlan::Redirect(member(2)));
}

#[test]
fn a_want_of_members_is_said_to_last_only_if_they_are_known_to_lack_the_resource() {
    let ledger = ledger(8);
    for placement in
        [OffloadPlacement::FollowFlows, OffloadPlacement::SingleMember, OffloadPlacement::EveryMember]
    {
        let mut facts = facts(&[], 1, placement);
        assert_eq!(ledger.plan(nic(5), &ALLOCATE, &facts), OidPlan::Refuse(Refusal::NoMember));
        facts.connected = MemberSet::EMPTY;
        assert_eq!(ledger.plan(nic(5), &ALLOCATE, &facts), OidPlan::Refuse(Refusal::NotNow));
        // All cables are out: the adapters are there, and the queue is made.
        facts = Facts { live: MemberSet::EMPTY, ..self::facts(&[2], 1, placement) };
        assert!(!matches!(ledger.plan(nic(5), &ALLOCATE, &facts), OidPlan::Refuse(_)), "{placement:?}");
    }
}

#[test]
fn a_member_with_room_is_asked_before_one_that_is_full() {
    let mut ledger = ledger(8);
    let mut facts = facts(&[1, 2, 3], 1, OffloadPlacement::FollowFlows);
    facts.limits[0] = 2;
    for id in [1, 2] {
        assert_eq!(ledger.plan(nic(7), &ALLOCATE, &facts), OidPlan::Redirect(member(1)));
        ledger.record(nic(5), Resource::Queue, id, member(1)).unwrap();
    }
    assert_eq!(ledger.plan(nic(7), &ALLOCATE, &facts), OidPlan::Redirect(member(2)));
    assert_eq!(ledger.plan(nic(5), &ALLOCATE, &facts), OidPlan::Redirect(member(2)), "its home is full too");
    facts.limits = [0; MEMBERS];
    assert_eq!(ledger.plan(nic(7), &ALLOCATE, &facts), OidPlan::Redirect(member(1)), "the adapter refuses");
    ledger.went_away(member(1));
    facts.limits[0] = 1;
    assert_eq!(ledger.plan(nic(7), &ALLOCATE, &facts), OidPlan::Redirect(member(1)), "it is another adapter");
}

/// Whatever a member has besides a link, one without it is not better.
#[test]
fn a_filter_is_set_where_there_is_a_link_rather_than_where_functions_are() {
    use OffloadPlacement::{FollowFlows, SingleMember};
    let ledger = ledger(8);
    let filter = Command::SetFilter { queue: 0, vport: 0 };
    for placement in [FollowFlows, SingleMember] {
        let dead_has_functions =
            Facts { live: set(&[2]), able_vf: set(&[1]), ..facts(&[1, 2], 1, placement) };
        let plan = ledger.plan(nic(5), &filter, &dead_has_functions);
        assert_eq!(plan, OidPlan::Redirect(member(2)), "{placement:?}");
    }
}

#[test]
fn a_member_with_a_link_that_has_not_answered_is_asked_before_a_dead_one_that_has() {
    use OffloadPlacement::{EveryMember, FollowFlows, SingleMember};
    let mut ledger = ledger(8);
    for placement in [FollowFlows, SingleMember, EveryMember] {
        let mut facts = Facts { live: set(&[3, 4]), unanswered: set(&[3]), ..facts(&[1, 4], 1, placement) };
        let go_to = |ledger: &OffloadResources<Heap>, facts: &Facts, number| {
            let plan = ledger.plan(nic(5), &ALLOCATE, facts);
            let copies = OidPlan::Originate(set(&[number]));
            let one = OidPlan::Redirect(member(number));
            assert_eq!(plan, if placement == EveryMember { copies } else { one }, "{placement:?}");
        };
        go_to(&ledger, &facts, 4);
        facts.limits[3] = 0;
        go_to(&ledger, &facts, 3);
        facts.live = set(&[1]);
        go_to(&ledger, &facts, 1);
    }
    // Where everything is on one member, that it has not answered says nothing against it.
    ledger.record(nic(6), Resource::Queue, 1, member(3)).unwrap();
    let facts = Facts { unanswered: set(&[3]), ..facts(&[1], 1, SingleMember) };
    assert_eq!(ledger.plan(nic(5), &ALLOCATE, &facts), OidPlan::Redirect(member(3)));
}

/// What the switch asks for, and members that come and go.
#[derive(Debug, Clone)]
enum Change {
    Queue(u32),
    Filter(u32),
    Function(u32),
    Live(u32),
    WentAway(u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => (1..6_u32).prop_map(Change::Queue),
        2 => (1..6_u32).prop_map(Change::Filter),
        2 => (1..6_u32).prop_map(Change::Function),
        2 => (0..16_u32).prop_map(Change::Live),
        1 => (1..5_u8).prop_map(Change::WentAway),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Links, flows and adapters change at will: what is made of one partition, or in the placement on one member of
    /// all, is on one member.
    #[test]
    fn what_must_be_together_is_made_together(
        single in any::<bool>(),
        changes in prop::collection::vec((change(), 1..5_u8), 0..60),
    ) {
        let mut ledger = ledger(64);
        let placement =
            if single { OffloadPlacement::SingleMember } else { OffloadPlacement::FollowFlows };
        let mut live = set(&[1, 2, 3, 4]);
        for (id, (change, flows)) in (0..).zip(changes) {
            let (port, resource, command) = match change {
                Change::Queue(port) => (port, Resource::Queue, ALLOCATE),
                Change::Filter(port) => (port, Resource::Filter, Command::SetFilter { queue: 0, vport: 0 }),
                Change::Function(port) => (port, Resource::Vf, Command::AllocateVf),
                Change::Live(bits) => {
                    live = (1..5_u8).filter(|n| bits >> (n - 1) & 1 != 0).map(member).collect();
                    continue;
                }
                Change::WentAway(number) => {
                    ledger.went_away(member(number));
                    continue;
                }
            };
            let facts = Facts { live, ..facts(&[1, 2, 3, 4], flows, placement) };
            match ledger.plan(nic(port), &command, &facts) {
                OidPlan::Redirect(at) => ledger.record(nic(port), resource, id, at).unwrap(),
                OidPlan::Refuse(Refusal::NotNow) => prop_assert_eq!(resource, Resource::Vf),
                other => prop_assert!(false, "{:?}", other),
            }
            let there = ledger.entries().iter().filter(|entry| !entry.is_gone());
            let mut members: std::collections::BTreeMap<Option<NicId>, MemberSet> = Default::default();
            for entry in there {
                let key = (!single).then_some(entry.source);
                let of = members.entry(key).or_insert(MemberSet::EMPTY);
                *of = of.with(entry.member().unwrap());
            }
            prop_assert!(members.values().all(|of| of.len() == 1), "{:?}", members);
        }
    }
}

fn members() -> impl Strategy<Value = MemberSet> {
    (0..16_u32).prop_map(|bits| (1..5_u8).filter(|n| bits >> (n - 1) & 1 != 0).map(member).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A partition that nothing binds to a member gets what it asks for on one with room and a link, if there is one.
    #[test]
    fn nothing_is_placed_on_a_dead_member_while_one_with_a_link_has_room(
        (able, not_answered, able_vf, live) in (members(), members(), members(), members()),
        rooms in prop::array::uniform4(0..3_u32),
        flows in 1..5_u8,
        others in prop::collection::vec((1..5_u8, 0..2_usize), 0..6),
        placement in prop::sample::select(vec![
            OffloadPlacement::FollowFlows, OffloadPlacement::SingleMember, OffloadPlacement::EveryMember,
        ]),
        command in prop::sample::select(vec![
            ALLOCATE,
            Command::SetFilter { queue: 0, vport: 0 },
            Command::CreateVport { function: PHYSICAL_FUNCTION },
            Command::AllocateVf,
            Command::AddSas,
        ]),
    ) {
        let resource = match command {
            Command::AllocateQueue { .. } => Resource::Queue,
            Command::SetFilter { .. } => Resource::Filter,
            Command::CreateVport { .. } => Resource::Vport,
            Command::AllocateVf => Resource::Vf,
            _ => Resource::Sa,
        };
        let mut ledger = ledger(8);
        // Whatever anybody holds binds all, where everything is on one member.
        let others = if placement == OffloadPlacement::SingleMember { &[][..] } else { &others };
        for (id, &(number, kind)) in (0..).zip(others) {
            ledger.record(nic(9), [resource, Resource::Vport][kind], id, member(number)).unwrap();
        }
        let mut facts = facts(&[], flows, placement);
        (facts.able, facts.unanswered) = (able, not_answered.minus(able));
        (facts.able_vf, facts.live) = (able_vf, live);
        facts.limits[..4].copy_from_slice(&rooms);
        let taken = |m: &MemberIndex| {
            let mine = |e: &&HeldResource| e.resource == resource && e.member() == Some(*m);
            u32::try_from(ledger.entries().iter().filter(mine).count()).unwrap()
        };
        let has_room = |m: &MemberIndex| facts.limits[m.slot()] > taken(m);
        let chosen = match ledger.plan(nic(5), &command, &facts) {
            OidPlan::Redirect(at) => MemberSet::EMPTY.with(at),
            OidPlan::Originate(all) => all,
            _ => MemberSet::EMPTY,
        };
        let candidates = able.union(not_answered);
        let best: MemberSet = candidates.intersection(live).iter().filter(has_room).collect();
        prop_assert!(chosen.minus(candidates).is_empty());
        prop_assert!(best.is_empty() || !chosen.is_empty() && chosen.minus(best).is_empty(), "{:?}", chosen);
    }
}
