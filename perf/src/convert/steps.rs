//! The steps: each one command, who is cut off by it, and what takes it back.

use super::plan::{Plan, Step};
use super::source::{Member, Source, Team, alias, is_running, new_name};
use crate::host::{EXTENSION, Host, HostAddress, LbfoTeamNic, VmAdapter};
use crate::text::quoted;
use std::collections::BTreeSet;
use teaming::flow::{HashPolicy, POLICIES};

const PARAMETERS: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\lbfoext\Parameters";

/// The plan of a source that was found fit. `team`: the name of the new switch team.
pub fn plan(host: &Host, source: &Source<'_>, team: &str) -> Plan {
    let name = &source.switch.name;
    let (old, new) = (quoted(name), quoted(&new_name(name)));
    let mut maker = Maker { host, source, team, old, new, plan: Plan::default() };
    maker.warn();
    maker.lose();
    maker.new_switch();
    maker.host_adapters();
    maker.vlan_interfaces();
    maker.machines();
    maker.old_switch();
    maker.aggregation();
    maker.end();
    maker.plan
}

pub struct Maker<'a> {
    pub host: &'a Host,
    pub source: &'a Source<'a>,
    team: &'a str,
    /// Quoted names of the switches.
    old: String,
    new: String,
    pub plan: Plan,
}

impl Maker<'_> {
    fn step(&mut self, what: impl Into<String>, run: impl Into<String>, back: &[String]) -> usize {
        self.plan.steps.push(Step { what: what.into(), run: run.into(), back: back.to_vec() });
        self.plan.steps.len()
    }

    /// The number of the next step.
    fn next(&self) -> usize {
        self.plan.steps.len() + 1
    }

    /// The team of LBFO, quoted.
    fn lbfo(&self) -> Option<(String, &LbfoTeamNic)> {
        match &self.source.team {
            Team::Lbfo { nic, .. } => Some((quoted(&nic.team), nic)),
            Team::Embedded(_) => None,
        }
    }

    /// Up to the new switch, which carries nothing yet.
    fn new_switch(&mut self) {
        if !self.host.extensions.iter().any(|extension| extension.name == EXTENSION) {
            let run = r".\install.ps1";
            self.step("Install the driver, which no switch uses yet", run, &[r".\uninstall.ps1".to_owned()]);
        }
        let members = &self.source.members;
        let Some(first) = self.source.first().or(members.last().copied()) else { return };
        let name = quoted(first.name());
        if self.source.is_aggregated() {
            self.step(
                format!("On the physical switch: take the port of {name} out of the port channel"),
                "",
                &[format!("on the physical switch: put the port of {name} back into the port channel")],
            );
        }
        let (old, new, team) = (self.old.clone(), self.new.clone(), quoted(self.team));
        let (run, back) = match self.lbfo() {
            Some((lbfo, _)) => {
                (format!("Remove-NetLbfoTeamMember -Name {name} -Team {lbfo}"), added(&lbfo, first))
            }
            None => (
                format!("Remove-VMSwitchTeamMember -VMSwitchName {old} -NetAdapterName {name}"),
                format!("Add-VMSwitchTeamMember -VMSwitchName {old} -NetAdapterName {name}"),
            ),
        };
        let at = self.step(
            format!("Take {name} out of the old team, which goes on with the others; queues and functions on it are lost"),
            run,
            &[back],
        );
        self.plan.lost.insert(
            0,
            format!("A second way for the traffic, from step {at} to the last step that adds an adapter."),
        );
        self.step(
            "Make the new team of it",
            format!("New-NetSwitchTeam -Name {team} -TeamMembers {name}"),
            &[format!("Remove-NetSwitchTeam -Name {team}")],
        );
        let run = self.made(&new, &team);
        self.step(
            "Make the new switch. If it is refused, this version of Windows takes no switch team: go back, nothing else has \
             changed",
            run,
            &[format!("Remove-VMSwitch -Name {new}")],
        );
        self.enable(EXTENSION);
        self.step(
            "It must say Enabled and Running; otherwise read the System event log, and go back",
            format!("Get-VMSwitchExtension -VMSwitchName {new} -Name '{EXTENSION}'"),
            &[],
        );
        self.others().iter().for_each(|extension| self.enable(extension));
    }

    /// Extensions that are enabled on the old switch; none of them forwards.
    fn others(&self) -> Vec<String> {
        let name = &self.source.switch.name;
        let on = self
            .host
            .extensions
            .iter()
            .filter(|e| e.switch_name == *name && e.enabled && e.name != EXTENSION);
        on.map(|extension| extension.name.clone()).collect()
    }

    /// The command that makes a switch like the old one. Both are quoted.
    fn made(&self, name: &str, below: &str) -> String {
        let switch = self.source.switch;
        let mut run = format!("New-VMSwitch -Name {name} -NetAdapterName {below} -AllowManagementOS $false");
        if matches!(&*switch.bandwidth_reservation_mode, "None" | "Weight" | "Absolute") {
            run += &format!(" -MinimumBandwidthMode {}", switch.bandwidth_reservation_mode);
        }
        if switch.iov_enabled {
            run += " -EnableIov $true";
        }
        run
    }

    fn enable(&mut self, extension: &str) {
        let (new, name) = (self.new.clone(), quoted(extension));
        self.step(
            format!("Enable {name} there"),
            enabled(&new, extension),
            &[format!("Disable-VMSwitchExtension -VMSwitchName {new} -Name {name}")],
        );
    }

    /// The host's adapters on the old switch, one after the other.
    fn host_adapters(&mut self) {
        let adapters: Vec<&VmAdapter> = self.source.host_adapters(self.host).collect();
        for adapter in adapters {
            let name = quoted(&adapter.name);
            let mac = match crate::doctor::assigned(&adapter.mac_address) {
                Some(mac) => format!(" -StaticMacAddress '{mac}'"),
                None => String::new(),
            };
            let add = |switch: &str| {
                format!("Add-VMNetworkAdapter -ManagementOS -Name {name} -SwitchName {switch}{mac}")
            };
            let rest = self.settings_of(&adapter.name);
            let mut back = vec![add(&self.old)];
            back.extend(rest.iter().map(|(_, run)| run.clone()));
            let from = self.step(
                format!("Take the host's adapter {name} off the old switch: the host is cut off there"),
                format!("Remove-VMNetworkAdapter -ManagementOS -Name {name} -SwitchName {}", self.old),
                &back,
            );
            let (new, run) = (self.new.clone(), add(&self.new));
            self.step(
                "Make it anew on the new switch, with its MAC address",
                run,
                &[format!("Remove-VMNetworkAdapter -ManagementOS -Name {name} -SwitchName {new}")],
            );
            self.finish_host(from, rest, &format!("the host's adapter {name}"), &alias(&adapter.name));
        }
    }

    /// VLAN, addresses and name servers of an adapter of the host, which go with the adapter when that is removed.
    fn finish_host(&mut self, from: usize, rest: Vec<(String, String)>, who: &str, interface: &str) {
        for (what, run) in rest {
            self.step(what, run, &[]);
        }
        let to = self.next() - 1;
        let on = |address: &&HostAddress| {
            address.interface_alias == interface && address.prefix_origin != "WellKnown"
        };
        let addresses: Vec<&str> =
            self.host.host_addresses.iter().filter(on).map(|a| &*a.ip_address).collect();
        let told = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
        self.plan.cut_off.push(format!("{who} ({told}): from step {from} until step {to} is done"));
    }

    /// What an adapter of the host needs after it was made: what it is for, and the command.
    fn settings_of(&self, adapter: &str) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let vlan = self.host.host_vlans.iter().find(|vlan| vlan.name == adapter);
        let set = format!("Set-VMNetworkAdapterVlan -ManagementOS -VMNetworkAdapterName {}", quoted(adapter));
        match vlan.map(|vlan| (&*vlan.operation_mode, vlan)) {
            Some(("Access", vlan)) => {
                all.push(("Its VLAN".to_owned(), format!("{set} -Access -VlanId {}", vlan.access_vlan_id)));
            }
            Some(("Trunk", vlan)) => all.push((
                "Its VLANs".to_owned(),
                format!(
                    "{set} -Trunk -NativeVlanId {} -AllowedVlanIdList {}",
                    vlan.native_vlan_id,
                    quoted(&vlan.allowed_vlan_id_list_string)
                ),
            )),
            _ => {}
        }
        all.extend(self.addresses(&alias(adapter), &alias(adapter)));
        all
    }

    /// The addresses that the interface `from` has by hand, for the interface `to`.
    fn addresses(&self, from: &str, to: &str) -> Vec<(String, String)> {
        let (mut all, to) = (Vec::new(), quoted(to));
        let mut routed: BTreeSet<bool> = BTreeSet::new();
        let own =
            |address: &&HostAddress| address.interface_alias == from && address.prefix_origin == "Manual";
        for address in self.host.host_addresses.iter().filter(own) {
            let is_v6 = address.ip_address.contains(':');
            let gateway =
                self.host.host_gateways.iter().find(|gateway| {
                    gateway.interface_alias == from && gateway.next_hop.contains(':') == is_v6
                });
            let gateway = gateway.filter(|_| routed.insert(is_v6));
            let gateway = gateway
                .map_or(String::new(), |gateway| format!(" -DefaultGateway {}", quoted(&gateway.next_hop)));
            let (ip, prefix) = (quoted(&address.ip_address), address.prefix_length);
            let run = format!(
                "New-NetIPAddress -InterfaceAlias {to} -IPAddress {ip} -PrefixLength {prefix}{gateway}"
            );
            all.push(("Its address".to_owned(), run));
        }
        let servers: Vec<String> = self
            .host
            .host_name_servers
            .iter()
            .filter(|servers| servers.interface_alias == from)
            .flat_map(|servers| servers.server_addresses.iter().map(|server| quoted(server)))
            .collect();
        // Those of DHCP come by DHCP.
        if !servers.is_empty() && !all.is_empty() {
            let run = format!(
                "Set-DnsClientServerAddress -InterfaceAlias {to} -ServerAddresses {}",
                servers.join(", ")
            );
            all.push(("Its name servers".to_owned(), run));
        }
        all
    }

    /// Interfaces of the host on the LBFO team, each for a VLAN.
    fn vlan_interfaces(&mut self) {
        let Team::Lbfo { others, .. } = &self.source.team else { return };
        for nic in others {
            let Some(vlan) = nic.vlan_id else { continue };
            let (team, name, new) = (quoted(&nic.team), format!("VLAN {vlan}"), self.new.clone());
            let mut back =
                vec![format!("Add-NetLbfoTeamNic -Team {team} -VlanID {vlan} -Name {}", quoted(&nic.name))];
            back.extend(self.addresses(&nic.name, &nic.name).into_iter().map(|(_, run)| run));
            let from = self.step(
                format!(
                    "Take the host's interface '{}' off the old team: the host is cut off there",
                    nic.name
                ),
                format!("Remove-NetLbfoTeamNic -Team {team} -VlanID {vlan}"),
                &back,
            );
            self.step(
                "An adapter of the host on the new switch takes its place",
                format!("Add-VMNetworkAdapter -ManagementOS -Name {} -SwitchName {new}", quoted(&name)),
                &[format!("Remove-VMNetworkAdapter -ManagementOS -Name {} -SwitchName {new}", quoted(&name))],
            );
            let set =
                format!("Set-VMNetworkAdapterVlan -ManagementOS -VMNetworkAdapterName {}", quoted(&name));
            let mut rest = vec![("Its VLAN".to_owned(), format!("{set} -Access -VlanId {vlan}"))];
            rest.extend(self.addresses(&nic.name, &alias(&name)));
            self.finish_host(from, rest, &format!("the host's interface '{}'", nic.name), &nic.name);
        }
    }

    /// Machines one by one, those that do not run first.
    fn machines(&mut self) {
        let mut all: Vec<(&str, &VmAdapter)> = self.source.machine_adapters(self.host).collect();
        all.sort_by_key(|(vm, _)| is_running(self.host, vm));
        let mut named: BTreeSet<(&str, &str)> = BTreeSet::new();
        for (vm, adapter) in all {
            // Adapters of one machine may have one name; a command with the name takes all of them.
            let alike = |other: &&VmAdapter| other.vm_name == adapter.vm_name && other.name == adapter.name;
            let elsewhere = |other: &VmAdapter| other.switch_name != adapter.switch_name;
            let by_address = self.host.vm_adapters.iter().filter(alike).any(elsewhere);
            if !by_address && !named.insert((vm, &*adapter.name)) {
                continue;
            }
            let command = |switch: &str| {
                let (vm, name) = (quoted(vm), quoted(&adapter.name));
                if by_address {
                    format!(
                        "Get-VMNetworkAdapter -VMName {vm} | Where-Object MacAddress -EQ '{}' | \
                         Connect-VMNetworkAdapter -SwitchName {switch}",
                        adapter.mac_address
                    )
                } else {
                    format!("Connect-VMNetworkAdapter -VMName {vm} -Name {name} -SwitchName {switch}")
                }
            };
            let (run, back) = (command(&self.new), command(&self.old));
            let running = is_running(self.host, vm);
            let what = if running {
                format!("Connect machine {vm}, and see that it is reached, before the next one")
            } else {
                format!("Connect machine {vm}, which does not run")
            };
            let at = self.step(what, run, &[back]);
            if running {
                self.plan.cut_off.push(if self.source.up() < 2 {
                    format!("machine {vm}: from the step that takes the adapter out of the old team to step {at}")
                } else {
                    format!("machine {vm}: during step {at}, and until the physical network has learned its new port, from \
                             the next frame that it sends")
                });
            }
        }
    }

    fn old_switch(&mut self) {
        let members = &self.source.members;
        let first = self.source.first().or(members.last().copied()).map_or("", |first| &*first.adapter.name);
        let rest: Vec<&Member<'_>> = members.iter().filter(|member| member.name() != first).collect();
        let names: Vec<String> = rest.iter().map(|member| quoted(member.name())).collect();
        let (old, team) = (self.old.clone(), quoted(self.team));
        let mut back = vec![match self.lbfo() {
            Some((_, nic)) => self.made(&old, &quoted(&nic.name)),
            None => self.made(&old, &names.join(", ")) + " -EnableEmbeddedTeaming $true",
        }];
        back.extend(self.others().iter().map(|extension| enabled(&old, extension)));
        self.step(
            "Remove the old switch, which nobody is on any more",
            format!("Remove-VMSwitch -Name {old}"),
            &back,
        );
        if let Team::Lbfo { team: kind, nic, .. } = &self.source.team {
            let (lbfo, nic) = (quoted(&nic.team), quoted(&nic.name));
            let active: Vec<String> =
                rest.iter().filter(|member| !member.standby).map(|member| quoted(member.name())).collect();
            let mut back = vec![format!(
                "New-NetLbfoTeam -Name {lbfo} -TeamMembers {} -TeamNicName {nic} -TeamingMode {} -LoadBalancingAlgorithm {}",
                active.join(", "),
                kind.teaming_mode,
                kind.load_balancing_algorithm
            )];
            back.extend(rest.iter().filter(|member| member.standby).map(|member| added(&lbfo, **member)));
            self.step("Remove the old team", format!("Remove-NetLbfoTeam -Name {lbfo}"), &back);
        }
        for name in names {
            self.step(
                format!("Add {name} to the new team"),
                format!("Add-NetSwitchTeamMember -Team {team} -Name {name}"),
                &[format!("Remove-NetSwitchTeamMember -Team {team} -Name {name}")],
            );
        }
    }

    /// What the driver and the physical switch know of the team, where that is not the default.
    fn aggregation(&mut self) {
        if !self.source.is_aggregated() {
            return;
        }
        self.step(
            "On the physical switch: make one static port channel, without LACP, of the ports of all members",
            "",
            &["on the physical switch: as it was".to_owned()],
        );
        let (mode, policy) = settings(self.source);
        for (name, value) in [("TeamingMode", mode), ("LoadBalancingAlgorithm", policy.number().into())] {
            self.step(
                "Tell the driver of it",
                format!("reg.exe add {PARAMETERS} /v {name} /t REG_DWORD /d {value} /f"),
                &[format!("reg.exe delete {PARAMETERS} /v {name} /f")],
            );
        }
    }

    fn end(&mut self) {
        let (old, new) = (self.old.clone(), self.new.clone());
        self.step(
            "Give the new switch the old one's name",
            format!("Rename-VMSwitch -Name {new} -NewName {old}"),
            &[format!("Rename-VMSwitch -Name {old} -NewName {new}")],
        );
        self.step(
            "Compare with the file from before: VLANs of machines, addresses; then teamctl doctor after.json",
            r".\collect.ps1 -Path after.json",
            &[],
        );
    }
}

/// The command that enables an extension. `switch` is quoted.
fn enabled(switch: &str, extension: &str) -> String {
    format!("Enable-VMSwitchExtension -VMSwitchName {switch} -Name {}", quoted(extension))
}

/// The command that adds a member to an LBFO team again. `team` is quoted.
fn added(team: &str, member: Member<'_>) -> String {
    let standby = if member.standby { " -AdministrativeMode Standby" } else { "" };
    format!("Add-NetLbfoTeamMember -Name {} -Team {team}{standby}", quoted(member.name()))
}

/// `TeamingMode` and `LoadBalancingAlgorithm` that come nearest to the old team's.
pub fn settings(source: &Source<'_>) -> (u64, HashPolicy) {
    if !source.is_aggregated() {
        return (1, HashPolicy::HyperVPort);
    }
    let Team::Lbfo { team, .. } = &source.team else { return (1, HashPolicy::HyperVPort) };
    let same = POLICIES
        .into_iter()
        .find(|policy| policy.name().eq_ignore_ascii_case(&team.load_balancing_algorithm));
    (0, same.unwrap_or(HashPolicy::TransportPorts))
}
