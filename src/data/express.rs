//! The express way: the short half of packet walk 1, for the packets that are nearly all packets. It takes the first lists
//! of a batch as long as they are of that kind (`teaming::forward::express`) and leaves the queue at the first that is not.
//!
//! The order of packets never changes: both ways take the lists from the front of one queue and append to the same groups.
//! The list at which the express way ends goes through the walk before any later list is looked at.
//!
//! What the walk does beside deciding is done here too: destination, VLAN out-of-band, group, counters, the traffic of the
//! source's port. Nothing here learns, judges, splits or floods: such packets are the walk's.
//!
//! IRQL = DISPATCH_LEVEL, the forwarding lock held.

use crate::clock;
use crate::data::commit;
use crate::data::groups::{Group, Groups, Side};
use crate::kernel::per_processor::ThisCpu;
use crate::kernel::pool::Pool;
use crate::module::Module;
use crate::ndis::front::{self, Front};
use crate::ndis::nbl::NblQueue;
use teaming::forward::Forwarding;
use teaming::forward::counters::{Counters, Load};
use teaming::forward::drop_reason::DropReason;
use teaming::forward::express::{Attempts, ExpressSource};
use teaming::ids::Ticks;
use teaming::ports::port::ListSource;

/// What the express way keeps from batch to batch of a chain.
pub struct Trying {
    /// When it is tried; this processor's from one chain to the next.
    pub attempts: Attempts,
    /// Lists at the front of the queue that are on their way into the cache.
    fetched: u16,
    /// Lists that the next try may take at most.
    pub most: u16,
}

impl Trying {
    pub const NEW: Self = Self { attempts: Attempts::NONE, fetched: 0, most: 0 };

    /// Whether to try with the next list; if not, the walk takes some.
    #[inline(always)]
    pub fn is_due(&self) -> bool {
        self.attempts.is_due()
    }

    /// How many lists the walk is to take before the next try, at most `most`.
    #[inline(always)]
    pub fn walks(&mut self, most: usize) -> usize {
        let lists = self.attempts.walks(most);
        self.fetched = self.fetched.saturating_sub(lists as u16);
        lists
    }

    /// The walk took that many fewer.
    #[inline(always)]
    pub fn gave_back(&mut self, lists: usize) {
        self.attempts.gave_back(lists);
    }
}

/// Sends the first lists of the queue on their way, at most `trying.most`; how many. Few arguments and small ones, because
/// the frame of its caller is the largest.
#[inline(never)] // a frame of its own, which is gone when the walk begins
pub fn take(
    module: &Module,
    forwarding: &Forwarding<Pool>,
    counters: &ThisCpu<'_, Counters>,
    trying: &mut Trying,
    lists: &mut NblQueue,
    groups: &mut Groups,
) -> usize {
    if trying.fetched == 0 && lists.has_several() {
        front::prefetch(lists);
        trying.fetched = front::FETCHED as u16;
    }
    let now = if forwarding.moving() { clock::now() } else { Ticks::ZERO };
    let tables = Tables { module, forwarding, processor: counters.processor, now };
    let most = usize::from(trying.most);
    let taken = counters.change(|counts| tables.take(counts, lists, groups, most)).unwrap_or(0);
    trying.fetched = trying.fetched.saturating_sub(taken as u16);
    if taken < most && !lists.is_empty() && !groups.is_full() {
        trying.attempts.failed(taken);
    }
    taken
}

/// What one try has at hand.
struct Tables<'a> {
    module: &'a Module,
    forwarding: &'a Forwarding<Pool>,
    processor: usize,
    now: Ticks,
}

impl Tables<'_> {
    #[inline(always)]
    fn take(&self, counts: &mut Counters, lists: &mut NblQueue, groups: &mut Groups, most: usize) -> usize {
        let Some(tables) = self.forwarding.express(self.now, self.processor) else { return 0 };
        let (mut taken, mut refused, delivered) = (0, 0, counts.delivered);
        let mut from = Front::NO_SOURCE;
        let mut source = ExpressSource::NONE;
        if groups.is_full() {
            return 0;
        }
        while taken < most {
            let Some(front) = Front::of_first(lists) else { break };
            if from != front.from {
                let known = ListSource::new(front.from).and_then(|from| tables.source(from));
                (from, source) = match known {
                    Some(known) => (front.from, known),
                    None => break,
                };
            }
            let way = tables.decide(source, &front);
            if way.is_none() {
                break;
            }
            let load = Load { frames: 1, bytes: front.data_length.into() };
            let Some(mut list) = lists.pop() else { break };
            taken += 1;
            let has_room = if self.module.switch.add_destination(&mut list, way.target()).is_ok() {
                if let Some(vlan) = source.vlan() {
                    commit::write_vlan(self.module, &mut list, vlan);
                }
                counts.count_express(way, load);
                source.count(load.bytes);
                groups.push_to(way.target(), source.port(), list)
            } else {
                refused += 1;
                counts.count_express_drop(way, load);
                groups.push(Group::dropped(DropReason::NoResources, source.port(), Side::Source), list);
                !groups.is_full()
            };
            if !has_room {
                break;
            }
        }
        counts.count_express_run((taken - refused) as u64, delivered);
        taken
    }
}
