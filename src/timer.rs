//! The expiry of the module's timer.

use crate::clock;
use crate::control::{failover, nic_status};
use crate::kernel::worker::Reasons;
use crate::module::Module;
use crate::ndis::irql::Dispatch;
use crate::ndis::timer::Expire;
use crate::trace::Event;

impl Expire for Module {
    /// A link-up delay has passed, buckets are idle, or a failed call is due again. DISPATCH_LEVEL.
    fn expire(&self, _: &Dispatch) {
        let now = clock::now();
        let mut control = self.control.lock();
        let retry = control.retry.take(now);
        let unread = retry && control.enumeration.is_owed();
        let plan = control.team.tick(now);
        if plan.changed {
            failover::publish(self, &mut control, &plan, now);
        } else {
            let moved = self.forwarding.write(control.dispatch()).settle(control.team.home(), now);
            if moved.idle != 0 || moved.deadline_moves != 0 {
                control
                    .events
                    .push(now, Event::Settled { idle: moved.idle, deadline_moves: moved.deadline_moves });
            }
            failover::arm(self, &control, moved.waiting != 0, now);
        }
        drop(control);
        if unread {
            self.worker.wake(Reasons::CONFIGURATION);
        }
        if retry {
            nic_status::retry(self);
        } else if plan.changed {
            nic_status::indicate_pending(self);
        }
    }
}
