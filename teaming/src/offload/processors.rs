//! Which processors serve the queues of each member, and whether those sets fit together.

use crate::ids::{MEMBERS, MemberIndex};
use crate::offload::OffloadPlacement;

/// Why the processors of two members' queues do not fit (KB 2974384, event 106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessorConflict {
    /// Queues are distributed over the members (Sum-of-Queues): no processor may serve two members.
    Overlap,
    /// Every queue is on every member (Min-of-Queues): all members must use the same processors.
    NotIdentical,
}

/// Processor groups that are watched; queues of higher ones are not checked.
const GROUPS: usize = 4;

/// Processors that serve the queues of each member, bits by processor group; 0 = none known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessorSets([[u64; MEMBERS]; GROUPS]);

impl ProcessorSets {
    pub const NONE: Self = Self([[0; MEMBERS]; GROUPS]);

    /// Adds processors to a member's and says whether they fit those of the others; only what is new is judged.
    pub fn add(
        &mut self,
        member: MemberIndex,
        group: u16,
        processors: u64,
        placement: OffloadPlacement,
    ) -> Result<(), ProcessorConflict> {
        let Some(sets) = self.0.get_mut(usize::from(group)) else { return Ok(()) };
        let Some(own) = sets.get_mut(member.slot()) else { return Ok(()) };
        if *own | processors == *own {
            return Ok(());
        }
        *own |= processors;
        let own = *own;
        let mut others = sets
            .iter()
            .enumerate()
            .filter(|&(slot, &set)| slot != member.slot() && set != 0)
            .map(|(_, &set)| set);
        match placement {
            OffloadPlacement::FollowFlows if others.any(|set| set & own != 0) => {
                Err(ProcessorConflict::Overlap)
            }
            OffloadPlacement::EveryMember if others.any(|set| set != own) => {
                Err(ProcessorConflict::NotIdentical)
            }
            OffloadPlacement::FollowFlows
            | OffloadPlacement::EveryMember
            | OffloadPlacement::SingleMember => Ok(()),
        }
    }

    /// The member's adapter was unbound.
    pub fn forget(&mut self, member: MemberIndex) {
        for set in self.0.iter_mut().filter_map(|sets| sets.get_mut(member.slot())) {
            *set = 0;
        }
    }
}
