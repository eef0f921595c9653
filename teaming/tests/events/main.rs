//! What the driver tells: words, ids, bounded texts, the pace of writing, and what is told of a team.

mod journal;
mod survey;
mod team;
mod trace;
mod words;

use teaming::event::survey::{ABOUTS, Record};
use teaming::event::{CarryReason, Event, RestReason};
use teaming::ids::{AdapterId, MemberIndex, MemberSet, NicId, NicIndex, PortId};
use teaming::member_settings::MEMBER_SETTINGS;
use teaming::migration::record::{Differences, Discard};
use teaming::offload::ProcessorConflict;
use teaming::settings::SETTINGS;
use teaming::team::member::{FailureReason, LinkSource};

fn member(number: u8) -> MemberIndex {
    MemberIndex::new(number).expect("a member")
}

fn set(members: impl IntoIterator<Item = u8>) -> MemberSet {
    members.into_iter().fold(MemberSet::EMPTY, |set, number| set.with(member(number)))
}

const NIC: NicId = NicId::new(PortId::new(u32::MAX), NicIndex::new(u16::MAX));
const DISCARDS: [Discard; 9] = [
    Discard::Foreign,
    Discard::Newer(u16::MAX),
    Discard::Truncated,
    Discard::TooLong,
    Discard::Damaged,
    Discard::Malformed,
    Discard::Mixed,
    Discard::Incomplete,
    Discard::NoMemory,
];

/// A hundred years.
const LONGEST_MS: u64 = 100 * 366 * 24 * 3_600_000;

/// Events of every kind, with values whose texts are as long as they can be, and the short ones beside them.
fn samples() -> Vec<Event> {
    let (oid, status, most) = (u32::MAX, i32::MIN, member(32));
    let sets = [
        MemberSet::EMPTY,
        MemberSet::ALL,
        set([31]),
        set((10..=31).step_by(2)),
        set([10, 11, 20, 21, 28, 29, 31, 32]),
    ];
    let mut all = vec![
        Event::Settled { idle: 4096, deadline_moves: 4096, after_ms: LONGEST_MS },
        Event::SettingsRead,
        Event::RequestNotForwarded { oid },
        Event::LinkUnknown { member: most, status },
        Event::PropertyRefused { oid, status },
        Event::PortClosed { port: u32::MAX },
        Event::NotSaved { nic: NIC },
        Event::Restored { nic: NIC, differences: Differences::NONE },
        Event::Restored { nic: NIC, differences: Differences::all() },
        Event::OperationFailed { oid, nic: NIC, status },
        Event::RequestNotDirected { oid },
        Event::PartlyDone { oid, failed: 32 },
        Event::ProcessorsConflict { member: most, conflict: ProcessorConflict::Overlap },
        Event::ProcessorsConflict { member: most, conflict: ProcessorConflict::NotIdentical },
        Event::GroupsNotKept { port: u32::MAX, times: u64::from(u32::MAX) },
        Event::HolderUnknown { oid, reporters: 32 },
        Event::NotListed { member: most, status },
        Event::ListsGivenUp { member: most },
        Event::PrivateOid { member: most, oid, status, bytes: 0, first: [0; 8] },
        Event::PrivateOid { member: most, oid, status, bytes: 256, first: [u8::MAX; 8] },
        Event::PrivateOidIgnored { member: most, entry: u8::MAX },
        Event::MemberSettingsUnused { adapter: AdapterId::new([0xAB; 16]) },
        Event::AddressesNotShared { ports: u32::MAX },
        Event::NotEnumerated { status },
        Event::PictureIncomplete { announced: u32::MAX, understood: u32::MAX },
        Event::MemberUp { member: most, up: 32, out_ms: LONGEST_MS },
        Event::TeamDegraded { up: 31, connected: 32 },
        Event::TeamDown { connected: 32 },
        Event::TeamWhole { connected: 32, out_ms: LONGEST_MS },
        Event::MemberFlapping { member: most, times: 3, seconds: 60 },
        Event::MemberCarries { member: most, reason: CarryReason::StandsIn, carriers: 32 },
        Event::MemberCarries { member: most, reason: CarryReason::TakesItsPlace, carriers: 32 },
        Event::MemberRests { member: most, reason: RestReason::Standby, carriers: 31 },
        Event::MemberRests { member: most, reason: RestReason::OutOfService, carriers: 31 },
        Event::FewerThanMinimum { carriers: 31, minimum: 32 },
    ];
    for members in sets {
        let (forced, waiting, took_us) = (4096, 4096, u32::MAX);
        all.push(Event::TeamChanged { went_down: members, came_up: members, forced, waiting, took_us });
        all.push(Event::QueuesLost { members, partitions: 65_535 });
    }
    for (setting, row) in SETTINGS.iter().enumerate() {
        let setting = setting as u8;
        for value in [None, Some(row.default), Some(u64::MAX)] {
            all.push(Event::SettingIgnored { setting, value, used: row.default });
        }
    }
    for setting in 0..MEMBER_SETTINGS.len() as u8 {
        for value in [None, Some(u64::MAX)] {
            all.push(Event::MemberSettingIgnored { member: most, setting, value, used: 0 });
        }
    }
    all.extend(DISCARDS.map(|why| Event::RestoreDiscarded { nic: NIC, why }));
    for source in [LinkSource::None, LinkSource::Interface, LinkSource::Query, LinkSource::Indication] {
        all.push(Event::LinkSource { member: most, source });
    }
    for reason in [
        FailureReason::NoFailure,
        FailureReason::AdministrativeDecision,
        FailureReason::PhysicalMediaDisconnected,
        FailureReason::WaitingForStableConnectivity,
        FailureReason::LacpNegotiationIssue,
        FailureReason::NicNotPresent,
    ] {
        all.push(Event::MemberDown { member: most, reason, up: 31 });
    }
    for &about in ABOUTS {
        for number in [0, 1, u32::MAX] {
            all.push(Event::Surveyed { record: Record { number: u16::MAX, about, numbers: [number; 5] } });
        }
    }
    let ids = 1..=teaming::event::catalog::KINDS.len() as u16;
    all.extend(ids.clone().map(|id| Event::Suppressed { id, count: u32::MAX }));
    all.extend(ids.map(|id| Event::NotTraced { id, count: u32::MAX }));
    all
}
