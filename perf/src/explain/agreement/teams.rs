//! The teams over which frames are sent, in the simulated switch and in the model of an explanation.

use crate::args::Mode;
use crate::explain::model::{Model, Rules, vnic};
use teaming::flow::{HashPolicy, POLICIES};
use teaming::frame::TunnelPorts;
use teaming::ids::{MacAddr, NicId};
use vswitch::adapter::physical_switch::Aggregation;
use vswitch::machine::registry::Value;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::ports::policy::{LAST_VLAN, Property, Vlan};

pub const MACHINES: u16 = 5;
/// 100 ns in a second.
pub const SECOND: u64 = 10_000_000;

#[derive(Clone)]
pub struct Team {
    pub rules: Rules,
    /// In Gbit/s.
    pub speeds: Vec<u64>,
    pub down: Vec<u16>,
}

/// Ports at which a part of the tunnels in the traffic are.
pub const PORTS: TunnelPorts = TunnelPorts { vxlan: 8472, geneve: 16_081 };

pub const PLAIN: Rules = Rules {
    mode: Mode::Static,
    policy: HashPolicy::TransportPorts,
    hash_seed: 0,
    flow_label: false,
    symmetric: false,
    tunnels: TunnelPorts::REGISTERED,
};

impl Team {
    pub fn new(policy: HashPolicy, speeds: &[u64], down: &[u16]) -> Self {
        Self { rules: Rules { policy, ..PLAIN }, speeds: speeds.to_vec(), down: down.to_vec() }
    }

    pub fn with(self, change: impl FnOnce(&mut Rules)) -> Self {
        let mut team = self;
        change(&mut team.rules);
        team
    }

    pub fn model(&self, machines: &[(NicId, MacAddr)]) -> Model {
        let bits: Vec<u64> = self.speeds.iter().map(|speed| speed * 1_000_000_000).collect();
        let mut model = Model::new(self.rules, &bits, machines);
        self.down.iter().for_each(|member| model.link(*member, false));
        model
    }

    pub fn net(&self, seed: u64) -> Net {
        let aggregation = match self.rules.mode {
            Mode::Static => Aggregation::Static,
            Mode::SwitchIndependent => Aggregation::SwitchIndependent,
        };
        let net = Scenario::new(seed)
            .members(&self.speeds)
            .vms(MACHINES)
            .aggregation(aggregation)
            .setting("TeamingMode", Value::Dword(self.rules.mode.number()))
            .setting("LoadBalancingAlgorithm", Value::Dword(self.rules.policy.number().into()))
            .setting("HashSeed", Value::Qword(self.rules.hash_seed))
            .setting("UseIpv6FlowLabel", Value::Dword(self.rules.flow_label.into()))
            .setting("SymmetricHash", Value::Dword(self.rules.symmetric.into()))
            .setting("VxlanPort", Value::Dword(self.rules.tunnels.vxlan.into()))
            .setting("GenevePort", Value::Dword(self.rules.tunnels.geneve.into()))
            .style(|style| style.unsafe_data = 20)
            .start();
        for number in 0..MACHINES {
            net.add_property(net.vm(number).port, 1, Property::Vlan(Vlan::trunk(0, 1..=LAST_VLAN)));
        }
        net.advance(SECOND);
        for member in &self.down {
            net.fail(*member);
        }
        net.advance(SECOND);
        net
    }
}

pub fn machines(net: &Net) -> Vec<(NicId, MacAddr)> {
    (0..MACHINES).map(|number| (vnic(number.into()), MacAddr(net.mac(net.vm(number))))).collect()
}

/// Every policy and option, with members that are equal and unequal, up and down.
pub fn teams() -> Vec<Team> {
    let mut teams: Vec<Team> = POLICIES.map(|policy| Team::new(policy, &[10, 10, 10, 10], &[2])).to_vec();
    teams.extend(POLICIES.map(|policy| Team::new(policy, &[25, 10, 1], &[])));
    teams.push(
        Team::new(HashPolicy::TransportPorts, &[100, 25, 25, 10, 10, 1], &[1, 4])
            .with(|rules| rules.hash_seed = 77),
    );
    teams.push(
        Team::new(HashPolicy::TransportPorts, &[10; 32], &[7, 8, 30]).with(|rules| rules.flow_label = true),
    );
    teams.push(Team::new(HashPolicy::Encapsulated, &[10, 10, 25], &[3]).with(|rules| rules.symmetric = true));
    teams.push(
        Team::new(HashPolicy::Encapsulated, &[10, 10, 25, 1], &[]).with(|rules| rules.flow_label = true),
    );
    teams.push(Team::new(HashPolicy::IpAddresses, &[40, 10], &[1]).with(|rules| rules.symmetric = true));
    // Where the traffic has such tunnels, at each port alone and at both.
    for tunnels in [PORTS, TunnelPorts { geneve: 0, ..PORTS }, TunnelPorts { vxlan: 0, ..PORTS }] {
        teams.push(
            Team::new(HashPolicy::Encapsulated, &[10, 25, 10], &[1]).with(|rules| rules.tunnels = tunnels),
        );
    }
    teams.push(Team::new(HashPolicy::TransportPorts, &[10, 10], &[1, 2]));
    for policy in [HashPolicy::HyperVPort, HashPolicy::VlanSourceMac] {
        let independent = |rules: &mut Rules| rules.mode = Mode::SwitchIndependent;
        teams.push(Team::new(policy, &[10, 10, 10], &[]).with(independent));
        teams.push(Team::new(policy, &[25, 10, 10, 40], &[4]).with(independent));
    }
    teams
}
