//! Packet walk 1: every packet that enters the switch, from `FilterSendNetBufferLists` to `NdisFSendNetBufferLists`.
//!
//! A chain is decided in holds of at most 32 packets under the forwarding lock. Destinations are committed under the
//! lock, so that a failover or a disconnect, which takes it for writing, knows that nothing is assigned behind its
//! back; sending, completing and splitting happen after the lock is released. Runs at IRQL <= DISPATCH_LEVEL; never
//! allocates pool memory, never blocks, takes the forwarding lock only.

use crate::clock;
use crate::filter::Module;
use crate::groups::{self, Group, Groups};
use crate::kernel::per_processor::Here;
use crate::kernel::pool::Pool;
use crate::kernel::rundown::WalkGuard;
use crate::ndis::mdl::WindowBuffer;
use crate::ndis::nbl::{Nbl, NblChain, NblQueue, NetBufferRef};
use crate::ndis::own_list::Family;
use crate::ndis::raw::{send_complete_flags, send_flags};
use crate::ndis::status::NdisStatus;
use crate::offload;
use teaming::adapter_hash::{Adapter, HashType, Offered};
use teaming::counters::{Counters, DropReason};
use teaming::forward::{Beside, Decision, Forwarding, Packet, Verdict};
use teaming::hash::TOEPLITZ_SAMPLE;
use teaming::ids::{MemberIndex, NicId, Ticks, VlanId};

/// Packets decided in one hold of the lock.
const HOLD: usize = 32;

/// `FilterSendNetBufferLists`.
pub fn send(module: &Module, mut lists: NblQueue, flags: u32) {
    let Some(walk) = module.walks.enter() else { return refuse(module, lists, flags) };
    let mut groups = Groups::new(flags);
    while !lists.is_empty() {
        let mixed = decide_some(module, &mut lists, &mut groups);
        groups.flush(module);
        if let Some(parent) = mixed {
            lists.push_front(split(module, &walk, parent, flags));
        }
    }
}

/// Decides and commits up to `HOLD` packets. Stops early when the groups are full, and at a list whose packets have
/// different destinations: that one is given back to be split.
#[inline(never)] // two frames under 1 KiB instead of one above
fn decide_some(module: &Module, lists: &mut NblQueue, groups: &mut Groups) -> Option<Nbl> {
    let mut window = WindowBuffer::empty();
    let forwarding = module.forwarding.read();
    let counters = module.counters.here(forwarding.dispatch());
    let now = if forwarding.moving() { clock::now() } else { Ticks::ZERO };
    let mut mixed = None;
    for _ in 0..HOLD {
        let Some(mut list) = lists.pop() else { break };
        let decision = if forwarding.uses_adapter_hash() {
            decide_with_adapter(module, &forwarding, &counters, &list, &mut window, now)
        } else {
            decide(module, &forwarding, &list, None, &mut window, now)
        };
        let Some(decision) = decision else {
            counters.change(|counters| counters.split += 1);
            mixed = Some(list);
            break;
        };
        let group = commit(module, &forwarding, &mut list, decision.verdict);
        // A verdict may have come to nothing for lack of resources.
        let verdict =
            if let Group::Dropped(reason, _) = group { Verdict::Drop(reason) } else { decision.verdict };
        let bytes = list.net_buffers().map(|packet| u64::from(packet.data_length())).sum();
        counters.change(|counters| counters.count_decision(Decision { verdict, ..decision }, bytes));
        groups.push(group, list);
        if groups.is_full() {
            break;
        }
    }
    mixed
}

/// What is known of every packet of a list.
struct Common<'a> {
    beside: Beside<'a>,
    pinned: Option<MemberIndex>,
    now: Ticks,
}

/// What to do with all packets of a list, or `None` when they differ. One array of destinations serves them all.
#[inline(always)]
fn decide(
    module: &Module,
    forwarding: &Forwarding<Pool>,
    list: &Nbl,
    adapter: Option<Adapter<'_>>,
    window: &mut WindowBuffer,
    now: Ticks,
) -> Option<Decision> {
    if list.detail().native_forwarding_required() {
        // The switch's own affair, whatever it looks like.
        return Some(Decision { verdict: Verdict::Native, basis: None });
    }
    let beside = Beside { vlan: VlanId::new(list.vlan_id()), adapter };
    let common = Common { beside, pinned: offload::pinned(module, list), now };
    let mut packets = list.net_buffers();
    let Some(first) = packets.next() else {
        return Some(Decision { verdict: Verdict::Drop(DropReason::Runt), basis: None });
    };
    let decision = decide_one(forwarding, list, first, &common, window);
    match packets.next() {
        Some(_) if !others_agree(forwarding, list, &common, window, decision.verdict) => None,
        _ => Some(decision),
    }
}

#[inline(always)]
fn decide_one(
    forwarding: &Forwarding<Pool>,
    list: &Nbl,
    packet: NetBufferRef<'_>,
    common: &Common<'_>,
    window: &mut WindowBuffer,
) -> Decision {
    match window.read(packet, list.detail()) {
        Ok(bytes) => {
            let (source, pinned, now) = (list.source(), common.pinned, common.now);
            let packet = Packet { source, window: bytes, pinned, native: false, now };
            forwarding.decide_with(&packet, &common.beside)
        }
        Err(_) => Decision { verdict: Verdict::Drop(DropReason::Unreadable), basis: None },
    }
}

/// Whether the packets after the first of a list go where it goes. Apart, for a loop in `decide` made every list of
/// one packet pay for what a list of many would save.
#[cold]
#[inline(never)]
fn others_agree(
    forwarding: &Forwarding<Pool>,
    list: &Nbl,
    common: &Common<'_>,
    window: &mut WindowBuffer,
    first: Verdict,
) -> bool {
    let mut others = list.net_buffers().skip(1);
    others.all(|packet| decide_one(forwarding, list, packet, common, window).verdict == first)
}

/// `decide` while hashes of adapters are in use.
#[inline(never)]
fn decide_with_adapter(
    module: &Module,
    forwarding: &Forwarding<Pool>,
    counters: &Here<'_, Counters>,
    list: &Nbl,
    window: &mut WindowBuffer,
    now: Ticks,
) -> Option<Decision> {
    // One packet in a thousand is computed although its port is trusted.
    let check = counters.change(|counters| counters.uplink & 0x3FF == 0);
    let adapter = adapter_hash(module, list, check.unwrap_or(true));
    decide(module, forwarding, list, Some(adapter), window, now)
}

/// What an adapter's hash of a list is worth. It speaks of the list's only packet; of several it would say nothing.
fn adapter_hash<'a>(module: &'a Module, list: &Nbl, check: bool) -> Adapter<'a> {
    let alone = list.net_buffers().nth(1).is_none();
    let offered = list
        .toeplitz_hash()
        .filter(|_| alone)
        .and_then(|(hash_type, value)| Some(Offered { value, hash_type: HashType::from_ndis(hash_type)? }));
    let trust = module.trust_in(list.source().port);
    Adapter { toeplitz: &TOEPLITZ_SAMPLE, trust, offered, check }
}

/// Commits the destinations of one list and names the group that it leaves with. "Assigned" happens here.
fn commit(module: &Module, forwarding: &Forwarding<Pool>, list: &mut Nbl, verdict: Verdict) -> Group {
    let source = list.source();
    let one = |list: &mut Nbl, nic: NicId| match module.switch.add_destination(list, nic) {
        Ok(()) => Group::To(nic.port, nic.index),
        Err(_) => Group::Dropped(DropReason::NoResources, source.port),
    };
    match verdict {
        Verdict::Native => Group::Native,
        Verdict::Deliver(nic) => one(list, nic),
        Verdict::Uplink(member) => match external_nic(forwarding, member) {
            Some(nic) => one(list, nic),
            None => Group::Dropped(DropReason::NoLiveMember, source.port),
        },
        Verdict::Flood { uplink } => {
            let member = uplink.and_then(|member| external_nic(forwarding, member));
            let targets = || forwarding.flood(source).chain(member);
            match targets().count() {
                0 => Group::Dropped(DropReason::NoDestination, source.port),
                1 => match targets().next() {
                    Some(nic) => one(list, nic),
                    None => Group::Dropped(DropReason::NoDestination, source.port),
                },
                count => {
                    let count = u32::try_from(count).unwrap_or(u32::MAX);
                    match module.switch.add_destinations(list, count, targets()) {
                        Ok(()) => Group::Several,
                        Err(_) => Group::Dropped(DropReason::NoResources, source.port),
                    }
                }
            }
        }
        Verdict::Drop(reason) => Group::Dropped(reason, source.port),
    }
}

/// The member as a destination.
fn external_nic(forwarding: &Forwarding<Pool>, member: MemberIndex) -> Option<NicId> {
    forwarding.external.map(|port| NicId::new(port, member.nic()))
}

/// Splits a list into own lists of one packet each, in order, which take the walk from its beginning. The parent is
/// held until the last of them is back. A packet for which there is no list left is dropped, and the parent reported.
#[inline(never)]
fn split(module: &Module, walk: &WalkGuard<'_>, parent: Nbl, flags: u32) -> NblChain {
    let mut children = NblChain::EMPTY;
    let mut lost = false;
    for packet in parent.net_buffers() {
        let child = walk.again().and_then(|reference| {
            let child = module.lists.child(&module.switch, &parent, packet).ok()?;
            reference.keep();
            Some(child)
        });
        match child {
            Some(child) => children.push(child),
            None => lost = true,
        }
    }
    if children.is_empty() {
        groups::drop_one(module, parent, DropReason::NoResources, flags);
        return children;
    }
    let parent = if lost { groups::report_one(module, parent, DropReason::NoResources) } else { parent };
    Family::found(parent, children.len());
    children
}

/// Completes a chain that arrived while the module does not run (pausing-a-filter-module.md).
fn refuse(module: &Module, mut lists: NblQueue, flags: u32) {
    let mut refused = NblChain::EMPTY;
    while let Some(mut list) = lists.pop() {
        list.set_status(NdisStatus::PAUSED);
        refused.push(list);
    }
    let mut complete = 0;
    if flags & send_flags::DISPATCH_LEVEL != 0 {
        complete |= send_complete_flags::DISPATCH_LEVEL;
    }
    if flags & send_flags::SWITCH_SINGLE_SOURCE != 0 {
        complete |= send_complete_flags::SWITCH_SINGLE_SOURCE;
    }
    module.filter.send_complete(refused, complete);
}
