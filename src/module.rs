//! The filter module: the state of one switch, its locks, and its memory at attach.

use crate::kernel::error_log::ErrorLog;
use crate::kernel::etw::Provider;
use crate::kernel::per_processor::PerProcessor;
use crate::kernel::pool::{OnceBox, Pool, PoolBox, PoolSlice, Tag};
use crate::kernel::processor;
use crate::kernel::random;
use crate::kernel::rundown::{WalkRundown, WorkRundown};
use crate::kernel::worker::Worker;
use crate::ndis::child_nbl::ListPool;
use crate::ndis::filter::Stack;
use crate::ndis::handle::Filter;
use crate::ndis::host::{HostHandle, HostTable};
use crate::ndis::irql::Passive;
use crate::ndis::lock::{RwLock, SpinGuard, SpinLock};
use crate::ndis::member_query::MemberQueries;
use crate::ndis::status::{NdisStatus, OutOfMemory};
use crate::ndis::switch::Switch;
use crate::ndis::timer::Timer;
use crate::text;
use crate::trace::{self, Events, Surveyor};
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32};
use teaming::announce::{Announcer, CLASSES, Found, ORDERED, Owed};
use teaming::backoff::Backoff;
use teaming::enumeration::{Changes, Enumeration};
use teaming::event::team_watch::{Downs, TeamWatch};
use teaming::flow::adapter_hash::HashConfidence;
use teaming::flow::digest::Secret;
use teaming::forward::Forwarding;
use teaming::forward::counters::Counters;
use teaming::forward::credits::{CREDIT_SLOTS, CreditSlot, QUOTAS};
use teaming::forward::storage::ForwardingStorage;
use teaming::forward::watch::WATCHED;
use teaming::ids::{BUCKETS, MEMBERS, MemberSet, PortId, Ticks};
use teaming::migration::operations::{self, Operations};
use teaming::offload::capabilities::{CapabilityTable, MemberCapabilities};
use teaming::offload::{HeldResource, OffloadResources, ProcessorSets};
use teaming::ports::Port;
use teaming::ports::index::IndexSlot;
use teaming::ports::mac_learning::{LEARNED, Learned};
use teaming::ports::mates::MateSlot;
use teaming::ports::storage::{PortTableSizes, PortTableStorage};
use teaming::ports::traffic::{Chunk, Line};
use teaming::ports::vlan::VlanSet;
use teaming::private_oid::Digest;
use teaming::seats::Seating;
use teaming::settings::{Announcing, Settings};
use teaming::team::aside::Aside;
use teaming::team::buckets::{ARRIVALS, BucketActivity};
use teaming::team::heirs::{Heirs, LEGACIES};
use teaming::team::home::Building;
use teaming::team::member::Member;
use teaming::team::{Next, Team};

/// FriendlyName of the extension, as administrators see it.
pub const FRIENDLY_NAME: &[u16] = &text::utf16(b"LBFO Teaming Extension");

/// The GUID of the extension: `NetCfgInstanceId` in the INF, `ExtensionId` in saved data, `UniqueName` of the
/// registration.
pub const EXTENSION_ID: &[u16; 38] = &text::utf16(b"{6E3C2C0F-5A0B-4C55-9E0E-7B1B8B1F5D21}");

/// The state that all modules share, in the driver-object extension.
pub struct Driver {
    /// NdisFilterDriverHandle, set by the registration and used by the deregistration.
    pub handle: AtomicPtr<c_void>,
    /// The System event log, in which the driver object is the source.
    pub log: ErrorLog,
    /// The provider of trace events; given back when this is dropped.
    pub provider: Provider,
    /// Path of the service's registry key, which has the settings.
    pub registry_path: PoolSlice<u16>,
    /// What the modules share of each other's switches.
    pub host: HostTable,
}

/// One instance of the extension on one switch.
///
/// Lock order: `operations`, `control`, `forwarding`, `associations`, the parts of `Driver::host`; that of `survey` last. None is held across a call that can re-enter the
/// module; handlers of the switch may be called with any of them held.
pub struct Module {
    pub filter: Filter,
    pub switch: Switch,
    /// The tables that packet walks read: destinations, buckets, policy.
    pub forwarding: RwLock<PoolBox<Forwarding<Pool>>>,
    /// IPsec security associations by member. A packet with the handle of one goes to its member or is dropped.
    pub associations: RwLock<PoolBox<OffloadResources<Pool>>>,
    /// The state with which changes of the team are planned (team lock).
    pub control: SpinLock<PoolBox<Control>>,
    /// Saves and restores of run-time state. Before the team lock in the lock order; taken by requests from above, and
    /// by the enumeration for data that was restored earlier.
    pub operations: SpinLock<PoolBox<Operations<Pool>>>,
    /// Open while the module runs; also counts the allocated child NBLs.
    pub walks: WalkRundown,
    /// Open until detach; counts pending queries to members and pending requests from above.
    pub work: WorkRundown,
    pub lists: ListPool,
    /// Set when the first VLAN is written into an out-of-band tag, and never reset: from then on completions must
    /// restore tags.
    pub tags_written: AtomicBool,
    /// Something is to be told to the network, or was a moment ago.
    pub telling: AtomicBool,
    pub counters: PerProcessor<Counters>,
    /// Confidence in the hashes of adapters, by source port.
    trust: PoolSlice<HashConfidence>,
    pub timer: Timer,
    pub queries: MemberQueries,
    /// The module's own thread.
    pub worker: Worker,
    /// The System event log.
    pub log: ErrorLog,
    /// The driver's provider of trace events.
    pub provider: &'static Provider,
    /// What is recorded of what arrives.
    pub survey: Surveyor,
    pub texts: PoolBox<Texts>,
    /// RequestId of the request from above that is pending below, for its cancellation; null if there is none.
    pub forwarded_id: AtomicPtr<c_void>,
}

/// Strings that do not change while the module is attached, once they are known.
pub struct Texts {
    /// `\Registry\...\lbfoext`, the key above the settings.
    pub registry_path: PoolSlice<u16>,
    /// ExtensionGuid in reports of filtered packets.
    pub guid_name: PoolSlice<u16>,
    /// SwitchFriendlyName; set by the first restart.
    pub switch_title: OnceBox<PoolSlice<u16>>,
    /// Registry paths of its settings; set by the first restart.
    pub settings_paths: OnceBox<SettingsPaths>,
}

/// Full paths of the two keys with settings.
pub struct SettingsPaths {
    pub common: PoolSlice<u16>,
    pub own: PoolSlice<u16>,
}

const PARAMETERS: &[u16] = &text::utf16(br"\Parameters");
const SWITCHES: &[u16] = &text::utf16(br"\Switches\");

impl SettingsPaths {
    /// `switch_name` is UTF-16 in little-endian bytes.
    pub fn try_new(service: &[u16], switch_name: &[u8]) -> Result<Self, OutOfMemory> {
        let common = || service.iter().chain(PARAMETERS).copied();
        let name =
            switch_name.chunks_exact(2).filter_map(|unit| Some(u16::from_le_bytes(unit.try_into().ok()?)));
        let own = || common().chain(SWITCHES.iter().copied()).chain(name.clone());
        Ok(Self {
            common: PoolSlice::collect(Tag::SETTINGS, common())?,
            own: PoolSlice::collect(Tag::SETTINGS, own())?,
        })
    }
}

/// The control state, protected by the team lock.
pub struct Control {
    pub team: Team<Pool>,
    /// The next table of buckets, made beside the one that packets read.
    pub aside: PoolBox<Aside<Pool>>,
    pub settings: Settings,
    /// The port and NIC requests that arrive while an enumeration reads the arrays.
    pub changes: Changes,
    /// The parts of the switch's configuration that must still be read.
    pub enumeration: Enumeration,
    pub seating: Seating,
    pub events: Events,
    /// What was told of the team last.
    pub watch: PoolBox<TeamWatch<Pool>>,
    /// Offload resources by member, except security associations.
    pub resources: PoolBox<OffloadResources<Pool>>,
    /// Members of which it is not known what they hold, and that have not been asked since.
    pub unasked: MemberSet,
    /// Members that were connected before the attachment, and have been since.
    pub found: MemberSet,
    /// Members that were connected, and on which vendor-private OIDs have not been set since.
    pub private_due: MemberSet,
    /// The capabilities of the members.
    pub capabilities: CapabilityTable<Pool>,
    /// The processors of the members' queues.
    pub processors: PoolBox<ProcessorSets>,
    /// Number of partitions that lost their queue in a failover, added up over all failovers.
    pub default_queue_fallbacks: u64,
    /// How often a port had too many multicast groups to keep.
    pub group_fallbacks: u64,
    /// Ports whose addresses the host's table has no room for.
    pub unshared: usize,
    /// When the team last changed.
    pub changed: Ticks,
    /// The timer's last step was one over the buckets, not one of the home map.
    pub walked_last: bool,
    /// The times at which failed calls are repeated.
    pub retry: Backoff,
    /// What the physical network is to be told of moves.
    pub announcer: PoolBox<Announcer<Pool>>,
    /// The vendor-private OIDs that have been set on each member, `MEMBERS` long.
    pub private_set: PoolSlice<Option<Digest>>,
    /// Detach has begun; from then on the timer is not set.
    pub detaching: bool,
}

/// The guard of the team lock.
pub type TeamLock<'a> = SpinGuard<'a, PoolBox<Control>>;

/// Number of `HashConfidence` entries. Ports with equal numbers modulo this share one, which only delays the use of
/// adapter hashes.
const TRUST: usize = 256;
/// Entries of a new resource table, which grows when it is full.
const RESOURCES: usize = 64;
/// Number of ports in new tables, which grow when they are full.
const PORTS: usize = 16;
/// Work in one step of a home map: about 90,000 instructions.
const HOME_STEP: usize = 6_000;
/// Number of sets of VLANs in new tables.
const SETS: usize = 8;

impl Module {
    /// Allocates all memory that must be available later.
    #[inline(never)] // a frame of its own
    pub fn try_new(
        driver: &'static Driver,
        stack: &Stack<'_>,
        passive: &Passive,
    ) -> Result<PoolBox<Self>, NdisStatus> {
        let switch = Switch::of(stack.filter())?;
        // The largest parts first: their frames do not lie below that of `assemble`.
        Self::assemble(
            switch,
            new_forwarding(HostHandle::new(&driver.host), passive)?,
            new_control()?,
            driver,
            stack,
            passive,
        )
    }

    #[inline(never)] // as above
    fn assemble(
        switch: Switch,
        forwarding: PoolBox<Forwarding<Pool>>,
        control: PoolBox<Control>,
        driver: &'static Driver,
        stack: &Stack<'_>,
        passive: &Passive,
    ) -> Result<PoolBox<Self>, NdisStatus> {
        let module = Self {
            filter: stack.filter(),
            switch,
            forwarding: RwLock::try_new(stack.filter(), forwarding)?,
            associations: new_associations(stack.filter())?,
            control: SpinLock::new(control),
            operations: new_operations()?,
            walks: WalkRundown::try_new(passive)?,
            work: WorkRundown::try_new(passive)?,
            lists: ListPool::try_new(stack.filter())?,
            tags_written: AtomicBool::new(false),
            telling: AtomicBool::new(false),
            counters: PerProcessor::try_new(&Counters::ZERO)?,
            timer: Timer::try_new::<Self>(stack.filter())?,
            trust: PoolSlice::try_new(Tag::TABLE, TRUST, |_| HashConfidence::NONE)?,
            queries: MemberQueries::try_new()?,
            worker: Worker::try_new()?,
            log: driver.log.share(),
            provider: &driver.provider,
            survey: Surveyor::off(),
            texts: new_texts(&driver.registry_path, stack.guid_name())?,
            forwarded_id: AtomicPtr::new(core::ptr::null_mut()),
        };
        Ok(PoolBox::try_new(Tag::MODULE, module)?)
    }

    /// The confidence in adapter hashes of packets from a port.
    pub fn trust_in(&self, port: PortId) -> &HashConfidence {
        /// Never reached: the slice has an element for every remainder.
        static UNKNOWN: HashConfidence = HashConfidence::NONE;
        self.trust.get(port.get() as usize % TRUST).unwrap_or(&UNKNOWN)
    }

    /// Resets the confidence in adapter hashes, because settings changed.
    pub fn distrust_adapters(&self) {
        self.trust.iter().for_each(HashConfidence::reset);
    }
}

// Each part is made in its own function, so that no stack frame of the attach is larger than 1 KiB.

#[inline(never)]
fn new_forwarding(host: HostHandle, passive: &Passive) -> Result<PoolBox<Forwarding<Pool>>, NdisStatus> {
    forwarding_in(new_storage(host, passive))
}

/// Takes the result as it is: what unpacks it has a second copy.
#[inline(never)]
fn forwarding_in(
    storage: Result<ForwardingStorage<Pool>, NdisStatus>,
) -> Result<PoolBox<Forwarding<Pool>>, NdisStatus> {
    match storage {
        Ok(storage) => Ok(PoolBox::try_make(Tag::MODULE, || Forwarding::new(storage, &Settings::default()))?),
        Err(status) => Err(status),
    }
}

#[inline(never)]
fn new_storage(host: HostHandle, passive: &Passive) -> Result<ForwardingStorage<Pool>, NdisStatus> {
    let learned = || PoolSlice::try_new(Tag::TABLE, LEARNED, |_| Learned::EMPTY);
    let zeros = |count| PoolSlice::try_new(Tag::TABLE, count, |_| AtomicU32::new(0));
    Ok(ForwardingStorage {
        owners: PoolSlice::try_new(Tag::TABLE, BUCKETS, |_| 0)?,
        stamps: PoolSlice::try_new(Tag::TABLE, BUCKETS, |_| BucketActivity::EMPTY)?,
        arrivals: PoolSlice::try_new(Tag::TABLE, ARRIVALS, |_| 0)?,
        room: new_first_room()?,
        sets: new_sets(SETS)?,
        learned: learned()?,
        outside: learned()?,
        credits: PoolSlice::try_new(Tag::TABLE, CREDIT_SLOTS, |_| CreditSlot::EMPTY)?,
        quotas: zeros(QUOTAS)?,
        watch: zeros(WATCHED)?,
        secret: Secret::new(random::secret(passive)),
        host,
    })
}

#[inline(never)]
fn new_control() -> Result<PoolBox<Control>, NdisStatus> {
    let settings = Settings::default();
    control_in(new_team(&settings)?, new_aside()?, new_announcer(settings.announcing)?, settings)
}

#[inline(never)]
fn new_team(settings: &Settings) -> Result<Team<Pool>, NdisStatus> {
    let home = PoolSlice::try_new(Tag::TABLE, BUCKETS, |_| 0)?;
    let members = PoolSlice::try_new(Tag::TABLE, MEMBERS, |_| Member::ABSENT)?;
    Ok(Team::new(home, new_home()?, members, settings))
}

#[inline(never)]
fn new_aside() -> Result<PoolBox<Aside<Pool>>, NdisStatus> {
    let zeros = || PoolSlice::try_new(Tag::TABLE, BUCKETS, |_| 0);
    let heirs = Heirs::new(zeros()?, PoolSlice::try_new(Tag::TABLE, LEGACIES, |_| 0)?);
    let (owners, arrivals) = (zeros()?, PoolSlice::try_new(Tag::TABLE, ARRIVALS, |_| 0)?);
    Ok(PoolBox::try_make(Tag::TABLE, || Aside::new(owners, arrivals, heirs))?)
}

#[inline(never)]
fn control_in(
    team: Team<Pool>,
    aside: PoolBox<Aside<Pool>>,
    announcer: PoolBox<Announcer<Pool>>,
    settings: Settings,
) -> Result<PoolBox<Control>, NdisStatus> {
    let (events, resources) = (trace::try_new()?, new_offload_resources()?);
    let watch = new_watch()?;
    let (capabilities, processors) = (new_capabilities()?, new_processors()?);
    let private_set = new_private_set()?;
    Ok(PoolBox::try_make(Tag::MODULE, || Control {
        team,
        aside,
        settings,
        changes: Changes::NONE,
        enumeration: Enumeration::NEW,
        seating: Seating::NEW,
        events,
        watch,
        resources,
        unasked: MemberSet::EMPTY,
        found: MemberSet::EMPTY,
        private_due: MemberSet::EMPTY,
        capabilities: CapabilityTable::new(capabilities),
        processors,
        default_queue_fallbacks: 0,
        group_fallbacks: 0,
        unshared: 0,
        changed: Ticks::ZERO,
        walked_last: false,
        retry: Backoff::IDLE,
        announcer,
        private_set,
        detaching: false,
    })?)
}

#[inline(never)]
fn new_announcer(announcing: Announcing) -> Result<PoolBox<Announcer<Pool>>, NdisStatus> {
    let (members, owed) = (
        PoolSlice::try_new(Tag::TABLE, BUCKETS, |_| 0)?,
        PoolSlice::try_new(Tag::TABLE, BUCKETS, |_| Owed::NOTHING)?,
    );
    let (found, first) = (
        PoolSlice::try_new(Tag::TABLE, ORDERED, |_| Found::default())?,
        PoolSlice::try_new(Tag::TABLE, CLASSES, |_| 0)?,
    );
    Ok(PoolBox::try_make(Tag::TABLE, || Announcer::new(members, owed, found, first, announcing))?)
}

#[inline(never)]
fn new_watch() -> Result<PoolBox<TeamWatch<Pool>>, NdisStatus> {
    let downs = PoolSlice::try_new(Tag::TABLE, MEMBERS, |_| Downs::NONE)?;
    Ok(PoolBox::try_make(Tag::TABLE, || TeamWatch::new(downs))?)
}

#[inline(never)]
fn new_capabilities() -> Result<PoolSlice<MemberCapabilities>, NdisStatus> {
    Ok(PoolSlice::try_new(Tag::TABLE, MEMBERS, |_| MemberCapabilities::UNKNOWN)?)
}

#[inline(never)]
fn new_private_set() -> Result<PoolSlice<Option<Digest>>, NdisStatus> {
    Ok(PoolSlice::try_new(Tag::TABLE, MEMBERS, |_| None)?)
}

/// The home map that is made beside the one in use.
#[inline(never)]
fn new_home() -> Result<Next<Pool>, NdisStatus> {
    Ok(Next {
        home: PoolSlice::try_new(Tag::TABLE, BUCKETS, |_| 0)?,
        building: PoolSlice::try_new(Tag::TABLE, 1, |_| Building::DONE)?,
        step: HOME_STEP,
    })
}

#[inline(never)]
fn new_associations(filter: Filter) -> Result<RwLock<PoolBox<OffloadResources<Pool>>>, NdisStatus> {
    Ok(RwLock::try_new(filter, new_offload_resources()?)?)
}

#[inline(never)]
fn new_offload_resources() -> Result<PoolBox<OffloadResources<Pool>>, NdisStatus> {
    let entries = new_resources(RESOURCES)?;
    Ok(PoolBox::try_make(Tag::TABLE, || OffloadResources::new(entries))?)
}

#[inline(never)]
fn new_operations() -> Result<SpinLock<PoolBox<Operations<Pool>>>, NdisStatus> {
    let none = PoolSlice::try_new(Tag::STATE, 0, |_| operations::OperationSlot::EMPTY)?;
    Ok(SpinLock::new(PoolBox::try_new(Tag::STATE, Operations::new(none))?))
}

#[inline(never)]
fn new_texts(registry_path: &[u16], guid_name: &[u16]) -> Result<PoolBox<Texts>, NdisStatus> {
    let texts = Texts {
        registry_path: copy(registry_path)?,
        guid_name: copy(guid_name)?,
        switch_title: OnceBox::empty(Tag::SETTINGS),
        settings_paths: OnceBox::empty(Tag::SETTINGS),
    };
    Ok(PoolBox::try_new(Tag::SETTINGS, texts)?)
}

#[inline(never)]
fn new_processors() -> Result<PoolBox<ProcessorSets>, NdisStatus> {
    Ok(PoolBox::try_new(Tag::TABLE, ProcessorSets::NONE)?)
}

/// Memory for `count` resources. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn new_resources(count: usize) -> Result<PoolSlice<HeldResource>, OutOfMemory> {
    PoolSlice::try_new(Tag::TABLE, count, |_| HeldResource::EMPTY)
}

/// Memory for `count` ports, without counters, which are added in chunks (`new_counters`).
#[inline(never)]
pub fn new_room(count: usize) -> Result<PortTableStorage<Pool>, NdisStatus> {
    let sizes = PortTableSizes::of(count, processor::count());
    let slots = |count| PoolSlice::try_new(Tag::TABLE, count, |_| IndexSlot::EMPTY);
    Ok(PortTableStorage {
        ports: PoolSlice::try_new(Tag::TABLE, sizes.ports, |_| Port::EMPTY)?,
        index: slots(sizes.index)?,
        macs: slots(sizes.macs)?,
        groups: slots(sizes.groups)?,
        mates: PoolSlice::try_new(Tag::TABLE, sizes.mates, |_| MateSlot::EMPTY)?,
        traffic: PoolSlice::try_new(Tag::TABLE, sizes.chunks, |_| Chunk::NONE)?,
    })
}

/// Memory for the first ports, with their counters.
#[inline(never)]
fn new_first_room() -> Result<PortTableStorage<Pool>, NdisStatus> {
    let mut room = new_room(PORTS)?;
    room.add_counters(new_counters()?);
    Ok(room)
}

/// Counters of the next ports.
#[inline(never)]
pub fn new_counters() -> Result<Chunk<Pool>, NdisStatus> {
    let lines = PortTableSizes::of(0, processor::count()).lines;
    Ok(Chunk::new(PoolSlice::try_new(Tag::TABLE, lines, |_| Line::EMPTY)?))
}

/// Memory for `count` sets of VLANs.
#[inline(never)]
pub fn new_sets(count: usize) -> Result<PoolSlice<VlanSet>, NdisStatus> {
    Ok(PoolSlice::try_new(Tag::TABLE, count, |_| VlanSet::EMPTY)?)
}

/// A copy of text that is valid only during the call.
#[inline(never)] // a frame of its own
pub fn copy(text: &[u16]) -> Result<PoolSlice<u16>, NdisStatus> {
    Ok(PoolSlice::collect(Tag::SETTINGS, text.iter().copied())?)
}
