//! Whose policy a dropped frame failed at, against what its report says.

use crate::check::rule;
use crate::machine::world::World;
use crate::reference::case::Case;
use crate::reference::vlan::Tags;
use crate::reference::{Expected, Reach, reach};
use crate::switch::frames::FrameId;
use crate::switch::ndis::State;
use crate::switch::ports::{Nic, NicKind, NicState};

/// HOST-01: the report of a dropped frame names the side whose policy it was.
pub fn blame(
    world: &World,
    state: &State,
    case: &Case,
    (id, frame): (FrameId, &[u8]),
    expected: &Expected,
    (incoming, port): (bool, u32),
) {
    let m = &state.modules[case.module];
    let tags = Tags::of(frame, case.tag);
    // Whoever has the address, had it, or has shown it.
    let places = frame.get(..6).and_then(|to| to.try_into().ok()).map_or(&[][..], |to| m.learned.places(to));
    let question = case.question(state, frame);
    let claims = |n: &Nic| {
        let is_own = frame.starts_with(&n.mac) || frame.starts_with(&n.permanent);
        is_own
            || places.contains(&n.id)
            || expected.inside.is_some_and(|inside| question.is_used_by(n, inside))
    };
    let inside = |n: &&Nic| n.kind != NicKind::External;
    let claimants: Vec<&Nic> = m.topology.nics().filter(inside).filter(|n| claims(n)).collect();
    // Whether the port of an adapter may be what the frame fails at, by a way of judging its reach.
    let at = |nic: &Nic, fails: fn(Reach) -> bool| {
        let here = |inside| fails(reach(&case.question(state, frame), nic, inside, tags));
        expected.inside.is_some_and(here) || state.asks_for_isolation(case.module, nic.id.port)
    };
    let must_refuse: fn(Reach) -> bool = |reach| matches!(reach, Reach::No(_));
    let may_refuse: fn(Reach) -> bool = |reach| reach != Reach::Must;
    let nobody_else = expected.ways.iter().all(|way| way.must.is_empty() && way.may.is_empty());
    let outside = |fails: fn(Reach) -> bool| expected.ways.iter().any(|way| way.uplink.is_some_and(fails));
    let reachable = |nic: &Nic| nic.state == NicState::Connected && nic.usable;
    let right = match (incoming, &claimants[..]) {
        _ if expected.refused.is_some() => incoming,
        (true, _) if expected.sender_may_refuse => true,
        // The only adapter with the address may not have the frame.
        (true, [owner])
            if reachable(owner) && owner.id != case.source && owner.mac == frame[..6] && nobody_else =>
        {
            !at(owner, must_refuse)
        }
        // Nobody here has it, and the outside may not.
        (true, []) if nobody_else && frame.first().is_some_and(|b| b & 1 == 0) => !outside(must_refuse),
        (true, _) => true,
        (false, _) if m.topology.is_external(port) => outside(may_refuse),
        (false, claimants) => claimants.iter().any(|nic| nic.id.port == port && at(nic, may_refuse)),
    };
    rule(world, "HOST-01", right, || {
        let side = if incoming { "source" } else { "destination" };
        format!(
            "frame {id} {} was reported as dropped by port {port}, its {side}: {expected:?}, {:?}",
            case.told(frame),
            state.outcomes(id)
        )
    });
}
