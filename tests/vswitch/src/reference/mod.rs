//! The reference: where one frame must go, may go and must not, by the documentation and the rule book. Simple, slow,
//! and ignorant of the driver: it looks at the truth about ports and asks of every vNIC whether the frame is for it.
//!
//! Where the documentation leaves room the room has a name (`Freedom`); why something is refused has one as well.

pub mod case;
pub mod policy;
pub mod teams;
pub mod vlan;

use crate::adapter::physical_switch::Aggregation;
use crate::switch::ndis::holders::Holders;
use crate::switch::ndis::learned::{Learned, Whereabouts};
use crate::switch::ports::{Mac, Nic, NicId, NicKind, NicState, Port, Topology};
use std::collections::BTreeSet;
use teams::Lent;
use vlan::{Inside, Tags};

/// Why something must not be delivered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cause {
    Vlan,
    /// A pruned VLAN of a trunk.
    Pruned,
    /// Its far end would read the tag behind the one that says the frame's VLAN.
    SecondTag,
    Subnet,
    /// The sender may not use this source address.
    Spoofed,
    /// The port has the frame's source address.
    Owner,
    /// A bridge keeps frames to this group on their link (IEEE 802.1Q, 8.6.3).
    LinkLocal,
}

/// What the documentation leaves open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Freedom {
    /// VLAN id 4095.
    ReservedVlan,
    /// A priority tag in the bytes of a frame from a port that knows no tags: it cannot be taken off.
    PriorityInBytes,
    /// The native VLAN of a trunk is not in its list.
    NativeNotListed,
    /// In the native VLAN of the trunk it should leave on, and tagged by a service tag: to go untagged would show that one.
    NativeInBytes,
    /// An ordinary port in a VLAN that private ports use.
    OrdinaryPortInPrivateVlan,
    /// One secondary VLAN used for two purposes.
    SharedSecondary,
    /// The vNIC joined other groups than this one, and the extension goes by that.
    NotInGroup,
    /// The port has no security property and sends with another address.
    NoSecurityProperty,
    /// The address is in use on another switch of the host that changes, or that the extension does not know in full.
    OtherSwitch,
    /// Its permanent address, while it uses another.
    FormerAddress,
    /// The address belongs to a vNIC that is not reachable: drop it, or look further like for an unknown one.
    VnicElsewhere,
    /// From a port of a virtual subnet to the external network, which knows none.
    SubnetToExternal,
    /// The frame names another virtual subnet than its port.
    SubnetsDiffer,
    /// A bridge keeps frames to this group on their link; no page of Windows says that an extension does.
    LinkLocal,
    /// The address may be behind a port whose frame this is, or has moved outside with it.
    Guarded,
    /// The member that it came through is not up.
    MemberDown,
    /// A source address that is no adapter's: of a group, zero, or from a port that has no NIC any more.
    OddSource,
    /// No live member is known to have the packet's security associations (OFFLOAD-29 says that it stays inside).
    Unencrypted,
}

/// One destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    Must,
    May(Freedom),
    No(Cause),
}

impl Reach {
    /// Both must allow it.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No(cause), _) | (_, Self::No(cause)) => Self::No(cause),
            (Self::May(free), _) | (_, Self::May(free)) => Self::May(free),
            (Self::Must, Self::Must) => Self::Must,
        }
    }

    fn softened(self, freedom: Option<Freedom>) -> Self {
        freedom.map_or(self, |freedom| self.and(Self::May(freedom)))
    }
}

/// One right way to treat the frame.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Way {
    pub must: BTreeSet<NicId>,
    pub may: BTreeSet<NicId>,
    /// One live member of the team.
    pub uplink: Option<Reach>,
}

impl Way {
    fn add(&mut self, id: NicId, reach: Reach) {
        match reach {
            Reach::Must => self.must.insert(id),
            Reach::May(_) => self.may.insert(id),
            Reach::No(_) => false,
        };
    }

    pub fn is_nothing(&self) -> bool {
        self.must.is_empty() && self.uplink != Some(Reach::Must)
    }

    /// `vnics` in order, repetitions and all.
    pub fn fits(&self, vnics: &[NicId], uplinks: usize) -> bool {
        let set: BTreeSet<NicId> = vnics.iter().copied().collect();
        let uplink = match self.uplink {
            Some(Reach::Must) => uplinks == 1,
            Some(Reach::May(_)) => uplinks <= 1,
            Some(Reach::No(_)) | None => uplinks == 0,
        };
        let known = set.iter().all(|id| self.must.contains(id) || self.may.contains(id));
        uplink && known && set.len() == vnics.len() && self.must.is_subset(&set)
    }
}

/// What is right for one frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    pub ways: Vec<Way>,
    /// Dropping it is right as well, or the only right thing.
    pub may_drop: bool,
    /// Why it goes nowhere.
    pub refused: Option<Cause>,
    pub inside: Option<Inside>,
    /// The documentation leaves open whether the sender's own port lets it pass.
    pub sender_may_refuse: bool,
    /// It is for the address of a vNIC.
    pub known: bool,
}

/// What decides about a frame.
pub struct Question<'a> {
    pub topology: &'a Topology,
    pub learned: &'a Learned,
    pub holders: &'a Holders,
    /// The other switches of the host, each with whether the extension knows all of it.
    pub elsewhere: Vec<(&'a Topology, bool)>,
    /// One of them has changed since the extension got the frame.
    pub changed_elsewhere: bool,
    /// `None` while the team's mode may have changed.
    pub mode: Option<Aggregation>,
    pub now: u64,
    /// Order number of the call in which the extension got it.
    pub given: u64,
    /// Link-local groups that the extension is to let cross the external port, a bit each; `None` if it does not say what
    /// it does with them.
    pub link_local: Option<u32>,
    /// Whether the extension gives vNICs only the multicast frames that they have asked for; `None` if it does not say.
    pub prunes: Option<bool>,
    pub source: NicId,
    pub frame: &'a [u8],
    /// Words of the slots for 802.1Q and the virtual subnet.
    pub tag: u64,
    pub subnet: u32,
    /// No live member is known to have the packet's security associations.
    pub unencrypted: bool,
    /// No adapter of the team has a link: whatever is known of them, nothing can leave.
    pub cut_off: bool,
}

impl Question<'_> {
    /// Where an address is that no NIC has. Nothing is known for certain while nobody is outside, or may not have the frame.
    pub fn whereabouts(&self, mac: Mac, vid: u16) -> Whereabouts {
        let inside = !self.topology.is_external(self.source.port);
        let subnet = self.subnet != 0 || source_port(self).is_some_and(|port| port.policies.subnet() != 0);
        // An address that the switch announced stays with its vNIC, a former one too.
        let former = vnics(self.topology).any(|nic| nic.permanent == mac);
        let open = !inside || subnet || former || self.topology.live_members() == 0;
        match self.learned.whereabouts(mac, vid, (self.now, self.given)) {
            Whereabouts::External if open => Whereabouts::Either,
            known => known,
        }
    }
}

/// An address of the frame.
fn mac(frame: &[u8], at: usize) -> Mac {
    frame.get(at..at + 6).and_then(|m| m.try_into().ok()).unwrap_or_default()
}

/// What is right for the frame.
pub fn judge(q: &Question<'_>) -> Expected {
    let nothing = |refused, may_drop| Expected {
        ways: vec![Way::default()],
        may_drop,
        refused,
        inside: None,
        sender_may_refuse: true,
        known: false,
    };
    if !vlan::is_frame(q.frame, q.tag) {
        return nothing(None, true);
    }
    if q.topology.is_external(q.source.port) && stays_on_link(q) == Some(true) {
        return nothing(Some(Cause::LinkLocal), true);
    }
    let tags = Tags::of(q.frame, q.tag);
    let mut soft = None;
    let inside = match source_port(q) {
        None => Inside::trusted(tags),
        Some(port) => {
            match address(q, port) {
                Reach::Must => {}
                Reach::May(freedom) => soft = Some(freedom),
                Reach::No(cause) => return nothing(Some(cause), true),
            }
            match vlan::enter(port, tags) {
                Ok(inside) => inside,
                Err(cause) => return nothing(Some(cause), true),
            }
        }
    };
    let own = source_port(q).map_or(0, |port| port.policies.subnet());
    let subnets_differ = own != 0 && q.subnet != 0 && own != q.subnet;
    let sender_may_refuse = soft.or(inside.freedom).is_some() || subnets_differ;
    let ways = ways(q, inside, tags);
    match receive_side(q) {
        Reach::Must => {}
        Reach::May(freedom) => soft = Some(freedom),
        Reach::No(cause) => return nothing(Some(cause), true),
    }
    let free = soft.or(inside.freedom).is_some();
    let to_itself = ways.all.iter().any(Way::is_nothing);
    Expected {
        may_drop: free || ways.may_drop || to_itself,
        refused: None,
        inside: Some(inside),
        sender_may_refuse,
        known: ways.known,
        ways: ways.all,
    }
}

impl Inside {
    /// Frames from nobody's port pass every policy of the sender's; their tag is where they are.
    fn trusted(tags: Tags) -> Self {
        vlan::enter(&Port::new(0, NicKind::External), tags).expect("the external network takes every tag")
    }
}

/// The port a frame comes from, unless it is trusted.
fn source_port<'a>(q: &Question<'a>) -> Option<&'a Port> {
    q.topology.ports.get(&q.source.port)
}

/// The vNICs that are connected.
pub fn vnics(topology: &Topology) -> impl Iterator<Item = &Nic> {
    topology.nics().filter(|n| n.kind != NicKind::External && n.state == NicState::Connected && n.usable)
}

/// May the sender use this source address? (ns-ntddndis-_ndis_switch_port_property_security.md)
fn address(q: &Question<'_>, port: &Port) -> Reach {
    if port.kind == NicKind::External {
        return Reach::Must;
    }
    let from = mac(q.frame, 6);
    let Some(nic) = q.topology.nic(q.source) else { return Reach::May(Freedom::OddSource) };
    if from == nic.mac {
        return Reach::Must;
    }
    let odd = from[0] & 1 != 0 || from == [0; 6];
    match port.policies.security() {
        None => Reach::May(Freedom::NoSecurityProperty),
        Some(s) if s.spoofing && odd => Reach::May(Freedom::OddSource),
        Some(s) if s.spoofing => Reach::Must,
        Some(s) if s.teaming && teams::lent(q, nic, from) != Lent::No => teams::lent(q, nic, from).reach(),
        Some(_) if from == nic.permanent => Reach::May(Freedom::FormerAddress),
        Some(_) => Reach::No(Cause::Spoofed),
    }
}

/// The address that is behind the sender's port, and the VLAN, if the frame may teach it: another than the adapter's own,
/// allowed, in a VLAN of the port.
pub fn teaches(q: &Question<'_>) -> Option<(Mac, u16)> {
    let port = source_port(q).filter(|port| port.policies.may_spoof() && vlan::is_frame(q.frame, q.tag))?;
    let from = mac(q.frame, 6);
    let other = q.topology.nic(q.source).is_some_and(|n| n.mac != from);
    let taken = vlan::enter(port, Tags::of(q.frame, q.tag)).ok()?;
    other.then_some((from, taken.vid))
}

/// What comes in from outside is taken, whoever sent it and through whichever member, but for what `check::arrivals` knows
/// of copies.
fn receive_side(q: &Question<'_>) -> Reach {
    let up = q.topology.nic(q.source).is_some_and(|n| n.usable && !n.known_down);
    if up || !q.topology.is_external(q.source.port) { Reach::Must } else { Reach::May(Freedom::MemberDown) }
}

impl Question<'_> {
    /// The members are separate ports to the physical network, and there are several.
    pub fn is_separate(&self) -> bool {
        self.mode != Some(Aggregation::Static) && self.topology.live_members() > 1
    }
}

struct Ways {
    all: Vec<Way>,
    may_drop: bool,
    known: bool,
}

fn ways(q: &Question<'_>, inside: Inside, tags: Tags) -> Ways {
    let to = mac(q.frame, 0);
    let flood = |all: fn(&Nic) -> bool| {
        let mut way = Way { uplink: uplink(q, inside, tags), ..Way::default() };
        let others = vnics(q.topology).filter(|n| n.id != q.source);
        for nic in others {
            let reach = reach(q, nic, inside, tags);
            let learns = q.topology.policies(nic.id.port).is_some_and(|p| p.may_spoof());
            if all(nic) {
                way.add(nic.id, reach.softened(group(q, nic, to)));
            } else if learns {
                way.add(nic.id, reach);
            }
        }
        way
    };
    if to[0] & 1 != 0 {
        let mut way = flood(|_| true);
        let mut may_drop = false;
        match stays_on_link(q) {
            None => may_drop = true,
            Some(true) => way.uplink = Some(Reach::No(Cause::LinkLocal)),
            Some(false) => {}
        }
        return Ways { all: vec![way], may_drop, known: false };
    }
    let unknown = || flood(|_| false);
    teams::ways(q, inside, tags, to, || announced(q, inside, tags, to, unknown()))
}

/// To an address by what the switch announced, and what was learned behind ports that may use any.
fn announced(q: &Question<'_>, inside: Inside, tags: Tags, to: Mac, unknown: Way) -> Ways {
    let owners: Vec<&Nic> = vnics(q.topology).filter(|n| n.mac == to).collect();
    if !owners.is_empty() {
        return known(q, inside, tags, &owners, unknown);
    }
    let outside = || Way { uplink: uplink(q, inside, tags), ..Way::default() };
    let mut ways = Ways { all: vec![unknown], may_drop: false, known: false };
    match q.whereabouts(to, inside.vid) {
        Whereabouts::External => {
            ways.all = vec![outside()];
            return ways;
        }
        Whereabouts::Either => ways.all.push(outside()),
        Whereabouts::Inside => {}
    }
    ways.add_seen(q, inside, tags, to);
    ways
}

/// Whether the frame must not cross the external port; `None` if that is left to the extension. Bridges keep the groups of
/// IEEE 802.1Q on their link (8.6.3), and that of spanning trees per VLAN, which has number 16 here.
fn stays_on_link(q: &Question<'_>) -> Option<bool> {
    let number = match mac(q.frame, 0) {
        [0x01, 0x80, 0xC2, 0, 0, last @ 0..=15] => last,
        [0x01, 0x00, 0x0C, 0xCC, 0xCC, 0xCD] => 16,
        _ => return Some(false),
    };
    Some(q.link_local? >> number & 1 == 0)
}

impl Ways {
    /// Places where an address was seen that may be remembered or not, and a vNIC's former address.
    fn add_seen(&mut self, q: &Question<'_>, inside: Inside, tags: Tags, to: Mac) {
        let learned = q.learned.places(to).iter().filter_map(|id| q.topology.nic(*id));
        let former = vnics(q.topology).filter(|n| n.permanent == to && n.mac != to);
        for nic in learned.chain(former) {
            let (way, reachable) = single(q, inside, tags, nic);
            self.may_drop |= !reachable;
            self.all.push(way);
        }
    }
}

/// To one vNIC, or nowhere if that is the sender.
fn single(q: &Question<'_>, inside: Inside, tags: Tags, nic: &Nic) -> (Way, bool) {
    let mut way = Way::default();
    let reach = reach(q, nic, inside, tags);
    if nic.id != q.source {
        way.add(nic.id, reach);
    }
    (way, nic.id != q.source && reach == Reach::Must)
}

/// The address is that of one or several vNICs.
fn known(q: &Question<'_>, inside: Inside, tags: Tags, owners: &[&Nic], unknown: Way) -> Ways {
    let mut found = Ways { all: Vec::new(), may_drop: false, known: true };
    for nic in owners {
        let (way, reachable) = single(q, inside, tags, nic);
        found.all.push(way);
        if !reachable && nic.id != q.source {
            // In its VLAN the address may as well be somebody else's (StationElsewhere).
            found.may_drop = true;
            found.all.push(unknown.clone());
            found.add_seen(q, inside, tags, nic.mac);
        }
        found.may_drop |= nic.id == q.source;
    }
    found
}

/// May the frame go to this vNIC?
pub fn reach(q: &Question<'_>, nic: &Nic, inside: Inside, tags: Tags) -> Reach {
    let Some(port) = q.topology.ports.get(&nic.id.port) else { return Reach::No(Cause::Vlan) };
    vlan::leave(port, inside, tags).and(subnet(q, port)).and(owner(q, nic, inside))
}

/// Nobody gets what has its own source address: an address that it announced or has taken over, or one that is learned
/// behind it. An address that is heard outside may have moved there.
fn owner(q: &Question<'_>, nic: &Nic, inside: Inside) -> Reach {
    let from = mac(q.frame, 6);
    if !q.topology.is_external(q.source.port) {
        return Reach::Must;
    }
    if nic.mac == from {
        return Reach::No(Cause::Owner);
    }
    let users = q.users(from, inside.vid);
    if users.all.iter().any(|user| user.id == nic.id) {
        return if users.certain { Reach::No(Cause::Owner) } else { Reach::May(Freedom::Guarded) };
    }
    let guarded = q.is_separate() && q.learned.is_maybe_behind(from, inside.vid, nic.id);
    if guarded { Reach::May(Freedom::Guarded) } else { Reach::Must }
}

/// Virtual subnets: a frame's is the one beside it, or that of its port.
fn subnet(q: &Question<'_>, to: &Port) -> Reach {
    let own = source_port(q).map_or(0, |port| port.policies.subnet());
    let theirs = to.policies.subnet();
    let frames = if q.subnet != 0 { q.subnet } else { own };
    let differ = own != 0 && q.subnet != 0 && own != q.subnet;
    match (to.kind, frames == theirs) {
        (NicKind::External, _) if differ => Reach::May(Freedom::SubnetsDiffer),
        (NicKind::External, _) if q.subnet == 0 && own != 0 => Reach::May(Freedom::SubnetToExternal),
        (NicKind::External, _) => Reach::Must,
        _ if source_port(q).is_none() && q.subnet == 0 => Reach::Must,
        (_, true) if differ => Reach::May(Freedom::SubnetsDiffer),
        (_, true) => Reach::Must,
        (_, false) => Reach::No(Cause::Subnet),
    }
}

/// What a vNIC has asked for informs, and is no complete list of what its VM listens to
/// (forwarding-oid-requests-from-a-hyper-v-child-partition): only an administrator may take it for one.
fn group(q: &Question<'_>, nic: &Nic, to: Mac) -> Option<Freedom> {
    let asked_for = to == [0xFF; 6] || nic.has_joined(&to);
    (!asked_for && q.prunes != Some(false)).then_some(Freedom::NotInGroup)
}

fn uplink(q: &Question<'_>, inside: Inside, tags: Tags) -> Option<Reach> {
    if q.topology.is_external(q.source.port) {
        return None;
    }
    let port = q.topology.external_port.and_then(|id| q.topology.ports.get(&id))?;
    let live = q.topology.live_members() > 0;
    let uncertain = q.topology.members().any(|n| !n.usable);
    let encrypted = if q.unencrypted { Reach::May(Freedom::Unencrypted) } else { Reach::Must };
    let carried = if q.cut_off { Reach::May(Freedom::MemberDown) } else { Reach::Must };
    let reach = vlan::leave(port, inside, tags).and(subnet(q, port)).and(encrypted).and(carried);
    match (live, uncertain) {
        (true, _) => Some(reach),
        (false, true) => Some(reach.and(Reach::May(Freedom::MemberDown))),
        (false, false) => None,
    }
}
