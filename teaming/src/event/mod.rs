//! Everything that the driver tells: each event with its id, level, text and typed fields, and how it becomes text, an
//! entry of the System event log or a trace event. `catalog` has the words, `journal` decides what is written where and
//! when. Nothing here formats with `core::fmt`, allocates or can panic.

pub mod catalog;
pub mod journal;
pub mod limit;
pub mod log_entry;
pub mod queue;
pub mod survey;
pub mod team_watch;
pub mod text;
pub mod trace_logging;

use crate::event::catalog::{EventKind, KINDS};
use crate::event::survey::Record;
use crate::event::text::Text;
use crate::ids::{AdapterId, MemberIndex, MemberSet, NicId};
use crate::member_settings::MEMBER_SETTINGS;
use crate::migration::record::{Differences, Discard};
use crate::offload::ProcessorConflict;
use crate::private_oid::FIRST_BYTES;
use crate::settings::{SETTINGS, Setting, SettingKind};
use crate::team::member::{FailureReason, LinkSource};

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Members went down or came up. `forced`: buckets that moved at once; `waiting`: buckets that move after an idle
    /// gap; `took_us`: microseconds from when the change was taken up until every packet is spread by it.
    TeamChanged { went_down: MemberSet, came_up: MemberSet, forced: u32, waiting: u32, took_us: u32 },
    /// Waiting buckets moved: `idle` after an idle gap, `deadline_moves` because their deadline passed. It is so many
    /// milliseconds since the team last changed.
    Settled { idle: u32, deadline_moves: u32, after_ms: u64 },
    /// A value in the registry is invalid, and the default `used` applies. `setting` is an index of `SETTINGS`;
    /// `value` is `None` if the registry value has the wrong type.
    SettingIgnored { setting: u8, value: Option<u64>, used: u64 },
    /// The settings were read again.
    SettingsRead,
    /// A request could not be cloned for lack of memory. A port or NIC request that must not fail was applied
    /// nevertheless.
    RequestNotForwarded { oid: u32 },
    /// A member failed the query of its link state.
    LinkUnknown { member: MemberIndex, status: i32 },
    /// The source of a member's link state has changed to this one.
    LinkSource { member: MemberIndex, source: LinkSource },
    /// A port property was vetoed, because it is damaged or asks for something that the driver cannot enforce.
    PropertyRefused { oid: u32, status: i32 },
    /// A port has a property that the driver cannot enforce or read; all its traffic is dropped.
    PortClosed { port: u32 },
    /// The run-time state of a NIC could not be saved for lack of memory, or because the switch gives no more room for
    /// it; other extensions may have saved theirs.
    NotSaved { nic: NicId },
    /// The data to restore for a NIC could not be used and was ignored.
    RestoreDiscarded { nic: NicId, why: Discard },
    /// The run-time state of a NIC was restored. Its flows keep their member positions if nothing differs and those
    /// members are up.
    Restored { nic: NicId, differences: Differences },
    /// The completion of a save or restore failed below.
    OperationFailed { oid: u32, nic: NicId, status: i32 },
    /// A request that must not be refused was forwarded without being redirected to its member, for lack of memory or
    /// because the member is gone.
    RequestNotDirected { oid: u32 },
    /// A request to several members failed on `failed` of them.
    PartlyDone { oid: u32, failed: u32 },
    /// Members went down that held queues of `partitions` partitions. Default queues, or queues of other members,
    /// serve those now.
    QueuesLost { members: MemberSet, partitions: u32 },
    /// The processors of a member's queues conflict with those of other members.
    ProcessorsConflict { member: MemberIndex, conflict: ProcessorConflict },
    /// A port joined more multicast groups than the driver keeps, and gets every group from now on. `times` counts all
    /// ports.
    GroupsNotKept { port: u32, times: u64 },
    /// The host's table has no room for the addresses of so many ports of this switch: a guest cannot take them over on
    /// another switch until there is room and a port of this one changes.
    AddressesNotShared { ports: u32 },
    /// A request names a resource that is not in the table: `reporters` members list that id, and not for its partition
    /// alone. It was passed on as it came.
    HolderUnknown { oid: u32, reporters: u32 },
    /// A member could not be asked what it holds of before the attachment; it is asked again.
    NotListed { member: MemberIndex, status: i32 },
    /// A member has failed to list what it holds for most of a minute: requests are directed by what the others list. It is
    /// still asked.
    ListsGivenUp { member: MemberIndex },
    /// A vendor-private OID of the registry was sent to a member; the status is the adapter's. Of the answer to a query or
    /// method, the number of bytes, at most 256, and the first ones.
    PrivateOid { member: MemberIndex, oid: u32, status: i32, bytes: u32, first: [u8; FIRST_BYTES] },
    /// An entry of the registry for a member's adapter is ignored: its OID is not a vendor's, its kind is none, or its data
    /// is too long or of another type.
    PrivateOidIgnored { member: MemberIndex, entry: u8 },
    /// A value of the registry for a member's adapter is invalid, and the default `used` applies. `setting` is an index of
    /// `MEMBER_SETTINGS`; `value` is `None` if the registry value has the wrong type.
    MemberSettingIgnored { member: MemberIndex, setting: u8, value: Option<u64>, used: u64 },
    /// The registry has settings for an adapter that is no member; all zeros if the name of their key is no GUID.
    MemberSettingsUnused { adapter: AdapterId },
    /// The configuration of the switch, or the properties of a port, could not be read; the query is repeated.
    NotEnumerated { status: i32 },
    /// The switch announced more ports and NICs than the driver could read; the query is repeated.
    PictureIncomplete { announced: u32, understood: u32 },
    /// A member is not up any more; `up` members are left.
    MemberDown { member: MemberIndex, reason: FailureReason, up: u32 },
    /// A member is up, as `up` members are in all. It had not been for `out_ms` milliseconds, 0 if never before.
    MemberUp { member: MemberIndex, up: u32, out_ms: u64 },
    /// Of the connected members only `up` are up, fewer than before.
    TeamDegraded { up: u32, connected: u32 },
    /// No connected member is up.
    TeamDown { connected: u32 },
    /// All connected members are up, `out_ms` milliseconds after the first of the two events before.
    TeamWhole { connected: u32, out_ms: u64 },
    /// A member went down several times within `seconds`.
    MemberFlapping { member: MemberIndex, times: u32, seconds: u32 },
    /// So many events with this id were not written to the System event log, because they came too fast or could not be.
    Suppressed { id: u16, count: u32 },
    /// The same of trace sessions.
    NotTraced { id: u16, count: u32 },
    /// A member carries traffic that did not although it was up; `carriers` members do in all.
    MemberCarries { member: MemberIndex, reason: CarryReason, carriers: u32 },
    /// A member that is up carries nothing any more.
    MemberRests { member: MemberIndex, reason: RestReason, carriers: u32 },
    /// Fewer members carry traffic than are to.
    FewerThanMinimum { carriers: u32, minimum: u32 },
    /// What arrived from Windows, of a survey: for trace sessions alone, and kept nowhere.
    Surveyed { record: Record },
}

/// Why a member carries traffic again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarryReason {
    /// A standby member does, in place of another one or because `MinimumLinks` asks for it.
    StandsIn,
    /// It has its place again.
    TakesItsPlace,
}

impl CarryReason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::StandsIn => "StandsIn",
            Self::TakesItsPlace => "TakesItsPlace",
        }
    }
}

/// Why a member that is up carries nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestReason {
    Standby,
    OutOfService,
}

impl RestReason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standby => "Standby",
            Self::OutOfService => "OutOfService",
        }
    }
}

/// What a field of an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    U32(u32),
    U64(u64),
    Hex(u32),
    Status(i32),
    Members(MemberSet),
    Word(&'static str),
    /// A setting's value in the registry; `None` for one of another type.
    Given(Option<u64>),
    /// What a setting allows; empty if the value is allowed by itself.
    Allowed(Option<&'static Setting>),
    Different(Differences),
    Adapter(AdapterId),
    /// So many bytes were answered, beginning with these.
    Answer {
        bytes: u32,
        first: [u8; FIRST_BYTES],
    },
    Record(Record),
}

/// Most fields of an event.
pub const FIELDS_MOST: usize = 5;
/// Longest text of a field or a line in characters; longer ones are cut off. One length for both: the code that writes them
/// is in the image once.
pub const FIELD_LONGEST: usize = 80;

/// The values of an event, in the order of its kind's fields.
pub type Values = heapless::Vec<Value, FIELDS_MOST>;
/// The text of a field.
pub type FieldText = Text<FIELD_LONGEST>;

fn member(index: MemberIndex) -> Value {
    Value::U32(u32::from(index.get()))
}

fn port(nic: NicId) -> Value {
    Value::U32(nic.port.get())
}

fn index(nic: NicId) -> Value {
    Value::U32(u32::from(nic.index.get()))
}

const fn conflict(conflict: ProcessorConflict) -> Value {
    Value::Word(match conflict {
        ProcessorConflict::Overlap => "Overlap",
        ProcessorConflict::NotIdentical => "NotIdentical",
    })
}

impl Event {
    /// The id of its kind, which never changes.
    #[inline(never)] // called from several places, each of which would have its table
    pub const fn id(&self) -> u16 {
        match self {
            Self::TeamChanged { .. } => 1,
            Self::Settled { .. } => 2,
            Self::SettingIgnored { .. } => 3,
            Self::SettingsRead => 4,
            Self::RequestNotForwarded { .. } => 5,
            Self::LinkUnknown { .. } => 6,
            Self::LinkSource { .. } => 7,
            Self::PropertyRefused { .. } => 8,
            Self::PortClosed { .. } => 9,
            Self::NotSaved { .. } => 10,
            Self::RestoreDiscarded { .. } => 11,
            Self::Restored { .. } => 12,
            Self::OperationFailed { .. } => 13,
            Self::RequestNotDirected { .. } => 14,
            Self::PartlyDone { .. } => 15,
            Self::QueuesLost { .. } => 16,
            Self::ProcessorsConflict { .. } => 17,
            Self::GroupsNotKept { .. } => 18,
            Self::HolderUnknown { .. } => 19,
            Self::NotListed { .. } => 20,
            Self::ListsGivenUp { .. } => 21,
            Self::PrivateOid { .. } => 22,
            Self::PrivateOidIgnored { .. } => 23,
            Self::NotEnumerated { .. } => 24,
            Self::PictureIncomplete { .. } => 25,
            Self::MemberDown { .. } => 26,
            Self::MemberUp { .. } => 27,
            Self::TeamDegraded { .. } => 28,
            Self::TeamDown { .. } => 29,
            Self::TeamWhole { .. } => 30,
            Self::MemberFlapping { .. } => 31,
            Self::Suppressed { .. } => 32,
            Self::MemberSettingIgnored { .. } => 33,
            Self::MemberSettingsUnused { .. } => 34,
            Self::AddressesNotShared { .. } => 35,
            Self::NotTraced { .. } => 36,
            Self::Surveyed { .. } => 37,
            Self::MemberCarries { .. } => 38,
            Self::MemberRests { .. } => 39,
            Self::FewerThanMinimum { .. } => 40,
        }
    }

    /// The words of its kind. Every id has some, which a test holds.
    #[inline(never)] // likewise
    pub fn kind(&self) -> &'static EventKind {
        kind(self.id()).unwrap_or(&UNKNOWN)
    }

    /// What it says, in the order of its kind's fields.
    #[inline(never)] // called from several places
    pub fn values(&self) -> Values {
        let all: [Option<Value>; FIELDS_MOST] = match *self {
            Self::TeamChanged { went_down, came_up, forced, waiting, took_us } => [
                Some(Value::Members(went_down)),
                Some(Value::Members(came_up)),
                Some(Value::U32(forced)),
                Some(Value::U32(waiting)),
                Some(Value::U32(took_us)),
            ],
            Self::Settled { idle, deadline_moves, after_ms } => {
                three(Value::U32(idle), Value::U32(deadline_moves), Value::U64(after_ms))
            }
            Self::SettingIgnored { setting, value, used } => {
                let setting = SETTINGS.get(usize::from(setting));
                let out_of_range =
                    setting.filter(|setting| value.is_none_or(|value| !setting.accepts(value)));
                let name = Value::Word(setting.map_or("?", |setting| setting.name));
                four(name, Value::Given(value), Value::U64(used), Value::Allowed(out_of_range))
            }
            Self::SettingsRead => [None; FIELDS_MOST],
            Self::RequestNotForwarded { oid } | Self::RequestNotDirected { oid } => one(Value::Hex(oid)),
            Self::LinkUnknown { member: who, status } | Self::NotListed { member: who, status } => {
                two(member(who), Value::Status(status))
            }
            Self::LinkSource { member: who, source } => two(member(who), Value::Word(source.name())),
            Self::PropertyRefused { oid, status } => two(Value::Hex(oid), Value::Status(status)),
            Self::PortClosed { port } => one(Value::U32(port)),
            Self::NotSaved { nic } => two(port(nic), index(nic)),
            Self::RestoreDiscarded { nic, why } => three(port(nic), index(nic), Value::Word(why.sentence())),
            Self::Restored { nic, differences } => {
                three(port(nic), index(nic), Value::Different(differences))
            }
            Self::OperationFailed { oid, nic, status } => {
                four(Value::Hex(oid), port(nic), index(nic), Value::Status(status))
            }
            Self::PartlyDone { oid, failed } => two(Value::Hex(oid), Value::U32(failed)),
            Self::QueuesLost { members, partitions } => two(Value::Members(members), Value::U32(partitions)),
            Self::ProcessorsConflict { member: who, conflict: what } => two(member(who), conflict(what)),
            Self::GroupsNotKept { port, times } => two(Value::U32(port), Value::U64(times)),
            Self::HolderUnknown { oid, reporters } => two(Value::Hex(oid), Value::U32(reporters)),
            Self::ListsGivenUp { member: who } => one(member(who)),
            Self::PrivateOid { member: who, oid, status, bytes, first } => {
                four(member(who), Value::Hex(oid), Value::Status(status), Value::Answer { bytes, first })
            }
            Self::PrivateOidIgnored { member: who, entry } => two(member(who), Value::U32(entry.into())),
            Self::NotEnumerated { status } => one(Value::Status(status)),
            Self::PictureIncomplete { announced, understood } => {
                two(Value::U32(announced), Value::U32(understood))
            }
            Self::MemberDown { member: who, reason, up } => {
                three(member(who), Value::Word(reason.name()), Value::U32(up))
            }
            Self::MemberUp { member: who, up, out_ms } => {
                three(member(who), Value::U32(up), Value::U64(out_ms))
            }
            Self::TeamDegraded { up, connected } => two(Value::U32(up), Value::U32(connected)),
            Self::TeamDown { connected } => one(Value::U32(connected)),
            Self::TeamWhole { connected, out_ms } => two(Value::U32(connected), Value::U64(out_ms)),
            Self::MemberCarries { member: who, reason, carriers } => {
                three(member(who), Value::Word(reason.name()), Value::U32(carriers))
            }
            Self::MemberRests { member: who, reason, carriers } => {
                three(member(who), Value::Word(reason.name()), Value::U32(carriers))
            }
            Self::FewerThanMinimum { carriers, minimum } => two(Value::U32(carriers), Value::U32(minimum)),
            Self::MemberFlapping { member: who, times, seconds } => {
                three(member(who), Value::U32(times), Value::U32(seconds))
            }
            Self::MemberSettingIgnored { member: who, setting, value, used } => {
                let name = MEMBER_SETTINGS.get(usize::from(setting)).map_or("?", |setting| setting.name);
                four(member(who), Value::Word(name), Value::Given(value), Value::U64(used))
            }
            Self::AddressesNotShared { ports } => one(Value::U32(ports)),
            Self::MemberSettingsUnused { adapter } => one(Value::Adapter(adapter)),
            Self::Surveyed { record } => one(Value::Record(record)),
            Self::Suppressed { id, count } | Self::NotTraced { id, count } => {
                let name = kind(id).map_or("?", |kind| kind.name);
                three(Value::Word(name), Value::U32(id.into()), Value::U32(count))
            }
        };
        all.into_iter().flatten().collect()
    }

    /// One line of its text, with the values in it. Lines 0 to 2: what happened, why, what to do.
    pub fn line<const N: usize>(&self, line: usize, out: &mut Text<N>) {
        let kind = self.kind();
        let values = self.values();
        let template = kind.text.get(line).copied().unwrap_or_default();
        let parts = template.as_bytes().split(|byte| matches!(byte, b'{' | b'}'));
        for (number, part) in parts.enumerate() {
            if number & 1 == 0 {
                part.iter().for_each(|&byte| out.byte(byte));
            } else if let Some(at) = kind.fields.iter().position(|(name, _)| name.as_bytes() == part)
                && let Some(value) = values.get(at)
            {
                value.write(out);
            }
        }
    }
}

const fn one(a: Value) -> [Option<Value>; FIELDS_MOST] {
    [Some(a), None, None, None, None]
}

const fn two(a: Value, b: Value) -> [Option<Value>; FIELDS_MOST] {
    [Some(a), Some(b), None, None, None]
}

const fn three(a: Value, b: Value, c: Value) -> [Option<Value>; FIELDS_MOST] {
    [Some(a), Some(b), Some(c), None, None]
}

const fn four(a: Value, b: Value, c: Value, d: Value) -> [Option<Value>; FIELDS_MOST] {
    [Some(a), Some(b), Some(c), Some(d), None]
}

/// The kind with this id.
pub fn kind(id: u16) -> Option<&'static EventKind> {
    KINDS.get(usize::from(id).checked_sub(1)?)
}

/// Stands for a kind without a row, which no event has.
const UNKNOWN: EventKind = EventKind {
    id: 0,
    name: "?",
    level: catalog::Level::Error,
    keyword: catalog::Keyword::Events,
    in_system_log: false,
    text: [""; 3],
    fields: &[],
};

impl Value {
    /// As text for people.
    pub fn write<const N: usize>(&self, out: &mut Text<N>) {
        match *self {
            Self::U32(number) => out.number(number.into()),
            Self::U64(number) | Self::Given(Some(number)) => out.number(number),
            Self::Hex(number) => out.hex(number),
            Self::Status(status) => out.hex(status.cast_unsigned()),
            Self::Members(members) => write_members(members, out),
            Self::Word(word) => out.str(word),
            Self::Given(None) => out.str("of another type"),
            Self::Allowed(None) => out.str("it, but not with this TeamingMode"),
            Self::Allowed(Some(setting)) => write_allowed(setting, out),
            Self::Different(differences) => write_differences(differences, out),
            Self::Adapter(adapter) => write_guid(adapter, out),
            Self::Answer { bytes: 0, .. } => out.str("none"),
            Self::Answer { bytes, first } => write_answer(bytes, first, out),
            Self::Record(record) => record.write(out),
        }
    }
}

/// Ranges as in `1-4,7`, at most four of them; otherwise how many members there are.
fn write_members<const N: usize>(members: MemberSet, out: &mut Text<N>) {
    const RANGES_MOST: usize = 4;
    if members.is_empty() {
        return out.str("none");
    }
    let is_first = |number: u8| !members.has_number(number.saturating_sub(1));
    let firsts = || members.iter().map(MemberIndex::get).filter(|&number| is_first(number));
    if firsts().count() > RANGES_MOST {
        out.number(members.len().into());
        return out.str(" members");
    }
    for (position, first) in firsts().enumerate() {
        if position != 0 {
            out.byte(b',');
        }
        out.number(first.into());
        let last = (first..=32).take_while(|&number| members.has_number(number)).last().unwrap_or(first);
        if last != first {
            out.byte(b'-');
            out.number(last.into());
        }
    }
}

/// A range as `0 to 60000`, choices as `0, 1, 2`.
fn write_allowed<const N: usize>(setting: &Setting, out: &mut Text<N>) {
    match setting.kind {
        SettingKind::Number { min, max } => {
            out.number(min);
            out.str(" to ");
            out.number(max);
        }
        SettingKind::Choice(choices) => {
            for (position, &(choice, _)) in choices.iter().enumerate() {
                if position != 0 {
                    out.str(", ");
                }
                out.number(choice);
            }
        }
    }
}

/// A GUID without braces.
fn write_guid<const N: usize>(adapter: AdapterId, out: &mut Text<N>) {
    let digits = adapter.text().into_iter().filter(|byte| !matches!(byte, b'{' | b'}'));
    digits.for_each(|byte| out.byte(byte));
}

/// As `12 bytes, 0102030405060708`.
fn write_answer<const N: usize>(bytes: u32, first: [u8; FIRST_BYTES], out: &mut Text<N>) {
    out.number(bytes.into());
    out.str(if bytes == 1 { " byte, " } else { " bytes, " });
    let there = usize::try_from(bytes).unwrap_or(usize::MAX);
    first.into_iter().take(there).for_each(|byte| out.hex_byte(byte));
}

/// In one word each, so that all fit a field.
fn write_differences<const N: usize>(differences: Differences, out: &mut Text<N>) {
    if differences.is_empty() {
        return out.str("nothing");
    }
    let words = [
        (Differences::SEED, "seed"),
        (Differences::POLICY, "policy"),
        (Differences::MEMBERS, "members"),
        (Differences::MAP_VERSION, "version"),
        (Differences::HOME_MAP, "speeds"),
        (Differences::PORT, "port"),
        (Differences::SEAT, "seat"),
    ];
    let there = words.into_iter().filter(|(bit, _)| differences.contains(*bit));
    for (position, (_, word)) in there.enumerate() {
        if position != 0 {
            out.str(", ");
        }
        out.str(word);
    }
}
