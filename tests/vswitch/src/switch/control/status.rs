//! Status indications from physical adapters and the switch to the extension, and those that the extension originates.

use crate::check::rule;
use crate::machine::memory::{AllocationKind, MemoryState};
use crate::machine::world::{self, World};
use crate::mutation::Mutation;
use crate::shown::arguments;
use crate::switch::ndis::{State, call_with, edges, leave, with};
use crate::switch::ports::{NicId, NicState};
use lbfoext::ndis::raw::{
    Handle, MEDIA_CONNECT, MEDIA_DISCONNECT, ObjectHeader, SWITCH_NIC_STATUS, StatusIndication,
    SwitchNicStatusIndication, object_type,
};
use std::collections::BTreeMap;
use std::ffi::c_void;

const OUTER: usize = size_of::<StatusIndication>();
const ENVELOPE: usize = size_of::<SwitchNicStatusIndication>();

/// Indications in FilterStatus, and how often each was passed up.
#[derive(Default)]
pub struct Indications {
    under_way: BTreeMap<usize, Passed>,
    /// Status codes that the extension originated.
    pub originated: Vec<i32>,
    /// The last indicated capabilities of the team, by module and status code.
    pub advertised: BTreeMap<(usize, i32), Vec<u8>>,
    /// Partitions that got NDIS_STATUS_SWITCH_PORT_REMOVE_VF: module and NIC.
    pub removals: Vec<(usize, NicId)>,
    own: Vec<OwnIndication>,
    /// Whether the envelope in FilterStatus is damaged.
    pub damaged: bool,
    /// Number of references that were refused.
    pub refused: u64,
}

impl Indications {
    /// The indication in FilterStatus, if there is exactly one.
    pub fn one_under_way(&self) -> Option<*mut StatusIndication> {
        let mut all = self.under_way.keys();
        let one = all.next().copied().filter(|_| all.next().is_none())?;
        Some(one as *mut StatusIndication)
    }
}

/// An indication that a module of the extension originated.
struct OwnIndication {
    module: usize,
    code: i32,
    /// Order number at the start of the FilterStatus in which it was made; 0 outside one.
    began: u64,
    /// Its own order number.
    at: u64,
}

/// How often an indication was passed up, and the order number of the last time.
#[derive(Clone, Copy, Default)]
struct Passed {
    times: u32,
    at: u64,
}

impl Indications {
    /// Number of the extension's own indications with this status code.
    pub fn own_of(&self, code: i32) -> usize {
        self.own.iter().filter(|own| own.code == code).count()
    }

    /// The own indications of one module with this status code.
    fn own_by(&self, module: usize, code: i32) -> impl Iterator<Item = &OwnIndication> + Clone {
        self.own.iter().filter(move |own| (own.module, own.code) == (module, code))
    }
}

/// A status to be indicated.
pub struct Status {
    pub code: i32,
    pub buffer: Vec<u8>,
    /// The source NIC; `None` for a status that is not encapsulated.
    pub from: Option<NicId>,
}

impl Status {
    /// NDIS_STATUS_LINK_STATE of a NIC.
    pub fn link(from: NicId, up: bool, speed: u64) -> Self {
        let state = crate::switch::control::below::link_state(up, speed);
        Self {
            code: lbfoext::ndis::raw::LINK_STATE,
            buffer: crate::switch::control::payload::bytes_of(&state),
            from: Some(from),
        }
    }

    /// NDIS_STATUS_MEDIA_CONNECT or _DISCONNECT of a NIC.
    pub fn media(from: NicId, up: bool) -> Self {
        Self { code: if up { MEDIA_CONNECT } else { MEDIA_DISCONNECT }, buffer: Vec::new(), from: Some(from) }
    }
}

/// The damage of an envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// StatusBufferSize is too small for the envelope.
    Cut,
    /// There is no envelope.
    Missing,
    /// Its header has another type, revision 0, or a size that is too small.
    WrongType,
    NoRevision,
    ShortSize,
    /// It has no encapsulated indication.
    Empty,
    /// The size in the header of the encapsulated indication is too small.
    ShortInner,
}

impl Damage {
    pub const ALL: [Self; 7] = [
        Self::Cut,
        Self::Missing,
        Self::WrongType,
        Self::NoRevision,
        Self::ShortSize,
        Self::Empty,
        Self::ShortInner,
    ];

    fn apply(self, parts: &Parts) {
        // SAFETY: the parts of an encapsulated status are all there, and nobody else's.
        unsafe {
            let outer = &mut *(parts.outer as *mut StatusIndication);
            let envelope = outer.status_buffer.cast::<SwitchNicStatusIndication>();
            match self {
                Self::Cut => outer.status_buffer_size -= 1,
                Self::Missing => {
                    (outer.status_buffer, outer.status_buffer_size) = (std::ptr::null_mut(), 0);
                }
                Self::WrongType => (*envelope).header.object_type ^= 1,
                Self::NoRevision => (*envelope).header.revision = 0,
                Self::ShortSize => (*envelope).header.size = 8,
                Self::Empty => (*envelope).status_indication = std::ptr::null_mut(),
                Self::ShortInner => (*(*envelope).status_indication).header.size = 8,
            }
        }
    }
}

/// The memory of one indication: outer indication, envelope, encapsulated indication, buffer.
struct Parts {
    blocks: Vec<(usize, usize)>,
    outer: usize,
}

impl Parts {
    fn new(world: &World, status: &Status, filter_below: usize) -> Self {
        let mut blocks = Vec::new();
        let mut take = |bytes: &[u8]| {
            let memory = world.alloc(AllocationKind::Switch, bytes.len().max(1), 0, "status indication");
            // SAFETY: just allocated with this size.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len()) };
            blocks.push((memory as usize, bytes.len()));
            memory.cast::<c_void>()
        };
        let buffer = if status.buffer.is_empty() { std::ptr::null_mut() } else { take(&status.buffer) };
        let length = u32::try_from(status.buffer.len()).unwrap_or(0);
        let mut inner = indication(status.code, buffer, length);
        inner.source_handle = filter_below as Handle;
        let mut outer = inner;
        if let Some(from) = status.from {
            let inner = take(&crate::switch::control::payload::bytes_of(&inner));
            let mut envelope = SwitchNicStatusIndication::ZERO;
            // The page demands the first type; the second is that of the structure inside.
            let kinds = [object_type::DEFAULT, object_type::STATUS_INDICATION];
            let kind = kinds[usize::from(world.config().seed % 5 == 4)];
            envelope.header = ObjectHeader::new(kind, 1, 32);
            envelope.flags = 1 + world.random(u64::from(u32::MAX - 1)) as u32;
            envelope.source_port_id = from.port;
            envelope.source_nic_index = from.index;
            envelope.status_indication = inner.cast();
            let envelope = take(&crate::switch::control::payload::bytes_of(&envelope));
            outer = indication(SWITCH_NIC_STATUS, envelope, u32::try_from(ENVELOPE).unwrap_or(0));
            outer.source_handle = filter_below as Handle;
        }
        let outer = take(&crate::switch::control::payload::bytes_of(&outer)) as usize;
        Self { blocks, outer }
    }

    fn contents(&self) -> Vec<Vec<u8>> {
        self.blocks.iter().map(|(at, length)| crate::switch::control::bytes_at(*at, *length)).collect()
    }

    fn free(self, world: &World) {
        for (at, _) in self.blocks {
            world.free(AllocationKind::Switch, at as *const u8, 0);
        }
    }
}

fn indication(code: i32, buffer: *mut c_void, length: u32) -> StatusIndication {
    let mut value = StatusIndication::ZERO;
    value.header = ObjectHeader::new(object_type::STATUS_INDICATION, 1, 112);
    value.status_code = code;
    value.status_buffer = buffer;
    value.status_buffer_size = length;
    value
}

/// Whether a status comes from an adapter whose status the extension must not pass up: one that was created and is not
/// connected yet, or is disconnected (oid-switch-nic-create, oid-switch-nic-disconnect).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    No,
    Yes,
    /// The extension may see the change earlier or later.
    Perhaps,
}

fn away(s: &State, module: usize, status: &Status) -> Away {
    let topology = &s.modules[module].topology;
    let nic = status.from.filter(|from| from.index != 0).and_then(|from| topology.nic(from));
    match nic {
        Some(nic) if nic.state == NicState::Connected && !nic.disconnect_passed => Away::No,
        Some(nic) if nic.references == 0 && !topology.is_changing() => Away::Yes,
        Some(_) => Away::Perhaps,
        None => Away::No,
    }
}

/// Indicates a status to the module and checks how it handled it.
pub fn indicate(module: usize, status: &Status) {
    indicate_as(module, status, None);
}

/// As `indicate`, in a damaged envelope.
pub fn indicate_as(module: usize, status: &Status, damage: Option<Damage>) {
    let damage = damage.filter(|_| status.from.is_some());
    let world = world::current();
    let (handler, context, switch) = with(|_, s| {
        let handler = s.driver.characteristics.and_then(|c| c.status).filter(|_| s.enter(module));
        (handler, s.modules[module].context as Handle, s.modules[module].switch)
    });
    let Some(handler) = handler else { return };
    let parts = Parts::new(&world, status, switch);
    if let Some(damage) = damage {
        damage.apply(&parts);
    }
    let before = parts.contents();
    let outer = parts.outer;
    let refused = with(|_, s| {
        s.control.status.under_way.insert(outer, Passed::default());
        s.control.status.damaged = damage.is_some();
        s.control.status.refused
    });
    let level = edges::at_random_level();
    let (began_at, away_before) = with(|_, s| (s.tick(), away(s, module, status)));
    // SAFETY: the driver registered this handler; the indication lives for the call.
    let shown = outer as *mut StatusIndication;
    call_with("FilterStatus", module, arguments!(shown), || unsafe { handler(context, shown) });
    leave(module);
    level.restore();
    with(|world, s| {
        // A mutation passes it up only now.
        let late = world.mutation() == Some(Mutation::LateStatus);
        let capability = crate::check::status::is_capability(status.code);
        if late
            && !capability
            && s.control.status.under_way.get(&outer).is_some_and(|passed| passed.times == 0)
        {
            let filter = s.modules[module].filter as Handle;
            s.take_status(world, filter, outer as *mut StatusIndication);
        }
    });
    let code = status.code;
    let capability = status.from.is_some() && crate::check::status::is_capability(code);
    let from_team = status.from.is_some_and(|from| from.index == 0);
    let (seen, replaced, by_others, twice, nobody) = with(|_, s| {
        let passed = s.control.status.under_way.remove(&outer).unwrap_or_default();
        let seen = passed.times;
        let mut own = s.control.status.own_by(module, code).filter(|own| own.began >= began_at);
        let replaced = own.clone().next().is_some();
        // Another thread, which took over what this one found to be due.
        let by_others = s.control.status.own_by(module, code).any(|own| own.at >= began_at);
        // Members' answers to a query after an indication of the team are newer than that indication.
        let twice = seen > 0 && own.any(|own| !from_team || own.at < passed.at);
        let topology = &s.modules[module].topology;
        let alone = !topology.members().any(|nic| nic.usable && !nic.known_down) || topology.is_changing();
        // The capabilities of a member that is down do not count for the team.
        let dead = status.from.and_then(|from| topology.nic(from)).is_some_and(|nic| nic.known_down);
        (seen, replaced, by_others, twice, alone || dead || s.control.status.refused != refused)
    });
    let away = [away_before, with(|_, s| away(s, module, status))];
    if damage.is_none() && away == [Away::Yes; 2] {
        rule(&world, "STATUS-09", seen == 0, || {
            format!("status {code:#x} of {:?}, which is not connected, was passed up", status.from)
        });
    }
    let connected = damage.is_some() || away == [Away::No; 2];
    // A capability indication of a member may be replaced by one of the team; without members up, none is needed.
    let told = seen > 0 || !connected || damage.is_none() && capability && (by_others || nobody);
    let id = if damage.is_some() { "STATUS-17" } else { "STATUS-01" };
    rule(&world, id, told, || format!("status {code:#x} {damage:?} was not passed up"));
    let understood = damage.is_none()
        && capability
        && matches!(status.buffer.first(), Some(0x80 | 0xA7))
        && status.buffer.len() >= 32;
    let (for_team, several, alone) = with(|_, s| {
        let module = &s.modules[module];
        let members = module.topology.nics().filter(|nic| nic.is_member()).count();
        (s.installed.role.has_team(), members > 1, module.external.adapters.len() == 1)
    });
    if for_team && alone && capability {
        rule(&world, "STATUS-05", seen == 1 && !replaced, || {
            format!("status {code:#x} of the only adapter was not passed on as it came")
        });
    }
    if for_team && several && understood && !nobody && status.from.is_some_and(|from| from.index != 0) {
        rule(&world, "STATUS-05", seen == 0 || replaced, || {
            format!("status {code:#x} of one member was passed on as it came")
        });
    }
    rule(&world, "STATUS-03", !(twice && understood), || {
        format!("status {code:#x} was passed up, and an own one in its stead")
    });
    rule(&world, "STATUS-03", seen < 2, || format!("status {code:#x} was passed up {seen} times"));
    rule(&world, "STATUS-03", parts.contents() == before, || format!("status {code:#x} was edited"));
    parts.free(&world);
}

/// Indicates a member's link, and records that the extension knows it from then on.
pub fn indicate_link(module: usize, id: NicId, up: bool, status: &Status) {
    with(|_, state| {
        let order = state.tick();
        if let Some(nic) = state.modules[module].topology.nic_mut(id) {
            nic.told = order;
            if up {
                nic.known_down = false;
            }
        }
        state.modules[module].topology.unsettled();
        if up {
            state.flows.a_member_came_up();
        }
    });
    indicate(module, status);
    with(|_, state| {
        let attached = state.listens(module);
        if let Some(nic) = state.modules[module].topology.nic_mut(id).filter(|_| attached && !up) {
            nic.known_down = true;
        }
        state.modules[module].topology.settled();
    });
}

crate::exports! {
    pub extern "win64" fn NdisFIndicateStatus(filter: Handle, status: *mut StatusIndication) where irql <= DISPATCH {
        crate::machine::locks::leaving("NdisFIndicateStatus");
        let passing = with(|_, state| state.control.status.under_way.contains_key(&(status as usize)));
        let status = if passing { status } else { crate::inject::passes_unread(status) };
        if passing {
            crate::inject::waits(Mutation::WaitInStatus);
            crate::inject::one_more(filter);
        }
        for _ in 0..crate::inject::indications(filter, passing) {
            with(|world, state| state.take_status(world, filter, status));
        }
    }
}

impl State {
    fn take_status(&mut self, world: &World, filter: Handle, status: *mut StatusIndication) {
        let Some(module) = self.caller(world, filter, "NdisFIndicateStatus") else { return };
        let at = self.tick();
        let key = status as usize;
        if let Some(passed) = self.control.status.under_way.get_mut(&key) {
            *passed = Passed { times: passed.times + 1, at };
            rule(world, "STATUS-02", crate::switch::ndis::inside("FilterStatus").is_some(), || {
                "a status was passed up outside FilterStatus".to_owned()
            });
            return;
        }
        // SAFETY: the extension passes an indication of its own.
        let own = unsafe { *status };
        let header =
            own.header.object_type == object_type::STATUS_INDICATION && own.header.size as usize >= OUTER;
        rule(world, "STATUS-04", header && own.source_handle == filter, || {
            format!("own status {:#x} without a valid header and source", own.status_code)
        });
        let dead =
            |at: *const c_void| !at.is_null() && matches!(world.place(at.cast()), MemoryState::Freed(_));
        rule(world, "STATUS-15", !dead(status.cast()) && !dead(own.status_buffer), || {
            format!("own status {:#x} in the memory of an indication that is over", own.status_code)
        });
        self.control.status.originated.push(own.status_code);
        let Some(code) =
            crate::check::status::originated(world, self, module, &own, crate::inject::status_indicated)
        else {
            return;
        };
        let began = crate::switch::ndis::inside("FilterStatus").map_or(0, |call| call.began);
        self.control.status.own.push(OwnIndication { module, code, began, at });
        world.log(|| format!("own status {code:#x}"));
        // SAFETY: checked just now.
        let envelope = unsafe { *own.status_buffer.cast::<SwitchNicStatusIndication>() };
        if code == lbfoext::ndis::raw::SWITCH_PORT_REMOVE_VF {
            let partition = NicId::new(envelope.destination_port_id, envelope.destination_nic_index);
            self.control.status.removals.push((module, partition));
        }
        // SAFETY: as above.
        let inner = unsafe { *envelope.status_indication };
        let bytes =
            crate::switch::control::bytes_at(inner.status_buffer as usize, inner.status_buffer_size as usize);
        if crate::check::status::is_capability(code) {
            self.control.status.advertised.insert((module, code), bytes);
        }
    }
}
