//! The switch and the team of an explanation: the driver's own tables, in the state that they have once every move has
//! taken effect.

use crate::args::Mode;
use teaming::Heap;
use teaming::flow::hash::Seed;
use teaming::flow::{FlowKey, HashPolicy};
use teaming::forward::reasons::{Choice, Reasons};
use teaming::forward::{Forwarding, OutOfBand, Packet};
use teaming::frame::{TunnelPorts, WINDOW_MAX};
use teaming::ids::{
    AdapterId, BUCKETS, Bucket, HashId, MEMBERS, MacAddr, MemberIndex, MemberSet, NicId, NicIndex, PortId,
    Ticks,
};
use teaming::oid::nic::{NicKind, NicOp, NicParameters, VmId};
use teaming::ports::vlan::{Bits, VLAN_BYTES, VlanProperty};
use teaming::settings::{Lookup, Settings};
use teaming::team::buckets::{RebalanceTimers, Table, View};
use teaming::team::carriers::Carriers;
use teaming::team::member::{LinkState, Member, MemberEvent};
use teaming::team::{Next, Team, TeamView};
use vswitch::scenario::{EXTERNAL_PORT, FIRST_VM_PORT};

/// The settings that decide about members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    pub mode: Mode,
    pub policy: HashPolicy,
    /// `HashSeed`; 0 is the product's own.
    pub hash_seed: u64,
    pub flow_label: bool,
    pub symmetric: bool,
    /// `VxlanPort` and `GenevePort`.
    pub tunnels: TunnelPorts,
}

impl Rules {
    /// As the driver reads them from the registry. Flows move at once: what is explained is where they end.
    pub fn settings(&self) -> Settings {
        let (settings, _) = Settings::read(|setting| match setting.name {
            "TeamingMode" => Lookup::Value(self.mode.number().into()),
            "LoadBalancingAlgorithm" => Lookup::Value(self.policy.number().into()),
            "HashSeed" => Lookup::Value(self.hash_seed),
            "UseIpv6FlowLabel" => Lookup::Value(self.flow_label.into()),
            "SymmetricHash" => Lookup::Value(self.symmetric.into()),
            "VxlanPort" => Lookup::Value(self.tunnels.vxlan.into()),
            "GenevePort" => Lookup::Value(self.tunnels.geneve.into()),
            "FlowletGapUs" | "LinkUpDelayMs" | "FlapHoldDownMs" => Lookup::Value(0),
            _ => Lookup::Missing,
        });
        settings
    }
}

/// What the tables of teams that differ in one member's link say.
struct IfChanged {
    member: MemberIndex,
    /// Whether the member is up then.
    up: bool,
    table: Table<Heap>,
}

pub struct Model {
    pub rules: Rules,
    pub speeds: Vec<u64>,
    team: Team<Heap>,
    view: Option<TeamView>,
    forwarding: Forwarding<Heap>,
    /// Asked about other policies, so that what is explained stays as it is.
    other: Forwarding<Heap>,
    changed: Vec<IfChanged>,
}

/// The NIC of the machine with this number, from 0, as `replay` numbers them.
pub fn vnic(machine: usize) -> NicId {
    let number = u32::try_from(machine).unwrap_or(u32::MAX);
    NicId::new(PortId::new(FIRST_VM_PORT.saturating_add(number)), NicIndex::DEFAULT)
}

/// A member's adapter.
pub fn adapter(member: MemberIndex) -> NicId {
    NicId::new(PortId::new(EXTERNAL_PORT), member.nic())
}

impl Model {
    /// A switch with these machines, on trunk ports as in `replay`, and a team of members that are all up.
    pub fn new(rules: Rules, speeds: &[u64], machines: &[(NicId, MacAddr)]) -> Self {
        let settings = rules.settings();
        let [forwarding, other] = [(); 2].map(|()| switch(&settings, machines));
        let team = Team::new(vec![0; BUCKETS], Next::at_once(), vec![Member::ABSENT; MEMBERS], &settings);
        let mut model =
            Self { rules, speeds: speeds.to_vec(), team, view: None, forwarding, other, changed: Vec::new() };
        for (number, speed) in (1..).zip(speeds) {
            model.take(number, MemberEvent::Connected);
            model.take(number, up(*speed));
        }
        model.forwarding.seat_all(&model.team.homes(), true);
        model.ask_what_if();
        model
    }

    /// The member's link is up or down from now on.
    pub fn link(&mut self, member: u16, is_up: bool) {
        let speed = usize::from(member).checked_sub(1).and_then(|slot| self.speeds.get(slot)).copied();
        let event = match speed {
            Some(speed) if is_up => up(speed),
            _ => MemberEvent::Link(LinkState::Down),
        };
        self.take(u8::try_from(member).unwrap_or(0), event);
        self.ask_what_if();
    }

    fn take(&mut self, member: u8, event: MemberEvent) {
        let Some(member) = MemberIndex::new(member) else { return };
        let view = self.team.on(member, event, Ticks::ZERO);
        for forwarding in [&mut self.forwarding, &mut self.other] {
            forwarding.publish(&view, self.team.home(), Ticks::ZERO);
            while forwarding.moving() {
                forwarding.settle(self.team.home(), Ticks::ZERO);
            }
        }
        self.view = Some(view);
    }

    /// The tables of the teams in which one member more is down, or up.
    fn ask_what_if(&mut self) {
        let Some(view) = self.view else { return };
        let all = (1..).map_while(|number| {
            MemberIndex::new(number).filter(|_| usize::from(number) <= self.speeds.len())
        });
        self.changed = all
            .map(|member| {
                let up = !view.carriers.live.contains(member);
                let before = view.carriers.live;
                let live = if up { before.with(member) } else { before.without(member) };
                let mut table = Table::on_heap(RebalanceTimers { gap: Ticks::ZERO, deadline: None });
                for live in [before, live] {
                    let carriers = Carriers::all(live);
                    let view = View::new(carriers, &view.weights, self.team.home());
                    table.publish(&view, Ticks::ZERO);
                    while table.moving() {
                        table.settle_whole(self.team.home(), Ticks::ZERO);
                    }
                }
                IfChanged { member, up, table }
            })
            .collect();
    }

    pub fn live(&self) -> MemberSet {
        self.team.live()
    }

    /// The weight by which a member gets buckets, in Mb/s.
    pub fn weight(&self, member: MemberIndex) -> u32 {
        self.view.and_then(|view| view.weights.get(member.slot()).copied()).unwrap_or(0)
    }

    pub fn weights(&self) -> [u32; MEMBERS] {
        self.view.map_or([0; MEMBERS], |view| view.weights)
    }

    /// Buckets whose home a member is.
    pub fn at_home(&self, member: MemberIndex) -> usize {
        self.team.home().iter().filter(|home| **home == member.get()).count()
    }

    /// The driver's decision for a frame from a NIC, and its steps.
    pub fn reasons(&self, bytes: &[u8], source: NicId) -> Reasons {
        self.forwarding.reasons(&packet(bytes, source), &OutOfBand::NOTHING, self.team.home())
    }

    /// The same frame under another policy.
    pub fn choice_under(&mut self, policy: HashPolicy, bytes: &[u8], source: NicId) -> Choice {
        self.other.configure(&Rules { policy, ..self.rules }.settings());
        self.other.seat_all(&self.team.homes(), true);
        self.other.choice(&packet(bytes, source), &OutOfBand::NOTHING, self.team.home())
    }

    /// What HyperVPort hashes for a machine.
    pub fn hashed_as(&self, nic: NicId) -> HashId {
        self.forwarding.hashed_as(nic)
    }

    /// The same frame with another seed, under a policy with seats: each machine chooses one anew.
    pub fn choice_with_seed(&mut self, hash_seed: u64, bytes: &[u8], source: NicId) -> Choice {
        self.other.configure(&Rules { hash_seed, ..self.rules }.settings());
        self.other.seat_all(&self.team.homes(), true);
        self.other.choice(&packet(bytes, source), &OutOfBand::NOTHING, self.team.home())
    }

    /// The bucket and the member of a key with another seed.
    pub fn with_seed(&self, key: &FlowKey, seed: u64) -> (Bucket, Option<MemberIndex>) {
        let seed = Rules { hash_seed: seed, ..self.rules }.settings().seed;
        let bucket = Seed::new(seed).hash(key).bucket();
        (bucket, self.forwarding.table.lookup(bucket))
    }

    /// For each member: whether its link comes up or goes down, and who carries the bucket then.
    pub fn if_links_change(
        &self,
        bucket: Bucket,
    ) -> impl Iterator<Item = (MemberIndex, bool, Option<MemberIndex>)> {
        self.changed.iter().map(move |case| (case.member, case.up, case.table.lookup(bucket)))
    }

    /// The number of the machine with this NIC, from 0.
    pub fn machine_of(machines: &[(NicId, MacAddr)], nic: NicId) -> Option<usize> {
        machines.iter().position(|(id, _)| *id == nic)
    }
}

fn up(speed: u64) -> MemberEvent {
    MemberEvent::Link(LinkState::Up { bits_per_second: Some(speed) })
}

/// The bytes that the driver reads of a frame.
pub fn window(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(WINDOW_MAX)]
}

fn packet(bytes: &[u8], source: NicId) -> Packet<'_> {
    Packet { source, window: window(bytes), pinned: None, native: false, now: Ticks::ZERO }
}

fn switch(settings: &Settings, machines: &[(NicId, MacAddr)]) -> Forwarding<Heap> {
    let mut forwarding = Forwarding::on_heap(machines.len() + 1, settings);
    let external = parameters(
        NicId::new(PortId::new(EXTERNAL_PORT), NicIndex::DEFAULT),
        NicKind::External,
        MacAddr::ZERO,
    );
    forwarding.on_external(NicOp::Connect, &external);
    for (nic, mac) in machines {
        // There is room for all of them.
        let _ = forwarding.create_port(nic.port, false);
        let parameters = parameters(*nic, NicKind::Synthetic, *mac);
        let _ = forwarding.on_vnic(NicOp::Connect, &parameters);
        let (none, mut every) = ([0; VLAN_BYTES], [0xFF; VLAN_BYTES]);
        // VLAN 0 is none, and 4095 is reserved.
        (every[0], every[VLAN_BYTES - 1]) = (0xFE, 0x7F);
        let trunk = VlanProperty::Trunk { native: 0, allowed: Bits(&every), pruned: Bits(&none) };
        if let Ok(trunk) = trunk.check() {
            let _ = forwarding.set_vlans(nic.port, Some(&trunk));
        }
    }
    forwarding
}

fn parameters(id: NicId, kind: NicKind, mac: MacAddr) -> NicParameters {
    NicParameters {
        id,
        kind,
        current_mac: mac,
        permanent_mac: mac,
        vm_mac: MacAddr::ZERO,
        mtu: 1500,
        vm: VmId::NONE,
        vf_assigned: false,
        initializing: true,
        adapter: AdapterId::UNKNOWN,
    }
}
