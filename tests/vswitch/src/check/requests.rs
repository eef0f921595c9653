//! Checks of the mechanics of requests: what is done when they come back at once, late, or inside the call, how long
//! they may stay, what must live until they are back, and what the extension does with answers that are failures.

use crate::check::rule;
use crate::machine::clock::SECOND;
use crate::machine::memory::MemoryState;
use crate::machine::world::{self, World};
use crate::switch::control::{Above, Answer};
use crate::switch::ndis::{State, calls, with};
use crate::switch::ports::{NicId, NicState, Topology};
use lbfoext::ndis::raw::{
    BUFFER_OVERFLOW, BUFFER_TOO_SHORT, INVALID_LENGTH, OidRequest, SUCCESS, SwitchNicOidRequest, oids,
    request_type,
};
use std::collections::BTreeMap;

/// How a request from above fares between its two ends.
#[derive(Default)]
pub struct Course {
    /// What went down for it came back with a status.
    pub at_once: bool,
    /// When the last of what went down was back.
    pub back: u64,
    /// When its clone went down.
    pub down: Option<u64>,
    /// When the extension ended it.
    pub ended: u64,
    /// Clones that were completed and freed inside the call that sent them, by address.
    pub freed_inside: Vec<usize>,
}

/// Longest that a request stays when nothing is out for it any more.
const PATIENCE: u64 = SECOND;

/// FilterOidRequest has returned.
pub fn returned(world: &World, above: &Above, is_complete: bool) {
    let oid = above.oid;
    if above.course.at_once {
        rule(world, "OID-05", is_complete, || {
            format!("what went down for request {oid:#x} ended at once, the request did not")
        });
    }
    for clone in &above.course.freed_inside {
        let touched = world.touched_after_free(*clone as *const u8);
        rule(world, "OID-06", !touched, || {
            format!("the clone of request {oid:#x} was written to after it was complete")
        });
    }
}

/// A request from above is complete and looked at.
pub fn ended(world: &World, above: &Above, answer: &Answer, method_id_kept: bool, now: &OidRequest) {
    let oid = above.oid;
    // Of who only forwards a request nobody asks it (filtering-oid-requests-in-an-ndis-filter-driver).
    if above.kind == request_type::SET_INFORMATION && !above.reached_below && answer.status == SUCCESS {
        let (revision, read) = (now.supported_revision, now.word52 as usize);
        rule(world, "HOST-15", revision != 0 && (1..=above.length).contains(&read), || {
            format!(
                "set request {oid:#x} was handled: revision {revision}, {read} bytes of {} read",
                above.length
            )
        });
    }
    let short = matches!(answer.status, BUFFER_TOO_SHORT | INVALID_LENGTH);
    if above.kind == request_type::METHOD && short && !above.reached_below {
        rule(world, "OID-16", method_id_kept, || {
            format!("method request {oid:#x} is too short, and its MethodId was overwritten")
        });
    } else {
        rule(world, "OID-01", method_id_kept, || format!("the MethodId of request {oid:#x} was edited"));
    }
    if matches!(oid, oids::SWITCH_PORT_PROPERTY_ENUM | oids::SWITCH_PROPERTY_ENUM) {
        rule(world, "OID-36", above.reached_below || answer.starved, || {
            format!("enumeration {oid:#x} was answered with {:#x} by the extension", answer.status)
        });
    }
}

/// How long the extension kept a request with nothing out for it any more. What came while the module learned of the switch
/// may wait for the end of that, as extensions that are shipped have it wait.
pub fn stayed(world: &World, above: &Above, learned_at: u64) {
    let (id, may_wait_for) = if above.learning { ("STATE-21", learned_at) } else { ("OID-12", 0) };
    let course = &above.course;
    let since = above.came.max(may_wait_for);
    let before = course.down.map_or(0, |down| down.saturating_sub(since));
    let stayed = before.max(course.ended.saturating_sub(course.back.max(since)));
    rule(world, id, stayed <= PATIENCE, || {
        format!("request {:#x} was held for {stayed} with nothing out that it waits for", above.oid)
    });
}

/// A thread of the driver is about to wait.
pub fn waiting() {
    let Some(inner) = calls().last().copied() else { return };
    let world = world::current();
    let handler = inner.handler;
    rule(&world, "STATUS-15", handler != "FilterStatus", || "a wait inside FilterStatus".to_owned());
    let callback = handler.starts_with("FilterOid")
        || handler.starts_with("FilterSend")
        || handler.starts_with("FilterRe") && handler.contains("NetBuffer");
    let for_the_restart = handler == "FilterOidRequest" && with(|_, state| state.may_wait(inner.module));
    rule(&world, "OID-25", !callback || for_the_restart, || format!("a wait inside {handler}"));
}

impl State {
    /// The calling thread may wait in FilterOidRequest: for the end of the first restart, and for no request of the
    /// extension's own.
    fn may_wait(&self, module: usize) -> bool {
        let began = calls().first().map(|call| call.began);
        let asks = self.control.own.values().any(|own| own.module == module && Some(own.began) == began);
        self.modules[module].learning && !asks
    }
}

/// The statuses with which NDIS says that a buffer is too short.
fn is_too_short(status: i32) -> bool {
    matches!(status, INVALID_LENGTH | BUFFER_TOO_SHORT | BUFFER_OVERFLOW)
}

/// The last answers to questions about the configuration since the module was attached.
#[derive(Default)]
pub struct Answers(BTreeMap<u32, Last>);

#[derive(Clone, Copy, Default)]
struct Last {
    status: i32,
    at_once: bool,
    /// How often running the buffer was too short.
    short: u32,
}

impl Last {
    /// The rule that whoever is content with this breaks.
    fn rule(&self) -> &'static str {
        match (self.status, self.short) {
            (SUCCESS, _) => "STATE-18",
            (_, 2..) => "OID-32",
            _ if self.at_once => "OID-26",
            _ => "STATE-18",
        }
    }
}

impl Answers {
    pub fn forget(&mut self) {
        self.0.clear();
    }

    pub fn note(&mut self, oid: u32, status: i32, at_once: bool) {
        let entry = self.0.entry(oid).or_default();
        let short = if is_too_short(status) { entry.short + 1 } else { 0 };
        *entry = Last { status, at_once, short };
    }

    /// Every question has been answered, whatever happened before.
    pub fn are_content(&self) -> bool {
        self.0.values().all(|last| last.status == SUCCESS)
    }

    /// Whoever goes on has got an answer in the end: whatever failed before, at once or later, was asked again. At the end
    /// of a run, an hour after the last failure.
    pub fn judge(&self, world: &World) {
        for (oid, last) in &self.0 {
            rule(world, last.rule(), last.status == SUCCESS, || {
                format!("{oid:#x} was answered with {:#x} in the end, and the module runs", last.status)
            });
        }
    }

    /// A failure puts to the test what the extension makes of it.
    pub fn exercise(&self, world: &World, oid: u32) {
        if let Some(last) = self.0.get(&oid).filter(|last| last.status != SUCCESS) {
            world.exercised(last.rule());
        }
    }
}

/// A request to a member goes down: under a reference, which may be older than its DISCONNECT.
pub fn referenced(world: &World, topology: &Topology, to: NicId, what: &str) {
    let is_member = topology.is_external(to.port) && to.index != 0;
    let nic = topology.nic(to);
    let gone = nic.is_some_and(|n| n.state == NicState::Disconnected || n.disconnect_passed);
    let held = nic.is_some_and(|n| n.references > 0);
    let id = if gone { "OID-47" } else { "OID-45" };
    rule(world, id, !is_member || held, || format!("{what} to {to} without a reference"));
    if topology.nics().any(|n| n.is_member() && n.state == NicState::Disconnected) {
        world.exercised("OID-47");
    }
}

/// A request of the extension's own, or its clone of one, comes back: what it points to is still there.
pub fn alive(world: &World, r: &OidRequest) {
    let freed = |at: usize| at != 0 && matches!(world.place(at as *const u8), MemoryState::Freed(_));
    let outer = r.information_buffer as usize;
    let mut dead = freed(outer);
    let envelope = r.length as usize >= size_of::<SwitchNicOidRequest>();
    if r.oid == oids::SWITCH_NIC_REQUEST && envelope && !dead && outer != 0 {
        // SAFETY: the envelope has its length, and is alive.
        let inner =
            unsafe { r.information_buffer.cast::<SwitchNicOidRequest>().read_unaligned() }.oid_request;
        dead = freed(inner as usize);
        // SAFETY: as above.
        dead |= !dead && !inner.is_null() && freed(unsafe { (*inner).information_buffer } as usize);
    }
    rule(world, "OID-58", !dead, || format!("memory of request {:#x} was freed while it was out", r.oid));
}

/// A request is completed while its clone is still below.
pub fn mixed_up(world: &World, state: &State, key: usize) -> bool {
    let out = state.control.clones.values().any(|clone| clone.original == key && clone.out);
    let module = state.control.above.get(&key).map_or(0, |above| above.module);
    let busy = state.control.own.values().any(|own| own.module == module);
    if out || busy {
        rule(world, "OID-56", !out, || "a request was completed while its clone is below".to_owned());
    }
    out
}
