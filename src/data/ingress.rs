//! Packet walk 1: every packet that enters the switch, from `FilterSendNetBufferLists` to `NdisFSendNetBufferLists`.
//!
//! A chain is decided in batches of at most 32 lists and 64 destinations, each under one hold of the forwarding lock; a
//! flood to more destinations continues in the next batch. Destinations are committed under the lock: a failover or a
//! disconnect takes it for writing, so after that no packet is assigned to what it removed. Lists are sent, completed
//! and split after the lock is released.
//!
//! IRQL <= DISPATCH_LEVEL. Allocates no pool memory and waits for locks only: the forwarding lock and, inside it, the
//! associations lock if a packet has the handle of a security association.

use crate::clock;
use crate::data::commit::{self, BATCH_DESTINATIONS, Committed, Flood, Walk};
use crate::data::express::{self, Trying};
use crate::data::groups::{self, Group, Groups};
use crate::kernel::per_processor::ThisCpu;
use crate::kernel::pool::Pool;
use crate::kernel::rundown::WalkGuard;
use crate::module::Module;
use crate::ndis::child_nbl::{ListPool, SplitParent};
use crate::ndis::fragment::NotUntagged;
use crate::ndis::mdl::WindowBuffer;
use crate::ndis::nbl::{Nbl, NblChain, NblQueue, NetBufferRef};
use crate::ndis::raw::SendFlags;
use crate::ndis::status::NdisStatus;
use crate::requests::offload;
use teaming::flow::adapter_hash::{Adapter, HashType, NicHash};
use teaming::flow::hash::TOEPLITZ_SAMPLE;
use teaming::forward::counters::{Counters, Load};
use teaming::forward::drop_reason::DropReason;
use teaming::forward::source::SourcePort;
use teaming::forward::{Decision, Forwarding, OutOfBand, Packet, Verdict};
use teaming::ids::Ticks;
use teaming::offload::Pin;
use teaming::ports::traffic::Traffic;

/// Lists of one batch; every packet of a list is decided in the same batch.
const BATCH_LISTS: usize = 32;

/// Why a batch ended.
enum BatchEnd {
    /// A limit of lists, destinations or groups is reached, or no list is left.
    Enough,
    /// A list whose packets have different destinations or VLANs, or are to be judged one by one, or whose tag only a
    /// child NBL may carry or must come off: it must be split.
    Mixed(Nbl),
    /// A list with more destinations than the batch had left.
    Flood(Nbl, Flood),
}

/// The source of the current run of packets, looked up once, and the traffic of the run that is not counted yet.
struct Run {
    source_port: Option<SourcePort>,
    sent: Traffic,
    trying: Trying,
}

/// `FilterSendNetBufferLists`. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn send(module: &Module, mut lists: NblQueue, flags: SendFlags) {
    let Some(walk) = module.walks.enter() else { return refuse(module, lists, flags) };
    let mut groups = Groups::new(flags);
    let mut run = Run { source_port: None, sent: Traffic::NONE, trying: Trying::NEW };
    while !lists.is_empty() {
        let end = decide_some(module, &mut lists, &mut groups, &mut run);
        groups.flush(module);
        match end {
            BatchEnd::Enough => {}
            BatchEnd::Mixed(parent) => lists.push_front(split(module, &walk, parent, flags)),
            BatchEnd::Flood(mut list, flood) => {
                commit::finish(module, &mut list, flood);
                groups.push(Group::SEVERAL, list);
                groups.flush(module);
            }
        }
    }
}

/// Decides and commits one batch. `run` is scratch space on the caller's stack.
#[inline(always)] // one caller; a frame of its own would make the deepest stack deeper
fn decide_some(module: &Module, lists: &mut NblQueue, groups: &mut Groups, run: &mut Run) -> BatchEnd {
    let forwarding = module.forwarding.read();
    let counters = module.counters.here(forwarding.dispatch());
    let attempts = counters.change(|counters| counters.attempts);
    run.trying.attempts = attempts.unwrap_or_default();
    let held = Held { module, forwarding: &forwarding, counters: &counters };
    let mut left = Left { lists: BATCH_LISTS, destinations: BATCH_DESTINATIONS };
    let end = loop {
        if run.trying.is_due() {
            run.trying.most = left.lists.min(left.destinations) as u16;
            let taken = express::take(module, &forwarding, &counters, &mut run.trying, lists, groups);
            left.lists -= taken;
            left.destinations -= taken;
        }
        if lists.is_empty() || left.lists == 0 || left.destinations == 0 || groups.is_full() {
            break BatchEnd::Enough;
        }
        match walk_some(&held, &mut left, lists, groups, run) {
            BatchEnd::Enough => {}
            end => break end,
        }
    };
    counters.change(|counters| counters.attempts = run.trying.attempts);
    if run.source_port.is_some() {
        count(&forwarding, &counters, run);
    }
    end
}

/// What a batch has at hand.
struct Held<'a> {
    module: &'a Module,
    forwarding: &'a Forwarding<Pool>,
    counters: &'a ThisCpu<'a, Counters>,
}

/// What is left of the limits of a batch.
struct Left {
    lists: usize,
    destinations: usize,
}

/// The walk of the lists until the next try of the express way. `Enough`: that many, or a limit is reached.
#[inline(never)] // a frame of its own below 1 KiB
fn walk_some(
    held: &Held<'_>,
    left: &mut Left,
    lists: &mut NblQueue,
    groups: &mut Groups,
    run: &mut Run,
) -> BatchEnd {
    let &Held { module, forwarding, counters } = held;
    let mut window = WindowBuffer::empty();
    let now = if forwarding.wants_time() { clock::now() } else { Ticks::ZERO };
    let walked = run.trying.walks(left.lists);
    left.lists -= walked;
    for rest in (0..walked).rev() {
        let Some(mut list) = lists.pop() else { return BatchEnd::Enough };
        let nic = list.source();
        if run.source_port.as_ref().is_some_and(|source_port| source_port.nic != nic) {
            count(forwarding, counters, run);
        }
        let source_port = run.source_port.get_or_insert_with(|| forwarding.source_port(nic));
        let walk = Walk { module, forwarding, source_port, now };
        let mut decision = Decision::new(Verdict::Native);
        let agree = if forwarding.uses_adapter_hash() {
            decide_with_adapter(&walk, counters, &list, &mut window, &mut decision)
        } else {
            decide(&walk, &list, None, &mut window, &mut decision)
        };
        if !agree {
            counters.change(|counters| counters.split += 1);
            return BatchEnd::Mixed(list);
        }
        let committed = if decision.trace.is_none() {
            commit::commit(&walk, &mut list, &decision, &mut left.destinations)
        } else {
            commit::judge_and_commit(&walk, counters, &mut list, &mut decision, &mut left.destinations)
        };
        if matches!(committed, Committed::Apart) {
            counters.change(|counters| counters.split += 1);
            return BatchEnd::Mixed(list);
        }
        let load = list.net_buffers().fold(Traffic::NONE, |load, packet| {
            load.plus(Traffic { frames: 1, bytes: packet.data_length().into() })
        });
        // The switch may have refused the destinations: then the packet is dropped whatever the verdict.
        match committed.dropped() {
            Some(reason) => decision.verdict = Verdict::Drop(reason),
            None => run.sent = run.sent.plus(load),
        }
        let load = Load { frames: load.frames, bytes: load.bytes };
        counters.change(|counters| counters.count_decision(&decision, load));
        match committed {
            Committed::To(group) => groups.push(group, list),
            Committed::Partly(from) => {
                run.trying.gave_back(rest);
                return partly(forwarding, list, &decision, from);
            }
            Committed::Apart => {}
        }
        if groups.is_full() || left.destinations == 0 {
            run.trying.gave_back(rest);
            return BatchEnd::Enough;
        }
    }
    BatchEnd::Enough
}

#[cold]
#[inline(never)] // keeps the frame of the walk small
fn partly(forwarding: &Forwarding<Pool>, list: Nbl, decision: &Decision, from: usize) -> BatchEnd {
    BatchEnd::Flood(list, Flood { audience: forwarding.audience(decision), from })
}

/// Counts the traffic of a run of packets of one source, and forgets the source: the next batch looks it up again.
#[inline(never)] // once for many packets
fn count(forwarding: &Forwarding<Pool>, counters: &ThisCpu<'_, Counters>, run: &mut Run) {
    if let Some(source_port) = run.source_port.as_ref().filter(|_| run.sent.frames != 0) {
        forwarding.ports.count(counters.processor, source_port.position, run.sent);
    }
    (run.source_port, run.sent) = (None, Traffic::NONE);
}

/// What all packets of one list share.
struct Common<'a> {
    out_of_band: OutOfBand<'a>,
    pinned: Option<Pin>,
}

/// The decision for all packets of a list; false if they differ: a list has one array of destinations.
#[inline(always)]
fn decide(
    walk: &Walk<'_>,
    list: &Nbl,
    adapter: Option<Adapter<'_>>,
    window: &mut WindowBuffer,
    decision: &mut Decision,
) -> bool {
    if list.detail().native_forwarding_required() {
        // An NVGRE packet: the switch determines its destinations (hybrid-forwarding.md).
        *decision = Decision::new(Verdict::Native);
        return true;
    }
    let out_of_band = OutOfBand { vlan: list.vlan_id(), subnet: list.virtual_subnet(), adapter };
    let common = Common { out_of_band, pinned: offload::pinned(walk.module, list) };
    let mut packets = list.net_buffers();
    let Some(first) = packets.next() else {
        *decision = Decision::dropped(DropReason::Runt);
        return true;
    };
    *decision = match adapter {
        None => decide_one(walk, list, first, &common, window),
        Some(_) => decide_apart(walk, list, first, &common, window),
    };
    packets.next().is_none() || others_agree(walk, list, &common, window, decision)
}

#[inline(always)]
fn decide_one(
    walk: &Walk<'_>,
    list: &Nbl,
    packet: NetBufferRef<'_>,
    common: &Common<'_>,
    window: &mut WindowBuffer,
) -> Decision {
    match window.read(packet, list.detail()) {
        Ok(bytes) => {
            let (source, pinned, now) = (walk.source_port.nic, common.pinned, walk.now);
            let packet = Packet { source, window: bytes, pinned, native: false, now };
            walk.forwarding.decide_from(walk.source_port, &packet, &common.out_of_band)
        }
        Err(_) => Decision::dropped(DropReason::Unreadable),
    }
}

/// `decide_one` where it is not worth a copy of all that it inlines.
#[inline(never)]
fn decide_apart(
    walk: &Walk<'_>,
    list: &Nbl,
    packet: NetBufferRef<'_>,
    common: &Common<'_>,
    window: &mut WindowBuffer,
) -> Decision {
    decide_one(walk, list, packet, common, window)
}

/// Whether the packets after the first have the same destinations and VLAN. A function of its own, because a loop in
/// `decide` costs instructions for each list of one packet, which is the usual case.
#[cold]
#[inline(never)]
fn others_agree(
    walk: &Walk<'_>,
    list: &Nbl,
    common: &Common<'_>,
    window: &mut WindowBuffer,
    first: &Decision,
) -> bool {
    let mut others = list.net_buffers().skip(1);
    others.all(|packet| decide_apart(walk, list, packet, common, window).same_way(first))
}

/// `decide` while hashes of adapters are in use.
#[inline(never)]
fn decide_with_adapter(
    walk: &Walk<'_>,
    counters: &ThisCpu<'_, Counters>,
    list: &Nbl,
    window: &mut WindowBuffer,
    decision: &mut Decision,
) -> bool {
    // One in 1,024 packets to the external port is hashed in software although the adapter's hashes are trusted.
    let check = counters.change(|counters| counters.uplink & 0x3FF == 0);
    let adapter = adapter_hash(walk.module, list, check.unwrap_or(true));
    decide(walk, list, Some(adapter), window, decision)
}

/// The hash that an adapter computed, and whether it may be used. Valid only if the NBL has one NET_BUFFER.
fn adapter_hash<'a>(module: &'a Module, list: &Nbl, check: bool) -> Adapter<'a> {
    let alone = list.net_buffers().nth(1).is_none();
    let offered = list
        .toeplitz_hash()
        .filter(|_| alone)
        .and_then(|(hash_type, value)| Some(NicHash { value, hash_type: HashType::from_ndis(hash_type)? }));
    let confidence = module.trust_in(list.source().port);
    Adapter { toeplitz: &TOEPLITZ_SAMPLE, confidence, offered, check }
}

/// Splits a list into child NBLs of one packet each, in order; they take the walk from its beginning, and the parent is
/// held until the last child is back. A packet for which no child can be allocated is dropped; the parent is then
/// reported as filtered and completes with NDIS_STATUS_FAILURE. A list of one packet with a tag in its bytes alone is here
/// because that must come off; of several packets each is split from the others first, because each has its own priority.
#[inline(never)]
fn split(module: &Module, walk: &WalkGuard<'_>, parent: Nbl, flags: SendFlags) -> NblChain {
    let is_one = parent.net_buffers().nth(1).is_none();
    if is_one && (parent.is_originated_by(module.filter.handle()) || ListPool::has_tag(&parent)) {
        return untag(module, walk, parent, flags);
    }
    let mut children = NblChain::EMPTY;
    let mut lost = 0;
    for packet in parent.net_buffers() {
        let child = walk.again().and_then(|reference| {
            let child = module.lists.child(&module.switch, &parent, packet).ok()?;
            reference.keep();
            Some(child)
        });
        match child {
            Some(child) => children.push(child),
            None => lost += 1,
        }
    }
    count_drops(module, DropReason::NoResources, lost);
    if children.is_empty() {
        groups::drop_one(module, parent, DropReason::NoResources, flags);
        return children;
    }
    let (parent, status) = if lost != 0 {
        (groups::report_one(module, parent, DropReason::NoResources), NdisStatus::FAILURE)
    } else {
        (parent, NdisStatus::SUCCESS)
    };
    SplitParent::hold(parent, children.len(), status);
    children
}

/// Replaces a list of one packet by a child NBL without the tag in its bytes, which takes the walk from its beginning with
/// the tag out-of-band. A child of ours is freed then, and its place in the count of its parent, with its reference to the
/// walk, is the new one's. If there is no child the packet is dropped.
#[inline(never)]
fn untag(module: &Module, walk: &WalkGuard<'_>, list: Nbl, flags: SendFlags) -> NblChain {
    let in_send_format = module.forwarding.read().external != Some(list.source().port);
    let is_own = list.is_originated_by(module.filter.handle());
    let reference = if is_own { None } else { walk.again() };
    let child = if is_own || reference.is_some() {
        module.lists.untagged(&module.switch, &list, in_send_format)
    } else {
        Err(NotUntagged::NoMemory)
    };
    let reason = match child {
        Ok(child) => {
            match reference {
                Some(reference) => {
                    reference.keep();
                    SplitParent::hold(list, 1, NdisStatus::SUCCESS);
                }
                None => {
                    // Nobody has completed it.
                    let _ = module.lists.free_child(&module.switch, list);
                }
            }
            return NblChain::of(child);
        }
        Err(NotUntagged::NoMemory) => DropReason::NoResources,
        Err(NotUntagged::NoTag) => DropReason::BadTag,
        Err(NotUntagged::NotMapped) => DropReason::Unreadable,
    };
    count_drops(module, reason, 1);
    groups::drop_one(module, list, reason, flags);
    NblChain::EMPTY
}

/// Completes a chain that arrived while the module is paused, with NDIS_STATUS_PAUSED (pausing-a-filter-module.md).
fn refuse(module: &Module, mut lists: NblQueue, flags: SendFlags) {
    let mut refused = NblChain::EMPTY;
    let mut packets = 0;
    while let Some(mut list) = lists.pop() {
        list.set_status(NdisStatus::PAUSED);
        packets += list.net_buffers().count() as u64;
        refused.push(list);
    }
    count_drops(module, DropReason::NotRunning, packets);
    module.filter.send_complete(refused, flags.completion());
}

/// Counts packets that are dropped while the forwarding lock is not held. The lock is taken only because it raises to
/// DISPATCH_LEVEL, where the thread stays on its processor.
fn count_drops(module: &Module, reason: DropReason, frames: u64) {
    if frames != 0 {
        let forwarding = module.forwarding.read();
        let load = Load { frames, bytes: 0 };
        module.counters.with(forwarding.dispatch(), |counters| counters.count(Verdict::Drop(reason), load));
    }
}
