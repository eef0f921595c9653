//! A simple bridge with a team: a forwarding extension that knows where addresses are, and takes in once what comes through
//! several members. It says what the rules of the simulated switch demand of one, and that they can be kept.
//!
//! It is around a hub, which handles requests. Ports 12 and 13 are those that may use any source address; links do not
//! fail. Port numbers of members are those of the array.

use super::hub::{Hub, assign, attach_as, counted, oid_request, register_as, utf16};
use lbfoext::ndis::raw::*;
use lbfoext::ndis::sys::*;
use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::Ordering;
use vswitch::adapter::network::wire::Wire;
use vswitch::machine::clock::{SECOND, now};

type Mac = [u8; 6];

const LEARN: [u32; 2] = [12, 13];
const EXTERNAL: u32 = 1;
const CREDIT: u64 = SECOND / 4;
const AGE: u64 = 300 * SECOND;
const LOCK: u64 = 5 * SECOND;
const FLAGGED: u64 = 60 * SECOND;

#[repr(C)]
struct Bridge {
    hub: Hub,
    /// The members are separate ports to the physical switches.
    separate: bool,
    /// When the credits of each member for a frame end.
    credits: HashMap<(Wire, u16), Vec<u64>>,
    /// What was delivered from outside, and when.
    delivered: HashMap<Wire, u64>,
    inside: BTreeMap<Mac, (u32, u64)>,
    outside: BTreeMap<Mac, u64>,
    first: BTreeMap<Mac, Wire>,
    /// Until when something of this sender's may return that is not known again: segments of what was sent as one.
    divided: BTreeMap<Mac, u64>,
    /// Until when a port counts as one that gets unicast on several members.
    flagged: BTreeMap<u32, u64>,
    swept: u64,
}

enum Verdict {
    To(Vec<(u32, u16)>),
    Drop(&'static str),
}

pub unsafe extern "win64" fn separate_entry(object: *mut c_void, _: *const UnicodeString) -> i32 {
    // SAFETY: the driver's entry point.
    unsafe { register_as(object, attach_separate, detach, Some(send), request) }
}

pub unsafe extern "win64" fn static_entry(object: *mut c_void, _: *const UnicodeString) -> i32 {
    // SAFETY: as above.
    unsafe { register_as(object, attach_static, detach, Some(send), request) }
}

unsafe extern "win64" fn attach_separate(f: Handle, d: Handle, _: *mut FilterAttachParameters) -> i32 {
    // SAFETY: by the caller.
    unsafe { attach(f, d, true) }
}

unsafe extern "win64" fn attach_static(f: Handle, d: Handle, _: *mut FilterAttachParameters) -> i32 {
    // SAFETY: by the caller.
    unsafe { attach(f, d, false) }
}

unsafe fn attach(filter: Handle, driver: Handle, separate: bool) -> i32 {
    let make = |hub| {
        let bridge = Bridge {
            hub,
            separate,
            credits: HashMap::new(),
            delivered: HashMap::new(),
            inside: BTreeMap::new(),
            outside: BTreeMap::new(),
            first: BTreeMap::new(),
            divided: BTreeMap::new(),
            flagged: BTreeMap::new(),
            swept: 0,
        };
        Box::into_raw(Box::new(bridge)).cast::<Hub>()
    };
    // SAFETY: the bridge begins with its hub.
    unsafe { attach_as(filter, driver, make) }
}

unsafe extern "win64" fn detach(context: Handle) {
    // SAFETY: made by `attach`.
    drop(unsafe { Box::from_raw(context.cast::<Bridge>()) });
}

/// A NIC that is disconnected gets nothing any more, and its address is nobody's.
unsafe extern "win64" fn request(context: Handle, request: *mut OidRequest) -> i32 {
    // SAFETY: the context is ours; the switch gives the parameters of the NIC with this request.
    unsafe {
        if (*request).oid == oids::SWITCH_NIC_DISCONNECT {
            let gone = (*request).information_buffer.cast::<NicParameters>().read_unaligned();
            let bridge = &mut *context.cast::<Bridge>();
            bridge.hub.nics.retain(|(port, index, _)| (*port, *index) != (gone.port_id, gone.nic_index));
        }
        oid_request(context, request)
    }
}

/// The bytes of the only frame of a list.
unsafe fn bytes_of(list: *mut NetBufferList) -> Vec<u8> {
    // SAFETY: the list is ours.
    unsafe { vswitch::switch::nbl::read((*list).first_net_buffer) }
}

unsafe extern "win64" fn send(context: Handle, first: *mut NetBufferList, _: u32, flags: u32) {
    // SAFETY: the context is ours, the chain is ours until it is sent; the tests run one thread.
    unsafe {
        let bridge = &mut *context.cast::<Bridge>();
        bridge.hub.walks.fetch_add(1, Ordering::SeqCst);
        let mut next = first;
        while !next.is_null() {
            let list = next;
            next = (*list).next;
            (*list).next = null_mut();
            let (filter, running) = (bridge.hub.filter, bridge.hub.running);
            let detail = ForwardingDetail((*list).info[info::SWITCH_FORWARDING_DETAIL]);
            let source = (detail.source_port(), detail.source_nic());
            let verdict = if running { bridge.decide(source, list) } else { Verdict::Drop("paused") };
            match verdict {
                Verdict::To(targets) if assign(&bridge.hub, list, &targets) => {
                    NdisFSendNetBufferLists(filter, list, 0, flags);
                }
                Verdict::To(_) => {
                    (*list).status = FAILURE;
                    NdisFSendNetBufferListsComplete(filter, list, 0);
                }
                Verdict::Drop(reason) => {
                    (*list).status = if running { FAILURE } else { PAUSED };
                    if running {
                        report(&bridge.hub, list, source.0, reason);
                    }
                    NdisFSendNetBufferListsComplete(filter, list, 0);
                }
            }
        }
        bridge.hub.walks.fetch_sub(1, Ordering::SeqCst);
    }
}

unsafe fn report(hub: &Hub, list: *mut NetBufferList, port: u32, reason: &'static str) {
    let (guid, name) = (utf16("{11111111-2222-3333-4444-555555555555}"), utf16("Hub"));
    let reason: Vec<u16> = reason.encode_utf16().collect();
    let text = UnicodeString {
        length: (reason.len() * 2) as u16,
        maximum_length: (reason.len() * 2) as u16,
        buffer: reason.as_ptr(),
    };
    // SAFETY: the handler came with the context; the texts live for the call.
    unsafe {
        let handler = hub.handlers.report_filtered_net_buffer_lists.unwrap();
        let incoming = ReportFilteredFlags::IS_INCOMING.bits();
        handler(hub.context, &counted(&guid), &counted(&name), port, incoming, 1, list, &text);
    }
}

impl Bridge {
    fn vnics(&self) -> impl Iterator<Item = (u32, u16, Mac)> + '_ {
        self.hub.nics.iter().copied().filter(|(port, ..)| *port != EXTERNAL)
    }

    fn members(&self) -> Vec<u16> {
        self.hub.nics.iter().filter(|(port, ..)| *port == EXTERNAL).map(|(_, index, _)| *index).collect()
    }

    fn team(&self) -> bool {
        self.separate && self.members().len() > 1
    }

    /// The member that a port sends on.
    fn home(&self, port: u32) -> u16 {
        let members = self.members();
        members.get(port as usize % members.len().max(1)).copied().unwrap_or(0)
    }

    /// # Safety
    /// The list is ours.
    unsafe fn decide(&mut self, source: (u32, u16), list: *mut NetBufferList) -> Verdict {
        // SAFETY: by the caller.
        let (bytes, tag, segmented) = unsafe {
            let info = (*list).info;
            let segmented = info[info::LARGE_SEND] | info[info::UDP_SEGMENTATION] != 0;
            (bytes_of(list), info[info::IEEE_8021Q], segmented)
        };
        let frame = Wire::of(&bytes, (tag >> 4 & 0xFFF) as u16).content();
        self.sweep();
        if frame.vid != 0 {
            return Verdict::Drop("for nobody's VLAN");
        }
        match source.0 {
            EXTERNAL => self.inward(source.1, &frame),
            port => self.outward(port, frame, segmented),
        }
    }

    fn sweep(&mut self) {
        let now = now();
        if now < self.swept + SECOND {
            return;
        }
        self.swept = now;
        self.credits.retain(|_, ends| ends.iter().any(|end| *end > now));
        self.delivered.retain(|_, at| now < *at + CREDIT);
    }

    /// One credit for every member but this one.
    fn give(&mut self, frame: &Wire, member: u16) {
        let until = now() + CREDIT;
        for other in self.members().into_iter().filter(|other| *other != member) {
            self.credits.entry((frame.clone(), other)).or_default().push(until);
        }
    }

    fn use_credit(&mut self, frame: &Wire, member: u16) -> bool {
        let Some(ends) = self.credits.get_mut(&(frame.clone(), member)) else { return false };
        ends.retain(|end| *end > now());
        !ends.is_empty() && ends.remove(0) > 0
    }

    fn owner(&self, mac: Mac) -> Option<u32> {
        self.vnics().find(|(.., own)| *own == mac).map(|(port, ..)| port)
    }

    fn is_outside(&self, mac: Mac) -> bool {
        self.outside.get(&mac).is_some_and(|at| now() < at + AGE)
    }

    fn behind(&self, mac: Mac) -> Option<u32> {
        self.inside.get(&mac).filter(|(_, at)| now() < at + AGE).map(|(port, _)| *port)
    }

    fn stays_on_link(to: Mac) -> bool {
        matches!(to, [0x01, 0x80, 0xC2, 0, 0, 0..=15] | [0x01, 0x00, 0x0C, 0xCC, 0xCC, 0xCD])
    }

    /// A frame of a NIC of this host.
    fn outward(&mut self, source: u32, frame: Wire, segmented: bool) -> Verdict {
        let (to, from) = (frame.to(), frame.from());
        let own = self.vnics().any(|(port, _, mac)| port == source && mac == from);
        let announced = self.owner(from).is_some();
        if !own && !LEARN.contains(&source) {
            return Verdict::Drop("not the sender's address");
        }
        let sent_on = self.delivered.get(&frame).is_some_and(|at| now() < at + CREDIT);
        if !announced && from[0] & 1 == 0 && !sent_on {
            self.inside.insert(from, (source, now()));
            self.outside.remove(&from);
            self.first.remove(&from);
        }
        let uplink = (EXTERNAL, self.home(source));
        let mut targets = Vec::new();
        if to[0] & 1 != 0 {
            targets.extend(self.vnics().filter(|(port, ..)| *port != source).map(|(p, n, _)| (p, n)));
            if !Self::stays_on_link(to) {
                targets.push(uplink);
            }
        } else if let Some(port) = self.owner(to).or_else(|| self.behind(to)) {
            targets.extend((port != source).then_some((port, 0)));
        } else if self.is_outside(to) {
            targets.push(uplink);
        } else {
            targets.extend(LEARN.into_iter().filter(|port| *port != source).map(|port| (port, 0)));
            targets.push(uplink);
        }
        if targets.contains(&uplink) && self.team() {
            self.give(&frame, uplink.1);
            if segmented {
                self.divided.insert(from, now() + CREDIT);
            }
        }
        if targets.is_empty() { Verdict::Drop("for its own sender") } else { Verdict::To(targets) }
    }

    /// A frame from outside.
    fn inward(&mut self, member: u16, frame: &Wire) -> Verdict {
        let (to, from) = (frame.to(), frame.from());
        if Self::stays_on_link(to) {
            return Verdict::Drop("to a group of the link");
        }
        let owner = self.owner(to);
        let asks = self.team() && owner.is_none_or(|port| self.is_flagged(port, member));
        if asks && self.use_credit(frame, member) {
            return Verdict::Drop("a copy, or a frame of this host");
        }
        self.heard_outside(from, frame);
        let mut targets = Vec::new();
        if to[0] & 1 != 0 {
            targets.extend(self.vnics().map(|(port, nic, _)| (port, nic)));
        } else if let Some(port) = owner.or_else(|| self.behind(to)) {
            targets.push((port, 0));
        } else if !self.is_outside(to) {
            targets.extend(LEARN.map(|port| (port, 0)));
        }
        let not_for = self.owner(from).or_else(|| self.behind(from));
        targets.retain(|(port, _)| Some(*port) != not_for);
        if targets.is_empty() {
            return Verdict::Drop("for nobody here");
        }
        if asks {
            self.give(frame, member);
        }
        self.delivered.insert(frame.clone(), now());
        Verdict::To(targets)
    }

    fn is_flagged(&mut self, port: u32, member: u16) -> bool {
        if member != self.home(port) {
            self.flagged.insert(port, now() + FLAGGED);
        }
        self.flagged.get(&port).is_some_and(|until| now() < *until)
    }

    /// A frame is news, so its sender is outside now, unless it was announced or has just sent from here.
    fn heard_outside(&mut self, from: Mac, frame: &Wire) {
        if from[0] & 1 != 0 || self.owner(from).is_some() {
            return;
        }
        let locked = self.team() && self.inside.get(&from).is_some_and(|(_, at)| now() < at + LOCK);
        if locked && self.owner(frame.to()).is_none() {
            if self.divided.get(&from).is_some_and(|until| now() <= *until) {
                return;
            }
            let first = self.first.entry(from).or_insert_with(|| frame.clone());
            if first == frame {
                return;
            }
        }
        self.inside.remove(&from);
        self.outside.insert(from, now());
    }
}
