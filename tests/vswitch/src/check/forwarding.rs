//! EGR-5 to EGR-14, and the port policies: where a packet was sent against where the reference says it must go.
//!
//! Judged while nothing changed since the extension got the packet. While a failure may have left the extension with less
//! than the whole picture (see `recovery`), only that no station gets what its port must not have.

use crate::adapter::Adapter;
use crate::adapter::network::seen::content;
use crate::adapter::network::wire::Wire;
use crate::adapter::offloads::Resource;
use crate::adapter::physical_switch::Aggregation;
use crate::adapter::wire::oid;
use crate::check::arrivals::Side;
use crate::check::blame::blame;
use crate::check::rule;
use crate::machine::world::World;
use crate::reference::case::Picture;
use crate::reference::case::{Case, case};
use crate::reference::policy;
use crate::reference::teams::claims;
use crate::reference::vlan::{self, Tags};
use crate::reference::{Expected, Reach, judge, reach, teaches, vnics};
use crate::switch::frames::{FrameId, FrameOutcome};
use crate::switch::ndis::packet::Packet;
use crate::switch::ndis::{Life, Module, State};
use crate::switch::ports::policy::Property;
use crate::switch::ports::{Mac, NicId, NicState};
use lbfoext::ndis::raw::{DestinationBits, NetBufferList, PortDestination, info};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Frames come in: what the extension may learn from them.
pub fn given(world: &World, state: &mut State, module: usize, list: usize) {
    let Some(packet) = state.packets.at(list) else { return };
    let (source, ids, own, overlaps) =
        (packet.source, packet.frames.clone(), packet.before.info, packet.overlaps);
    let subnet = (own[info::VIRTUAL_SUBNET] & 0x00FF_FFFF) as u32;
    let now = world.now();
    let case = Case {
        module,
        source,
        frames: Vec::new(),
        untagged: BTreeSet::new(),
        tag: own[info::IEEE_8021Q],
        subnet,
        tag_now: 0,
        got: Vec::new(),
        unencrypted: false,
        picture: Picture::Partial,
        now,
        given: state.order,
        overlaps,
        elsewhere: state.elsewhere(world, module),
        changed_elsewhere: false,
    };
    if state.modules[module].topology.is_external(source.port) {
        return came(state, &case, &ids);
    }
    for id in ids {
        let Some(bytes) = state.frames.all.get(id).map(|frame| Arc::clone(&frame.bytes)) else { continue };
        spoken(&mut state.modules[module], &case, &bytes);
        if let Some((mac, vid)) = teaches(&case.question(state, &bytes)) {
            if case.question(state, &bytes).user(mac, vid).is_none() {
                state.modules[module].holders.doubt(mac, vid);
            }
            state.modules[module].learned.maybe_inside(mac, vid, source, (now, case.given));
        }
        if let Some((mac, vid)) = claims(&case.question(state, &bytes)) {
            let m = &mut state.modules[module];
            m.holders.maybe(mac, vid, source, case.given);
            if !is_announced(m, mac) {
                m.learned.maybe_inside(mac, vid, source, (now, case.given));
            }
        }
    }
}

/// Notes in which VLAN a vNIC sends from its source address.
fn spoken(module: &mut Module, case: &Case, bytes: &[u8]) {
    let mac = bytes.get(6..12).and_then(|mac| mac.try_into().ok());
    let port = module.topology.ports.get(&case.source.port);
    let inside = port.and_then(|port| vlan::enter(port, Tags::of(bytes, case.tag)).ok());
    module.spoken.extend(mac.zip(inside.map(|inside| inside.vid)));
}

/// A frame went on that may have taught where its source address is.
fn taught(state: &mut State, case: &Case, id: FrameId, frame: &[u8]) {
    if let Some((mac, vid)) = claims(&case.question(state, frame)) {
        let order = state.order;
        let m = &mut state.modules[case.module];
        let policies = m.topology.policies(case.source.port).map_or(0, |policies| policies.changes);
        m.holders.sent(mac, vid, case.source, (order, policies, case.overlaps));
        if !is_announced(m, mac) {
            m.learned.inside(mac, vid, case.source, (case.now, order, case.overlaps));
        }
    }
    let question = case.question(state, frame);
    let Some((mac, vid)) = teaches(&question) else { return };
    let taken_over = question.is_taken_over(mac, vid);
    if !taken_over {
        state.modules[case.module].holders.leave(mac, vid, case.overlaps);
    }
    let origin = state.frames.all.get(id).map(|frame| frame.origin);
    let content = Wire { vid, ..content(frame, case.vid()) };
    let order = state.order;
    let m = &mut state.modules[case.module];
    // As far as an extension knows, it may only come back.
    let unknown = m.arrivals.is_unknown(Side::Network, (mac, vid), case.now);
    let ours = origin.is_some_and(|origin| !origin.is_outside());
    if ours && unknown {
        m.learned.perhaps_inside(mac, vid);
    } else if ours && !m.arrivals.is_from_outside(&content) {
        m.learned.inside(mac, vid, case.source, (case.now, order, case.overlaps));
        if !taken_over {
            m.learned.surely(mac, vid, case.source, case.overlaps);
        }
    }
}

/// Frames come in from outside.
fn came(state: &mut State, case: &Case, ids: &[FrameId]) {
    for id in ids {
        let Some(seen) = case.seen(state, *id) else { continue };
        let from = seen.content.from();
        let bytes = state.frames.all.get(*id).map(|frame| Arc::clone(&frame.bytes));
        let m = &mut state.modules[case.module];
        m.arrivals.passes(&seen, Side::Network);
        let separate = case.source.index != 0 && m.external.mode() == Some(Aggregation::SwitchIndependent);
        if separate && m.topology.live_members() > 1 {
            m.arrivals.came(&seen, case.source.index);
        }
        let port = m.topology.ports.get(&case.source.port).zip(bytes);
        let inside = port.and_then(|(port, bytes)| vlan::enter(port, Tags::of(&bytes, case.tag)).ok());
        let vid = inside.map_or(seen.content.vid, |inside| inside.vid);
        if seen.origin.is_outside() && from[0] & 1 == 0 {
            // Also the address of a vNIC: it counts once that is not connected any more, or not yet.
            m.learned.maybe_outside(from, vid, (case.now, case.given));
        }
    }
}

fn is_announced(m: &Module, mac: Mac) -> bool {
    m.topology.nics().any(|nic| nic.mac == mac || nic.permanent == mac)
}

/// A list ends that cannot be judged: nor can what says the same.
fn unjudged(state: &mut State, module: usize, list: usize) {
    let Some(packet) = state.packets.at(list) else { return };
    let (source, ids) = (packet.source, packet.frames.clone());
    if !state.modules[module].topology.is_external(source.port) {
        return;
    }
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let tag = unsafe { (*packet.nbl).info[info::IEEE_8021Q] };
    let vid = vlan::out_of_band(tag).map_or(0, |tag| tag.vid);
    for id in ids {
        let Some(bytes) = state.frames.all.get(id).map(|frame| Arc::clone(&frame.bytes)) else { continue };
        state.modules[module].arrivals.blur(&content(&bytes, vid), id);
    }
}

/// A list goes down.
pub fn sent(world: &World, state: &mut State, module: usize, list: usize) {
    encrypted(world, state, module, list);
    let judged = case(world, state, module, list).filter(|case| !case.got.is_empty());
    // A list without destinations is another rule's matter.
    let Some(case) = judged else { return unjudged(state, module, list) };
    if case.source.port == 0 {
        world.exercised("DATA-30");
    }
    let name = state.packets.at(list).map_or(0, |p| p.name);
    if case.picture == Picture::Partial {
        unjudged(state, module, list);
        return kept_apart(world, state, &case, name);
    }
    let (vnics, uplinks) = case.vnics(state);
    for (id, frame) in &case.frames {
        let expected = judge(&case.question(state, frame));
        let fits = expected.ways.iter().any(|way| way.fits(&vnics, uplinks));
        policy::exercise(world, state, &case, frame, &expected);
        let broken = case.named(|| policy::name(state, &case, frame, &expected, &vnics));
        rule(world, broken, fits, || {
            let got: Vec<String> =
                case.got.iter().map(|d| format!("{}/{}", d.port_id, d.nic_index)).collect();
            format!("packet {name} (frame {id}) {} went to {got:?}, expected {expected:?}", case.told(frame))
        });
        if fits {
            shown(world, state, &case, (*id, frame), &expected, name);
            match uplinks {
                0 => received(world, state, &case, (*id, &expected), !vnics.is_empty()),
                _ => left(state, &case, *id, frame),
            }
            taught(state, &case, *id, frame);
        }
    }
}

/// A frame leaves through a member: what the network makes of it may come back.
fn left(state: &mut State, case: &Case, id: FrameId, frame: &[u8]) {
    let m = &state.modules[case.module];
    let outside = |d: &&PortDestination| m.topology.is_external(d.port_id);
    let Some(to) = case.got.iter().find(outside) else { return };
    if !case.question(state, frame).is_separate() {
        return;
    }
    let frame = case.leaving(id, frame);
    let (vid, out_of_band) = vlan::wire_vid(&frame, case.tag_now, *to);
    let Some(mut seen) = case.seen(state, id) else { return };
    seen.content = Wire::of(&frame, if out_of_band { vid } else { 0 }).content();
    state.modules[case.module].arrivals.left(&seen);
}

/// What a list that was never sent leaves undone.
pub fn dropped(world: &World, state: &mut State, module: usize, list: usize) {
    if state.life(module) != Life::Running {
        return;
    }
    let Some(mut case) = case(world, state, module, list) else { return unjudged(state, module, list) };
    let Some(packet) = state.packets.at(list) else { return };
    let (paused, reported, name) = (packet.given_while_paused, packet.reported, packet.name);
    let blamed = packet.blamed;
    let carried = packet.carried.clone();
    let closed = state.asks_for_isolation(module, case.source.port);
    let partial = case.picture == Picture::Partial;
    if paused || closed || partial || !reported && carried.is_empty() {
        return unjudged(state, module, list);
    }
    let frames = std::mem::take(&mut case.frames);
    for (id, frame) in &frames {
        let filtered = state.outcomes(*id).iter().any(|end| matches!(end, FrameOutcome::Filtered { .. }));
        // One that went on in a list of its own, or that is another rule's matter.
        if !filtered && (carried.contains(id) || !reported) {
            continue;
        }
        let expected = judge(&case.question(state, frame));
        policy::exercise(world, state, &case, frame, &expected);
        let broken = case.named(|| match case.source.port {
            0 => "DATA-30",
            port if state.modules[module].topology.is_external(port) => "EGR-6",
            _ => policy::name(state, &case, frame, &expected, &[]),
        });
        let outside = state.modules[module].topology.is_external(case.source.port);
        let by_arrivals = outside && case.source.index != 0 && case.question(state, frame).is_separate();
        rule(world, broken, expected.may_drop || by_arrivals, || {
            let why = state.outcomes(*id);
            format!(
                "packet {name} (frame {id}) {} was dropped, expected {expected:?}: {why:?}",
                case.told(frame)
            )
        });
        received(world, state, &case, (*id, &expected), false);
        if let Some(blamed) = blamed.filter(|_| expected.may_drop && reported) {
            blame(world, state, &case, (*id, frame), &expected, blamed);
        }
    }
}

/// Whatever the extension does not know, VLANs and virtual subnets stay apart.
fn kept_apart(world: &World, state: &State, case: &Case, name: u64) {
    let topology = &state.modules[case.module].topology;
    let Some(port) = topology.ports.get(&case.source.port) else { return };
    let (vnics, _) = case.vnics(state);
    for (id, frame) in &case.frames {
        let tags = Tags::of(frame, case.tag);
        let question = case.question(state, frame);
        let inside = vlan::enter(port, tags);
        let mut wrong = vnics.iter().filter(|to| {
            let no = |inside| {
                topology
                    .nic(**to)
                    .is_some_and(|nic| matches!(reach(&question, nic, inside, tags), Reach::No(_)))
            };
            inside.map_or(true, no)
        });
        let wrong = wrong.next();
        rule(world, "DATA-88", wrong.is_none(), || {
            format!(
                "packet {name} (frame {id}) {} went to {wrong:?}, which must not have it",
                case.told(frame)
            )
        });
    }
}

/// The handles in a packet's out-of-band data: of the connection's association and of the tunnel's
/// (ns-ndis-_ndis_ipsec_offload_v2_tunnel_net_buffer_list_info). What comes from outside has other things there.
fn associations(state: &State, module: usize, packet: &Packet) -> Vec<Resource> {
    if state.modules[module].topology.is_external(packet.source.port) {
        return Vec::new();
    }
    // SAFETY: the packet is in the extension's hands and so uncovered.
    let info = unsafe { (*packet.nbl).info };
    let handles = [info[info::IPSEC], info[info::IPSEC_TUNNEL]].into_iter().filter(|handle| *handle != 0);
    handles.map(Resource::Association).collect()
}

fn has_all(adapter: &Adapter, source: NicId, associations: &[Resource]) -> bool {
    associations.iter().all(|association| adapter.offloads.holds(source, *association))
}

/// Whether the adapter fails a packet: its settings offer IPsec and it does not find one of the associations
/// (sending-network-data-with-ipsec-offload-version-2). It is asked only if no other adapter can have them: the only one since
/// the attachment, which was there before. A handle does not say whose it is: that another partition has an association
/// under it there, while this one's was lost before the attachment, no extension can find out.
fn fails(module: &Module, adapter: &Adapter) -> bool {
    module.topology.sole_adapter() == Some(adapter.index) && adapter.offloads.capabilities.associations > 0
}

/// OFFLOAD-29: only an adapter that has a packet's security associations can encrypt it; any other sends it in the clear,
/// whatever its sender believes, or fails it.
fn encrypted(world: &World, state: &mut State, module: usize, list: usize) {
    let Some(packet) =
        state.packets.get(list as *mut NetBufferList).filter(|_| state.installed.role.has_team())
    else {
        return;
    };
    let associations = associations(state, module, packet);
    // Who deletes an association while packets are under way that need it does without them.
    let mut carried = state.control.nics.carried.values();
    let deleted = carried.any(|c| c.module == module && c.oid == oid::DELETE_SA);
    if associations.is_empty() || deleted {
        return;
    }
    let m = &state.modules[module];
    let mut unfound = false;
    for to in packet.context.iter().flat_map(|context| &context.committed) {
        let member = NicId::new(to.port_id, to.nic_index);
        let there = m.topology.nic(member).is_some_and(|nic| nic.state == NicState::Connected);
        let adapter = m.external.adapters.get(&to.nic_index);
        let Some(adapter) = adapter.filter(|_| there && m.topology.is_external(to.port_id)) else { continue };
        let has_all = has_all(adapter, packet.source, &associations);
        let failed = !has_all && fails(m, adapter);
        unfound |= failed;
        rule(world, "OFFLOAD-29", has_all || failed, || {
            let (name, from) = (packet.name, packet.source);
            format!("packet {name} of {from} leaves by {member}, which has not all of {associations:x?}")
        });
    }
    if let Some(packet) = state.packets.get_mut(list as *mut NetBufferList) {
        packet.unfound = unfound;
    }
}

impl State {
    /// Whether the extension need not know of any live member that it can encrypt the packet: then it stays inside. What
    /// was allocated through the whole team it need not know.
    pub fn stays_unencrypted(&self, module: usize, packet: &Packet) -> bool {
        let (associations, source) = (associations(self, module, packet), packet.source);
        let m = &self.modules[module];
        let known = |resource: &Resource| self.control.nics.known.contains(&(module, source, *resource));
        let live = |index| {
            let nic = m.topology.nic(NicId::new(m.external.external_port, index));
            nic.is_some_and(|nic| nic.usable && !nic.known_down)
        };
        let able = |adapter: &Adapter| live(adapter.index) && has_all(adapter, source, &associations);
        let encrypted = associations.iter().all(known) && m.external.adapters.values().any(able);
        !(associations.is_empty() || encrypted)
    }

    /// A port has an isolation mode that no forwarding extension but one for it can enforce: nothing may pass it.
    pub fn asks_for_isolation(&self, module: usize, port: u32) -> bool {
        let asks =
            |property: &Property| matches!(property, Property::Isolation { mode } if !matches!(mode, 0 | 1));
        let policies = self.modules[module].topology.policies(port);
        policies.is_some_and(|policies| policies.properties.values().any(asks))
    }
}

/// Every destination takes the frame for what it is: in its VLAN, with its priority or without.
fn shown(
    world: &World,
    state: &State,
    case: &Case,
    (id, frame): (FrameId, &[u8]),
    expected: &Expected,
    name: u64,
) {
    let Some(inside) = expected.inside else { return };
    let topology = &state.modules[case.module].topology;
    let (before, now) = (Tags::of(frame, case.tag), Tags::of(&case.leaving(id, frame), case.tag_now));
    for to in &case.got {
        let Some(port) = topology.ports.get(&to.port_id) else { continue };
        let keeps = to.bits.contains(DestinationBits::PRESERVE_VLAN);
        let seen = vlan::understood(port, inside, before, now, keeps);
        rule(world, "DATA-88", seen.is_ok(), || {
            format!("packet {name} to port {}: {}", to.port_id, seen.unwrap_err())
        });
        let has_priority = now.out_of_band.is_some_and(|t| t.priority != 0);
        let trusted = port.policies.security().is_some_and(|s| s.priority_tag);
        if has_priority && !topology.is_external(to.port_id) && !trusted {
            let priority = to.bits.contains(DestinationBits::PRESERVE_PRIORITY);
            rule(world, "DATA-88", !priority, || {
                format!(
                    "packet {name} to port {}: the priority goes along, which the port must not see",
                    to.port_id
                )
            });
        }
    }
}

/// EGR-6, EGR-8 and EGR-9: a frame from outside was taken in by somebody or by nobody. What was taken in may have taught
/// where its source address is.
fn received(
    world: &World,
    state: &mut State,
    case: &Case,
    (frame, expected): (FrameId, &Expected),
    taken: bool,
) {
    if !state.modules[case.module].topology.is_external(case.source.port) {
        return;
    }
    let Some(seen) = case.seen(state, frame) else { return };
    let order = state.order;
    let m = &mut state.modules[case.module];
    let several = m.topology.live_members() > 1;
    let team = m.external.mode() == Some(Aggregation::SwitchIndependent) && several;
    let (from, to) = (seen.content.from(), seen.content.to());
    let new = seen.origin.is_outside() && !m.arrivals.is_stale(&seen, false);
    // Of virtual subnets and of odd tags no extension has to learn.
    let plain = expected.inside.filter(|inside| case.subnet == 0 && inside.freedom.is_none());
    let heeds = m.topology.any_learns() || !m.learned.places(from).is_empty();
    let learns = from[0] & 1 == 0 && !is_announced(m, from) && heeds;
    if let Some(inside) = plain.filter(|_| taken && new && learns) {
        let certain = team || m.external.mode() == Some(Aggregation::Static) || !several;
        // This host sends nothing outside for a vNIC's address; a guest may send for that of a member, or of a NIC that is
        // not connected, and the network return it.
        let is_vnics = vnics(&m.topology).any(|nic| nic.mac == to || nic.permanent == to);
        let many = (team && !is_vnics).then(|| seen.content.clone());
        // It may be taken for one of this host's own, or not.
        let unknown = many.is_some() && m.arrivals.is_unknown(Side::Host, (from, seen.content.vid), case.now);
        if certain && !unknown {
            m.learned.outside(from, inside.vid, (case.now, order, case.overlaps), many);
        }
    }
    if !team || case.source.index == 0 || !state.installed.role.has_team() {
        return;
    }
    world.exercised("EGR-8");
    world.exercised("EGR-9");
    let wanted = !expected.may_drop;
    let broken = match taken {
        true => m.arrivals.took(&seen, expected.known),
        false => m.arrivals.dropped(&seen, wanted),
    };
    if let Some((name, why)) = broken {
        let end = state.outcomes(frame);
        let why =
            format!("frame {frame} from {} {:?}: {why}; {expected:?}; {end:?}", case.source, seen.origin);
        let name = case.named(|| name);
        rule(world, name, false, || why);
    }
}
