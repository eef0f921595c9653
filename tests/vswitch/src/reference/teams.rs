//! Adapters of one VM that fail over to each other: with AllowTeaming on both ports, an adapter may send from the address
//! that another adapter of its VM uses, connected or not (ns-ntddndis-_ndis_switch_port_property_security.md;
//! Set-VMNetworkAdapter: the property says of an adapter that it can be teamed with others). The address is then reached at
//! the adapter that sent from it last, as behind a bridge (IEEE 802.1Q, 8.7).
//!
//! Only synthetic and emulated adapters have a VM (ns-ntddndis-_ndis_switch_nic_parameters.md, VmName).

use super::vlan::{self, Inside, Tags};
use super::{Cause, Freedom, Question, Reach, Way, Ways, mac, single, source_port};
use crate::switch::ndis::learned::Whereabouts;
use crate::switch::ports::{Mac, Nic, NicId, NicKind, NicState, Topology};

/// Who is known to use an address, besides what the switch announced.
pub(super) struct Users<'a> {
    pub all: Vec<&'a Nic>,
    /// It is known: the only one of `all`, or the owner if there is none.
    pub certain: bool,
}

fn may_team(topology: &Topology, nic: &Nic) -> bool {
    let guest = matches!(nic.kind, NicKind::Synthetic | NicKind::Emulated);
    let security = topology.policies(nic.id.port).and_then(|policies| policies.security());
    guest && security.is_some_and(|security| security.teaming)
}

/// Whether an adapter may send from the address of another adapter of its VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lent {
    No,
    /// That adapter is on another switch, which changes or is not known in full.
    Maybe,
    Yes,
}

impl Lent {
    pub(super) fn reach(self) -> Reach {
        match self {
            Self::No => Reach::No(Cause::Spoofed),
            Self::Maybe => Reach::May(Freedom::OtherSwitch),
            Self::Yes => Reach::Must,
        }
    }
}

/// Another adapter of the same VM uses the address, on a switch of this host, and both may be teamed.
pub fn lent(q: &Question<'_>, nic: &Nic, address: Mac) -> Lent {
    // A virtual subnet is a network of its own.
    let subnet =
        |topology: &Topology, n: &Nic| topology.policies(n.id.port).map_or(0, |policies| policies.subnet());
    let own = subnet(q.topology, nic);
    let uses = |topology: &Topology, n: &Nic| {
        n.vm == nic.vm && n.mac == address && may_team(topology, n) && subnet(topology, n) == own
    };
    if !may_team(q.topology, nic) {
        return Lent::No;
    }
    if q.topology.nics().any(|n| n.id != nic.id && uses(q.topology, n)) {
        return Lent::Yes;
    }
    let lends = q.elsewhere.iter().filter(|(topology, _)| topology.nics().any(|n| uses(topology, n)));
    match lends.map(|(_, known)| *known).max() {
        _ if q.changed_elsewhere => Lent::Maybe,
        None => Lent::No,
        Some(false) => Lent::Maybe,
        Some(true) => Lent::Yes,
    }
}

/// The address that the sender of this frame has from now on, and the VLAN: its own, or another adapter's of its VM.
pub fn claims(q: &Question<'_>) -> Option<(Mac, u16)> {
    let port = source_port(q).filter(|_| q.frame.len() >= 14)?;
    let nic = q.topology.nic(q.source).filter(|nic| may_team(q.topology, nic))?;
    let from = mac(q.frame, 6);
    let taken = vlan::enter(port, Tags::of(q.frame, q.tag)).ok()?;
    (from == nic.mac || lent(q, nic, from) != Lent::No).then_some((from, taken.vid))
}

impl<'a> Question<'a> {
    pub(super) fn users(&self, address: Mac, vid: u16) -> Users<'a> {
        let topology = self.topology;
        let Some(holder) = self.holders.of(address, vid) else {
            return Users { all: Vec::new(), certain: true };
        };
        let here = |nic: &&Nic| {
            nic.state == NicState::Connected
                && nic.usable
                && may_team(topology, nic)
                && (nic.mac == address || lent(self, nic, address) != Lent::No)
        };
        // Who was disconnected since has to send again.
        let left = |nic: &&Nic| topology.disconnects.get(&nic.id).is_none_or(|at| *at < holder.spoke(nic.id));
        let seen = holder.candidates(self.given).filter_map(|id| topology.nic(id));
        let all: Vec<&Nic> = seen.filter(here).filter(left).collect();
        let newest = holder.seen.last().and_then(|id| topology.policies(id.port));
        let same = newest.is_some_and(|policies| policies.changes == holder.policies);
        // Two VMs with one address: whichever it is.
        let others = |nic: &Nic| nic.mac == address && all.first().is_some_and(|user| nic.vm != user.vm);
        let contested = topology.nics().any(|nic| nic.kind != NicKind::External && others(nic));
        // An address of another switch may be heard outside, and is there then.
        let is_here = |user: &Nic| topology.nics().any(|nic| nic.mac == address && nic.vm == user.vm);
        let whereabouts = match all.first() {
            Some(user) if !is_here(user) => self.whereabouts(address, vid),
            _ => Whereabouts::Inside,
        };
        if whereabouts == Whereabouts::External {
            return Users { all: Vec::new(), certain: true };
        }
        let sure = |user: &&Nic| user.mac == address || lent(self, user, address) == Lent::Yes;
        let contested = contested || whereabouts == Whereabouts::Either || !all.iter().all(sure);
        let known = holder.certain && self.given > holder.since && (same || all.is_empty()) && !contested;
        Users { all, certain: known && !self.learned.is_crowded() }
    }

    /// The adapter at which an address is reached, if that is certain by who sent from it.
    pub fn user(&self, address: Mac, vid: u16) -> Option<NicId> {
        let users = self.users(address, vid);
        users.all.first().filter(|_| users.certain).map(|nic| nic.id)
    }

    /// An adapter has sent from the address that may use it.
    pub fn is_taken_over(&self, address: Mac, vid: u16) -> bool {
        !self.users(address, vid).all.is_empty()
    }

    /// The adapter may be at the frame's destination, because it has taken its address over.
    pub fn is_used_by(&self, nic: &Nic, inside: Inside) -> bool {
        self.users(mac(self.frame, 0), inside.vid).all.iter().any(|user| user.id == nic.id)
    }
}

/// The ways of a frame for an address by who is known to use it; `otherwise` are those by what was announced and learned.
pub(super) fn ways(
    q: &Question<'_>,
    inside: Inside,
    tags: Tags,
    to: Mac,
    otherwise: impl FnOnce() -> Ways,
) -> Ways {
    let users = q.users(to, inside.vid);
    let single = |nic: &&Nic| single(q, inside, tags, nic);
    if users.certain && !users.all.is_empty() {
        let (all, reachable): (Vec<Way>, Vec<bool>) = users.all.iter().map(single).unzip();
        return Ways { all, may_drop: reachable.contains(&false), known: true };
    }
    let mut ways = otherwise();
    for (way, reachable) in users.all.iter().map(single) {
        ways.may_drop |= !reachable;
        ways.all.push(way);
    }
    ways
}
