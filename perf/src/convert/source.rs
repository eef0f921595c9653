//! What is converted: a switch on an LBFO team, or one with embedded teaming, with its members and those who are on it.

use crate::host::{Adapter, Host, LbfoTeam, LbfoTeamNic, Switch, VmAdapter};
use crate::text::all_quoted;

/// One switch with its team.
pub struct Source<'a> {
    pub switch: &'a Switch,
    pub team: Team<'a>,
    pub members: Vec<Member<'a>>,
    /// Members that are no adapter that the host reported.
    pub unknown: Vec<String>,
}

pub enum Team<'a> {
    Lbfo {
        team: &'a LbfoTeam,
        /// The interface below the switch.
        nic: &'a LbfoTeamNic,
        /// Interfaces of the host's own, each for a VLAN.
        others: Vec<&'a LbfoTeamNic>,
    },
    /// SET, with its algorithm if that is known.
    Embedded(&'a str),
}

#[derive(Clone, Copy)]
pub struct Member<'a> {
    pub adapter: &'a Adapter,
    pub standby: bool,
}

impl Member<'_> {
    pub fn is_up(&self) -> bool {
        self.adapter.status == "Up"
    }

    pub fn name(&self) -> &str {
        &self.adapter.name
    }
}

impl<'a> Source<'a> {
    /// The switches of a host that can be asked to be converted.
    pub fn all(host: &'a Host) -> Vec<Self> {
        host.switches.iter().filter_map(|switch| Self::of(host, switch)).collect()
    }

    fn of(host: &'a Host, switch: &'a Switch) -> Option<Self> {
        let below = &switch.net_adapter_interface_descriptions;
        let (mut members, mut unknown) = (Vec::new(), Vec::new());
        if switch.embedded_teaming_enabled {
            for description in below {
                match host.adapters.iter().find(|adapter| adapter.interface_description == *description) {
                    Some(adapter) => members.push(Member { adapter, standby: false }),
                    None => unknown.push(description.clone()),
                }
            }
            let known = host.embedded_teams.iter().find(|team| team.name == switch.name);
            let algorithm = known.map_or("", |team| &*team.load_balancing_algorithm);
            return Some(Self { switch, team: Team::Embedded(algorithm), members, unknown });
        }
        let nic = host.lbfo_team_nics.iter().find(|nic| below.contains(&nic.interface_description))?;
        let of_team = |other: &&LbfoTeamNic| other.team == nic.team && other.name != nic.name;
        let others = host.lbfo_team_nics.iter().filter(of_team).collect();
        for member in host.lbfo_team_members.iter().filter(|member| member.team == nic.team) {
            let standby = member.administrative_mode == "Standby";
            match host.adapters.iter().find(|adapter| adapter.name == member.name) {
                Some(adapter) => members.push(Member { adapter, standby }),
                None => unknown.push(member.name.clone()),
            }
        }
        let team = host.lbfo_teams.iter().find(|team| team.name == nic.team);
        if team.is_none() {
            unknown.push(format!("the team {}", nic.team));
        }
        const NONE: &LbfoTeam = &LbfoTeam {
            name: String::new(),
            teaming_mode: String::new(),
            load_balancing_algorithm: String::new(),
        };
        Some(Self { switch, team: Team::Lbfo { team: team.unwrap_or(NONE), nic, others }, members, unknown })
    }

    /// As in "LBFO team 'Old' (Static, Dynamic) of 'Ethernet 1' below switch 'External'".
    pub fn words(&self) -> String {
        let members = all_quoted(self.members.iter().map(Member::name));
        let switch = &self.switch.name;
        match &self.team {
            Team::Lbfo { team, nic, .. } => format!(
                "LBFO team '{}' ({}, {}) of {members} below switch '{switch}'",
                nic.team, team.teaming_mode, team.load_balancing_algorithm
            ),
            Team::Embedded(algorithm) => {
                format!("switch '{switch}' with embedded teaming ({algorithm}) of {members}")
            }
        }
    }

    /// The adapter that leaves the old team first: one with a link, best one that only stands by. `None` without a link.
    pub fn first(&self) -> Option<Member<'a>> {
        let up = || self.members.iter().filter(|member| member.is_up());
        up().find(|member| member.standby).or_else(|| up().next_back()).copied()
    }

    pub fn up(&self) -> usize {
        self.members.iter().filter(|member| member.is_up()).count()
    }

    /// Whether the physical switch aggregates the team's ports.
    pub fn is_aggregated(&self) -> bool {
        matches!(&self.team, Team::Lbfo { team, .. } if matches!(&*team.teaming_mode, "Static" | "Lacp"))
    }

    /// Adapters of machines on the switch.
    pub fn machine_adapters(&self, host: &'a Host) -> impl Iterator<Item = (&'a str, &'a VmAdapter)> {
        let switch = &self.switch.name;
        let on = move |adapter: &&VmAdapter| adapter.switch_name.as_ref() == Some(switch);
        host.vm_adapters.iter().filter(on).filter_map(|adapter| Some((machine(adapter)?, adapter)))
    }

    /// Adapters of the management system on the switch.
    pub fn host_adapters(&self, host: &'a Host) -> impl Iterator<Item = &'a VmAdapter> {
        let switch = &self.switch.name;
        let on = move |adapter: &&VmAdapter| adapter.switch_name.as_ref() == Some(switch);
        host.vm_adapters.iter().filter(on).filter(|adapter| machine(adapter).is_none())
    }
}

/// The machine that an adapter belongs to.
pub fn machine(adapter: &VmAdapter) -> Option<&str> {
    adapter.vm_name.as_deref().filter(|name| !name.is_empty())
}

/// The name of the interface that the host has for its adapter on a switch.
pub fn alias(adapter: &str) -> String {
    format!("vEthernet ({adapter})")
}

pub fn is_running(host: &Host, machine: &str) -> bool {
    host.machines.iter().any(|known| known.name == machine && known.state == "Running")
}

/// What the new switch is called until the old one is gone.
pub fn new_name(switch: &str) -> String {
    format!("{switch} new")
}
