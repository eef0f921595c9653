//! Every kind of event is tested with an action after which the ring has exactly the expected events.

mod day;
mod lists;
mod log;
mod members;
mod suite;
mod teams;
mod traced;

use super::members::{a_weight_has_the_wrong_type, a_weight_is_out_of_range, settings_are_of_no_member};
use super::module::look;
use super::private_oids::{a_private_oid_is_none, a_private_oid_is_queried, a_private_oid_is_set};
use lbfoext::ndis::raw::{FAILURE, NicSaveState, RESOURCES, oids, request_type};
use lbfoext::trace::Event;
use lists::{
    a_member_does_not_list_what_it_holds, a_member_never_lists_what_it_holds,
    a_queue_is_freed_that_nobody_has,
};
use members::{
    a_member_comes_back, a_member_dies, a_member_flaps, a_member_is_put_back,
    a_member_is_taken_out_of_service, a_setting_is_ignored_all_the_time, a_stand_in_rests,
    a_standby_member_stands_in, buckets_are_late, died, down, fewer_members_are_up_than_are_wanted,
};
use std::mem::offset_of;
use teaming::ids::{MemberIndex, MemberSet, NicId as CoreNic, NicIndex, PortId};
use teaming::migration::record::{Differences, Discard};
use teaming::offload::ProcessorConflict;
use teaming::ports::multicast::GROUPS_MOST;
use teaming::settings::SETTINGS;
use teaming::team::member::LinkSource;
use teams::too_many_addresses_of_one_part;
use traced::a_session_has_no_room;
use vswitch::adapter::capabilities::Capabilities;
use vswitch::adapter::offloads::{By, Holder, Resource};
use vswitch::adapter::wire::oid;
use vswitch::machine::registry::Value;
use vswitch::scenario::suite::{MS, POLL};
use vswitch::scenario::{Activation, Indication, Net, Scenario, unknown_request};
use vswitch::switch::control::below::Plan;
use vswitch::switch::control::envelope::Inner;
use vswitch::switch::control::offload::{free_queue, queue_parameters};
use vswitch::switch::control::properties::Damage;
use vswitch::switch::control::save::{Blob, Offering};
use vswitch::switch::control::{Ask, status::Status};
use vswitch::switch::ndis::State;
use vswitch::switch::ports::NicId;
use vswitch::switch::ports::policy::{Property, Vlan};

/// The events after an action, and the expected ones, in order.
pub struct Seen {
    net: Net,
    since: u64,
    events: Vec<Event>,
}

/// For every kind of event, the function that provokes it. A new kind without a line does not compile.
macro_rules! witnesses {
    ($($kind:ident: $($witness:ident),*;)*) => {
        fn kind(event: &Event) -> &'static str {
            match event {
                $(Event::$kind { .. } => stringify!($kind),)*
            }
        }

        const WITNESSES: &[(&str, &[fn() -> Seen])] = &[$((stringify!($kind), &[$($witness),*])),*];
    };
}

witnesses! {
    TeamChanged: a_member_dies;
    Settled: a_member_comes_back, buckets_are_late;
    SettingIgnored: a_setting_is_out_of_range, a_setting_has_the_wrong_type, a_setting_is_not_of_the_mode;
    SettingsRead: a_setting_changes;
    RequestNotForwarded: a_request_cannot_be_cloned;
    LinkUnknown: a_member_does_not_answer;
    LinkSource: a_member_indicates_its_link, nobody_tells_of_a_member;
    PropertyRefused: a_property_is_damaged, a_property_is_not_enforced, a_property_finds_no_memory;
    PortClosed: a_port_is_provisioned_with_what_is_not_enforced;
    NotSaved: a_save_finds_no_memory;
    RestoreDiscarded: a_record_is_damaged, a_restore_finds_no_memory;
    Restored: a_record_comes_back;
    OperationFailed: a_save_does_not_end_well_below, a_restore_does_not_end_well_below;
    RequestNotDirected: a_member_cannot_be_referenced;
    PartlyDone: one_of_two_members_has_no_queue_left;
    QueuesLost: a_member_dies_with_queues;
    ProcessorsConflict: two_members_share_a_processor, two_members_differ_in_processors;
    GroupsNotKept: a_guest_names_too_many_groups;
    AddressesNotShared: too_many_addresses_of_one_part;
    HolderUnknown: a_queue_is_freed_that_nobody_has;
    NotListed: a_member_does_not_list_what_it_holds;
    ListsGivenUp: a_member_never_lists_what_it_holds;
    PrivateOid: a_private_oid_is_set, a_private_oid_is_queried;
    PrivateOidIgnored: a_private_oid_is_none;
    MemberSettingIgnored: a_weight_is_out_of_range, a_weight_has_the_wrong_type;
    MemberSettingsUnused: settings_are_of_no_member;
    NotEnumerated: the_ports_cannot_be_read;
    PictureIncomplete: one_port_and_one_adapter_are_unreadable;
    MemberDown: a_member_dies;
    MemberUp: a_member_comes_back;
    TeamDegraded: a_member_dies;
    TeamDown: a_member_dies_with_queues;
    TeamWhole: a_member_comes_back;
    MemberFlapping: a_member_flaps;
    MemberCarries: a_standby_member_stands_in, a_member_is_put_back;
    MemberRests: a_stand_in_rests, a_member_is_taken_out_of_service;
    FewerThanMinimum: fewer_members_are_up_than_are_wanted;
    Suppressed: a_setting_is_ignored_all_the_time;
    NotTraced: a_session_has_no_room;
    // Kept in no ring: `survey.rs` has its tests.
    Surveyed: ;
}

fn events(net: &Net, since: u64) -> Vec<Event> {
    let read = |module: &lbfoext::module::Module| {
        let control = module.control.lock();
        control.events.iter().filter(|(at, _)| at.get() >= since).map(|(_, event)| event).collect()
    };
    look(net, read).unwrap_or_default()
}

fn team(members: &[u64]) -> Scenario {
    Scenario::new(1).members(members).vms(3).setting("LinkUpDelayMs", Value::Dword(0))
}

/// Runs `act` on a switch without pending work.
pub fn after(net: Net, act: impl FnOnce(&Net), events: impl FnOnce(&Net) -> Vec<Event>) -> Seen {
    net.advance(100 * MS);
    let since = net.now();
    let events = events(&net);
    act(&net);
    Seen { net, since, events }
}

/// The same, with the last call of the function `site` failing.
fn with_failure(site: &str, scenario: &Scenario, act: impl Fn(&Net), events: Vec<Event>) -> Seen {
    for n in 1..200 {
        let net = scenario.clone().start();
        net.advance(100 * MS);
        let since = net.now();
        net.world().fail_from_here(n);
        act(&net);
        let failed = net.world().injected_fault();
        net.world().fail_from_here(1 << 40);
        if failed == Some(site) {
            return Seen { net, since, events };
        }
    }
    panic!("{site} was never called");
}

pub fn member(index: u16) -> MemberIndex {
    MemberIndex::from_slot(usize::from(index) - 1).expect("a member")
}

fn only(index: u16) -> MemberSet {
    MemberSet::EMPTY.with(member(index))
}

fn core(nic: NicId) -> CoreNic {
    CoreNic::new(PortId::new(nic.port), NicIndex::new(nic.index))
}

/// Number of buckets that are assigned to a member.
fn buckets(net: &Net, index: u16) -> u32 {
    let count = look(net, |module| module.forwarding.read().table.counts()[member(index).slot()]);
    count.expect("it is attached").into()
}

// Settings.

/// The place of a setting in the table.
fn place_of(name: &str) -> u8 {
    SETTINGS.iter().position(|setting| setting.name == name).expect("a setting") as u8
}

/// Sets a value in the registry that is ignored when the settings are read.
fn ignored(name: &str, set: Value, value: Option<u64>, used: u64) -> Seen {
    let net = team(&[10, 10]).start();
    let setting = place_of(name);
    let events = vec![Event::SettingIgnored { setting, value, used }, Event::SettingsRead];
    after(net, |net| net.set(name, set), |_| events)
}

fn a_setting_is_out_of_range() -> Seen {
    ignored("MoveDeadlineMs", Value::Dword(600_001), Some(600_001), 30_000)
}

fn a_setting_has_the_wrong_type() -> Seen {
    ignored("LinkUpDelayMs", Value::Sz("7".to_owned()), None, 2_000)
}

fn a_setting_is_not_of_the_mode() -> Seen {
    // The algorithm in the scenario requires a static team.
    let net = team(&[10, 10]).start();
    let setting = place_of("LoadBalancingAlgorithm");
    let events = vec![Event::SettingIgnored { setting, value: Some(0), used: 4 }, Event::SettingsRead];
    after(net, |net| net.set("TeamingMode", Value::Dword(1)), |_| events)
}

fn a_setting_changes() -> Seen {
    let act = |net: &Net| net.set("SymmetricHash", Value::Dword(1));
    after(team(&[10, 10]).start(), act, |_| vec![Event::SettingsRead])
}

// Requests, and queries to members.

fn a_request_cannot_be_cloned() -> Seen {
    let oid = 0x00FF_0042;
    let act = |net: &Net| {
        net.ask(unknown_request(oid, request_type::QUERY_INFORMATION, vec![0; 16], 0));
    };
    with_failure(
        "NdisAllocateCloneOidRequest",
        &team(&[10, 10]),
        act,
        vec![Event::RequestNotForwarded { oid }],
    )
}

fn a_member_does_not_answer() -> Seen {
    let act = |net: &Net| net.status(Status::media(net.member(0), true));
    let event = Event::LinkUnknown { member: member(1), status: FAILURE };
    let scenario = team(&[10]).style(|style| style.pending = 0);
    with_failure("OID_SWITCH_NIC_REQUEST", &scenario, act, vec![event])
}

fn source(index: u16, source: LinkSource) -> Event {
    Event::LinkSource { member: member(index), source }
}

fn a_member_indicates_its_link() -> Seen {
    let act = |net: &Net| net.status(Status::media(net.member(1), true));
    after(team(&[10, 10]).start(), act, |_| vec![source(1, LinkSource::Indication)])
}

fn nobody_tells_of_a_member() -> Seen {
    let scenario = Scenario::new(1).members(&[10]).vms(3).indication(Indication::Nothing);
    // Its speed is known from then on.
    let none = MemberSet::EMPTY;
    let shares = Event::TeamChanged { went_down: none, came_up: none, forced: 0, waiting: 0, took_us: 1 };
    let events = |_: &Net| vec![source(1, LinkSource::Interface), shares];
    after(scenario.start(), |net| net.advance(POLL), events)
}

// Properties of ports.

fn refused(status: u32) -> Event {
    Event::PropertyRefused { oid: oids::SWITCH_PORT_PROPERTY_ADD, status: status.cast_signed() }
}

fn access() -> Property {
    Property::Vlan(Vlan::Access(7))
}

fn a_property_is_damaged() -> Seen {
    let act = |net: &Net| {
        net.damaged_property(net.vm(0).port, access(), Damage::CutBody);
    };
    after(team(&[10]).start(), act, |_| vec![refused(0xC000_000D)])
}

fn a_property_is_not_enforced() -> Seen {
    let act = |net: &Net| {
        net.add_property(net.vm(0).port, 1, Property::Isolation { mode: 2 });
    };
    after(team(&[10]).start(), act, |_| vec![refused(0xC000_021B)])
}

fn a_property_finds_no_memory() -> Seen {
    // Different sets of VLANs, until no more can be stored.
    let act = |net: &Net| {
        for id in 0..9 {
            let allowed = [100 + id].into();
            let trunk = Vlan::Trunk { native: 0, allowed, pruned: [].into() };
            net.add_property(net.vm(id).port, 1, Property::Vlan(trunk));
        }
    };
    let scenario = team(&[10]).vms(9).style(|style| style.awkward_memory = false);
    with_failure("ExAllocatePool2", &scenario, act, vec![refused(RESOURCES.cast_unsigned())])
}

fn not_activated() -> Scenario {
    // Without a team, so that no other event occurs when the ports become known.
    Scenario::new(1).members(&[]).vms(3).activation(Activation::Never)
}

fn a_port_is_provisioned_with_what_is_not_enforced() -> Seen {
    let net = not_activated().property(1, Property::Isolation { mode: 2 }).start();
    after(net, Net::activate, |net| vec![Event::PortClosed { port: net.vm(1).port }])
}

fn the_ports_cannot_be_read() -> Seen {
    let event = Event::NotEnumerated { status: RESOURCES };
    with_failure("OID_SWITCH_PORT_ARRAY", &not_activated(), Net::activate, vec![event])
}

fn one_port_and_one_adapter_are_unreadable() -> Seen {
    let net = not_activated().start();
    net.look(|state| state.style.odd.unreadable = 100);
    after(net, Net::activate, |net| {
        let announced = |state: &mut State| {
            let topology = &state.modules[0].topology;
            (topology.ports.len() + topology.nics().count()) as u32
        };
        let announced = net.look(announced).expect("the machine runs");
        let incomplete = Event::PictureIncomplete { announced, understood: announced - 2 };
        vec![incomplete, Event::NotEnumerated { status: FAILURE }]
    })
}

// Saves and restores.

fn saved() -> (Net, NicId, Vec<Blob>) {
    let net = team(&[10, 10]).start();
    let nic = net.vm(0);
    let blobs = net.save(nic, Offering::default()).expect("it is saved").blobs;
    (net, nic, blobs)
}

fn a_save_finds_no_memory() -> Seen {
    let act = |net: &Net| {
        net.save(net.vm(0), Offering::default());
    };
    let nic = CoreNic::new(PortId::new(10), NicIndex::DEFAULT);
    with_failure("ExAllocatePool2", &team(&[10, 10]), act, vec![Event::NotSaved { nic }])
}

fn a_restore_finds_no_memory() -> Seen {
    let (_, _, blobs) = saved();
    let act = |net: &Net| {
        net.restore_nic(net.vm(0), &blobs);
    };
    let nic = CoreNic::new(PortId::new(10), NicIndex::DEFAULT);
    let event = Event::RestoreDiscarded { nic, why: Discard::NoMemory };
    with_failure("ExAllocatePool2", &team(&[10, 10]), act, vec![event])
}

fn a_record_is_damaged() -> Seen {
    let (net, nic, blobs) = saved();
    let mut data = blobs[0].data().to_vec();
    *data.last_mut().expect("there is data") ^= 1;
    let damaged = [blobs[0].with_data(&data)];
    let event = Event::RestoreDiscarded { nic: core(nic), why: Discard::Damaged };
    after(net, move |net| _ = net.restore_spoilt(nic, &damaged, &blobs), |_| vec![event])
}

fn a_record_comes_back() -> Seen {
    let (net, nic, blobs) = saved();
    let event = Event::Restored { nic: core(nic), differences: Differences::NONE };
    after(net, move |net| _ = net.restore_nic(nic, &blobs), |_| vec![event])
}

/// The completion of a save or restore fails below the extension.
fn ends_badly(oid: u32) -> Seen {
    let net = team(&[10, 10]).start();
    let nic = net.vm(0);
    let mut payload = Blob::made([0; 16], &[]).0;
    payload[offset_of!(NicSaveState, port_id)..][..4].copy_from_slice(&nic.port.to_le_bytes());
    let plan = Plan { status: FAILURE, completion: None };
    let ask = Ask { plan, ..Ask::set(oid, payload, None) };
    let event = Event::OperationFailed { oid, nic: core(nic), status: FAILURE };
    after(net, |net| _ = net.ask(ask), |_| vec![event])
}

fn a_save_does_not_end_well_below() -> Seen {
    ends_badly(oids::SWITCH_NIC_SAVE_COMPLETE)
}

fn a_restore_does_not_end_well_below() -> Seen {
    ends_badly(oids::SWITCH_NIC_RESTORE_COMPLETE)
}

// Offloads.

fn a_member_cannot_be_referenced() -> Seen {
    let net = team(&[10, 10]).start();
    let nic = net.vm(0);
    let queue = net.offload(nic, |partition| partition.allocate_queue()).flatten().expect("there is one");
    let act = move |net: &Net| {
        net.look(|state| state.style.refuse_references = 100);
        net.offload(nic, |p| p.ask(&Inner::set(oid::FREE_QUEUE, free_queue(queue))).status);
        net.look(|state| state.style.refuse_references = 0);
    };
    after(net, act, |_| vec![Event::RequestNotDirected { oid: oid::FREE_QUEUE }])
}

fn one_of_two_members_has_no_queue_left() -> Seen {
    let net = team(&[10, 10])
        .setting("OffloadPlacement", Value::Dword(2))
        .abilities(|_| Capabilities { queues: 2, ..Capabilities::default() })
        .start();
    net.start_queue(net.vm(0));
    // The extension cannot know: a host beside this one has taken it.
    let holder = Holder { source: NicId::new(900, 0), by: By::Switch };
    net.look(|s| s.modules[0].external.adapters.get_mut(&1).map(|a| a.offloads.queues.allocate(holder, 1)));
    let act = |net: &Net| {
        net.offload(net.vm(1), |partition| partition.allocate_queue());
    };
    let allocation = Event::PartlyDone { oid: oid::ALLOCATE_QUEUE, failed: 1 };
    let other = Event::ProcessorsConflict { member: member(1), conflict: ProcessorConflict::NotIdentical };
    after(net, act, |_| vec![other, allocation])
}

fn a_member_dies_with_queues() -> Seen {
    let net = team(&[10]).start();
    for n in 0..3 {
        net.start_queue(net.vm(n)).expect("there is one");
    }
    let events = |net: &Net| {
        let lost = Event::QueuesLost { members: only(1), partitions: 3 };
        let told = [down(1, 0), Event::TeamDown { connected: 1 }];
        [source(1, LinkSource::Indication), lost, died(1, buckets(net, 1))].into_iter().chain(told).collect()
    };
    let seen = after(net, |net| net.fail(1), events);
    let counted = look(&seen.net, |module| module.control.lock().default_queue_fallbacks);
    assert_eq!(counted, Some(3), "and they are counted");
    seen
}

fn a_guest_names_too_many_groups() -> Seen {
    let net = team(&[10, 10]).start();
    let groups = |count: u8| (0..count).map(|n| [1, 0, 0x5E, 1, 1, n]).collect::<Vec<_>>();
    let (guest, most) = (net.vm(0), GROUPS_MOST);
    net.set_groups(guest, &groups(most));
    let told = move |_: &Net| (1..=2).map(|times| Event::GroupsNotKept { port: guest.port, times }).collect();
    let act = |net: &Net| {
        net.set_groups(guest, &groups(most + 1));
        // What is not known any more is told once, and known again with the next list that is short enough.
        net.join(guest, [1, 0, 0x5E, 2, 2, 2]);
        net.set_groups(guest, &groups(most));
        net.join(guest, [1, 0, 0x5E, 2, 2, 2]);
    };
    after(net, act, told)
}

/// Two queues for processor 0 on the members that a placement requires, and the status of the second.
fn conflict(placement: u32, second: u64, event: impl FnOnce(&Net, u16) -> Vec<Event>) -> Seen {
    let net = team(&[10, 10]).vms(20).setting("OffloadPlacement", Value::Dword(placement)).start();
    let on = |net: &Net, n: u16| {
        let queues = net.members_of(net.vm(n)).into_iter();
        queues.filter(|(_, r)| matches!(r, Resource::Queue(_))).map(|(member, _)| member).collect::<Vec<_>>()
    };
    // The member of each partition's queues is found by an allocation, which is then freed.
    net.start_queue(net.vm(0));
    let first = on(&net, 0);
    let other = (1..16).find(|n| {
        net.start_queue(net.vm(*n));
        let there = on(&net, *n);
        net.release(net.vm(*n));
        placement == 2 || there != first
    });
    let other = other.expect("not all go one way");
    let member = if placement == 2 { 1 } else { 3 - first[0] };
    let act = move |net: &Net| {
        let nic = net.vm(other);
        net.offload(nic, move |partition| {
            let mask = queue_parameters(1, nic.port, second);
            let answer = partition.ask(&Inner::method(oid::ALLOCATE_QUEUE, mask));
            let id = vswitch::adapter::wire::get32(answer.buffer(), vswitch::adapter::wire::queue::ID);
            partition.free_queue(id);
        });
    };
    after(net, act, |net| event(net, member))
}

fn two_members_share_a_processor() -> Seen {
    // The processor of the first queue has the number of its port.
    conflict(0, 1 << 10, |_, index| {
        vec![Event::ProcessorsConflict { member: member(index), conflict: ProcessorConflict::Overlap }]
    })
}

fn two_members_differ_in_processors() -> Seen {
    conflict(2, 1 << 3, |_, index| {
        vec![Event::ProcessorsConflict { member: member(index), conflict: ProcessorConflict::NotIdentical }]
    })
}

#[test]
fn every_kind_of_event_is_written_when_it_should_and_nothing_else_is() {
    for (name, witnesses) in WITNESSES {
        for (number, witness) in witnesses.iter().enumerate() {
            let Seen { net, since, events: expected } = witness();
            assert_eq!(events(&net, since), expected, "{name}, witness {number}");
            log::assert_logged(&net, since, &expected);
            traced::assert_traced(&net, since);
            assert!(expected.iter().any(|event| kind(event) == *name), "{name}, witness {number}");
            net.finish().assert_clean();
        }
    }
}

#[test]
fn an_event_more_than_the_ring_holds_takes_the_place_of_the_oldest() {
    let net = team(&[10, 10]).start();
    let since = net.now() + 1;
    for value in 0..300 {
        net.advance(1);
        net.set("HashSeed", Value::Dword(value));
    }
    let all = events(&net, 0);
    assert_eq!(all, vec![Event::SettingsRead; 256]);
    let times =
        look(&net, |module| module.control.lock().events.iter().map(|(at, _)| at.get()).collect::<Vec<_>>());
    let times = times.expect("it is attached");
    assert!(times.is_sorted() && times[0] == since + 44, "the oldest is of {}", times[0]);
    net.finish().assert_clean();
}
