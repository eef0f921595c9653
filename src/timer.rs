//! The expiry of the module's timer.

use crate::clock::Start;
use crate::control::{announce, events, failover, nic_status, private_oids, resource_lists};
use crate::kernel::worker::Reasons;
use crate::module::Module;
use crate::ndis::irql::Dispatch;
use crate::ndis::timer::Expire;
use crate::trace::Event;

impl Expire for Module {
    /// A link-up delay has passed, buckets are idle, or a failed call is due again. DISPATCH_LEVEL.
    fn expire(&self, _: &Dispatch) {
        let start = Start::now();
        let now = start.now;
        let mut control = self.control.lock();
        let retry = control.retry.take(now);
        let unread = retry && control.enumeration.is_owed();
        let moving = self.forwarding.read().moving();
        let plan = match control.team.is_handing_over() && !moving {
            true => control.team.rest(now),
            false => control.team.tick(now),
        };
        if plan.changed {
            failover::publish(self, &mut control, &plan, &start);
        } else if control.team.is_building() && (control.walked_last || !moving) {
            // In turns with the walk: both in one call would be more than a timer may take.
            control.walked_last = false;
            control.team.build();
            failover::arm(self, &control, moving, now);
        } else if !moving && !control.team.is_building() && control.aside.looks_ahead() {
            self.forwarding.read().look_ahead(&mut control.aside);
            failover::arm(self, &control, moving, now);
        } else {
            control.walked_last = true;
            let (moved, moving) = failover::settle(self, &mut control, now);
            if moved.idle != 0 || moved.deadline_moves != 0 {
                let after_ms = now.since(control.changed).as_us() / 1_000;
                let settled =
                    Event::Settled { idle: moved.idle, deadline_moves: moved.deadline_moves, after_ms };
                events::record_at(self, &mut control, now, settled);
            }
            failover::arm(self, &control, moving, now);
        }
        drop(control);
        announce::at_expiry(self);
        if unread {
            self.worker.wake(Reasons::CONFIGURATION);
        }
        if retry {
            let anew = nic_status::retry(self);
            if !anew.is_empty() {
                resource_lists::ask(self, anew);
                private_oids::connected(self, anew);
            }
        } else if plan.changed {
            nic_status::indicate_pending(self);
        }
    }
}
