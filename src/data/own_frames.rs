//! The frames that the driver sends itself. The maker of a frame decides under the forwarding lock where it goes, and commits
//! the destination there, as the packet walk does: so none is assigned to a member that is not live, or a NIC that is gone. The frames of
//! a batch are sent after the locks are released. Each holds a reference to the walk, for which a pause waits, until it is
//! freed where it is completed (`complete`).

use crate::kernel::pool::{Pool, PoolBox};
use crate::kernel::rundown::WalkGuard;
use crate::module::Module;
use crate::ndis::lock::ReadGuard;
use crate::ndis::nbl::NblChain;
use crate::ndis::own_frames::NoFrame;
use crate::ndis::raw::SendFlags;
use teaming::forward::counters::Load;
use teaming::forward::{Forwarding, Target, Verdict};
use teaming::ids::{MemberIndex, VlanId};

/// Frames of a batch.
pub const BATCH: u32 = 8;

/// Frames that are to be sent together.
pub struct Batch {
    lists: NblChain,
    count: u32,
    /// Of the first one.
    target: Option<Target>,
    one_target: bool,
}

/// Where a frame is made: in a walk, under the forwarding lock.
pub struct Place<'a> {
    pub module: &'a Module,
    pub walk: &'a WalkGuard<'a>,
    pub forwarding: &'a ReadGuard<'a, PoolBox<Forwarding<Pool>>>,
}

impl Batch {
    pub const EMPTY: Self = Self { lists: NblChain::EMPTY, count: 0, target: None, one_target: true };

    pub const fn is_full(&self) -> bool {
        self.count >= BATCH
    }

    /// Makes a frame for one destination, in a VLAN of its out-of-band tag. `frame` is at most `ndis::own_frames::LONGEST` long.
    pub fn add(
        &mut self,
        &Place { module, walk, forwarding }: &Place<'_>,
        frame: &[u8],
        vlan: Option<VlanId>,
        target: Target,
    ) -> Result<(), NoFrame> {
        // A pause has begun.
        let reference = walk.again().ok_or(NoFrame::Refused)?;
        let mut list = module.lists.originate(&module.switch, frame)?;
        if let Some(vlan) = vlan {
            list.write_tag(vlan);
        }
        if module.switch.add_destination(&mut list, target).is_err() {
            // Nobody has completed it.
            let _ = module.lists.free_child(&module.switch, list);
            return Err(NoFrame::Refused);
        }
        reference.keep();
        self.lists.push(list);
        self.count += 1;
        let outside = forwarding.external.is_some_and(|external| external == target.nic().port);
        let member = MemberIndex::from_nic(target.nic().index).filter(|_| outside);
        let verdict = member.map_or(Verdict::Deliver(target.nic()), Verdict::Uplink);
        let load = Load { frames: 1, bytes: frame.len() as u64 };
        module.counters.with(forwarding.dispatch(), |counters| counters.count(verdict, load));
        self.one_target &= *self.target.get_or_insert(target) == target;
        Ok(())
    }

    /// Sends them. IRQL <= DISPATCH_LEVEL, no lock held.
    pub fn send(self, module: &Module) {
        let mut flags = SendFlags::SWITCH_SINGLE_SOURCE;
        if self.one_target {
            flags |= SendFlags::SWITCH_DESTINATION_GROUP;
        }
        module.filter.send(self.lists, flags);
    }
}
