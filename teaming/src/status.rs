//! The team's and a port's state as numbers, as the feature status of the switch has it
//! (managing-custom-switch-feature-status-information.md, managing-custom-port-feature-status-information.md).
//!
//! Every field is a `uint64` of the MOF class, in the order of its WmiDataId: whole numbers of that type have one layout
//! whatever the alignment is. How strings and arrays are laid out no page says, so there are none: an adapter is told by its
//! GUID, in two halves, and there is a set of fields for each member that can be. `inf/lbfoext.mof` is checked against the
//! tables below.

use crate::Storage;
use crate::announce::Told;
use crate::event::journal::Journal;
use crate::forward::Forwarding;
use crate::forward::counters::Counters;
use crate::forward::drop_reason::DROP_REASONS;
use crate::ids::{BUCKETS, MEMBERS, MemberIndex, MemberSet, PortId, Ticks};
use crate::offload::OffloadResources;
use crate::oid::Resource;
use crate::settings::{Settings, TeamingMode};
use crate::team::Team;
use crate::team::member::{FailureReason, LinkSource, Member, MemberState, Role};

/// Version of both features, as NDIS_SWITCH_OBJECT_VERSION: 1.0.
pub const VERSION: u16 = 0x0100;

/// UUID of the class about the team, in braces.
pub const TEAM_FEATURE: &[u8; 38] = b"{1B0E4E0C-6A0B-4A0E-9C5E-2F5A7C3D9E11}";
/// UUID of the class about a port.
pub const PORT_FEATURE: &[u8; 38] = b"{1B0E4E0C-6A0B-4A0E-9C5E-2F5A7C3D9E12}";

/// A field of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    /// For people; names the words for its numbers.
    pub help: &'static str,
}

const fn field(name: &'static str, help: &'static str) -> Field {
    Field { name, help }
}

/// The first fields of the class about the team; those of drops and of members follow.
pub const TEAM: [Field; 18] = [
    field("Status", "0 Up, 1 Degraded, 2 Down"),
    field("FailureReason", "Of the first member that is not active; see Member1FailureReason"),
    field("TeamingMode", "0 Static, 1 SwitchIndependent"),
    field("LoadBalancingAlgorithm", "In force, by the numbers of the setting"),
    field("LinkStateSource", "Of the member of which least is known; see Member1LinkStateSource"),
    field("Members", "Members that the switch has created"),
    field("ActiveMembers", "Members that carry traffic"),
    field("Ports", "Ports that are known"),
    field("MovingFlows", "1 while flows wait for a gap to change member"),
    field("QueueFallbacks", "Partitions that lost their queue in a failover"),
    field("Delivered", "Packets to one vNIC"),
    field("Uplink", "Packets to one member"),
    field("Flooded", "Packets to several destinations"),
    field("Native", "Packets that the switch forwards itself"),
    field("Split", "Lists that were split or untagged"),
    field("Announced", "Times that the network was told where an address is"),
    field("AnnouncementsRefused", "Times that it could not be told and was told later"),
    field("GroupQueries", "Questions to machines that have moved for the groups that they listen to"),
];

/// The fields of each member; their names begin with `Member` and its index.
pub const MEMBER: [Field; 17] = [
    field(
        "State",
        "0 Absent, 1 Created, 2 Down, 3 Settling, 4 Active, 5 Standby, 6 OutOfService, 7 HandingOver",
    ),
    field(
        "FailureReason",
        "0 NoFailure, 1 AdministrativeDecision, 2 PhysicalMediaDisconnected, \
         3 WaitingForStableConnectivity, 4 LacpNegotiationIssue, 5 NicNotPresent",
    ),
    field("LinkStateSource", "0 None, 1 Interface, 2 Query, 3 Indication"),
    field("SpeedMbps", "Of its link; 0 if it is not known"),
    field("Weight", "Its share of the flows against those of others, in Mb/s"),
    field("WeightIsSet", "1 if the weight is a setting"),
    field("SharePermille", "Its part of all flows now"),
    field("MovedIn", "Buckets of flows, 4096 in all, that came to it"),
    field("MovedOut", "Buckets of flows, 4096 in all, that left it"),
    field("Role", "0 Active, 1 Standby"),
    field("Priority", "As it is set: the higher one is preferred"),
    field("Failures", "How often in a row its link failed soon after it came back"),
    field("Frames", "Frames sent through it"),
    field("Bytes", "Bytes sent through it"),
    field("Queues", "Queues that it holds"),
    field("GuidHigh", "First half of its adapter's InterfaceGuid; 0 if it is not known"),
    field("GuidLow", "Second half"),
];

/// Number of events that are told.
pub const EVENTS: usize = 8;

/// The fields of each of the last events; their names begin with `Event` and its place, 1 for the newest.
pub const EVENT: [Field; 2] = [
    field("Id", "As in EVENTS.md; 0 if there were no more"),
    field("AgeMs", "Milliseconds since it happened, without those that the host slept"),
];

/// The fields of the class about a port.
pub const PORT: [Field; 6] = [
    field(
        "Member",
        "Index of the member that carries its untagged traffic; 0 if the flow decides, or none is up",
    ),
    field("Frames", "Frames that its vNIC has sent"),
    field("Bytes", "Bytes that its vNIC has sent"),
    field("Queues", "Queues that its vNIC has"),
    field("QueueMembers", "Members that hold them: bit 0 is member 1"),
    field("Resources", "Queues, filters, functions and virtual ports that a migration takes along as pins"),
];

/// Fields of the class about the team.
pub const TEAM_FIELDS: usize =
    TEAM.len() + DROP_REASONS.len() + MEMBERS * MEMBER.len() + EVENTS * EVENT.len();

/// What the status of the team is made of.
pub struct TeamStatus<'a, S: Storage> {
    pub settings: &'a Settings,
    pub team: &'a Team<S>,
    pub forwarding: &'a Forwarding<S>,
    /// Of all processors.
    pub counters: &'a Counters,
    pub resources: &'a OffloadResources<S>,
    pub queue_fallbacks: u64,
    pub told: Told,
    pub events: &'a Journal<S>,
    pub now: Ticks,
}

impl<S: Storage> TeamStatus<'_, S> {
    /// The numbers in the order of the fields, `TEAM_FIELDS` of them. About 40,000 instructions.
    #[inline(never)] // a frame of its own
    pub fn write(&self, out: &mut impl FnMut(u64)) {
        let Self { settings, team, forwarding, counters, .. } = self;
        let members = || team.members().map(|(_, member)| member);
        let unable = members().find(|member| !member.is_able());
        let carriers = team.carriers().len();
        let status = match (carriers, unable) {
            (0, _) => 2,
            (_, Some(_)) => 1,
            (_, None) => u64::from(carriers < team.minimum_links()),
        };
        let source = members().map(|member| member.source).min().unwrap_or_default();
        let why = unable.map_or(FailureReason::NoFailure, failure_reason);
        out(status);
        out(reason(why));
        out(match settings.mode {
            TeamingMode::Static => 0,
            TeamingMode::SwitchIndependent => 1,
        });
        out(settings.policy.number().into());
        out(link_source(source));
        out(count(members()));
        out(carriers.into());
        out(u64::try_from(forwarding.ports.len()).unwrap_or(u64::MAX));
        out(u64::from(forwarding.moving()));
        out(self.queue_fallbacks);
        out(counters.delivered);
        out(counters.uplink);
        out(counters.flooded);
        out(counters.native);
        out(counters.split);
        out(self.told.announced);
        out(self.told.refused);
        out(self.told.asked);
        for reason in DROP_REASONS {
            out(counters.dropped(reason));
        }
        self.members(out);
        self.events(out);
    }

    #[inline(never)] // a frame of its own
    fn events(&self, out: &mut impl FnMut(u64)) {
        let mut newest = self.events.newest();
        for _ in 0..EVENTS {
            let (id, age) = match newest.next() {
                Some((at, event)) => (event.id(), self.now.since(at)),
                None => (0, Ticks::ZERO),
            };
            out(id.into());
            out(age.as_us() / 1_000);
        }
    }

    /// What a member that is up does: its number as a state.
    fn carrying(&self, index: MemberIndex) -> u64 {
        match (self.team.carriers().contains(index), self.team.live().contains(index)) {
            (true, _) => 4,
            (false, true) => 7,
            (false, false) if self.team.member(index).settings.out_of_service => 6,
            (false, false) => 5,
        }
    }

    #[inline(never)] // a frame of its own
    fn members(&self, out: &mut impl FnMut(u64)) {
        let shares = self.forwarding.table.counts();
        let mut queues = [0_u16; MEMBERS];
        for held in self.resources.entries() {
            let queue = held.member().filter(|_| held.resource == Resource::Queue && !held.is_gone());
            if let Some(count) = queue.and_then(|member| queues.get_mut(member.slot())) {
                *count = count.saturating_add(1);
            }
        }
        for slot in 0..MEMBERS {
            let Some(index) = MemberIndex::from_slot(slot) else { continue };
            let load = self.counters.members.get(slot).copied().unwrap_or_default();
            let share = shares.get(slot).copied().unwrap_or(0);
            let queues = queues.get(slot).copied().unwrap_or(0);
            let member = self.team.member(index);
            state_words(member, self.carrying(index), out);
            out(share_per_mille(share));
            let came = self.forwarding.table.came(index);
            out(came);
            out(came.wrapping_sub(share.into()));
            out(u64::from(member.settings.role == Role::Standby));
            out(member.settings.priority.into());
            out(member.failures.into());
            out(load.frames);
            out(load.bytes);
            out(queues.into());
            let [high, low] = guid_words(member);
            out(high);
            out(low);
        }
    }
}

/// Why it is not able to carry traffic.
fn failure_reason(member: &Member) -> FailureReason {
    match member.state.failure_reason() {
        FailureReason::NoFailure if member.settings.out_of_service => FailureReason::AdministrativeDecision,
        reason => reason,
    }
}

fn state_words(member: &Member, carrying: u64, out: &mut impl FnMut(u64)) {
    out(match member.state {
        MemberState::Absent => 0,
        MemberState::Created => 1,
        MemberState::Down { .. } => 2,
        MemberState::Settling { .. } => 3,
        MemberState::Active => carrying,
    });
    out(reason(failure_reason(member)));
    out(link_source(member.source));
    // The next adapter under the index may have another.
    let speed = member.speed.filter(|_| member.state.is_connected());
    out(speed.map_or(0, |speed| speed / 1_000_000));
    out(member.weight.into());
    out(u64::from(member.settings.weight.is_some()));
}

/// The halves of the GUID, as its text has them.
fn guid_words(member: &Member) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, low @ ..] = member.adapter.get();
    [u64::from_be_bytes([d, c, b, a, f, e, h, g]), u64::from_be_bytes(low)]
}

fn share_per_mille(buckets: u16) -> u64 {
    let per_mille = usize::from(buckets).saturating_mul(1_000).saturating_add(BUCKETS / 2) / BUCKETS;
    u64::try_from(per_mille).unwrap_or(0)
}

fn count<T>(all: impl Iterator<Item = T>) -> u64 {
    u64::try_from(all.count()).unwrap_or(u64::MAX)
}

const fn reason(reason: FailureReason) -> u64 {
    match reason {
        FailureReason::NoFailure => 0,
        FailureReason::AdministrativeDecision => 1,
        FailureReason::PhysicalMediaDisconnected => 2,
        FailureReason::WaitingForStableConnectivity => 3,
        FailureReason::LacpNegotiationIssue => 4,
        FailureReason::NicNotPresent => 5,
    }
}

const fn link_source(source: LinkSource) -> u64 {
    match source {
        LinkSource::None => 0,
        LinkSource::Interface => 1,
        LinkSource::Query => 2,
        LinkSource::Indication => 3,
    }
}

/// The numbers of a port in the order of the fields; `None` if it is not known.
#[inline(never)] // a frame of its own
pub fn port<S: Storage>(
    id: PortId,
    settings: &Settings,
    forwarding: &Forwarding<S>,
    resources: &OffloadResources<S>,
) -> Option<[u64; PORT.len()]> {
    let port = forwarding.ports.get(id)?;
    let one = settings.policy.keeps_an_address_on_one_member();
    let carrier = forwarding.member_of_vnic(port.id).filter(|_| one);
    let traffic = forwarding.ports.traffic(id);
    let (mut queues, mut members, mut held) = (0_u64, MemberSet::EMPTY, 0_u64);
    for entry in resources.entries().iter().filter(|entry| entry.source == port.id) {
        let Some(member) = entry.member().filter(|_| !entry.is_gone()) else { continue };
        held = held.saturating_add(1);
        if entry.resource == Resource::Queue {
            queues = queues.saturating_add(1);
            members = members.with(member);
        }
    }
    let carrier = carrier.map_or(0, |member| u64::from(member.get()));
    Some([carrier, traffic.frames, traffic.bytes, queues, members.bits().into(), held])
}

/// The names of the fields of the class about the team.
#[cfg(any(test, feature = "std"))]
pub fn team_names() -> std::vec::Vec<(std::string::String, &'static str)> {
    let team = TEAM.iter().map(|field| (field.name.into(), field.help));
    let drops = DROP_REASONS.iter().map(|reason| (std::format!("Dropped{reason:?}"), reason.sentence()));
    let members = (1..=MEMBERS).flat_map(|index| {
        MEMBER.iter().map(move |field| (std::format!("Member{index}{}", field.name), field.help))
    });
    let events = (1..=EVENTS).flat_map(|place| {
        EVENT.iter().map(move |field| (std::format!("Event{place}{}", field.name), field.help))
    });
    team.chain(drops).chain(members).chain(events).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AdapterId;

    #[test]
    fn there_is_a_name_for_every_number_and_no_name_twice() {
        let names = team_names();
        assert_eq!(names.len(), TEAM_FIELDS);
        let mut sorted: std::vec::Vec<_> = names.iter().map(|(name, _)| name).collect();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), TEAM_FIELDS);
        for (name, help) in names {
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
            assert!(!help.contains('"') && !help.contains("  "), "{help}");
        }
    }

    #[test]
    fn the_halves_of_a_guid_are_those_of_its_text() {
        let adapter = AdapterId::new([
            0x0F, 0x2C, 0x3C, 0x6E, 0x0B, 0x5A, 0x55, 0x4C, 0x9E, 0x0E, 0x7B, 0x1B, 0x8B, 0x1F, 0x5D, 0x21,
        ]);
        let [high, low] = guid_words(&Member { adapter, ..Member::ABSENT });
        let text = std::format!("{high:016X}{low:016X}");
        assert_eq!(text, std::format!("{adapter}").replace(['{', '}', '-'], ""));
    }
}
