//! What a plan warns of, and what is lost by it.

use super::plan::Warning;
use super::source::{Team, alias};
use super::steps::{Maker, settings};
use crate::host::HostAddress;
use std::collections::BTreeSet;

impl Maker<'_> {
    fn lost(&mut self, what: impl Into<String>) {
        self.plan.lost.push(what.into());
    }

    /// Who works on the host through an interface that is cut off.
    pub fn warn(&mut self) {
        let mut interfaces: Vec<String> =
            self.source.host_adapters(self.host).map(|a| alias(&a.name)).collect();
        if let Team::Lbfo { others, .. } = &self.source.team {
            interfaces.extend(others.iter().map(|nic| nic.name.clone()));
        }
        let cut = |address: &&HostAddress| interfaces.contains(&address.interface_alias);
        let addresses: Vec<&HostAddress> = self.host.host_addresses.iter().filter(cut).collect();
        let through: BTreeSet<String> = self
            .host
            .sessions
            .iter()
            .filter_map(|session| {
                let address = addresses.iter().find(|address| address.ip_address == session.local_address)?;
                let port = session.local_port;
                Some(format!("port {port} of {} on '{}'", address.ip_address, address.interface_alias))
            })
            .collect();
        if !through.is_empty() {
            let through: Vec<String> = through.into_iter().collect();
            let what = format!(
                "When the file was made somebody worked on this host over the switch: {}. That session ends in the middle of \
                 the plan, and the steps after it are not run. Run the plan from the console of the host, or over an adapter \
                 that is not on this switch.",
                through.join("; ")
            );
            self.plan.warnings.push(Warning { id: "console-needed", what });
        }
        if self.source.up() < 2 {
            let what = "Fewer than two adapters have a link: who is on the switch is cut off as long as the plan takes.";
            self.plan.warnings.push(Warning { id: "cut-off", what: what.to_owned() });
        }
    }

    pub fn lose(&mut self) {
        let (host, source) = (self.host, self.source);
        match &source.team {
            Team::Lbfo { team, others, .. } => {
                if team.teaming_mode == "Lacp" {
                    self.lost("LACP: the physical switch's port channel becomes a static one.");
                }
                self.lose_algorithm(&team.load_balancing_algorithm);
                for member in source.members.iter().filter(|member| member.standby) {
                    self.lost(format!(
                        "Standby: '{}' carries traffic as every other member does, until its setting Role is 1 again.",
                        member.name()
                    ));
                }
                for nic in others {
                    self.lost(format!(
                        "The team interface '{}' of the host: an adapter of the host on the new switch takes its place, \
                         with another MAC address and name.",
                        nic.name
                    ));
                }
            }
            Team::Embedded(algorithm) => {
                self.lose_algorithm(algorithm);
                let on: Vec<String> = host
                    .rdma
                    .iter()
                    .filter(|rdma| rdma.enabled)
                    .filter(|rdma| {
                        source.host_adapters(host).any(|adapter| alias(&adapter.name) == rdma.name)
                    })
                    .map(|rdma| format!("'{}'", rdma.name))
                    .collect();
                let who = if on.is_empty() { "the host".to_owned() } else { on.join(", ") };
                self.lost(format!(
                    "RDMA of {who} over several adapters, for good: it needs SET. What uses it (SMB Direct, Storage Spaces \
                     Direct) goes on over TCP."
                ));
                self.lost("Whatever manages SET, for good: VMM, Network ATC and SDN know no switch team.");
            }
        }
        if source.switch.iov_enabled {
            let with: Vec<&str> = source
                .machine_adapters(host)
                .filter(|(_, adapter)| adapter.iov_weight > 0)
                .map(|(vm, _)| vm)
                .collect();
            self.lost(format!(
                "SR-IOV of {} from the step that connects it to the new switch, which is made with SR-IOV; no page says \
                 that it works on a switch team. Until it has a function again its traffic takes the synthetic path.",
                if with.is_empty() { "machines".to_owned() } else { with.join(", ") }
            ));
        }
        self.lost(
            "The switch's id: what names the old one by it (settings of this product below Switches, VMM, resource pools) \
             must be set again.",
        );
        self.lost(
            "Bandwidth, ACLs and other settings of the host's own adapters, which are made anew; VLAN, MAC address and \
             addresses are kept.",
        );
    }

    fn lose_algorithm(&mut self, algorithm: &str) {
        let (_, taken) = settings(self.source);
        if !algorithm.is_empty() && !algorithm.eq_ignore_ascii_case(taken.name()) {
            self.lost(format!("The algorithm {algorithm}: {} takes its place.", taken.name()));
        }
    }
}
