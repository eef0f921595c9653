//! The third way to a member's link state. A status indication that names the member and the answer to
//! OID_GEN_LINK_STATE come first, but no page promises either. About a connected member for which neither has told
//! anything the operating system is asked, on the module's thread, until another source speaks (`LinkSource`).

use crate::clock;
use crate::control::survey::{self, By};
use crate::control::{failover, nic_status};
use crate::kernel::netio::InterfaceRow;
use crate::kernel::worker::{Reasons, Woken};
use crate::module::Module;
use crate::ndis::irql::Passive;
use crate::ndis::status::NdisStatus;
use teaming::ids::{AdapterId, MEMBERS, MemberIndex, Ticks};

/// Time from the end of one round over the silent members to the next, and from a connection to the first: an answer of
/// the adapter comes before.
const INTERVAL: Ticks = Ticks::from_ms(500);

/// When the silent members are asked about next; `None` while there are none.
pub struct LinkPoll {
    due: Option<Ticks>,
}

impl LinkPoll {
    pub const IDLE: Self = Self { due: None };

    /// When to come back without being woken.
    pub const fn due(&self) -> Option<Ticks> {
        self.due
    }

    /// The thread has been woken. PASSIVE_LEVEL, no lock held.
    #[inline(never)] // a frame of its own
    pub fn woken(&mut self, module: &Module, woken: &Woken, passive: &Passive) {
        let is_due = self.due.is_some_and(|due| due <= clock::now());
        if is_due {
            self.due = None;
            poll(module, passive);
        }
        let changed = is_due || woken.reasons.contains(Reasons::MEMBERS);
        if changed && self.due.is_none() && silent_from(module, 0).is_some() {
            self.due = Some(clock::now().saturating_add(INTERVAL));
        }
    }
}

/// One round: one member after the other. No call is begun once detach has; it waits for the one that is under way.
#[inline(never)] // a frame of its own
fn poll(module: &Module, passive: &Passive) {
    // Without memory nothing is asked before the next round.
    let Ok(mut row) = InterfaceRow::try_new() else { return };
    let mut slot = 0;
    while let Some((member, adapter)) = silent_from(module, slot) {
        // An interface that cannot be read, now or ever, changes nothing.
        let start = survey::start(module);
        let answer = row.query(adapter, passive);
        if let Some(start) = start {
            let status = answer.err().unwrap_or(NdisStatus::SUCCESS);
            survey::link(module, member, By::Row, answer.ok(), status, start.elapsed_us());
        }
        if let Ok(link) = answer {
            failover::polled(module, member, adapter, link);
        }
        slot = member.slot().saturating_add(1);
    }
    nic_status::indicate_pending(module);
}

/// The first member from a slot on that is to be asked about, with its adapter; none once detach has begun.
#[inline(never)] // a frame of its own
fn silent_from(module: &Module, slot: usize) -> Option<(MemberIndex, AdapterId)> {
    let control = module.control.lock();
    if control.detaching {
        return None;
    }
    (slot..MEMBERS).find_map(|slot| {
        let member = MemberIndex::from_slot(slot)?;
        Some((member, control.team.polled_adapter(member)?))
    })
}
