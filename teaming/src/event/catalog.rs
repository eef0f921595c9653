//! What each kind of event is called and says: constants alone, so that the build script of the driver reads this file too
//! and makes the message table of the image from it.
//!
//! An id is never given to another event: tools, filters and notes of administrators name it. A new event takes the next
//! number; `tests/data/events.csv` keeps the ids and fields that have been given out.

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Traffic is lost until somebody acts.
    Error = 2,
    /// Something is worse than it should be.
    Warning = 3,
    /// A change that is worth a note.
    Information = 4,
    /// Steps of the driver, for whoever looks for a cause.
    Verbose = 5,
}

impl Level {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Information => "Information",
            Self::Verbose => "Verbose",
        }
    }

    /// The severity of a status that is written to the event log, in its two upper bits (defining-custom-error-types.md).
    pub const fn severity(self) -> u32 {
        match self {
            Self::Error => 3,
            Self::Warning => 2,
            Self::Information | Self::Verbose => 1,
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyword {
    /// The team as a whole, and its members' comings and goings.
    Team = 0x1,
    /// Where link states come from.
    Link = 0x2,
    Settings = 0x4,
    /// Ports and their policies, and the configuration of the switch.
    Ports = 0x8,
    /// Requests that were not carried out as they were made.
    Requests = 0x10,
    Offloads = 0x20,
    /// Run-time state of virtual machines: saved, restored.
    State = 0x40,
    /// The events themselves.
    Events = 0x80,
}

impl Keyword {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Team => "Team",
            Self::Link => "Link",
            Self::Settings => "Settings",
            Self::Ports => "Ports",
            Self::Requests => "Requests",
            Self::Offloads => "Offloads",
            Self::State => "State",
            Self::Events => "Events",
        }
    }
}

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    U32,
    U64,
    /// A number that is written in hexadecimal, as an OID is.
    Hex,
    /// An NTSTATUS.
    Status,
    /// Members, bit 0 for member 1.
    Members,
    Text,
}

impl FieldType {
    pub const fn name(self) -> &'static str {
        match self {
            Self::U32 => "UInt32",
            Self::U64 => "UInt64",
            Self::Hex => "HexInt32",
            Self::Status => "NTStatus",
            Self::Members => "MemberMask",
            Self::Text => "Utf8",
        }
    }
}

/// Name and type of a field.
pub type Field = (&'static str, FieldType);

/// One kind of event.
#[derive(Debug, Clone, Copy)]
pub struct EventKind {
    pub id: u16,
    pub name: &'static str,
    pub level: Level,
    pub keyword: Keyword,
    /// Also written to the System event log.
    pub in_system_log: bool,
    /// What happened, why, and what to do: a line each, in which `{Name}` stands for a field.
    pub text: [&'static str; 3],
    pub fields: &'static [Field],
}

impl EventKind {
    /// The status under which the System event log has this kind: the event's id below a severity, the bit of drivers that
    /// are not Microsoft's, and the facility of I/O (defining-custom-error-types.md).
    pub const fn error_code(&self) -> u32 {
        const CUSTOMER: u32 = 1 << 29;
        const FACILITY_IO: u32 = 4 << 16;
        self.level.severity() << 30 | CUSTOMER | FACILITY_IO | self.id as u32
    }
}

/// Whether it is written to the System event log, too; trace sessions get every kind.
const TRACE: bool = false;
const LOG: bool = true;

macro_rules! kinds {
    ($($id:literal $name:ident $level:ident $keyword:ident $log:ident
        $what:literal $why:literal $next:literal [$($field:ident: $type:ident),*];)*) => {
        /// Every kind, by its id minus one.
        pub const KINDS: &[EventKind] = &[$(EventKind {
            id: $id,
            name: stringify!($name),
            level: Level::$level,
            keyword: Keyword::$keyword,
            in_system_log: $log,
            text: [$what, $why, $next],
            fields: &[$((stringify!($field), FieldType::$type)),*],
        }),*];
    };
}

kinds! {
    1 TeamChanged Information Team TRACE
        "Members gone down: {WentDown}; come up: {CameUp}."
        "Of 4096 buckets {Forced} moved within {TookUs} us; {Waiting} wait for a gap."
        "Nothing to do: a lost member's flows are carried by the others."
        [WentDown: Members, CameUp: Members, Forced: U32, Waiting: U32, TookUs: U32];
    2 Settled Verbose Team TRACE
        "{Idle} buckets of flows moved in a gap, {Deadline} at the deadline without one."
        "They follow a change of the team or its settings {AfterMs} ms before."
        "If many move at the deadline, raise MoveDeadlineMs or lower FlowletGapUs."
        [Idle: U32, Deadline: U32, AfterMs: U64];
    3 SettingIgnored Warning Settings LOG
        "Setting {Setting} is {Value}; {Used} applies in its place."
        "Allowed: {Allowed}."
        "Correct the value below the registry key lbfoext\\Parameters."
        [Setting: Text, Value: Text, Used: U64, Allowed: Text];
    4 SettingsRead Information Settings TRACE
        "The settings were read from the registry and apply now."
        "The switch was started, or a value below lbfoext\\Parameters changed."
        "Nothing to do."
        [];
    5 RequestNotForwarded Warning Requests TRACE
        "Request {Oid} was not passed on."
        "There was no memory to copy it; a notification took effect nevertheless."
        "Free non-paged memory of the host if this goes on."
        [Oid: Hex];
    6 LinkUnknown Warning Link TRACE
        "Member {Member} did not tell its link state (status {Status})."
        "Its adapter failed the query; it is asked again, and used meanwhile."
        "If it goes on, update the adapter's driver."
        [Member: U32, Status: Status];
    7 LinkSource Information Link TRACE
        "The link state of member {Member} comes from: {Source}."
        "Indication: told at once. Query: asked. Interface: read every 500 ms."
        "Nothing to do; with Interface a failure is noticed half a second later."
        [Member: U32, Source: Text];
    8 PropertyRefused Warning Ports TRACE
        "A port property was refused (request {Oid}, status {Status})."
        "It is damaged, finds no memory, or asks for what is not enforced here."
        "Give the port another isolation mode or policy."
        [Oid: Hex, Status: Status];
    9 PortClosed Error Ports LOG
        "Port {Port} is closed: all its traffic is dropped."
        "It has a property that the extension cannot enforce or read."
        "Remove the property (isolation mode, policy) from the port's vNIC."
        [Port: U32];
    10 NotSaved Warning State TRACE
        "The run-time state of port {Port}, NIC {Nic} was not saved."
        "There was no memory, or no room for it in the request."
        "After the migration its flows may take another member once."
        [Port: U32, Nic: U32];
    11 RestoreDiscarded Warning State LOG
        "The saved state of port {Port}, NIC {Nic} was discarded."
        "{Reason}"
        "Its flows may take another member once; nothing else is lost."
        [Port: U32, Nic: U32, Reason: Text];
    12 Restored Information State TRACE
        "The run-time state of port {Port}, NIC {Nic} was restored."
        "Different on this host: {Different}."
        "For flows to keep their members make both teams and their settings equal."
        [Port: U32, Nic: U32, Different: Text];
    13 OperationFailed Warning State TRACE
        "The end of a save or restore failed for port {Port}, NIC {Nic}."
        "Another extension or the switch failed request {Oid} with {Status}."
        "Look for what that extension logged."
        [Oid: Hex, Port: U32, Nic: U32, Status: Status];
    14 RequestNotDirected Warning Offloads TRACE
        "Offload request {Oid} was passed on without a member."
        "There was no memory, or the member that holds the resource is gone."
        "Nothing to do if the member was removed; else free memory of the host."
        [Oid: Hex];
    15 PartlyDone Warning Offloads TRACE
        "Offload request {Oid} failed on {Failed} of its members."
        "An adapter has no queue, filter or function left."
        "Use adapters of one kind, or set OffloadPlacement to 1."
        [Oid: Hex, Failed: U32];
    16 QueuesLost Warning Offloads TRACE
        "Members {Members} went down with queues of {Partitions} partitions."
        "Their adapters lost the link; other members' default queues serve them."
        "Nothing to do: the switch is invited to plan its queues again."
        [Members: Members, Partitions: U32];
    17 ProcessorsConflict Warning Offloads LOG
        "The queue processors of member {Member} do not fit the others': {Conflict}."
        "Sum of queues needs disjoint processors, Min of queues the same ones."
        "Set them: Set-NetAdapterVmq -BaseProcessorNumber, -MaxProcessors."
        [Member: U32, Conflict: Text];
    18 GroupsNotKept Information Ports TRACE
        "Port {Port} joined too many multicast groups and now gets them all."
        "More groups than the table keeps; {Times} times on this switch so far."
        "Nothing to do; PruneMulticast does not help this port."
        [Port: U32, Times: U64];
    19 HolderUnknown Warning Offloads TRACE
        "Request {Oid} is about a resource that no member is known to hold."
        "It is older than the extension; {Reporters} members list its id."
        "Restart the virtual machine's network adapter if its traffic suffers."
        [Oid: Hex, Reporters: U32];
    20 NotListed Warning Offloads TRACE
        "Member {Member} did not list what it holds (status {Status})."
        "Its adapter failed the query; it is asked again."
        "If it goes on, update the adapter's driver."
        [Member: U32, Status: Status];
    21 ListsGivenUp Warning Offloads TRACE
        "Member {Member} has not listed what it holds for a minute."
        "Its adapter fails the query; what the others list counts meanwhile."
        "Update the adapter's driver."
        [Member: U32];
    22 PrivateOid Information Settings TRACE
        "Vendor-private OID {Oid} was sent to member {Member}: {Status}."
        "The registry names it for its adapter. Answer: {Answer}."
        "If the status is a failure, ask the adapter's vendor; it is not repeated."
        [Member: U32, Oid: Hex, Status: Status, Answer: Text];
    23 PrivateOidIgnored Warning Settings TRACE
        "Vendor-private OID number {Number} of member {Member} is ignored."
        "Its OID is below 0xFF000000, or its kind or its data is wrong."
        "Correct it below lbfoext\\Parameters\\PrivateOids."
        [Member: U32, Number: U32];
    24 NotEnumerated Warning Ports TRACE
        "The configuration of the switch could not be read (status {Status})."
        "The switch failed the query; it is repeated, at least once a minute."
        "If it goes on, free memory of the host, or disable and enable the extension."
        [Status: Status];
    25 PictureIncomplete Warning Ports TRACE
        "Of {Announced} ports and NICs {Understood} could be read."
        "The others were damaged or found no memory; the query is repeated."
        "If it goes on, disable and enable the extension on the switch."
        [Announced: U32, Understood: U32];
    26 MemberDown Warning Team LOG
        "Member {Member} of the team is down; members up: {Up}."
        "Reason: {Reason}."
        "Check the adapter, its cable and the port of the physical switch."
        [Member: U32, Reason: Text, Up: U32];
    27 MemberUp Information Team LOG
        "Member {Member} of the team is up; members up: {Up}."
        "It is connected and was up for LinkUpDelayMs; it was out for {OutMs} ms."
        "Nothing to do: flows that belong to it return in gaps of their traffic."
        [Member: U32, Up: U32, OutMs: U64];
    28 TeamDegraded Warning Team LOG
        "The team is degraded: {Up} of {Connected} members are up."
        "At least one member has no usable link."
        "Bring the others back before one more fails."
        [Up: U32, Connected: U32];
    29 TeamDown Error Team LOG
        "The team is down: none of its {Connected} members is up."
        "Every member lost its link; nothing passes between switch and network."
        "Check cables and physical switches; VMs of this host still reach each other."
        [Connected: U32];
    30 TeamWhole Information Team LOG
        "The team is whole again: all {Connected} members are up."
        "It was degraded for {OutMs} ms; what was down is back or was removed."
        "Nothing to do."
        [Connected: U32, OutMs: U64];
    31 MemberFlapping Warning Team LOG
        "Member {Member} is flapping: it went down {Times} times in {Seconds} s."
        "A bad cable, transceiver or port; LinkUpDelayMs is doubled each time."
        "Replace the cable, or set OutOfService for the adapter meanwhile."
        [Member: U32, Times: U32, Seconds: U32];
    32 Suppressed Warning Events LOG
        "{Count} more events {Event} ({Id}) are not in the event log."
        "They came faster than the limit, or the system had no memory for them."
        "The texts of event {Id} say what to do."
        [Event: Text, Id: U32, Count: U32];
    33 MemberSettingIgnored Warning Settings LOG
        "Setting {Setting} of member {Member} is {Value}; {Used} applies instead."
        "It is out of range or of another type."
        "Correct it below lbfoext\\Parameters\\Switches; the README has the range."
        [Member: U32, Setting: Text, Value: Text, Used: U64];
    34 MemberSettingsUnused Warning Settings LOG
        "There are settings for adapter {Adapter}."
        "No adapter with this GUID is a member of the team."
        "Correct or remove its key below lbfoext\\Parameters\\Switches."
        [Adapter: Text];
    35 AddressesNotShared Warning Ports LOG
        "The addresses of {Ports} ports are not known to other switches of the host."
        "Too many adapters of the host may be in teams of guests (AllowTeaming)."
        "Allow teaming for fewer adapters: Set-VMNetworkAdapter -AllowTeaming Off."
        [Ports: U32];
    36 NotTraced Warning Events TRACE
        "{Count} more events {Event} ({Id}) are not in this trace."
        "They came faster than the limit, or the system had no memory for them."
        "Larger buffers of the session help; the texts of event {Id} say what to do."
        [Event: Text, Id: U32, Count: U32];
    37 Surveyed Verbose Events TRACE
        "{Record}."
        "The setting Survey is on: what Windows passes to the extension is recorded."
        "Nothing to do: teamctl survey reads it; turn Survey off afterwards."
        [Record: Text];
    38 MemberCarries Information Team LOG
        "Member {Member} carries traffic now; members that do: {Carriers}."
        "Reason: {Reason}."
        "Nothing to do; where it stands in, bring the other member back."
        [Member: U32, Reason: Text, Carriers: U32];
    39 MemberRests Information Team LOG
        "Member {Member} carries no traffic any more; members that do: {Carriers}."
        "Reason: {Reason}."
        "Nothing to do; a member that is out of service can be worked on now."
        [Member: U32, Reason: Text, Carriers: U32];
    40 FewerThanMinimum Error Team LOG
        "{Carriers} members carry traffic; {Minimum} are to."
        "No other member is up that could, with a role of Standby or without."
        "Bring members back, or lower MinimumLinks."
        [Carriers: U32, Minimum: U32];
}
