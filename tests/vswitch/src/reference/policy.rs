//! Which rule it is that a wrong destination breaks: by what is wrong, and by how the extension got to know what is
//! right.

use crate::machine::world::World;
use crate::reference::case::Case;
use crate::reference::teams::{Lent, lent};
use crate::reference::vlan::Tags;
use crate::reference::{Cause, Expected, Reach, Way, reach};
use crate::switch::ndis::State;
use crate::switch::ndis::learned::Whereabouts;
use crate::switch::ports::policy::{Told, Vlan};
use crate::switch::ports::{Mac, Nic, NicId, NicKind};

/// The rule for a frame that went to these vNICs.
pub fn name(state: &State, case: &Case, frame: &[u8], expected: &Expected, vnics: &[NicId]) -> &'static str {
    let mut once = vnics.to_vec();
    once.sort();
    once.dedup();
    if once.len() < vnics.len() {
        return "PORTNIC-31";
    }
    if let Some(cause) = expected.refused {
        return refusal(state, case, frame, cause);
    }
    let topology = &state.modules[case.module].topology;
    let allowed = |id: &NicId| expected.ways.iter().any(|way| way.must.contains(id) || way.may.contains(id));
    let tags = Tags::of(frame, case.tag);
    let wrong = vnics.iter().find(|id| !allowed(id));
    if let Some(nic) = wrong.and_then(|id| topology.nic(*id))
        && let Some(inside) = expected.inside
        && let Reach::No(cause) = reach(&case.question(state, frame), nic, inside, tags)
    {
        return by_cause(cause, told(state, case, &[case.source, nic.id]));
    }
    let keeps = |way: &Way| way.uplink == Some(Reach::No(Cause::LinkLocal)) && way.fits(vnics, 0);
    if expected.ways.iter().any(keeps) {
        return by_cause(Cause::LinkLocal, Told::default());
    }
    if let Some(user) = taken_over(state, case, frame, expected).filter(|user| !vnics.contains(user)) {
        let stays = expected.ways.iter().any(|way| way.must.contains(&user));
        if stays {
            return "EGR-13";
        }
    }
    if let Some(rule) = moved(state, case, frame, expected) {
        return rule;
    }
    let right: Vec<NicId> = expected.ways.iter().flat_map(|way| &way.must).copied().collect();
    let missed = right.iter().filter(|id| !vnics.contains(id));
    if let Some(of_groups) =
        missed.filter_map(|id| group(topology.nic(*id)?, frame)).max_by_key(|id| *id == BEFORE)
    {
        return of_groups;
    }
    let involved: Vec<NicId> = right.iter().chain(wrong).copied().chain([case.source]).collect();
    match told(state, case, &involved) {
        Told::RolledBack => return "PROP-14",
        Told::Damaged => return "PROP-11",
        _ => {}
    }
    vnic(state, case, frame, &right)
}

/// The rules of what is not known of a vNIC's groups.
const BEFORE: &str = "HOST-08";
const UNNAMED: &str = "HOST-10";

/// The rule that a multicast frame puts to the test which this vNIC must get.
fn group(nic: &Nic, frame: &[u8]) -> Option<&'static str> {
    let to: Mac = frame.get(..6)?.try_into().ok().filter(|to: &Mac| to[0] & 1 != 0 && *to != [0xFF; 6])?;
    match nic.joined_before.contains(&to) {
        true => Some(BEFORE),
        false => (!nic.has_joined(&to)).then_some(UNNAMED),
    }
}

/// The frame is for an address that is known to be outside, or for a learned one that went nowhere else.
fn moved(state: &State, case: &Case, frame: &[u8], expected: &Expected) -> Option<&'static str> {
    let inside = expected.inside?;
    let to = frame.get(..6).and_then(|to| to.try_into().ok()).filter(|_| !expected.known)?;
    let m = &state.modules[case.module];
    let learned = !m.learned.places(to).is_empty();
    let (vnics, uplinks) = case.vnics(state);
    match case.question(state, frame).whereabouts(to, inside.vid) {
        Whereabouts::External if learned && uplinks == 0 && !vnics.is_empty() => Some("EGR-10"),
        Whereabouts::External => Some("EGR-11"),
        // Outside alone, where nobody heard it.
        Whereabouts::Inside if learned && vnics.is_empty() && uplinks > 0 => Some("EGR-10"),
        Whereabouts::Inside | Whereabouts::Either => None,
    }
}

fn refusal(state: &State, case: &Case, frame: &[u8], cause: Cause) -> &'static str {
    match borrowed(state, case, frame) {
        Some(Lender::Host) if cause == Cause::Spoofed => "PORTNIC-24",
        Some(Lender::Stranger) if cause == Cause::Spoofed => "EGR-14",
        _ => by_cause(cause, told(state, case, &[case.source])),
    }
}

/// Whose address an adapter that may be teamed sends from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lender {
    /// An adapter of its VM that may be teamed, too.
    Mate,
    /// One of the management OS, as itself is: the VM's name means nothing.
    Host,
    /// One of another VM, or one that may not be teamed.
    Stranger,
}

/// The frame has the address of another adapter, and its sender may be teamed.
fn borrowed(state: &State, case: &Case, frame: &[u8]) -> Option<Lender> {
    let topology = &state.modules[case.module].topology;
    let source = topology.nic(case.source)?;
    let teams = topology.policies(case.source.port)?.security().is_some_and(|s| s.teaming && !s.spoofing);
    let from = frame.get(6..12)?;
    let guest = |n: &Nic| n.kind != NicKind::Internal;
    let lender = |owner: &Nic| match (guest(source), guest(owner)) {
        (true, true) if lent(&case.question(state, frame), source, owner.mac) == Lent::Yes => Lender::Mate,
        (false, false) => Lender::Host,
        _ => Lender::Stranger,
    };
    let everywhere = (case.elsewhere.iter()).flat_map(|(at, _)| state.modules[*at].topology.nics());
    let here = topology.nics().filter(|n| n.id != source.id);
    let owners = here.chain(everywhere).filter(|n| n.mac[..] == *from && n.kind != NicKind::External);
    owners.map(lender).min().filter(|_| teams)
}

/// The adapter that has taken the frame's destination over from its owner, if that is certain.
pub fn taken_over(state: &State, case: &Case, frame: &[u8], expected: &Expected) -> Option<NicId> {
    let to = frame.get(..6)?.try_into().ok()?;
    let user = case.question(state, frame).user(to, expected.inside?.vid)?;
    (state.modules[case.module].topology.nic(user)?.mac != to).then_some(user)
}

fn told(state: &State, case: &Case, involved: &[NicId]) -> Told {
    let topology = &state.modules[case.module].topology;
    involved.iter().filter_map(|id| topology.policies(id.port)).map(|p| p.told).max().unwrap_or_default()
}

fn by_cause(cause: Cause, told: Told) -> &'static str {
    match (cause, told) {
        (Cause::Owner, _) => "EGR-12",
        (Cause::LinkLocal, _) => "EGR-7",
        (Cause::Pruned, _) => "DATA-89",
        (Cause::SecondTag, _) => "EGR-16",
        (_, Told::UnderAnyId) => "PROP-07",
        (_, Told::AsNewerVersion) => "PROP-13",
        (_, Told::ByEnumeration) => "PROP-15",
        (_, Told::RolledBack) => "PROP-14",
        (_, Told::Damaged) => "PROP-11",
        (Cause::Spoofed, _) => "DATA-90",
        (Cause::Vlan, Told::ByRequest) => "PROP-03",
        (Cause::Vlan | Cause::Subnet, _) => "DATA-88",
    }
}

/// A vNIC that the extension can know only from its enumeration is a matter of STATE-18, after another attach of
/// STATE-31, where the array's element size tells where it is of OID-33; one with a new address of PORTNIC-19, one on a
/// port whose number another had of PORTNIC-18.
fn vnic(state: &State, case: &Case, frame: &[u8], right: &[NicId]) -> &'static str {
    let m = &state.modules[case.module];
    if borrowed(state, case, frame) == Some(Lender::Mate) {
        return "PORTNIC-23";
    }
    if m.topology.unmatched && right.len() > 1 {
        return "PORTNIC-33";
    }
    let any = |fact: &dyn Fn(&NicId) -> bool| right.iter().any(fact);
    if any(&|id| m.topology.nic(*id).is_some_and(|n| n.readdressed)) {
        return "PORTNIC-19";
    }
    if any(&|id| m.topology.ports.get(&id.port).is_some_and(|p| p.reused)) {
        return "PORTNIC-18";
    }
    if any(&|id| m.topology.nic(*id).is_some_and(|n| n.from_array)) {
        let stepped = any(&|id| m.topology.nic(*id).is_some_and(|n| n.behind_gap));
        return match (m.attached_before, stepped) {
            (true, _) => "STATE-31",
            (false, true) => "OID-33",
            (false, false) => "STATE-18",
        };
    }
    "EGR-5"
}

/// Notes which rules this judgement has put to the test.
pub fn exercise(world: &World, state: &State, case: &Case, frame: &[u8], expected: &Expected) {
    world.exercised("PORTNIC-31");
    if Tags::of(frame, case.tag).hidden {
        world.exercised("EGR-16");
    }
    if let Some(cause) = expected.refused {
        world.exercised(refusal(state, case, frame, cause));
    }
    if taken_over(state, case, frame, expected).is_some() {
        world.exercised("EGR-13");
    }
    let vnics: Vec<NicId> = expected.ways.iter().flat_map(|way| &way.must).copied().collect();
    world.exercised(vnic(state, case, frame, &vnics));
    let topology = &state.modules[case.module].topology;
    let of_groups = vnics.iter().filter_map(|id| group(topology.nic(*id)?, frame));
    of_groups.for_each(|rule| world.exercised(rule));
    let m = &state.modules[case.module];
    if topology.is_external(case.source.port) {
        world.exercised("EGR-6");
        if topology.nics().any(|nic| frame.get(6..12) == Some(&nic.mac[..])) {
            world.exercised("EGR-12");
        }
    }
    let to = frame.get(..6).and_then(|to| to.try_into().ok());
    if let (Some(to), Some(inside)) = (to, expected.inside)
        && case.question(state, frame).whereabouts(to, inside.vid) == Whereabouts::External
    {
        world.exercised(if m.learned.places(to).is_empty() { "EGR-11" } else { "EGR-10" });
    }
    for port in topology.ports.values().filter(|port| port.policies.told != Told::Nothing) {
        for cause in [Cause::Vlan, Cause::Subnet] {
            world.exercised(by_cause(cause, port.policies.told));
        }
        if matches!(port.policies.vlan(), Some(Vlan::Trunk { pruned, .. }) if !pruned.is_empty()) {
            world.exercised("DATA-89");
        }
    }
}
