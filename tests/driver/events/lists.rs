//! Events about what members hold of before the attachment.

use super::members::{came_up, up};
use super::{Seen, after, member, source, team};
use lbfoext::ndis::raw::FAILURE;
use lbfoext::trace::Event;
use teaming::team::member::LinkSource;
use vswitch::adapter::wire::oid;
use vswitch::scenario::Net;
use vswitch::scenario::suite::MS;
use vswitch::switch::control::envelope::Inner;
use vswitch::switch::control::offload::free_queue;

pub fn a_queue_is_freed_that_nobody_has() -> Seen {
    let act =
        |net: &Net| _ = net.offload(net.vm(0), |p| p.ask(&Inner::set(oid::FREE_QUEUE, free_queue(9))).status);
    let event = Event::HolderUnknown { oid: oid::FREE_QUEUE, reporters: 0 };
    after(team(&[10, 10]).start(), act, |_| vec![event])
}

pub fn a_member_does_not_list_what_it_holds() -> Seen {
    let net = team(&[10, 10]).start();
    net.unplug(2);
    net.look(|state| state.style.listing.refused = 100);
    let act = |net: &Net| {
        net.replug(2);
        net.advance(MS);
    };
    let changed = came_up(2, 2_048);
    let not_listed = Event::NotListed { member: member(2), status: FAILURE };
    let told = up(2, 2, 100);
    after(net, act, |_| vec![changed, told, source(2, LinkSource::Query), not_listed])
}

pub fn a_member_never_lists_what_it_holds() -> Seen {
    let net = team(&[10, 10]).start();
    net.unplug(2);
    net.look(|state| state.style.listing.never = Some(2));
    net.replug(2);
    // The attempts after 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 12.7 and 25.5 s; the next one is after 51.1 s.
    net.advance(40_000 * MS);
    let failed = Event::NotListed { member: member(2), status: FAILURE };
    let given_up = Event::ListsGivenUp { member: member(2) };
    after(net, |net| net.advance(20_000 * MS), move |_| vec![failed, given_up])
}
