//! A host as far as a plan changes it: what each cmdlet does by its page, and what it refuses.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// (team, member) of LBFO with the administrative mode; and so on. Names are as they are, without quotation marks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Model {
    lbfo: BTreeMap<String, String>,
    lbfo_members: BTreeMap<(String, String), String>,
    /// (team, VLAN): the interface's name; no VLAN is 0.
    lbfo_nics: BTreeMap<(String, String), String>,
    switch_teams: BTreeMap<String, BTreeSet<String>>,
    /// The adapters below a switch, and whether they are embedded teaming.
    switches: BTreeMap<String, (BTreeSet<String>, bool)>,
    extensions: BTreeSet<(String, String)>,
    /// (machine, adapter, address): the switch.
    machines: BTreeMap<(String, String, String), String>,
    /// Adapters of the host: (switch, address).
    host: BTreeMap<String, (String, String)>,
    vlans: BTreeMap<String, String>,
    /// (interface, address): the rest.
    addresses: BTreeMap<(String, String), String>,
    name_servers: BTreeMap<String, String>,
    registry: BTreeMap<String, String>,
    installed: bool,
}

fn list<'a>(host: &'a Value, name: &str) -> Vec<&'a Value> {
    host[name].as_array().map(|all| all.iter().collect()).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a command says: its name, its parameters by name with their values.
fn parsed(command: &str) -> (String, BTreeMap<String, Vec<String>>) {
    let (mut words, mut word, mut inside) = (Vec::new(), String::new(), false);
    for letter in command.chars() {
        match letter {
            '\'' => {
                inside = !inside;
                word.push(letter);
            }
            ' ' if !inside => words.push(std::mem::take(&mut word)),
            _ => word.push(letter),
        }
    }
    assert!(!inside, "{command}");
    words.push(word);
    let (mut parameters, mut open): (BTreeMap<String, Vec<String>>, _) = (BTreeMap::new(), String::new());
    for word in &words[1..] {
        match word.strip_prefix('-') {
            Some(name) => {
                name.clone_into(&mut open);
                assert!(parameters.insert(open.clone(), Vec::new()).is_none(), "{command}");
            }
            None => {
                let value = word.trim_end_matches(',');
                let bare = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
                let value = bare.map_or_else(|| value.to_owned(), |bare| bare.replace("''", "'"));
                parameters.entry(open.clone()).or_default().push(value);
            }
        }
    }
    (words[0].clone(), parameters)
}

impl Model {
    pub fn of(host: &Value) -> Self {
        let mut model = Self::default();
        for team in list(host, "LbfoTeams") {
            let kind = format!("{} {}", text(&team["TeamingMode"]), text(&team["LoadBalancingAlgorithm"]));
            model.lbfo.insert(text(&team["Name"]), kind);
        }
        for member in list(host, "LbfoTeamMembers") {
            let key = (text(&member["Team"]), text(&member["Name"]));
            model.lbfo_members.insert(key, text(&member["AdministrativeMode"]));
        }
        for nic in list(host, "LbfoTeamNics") {
            let vlan = nic["VlanID"].as_u64().unwrap_or(0).to_string();
            model.lbfo_nics.insert((text(&nic["Team"]), vlan), text(&nic["Name"]));
        }
        let adapter = |description: &Value| {
            let all = list(host, "Adapters");
            text(
                &all.into_iter().find(|a| a["InterfaceDescription"] == *description).expect("it is there")["Name"],
            )
        };
        for switch in list(host, "Switches") {
            let below = list(switch, "NetAdapterInterfaceDescriptions").into_iter().map(adapter).collect();
            let embedded = switch["EmbeddedTeamingEnabled"] == true;
            model.switches.insert(text(&switch["Name"]), (below, embedded));
        }
        for extension in list(host, "Extensions") {
            model.installed |= extension["Name"] == "LBFO Teaming Extension";
            if extension["Enabled"] == true {
                model.extensions.insert((text(&extension["SwitchName"]), text(&extension["Name"])));
            }
        }
        for adapter in list(host, "VmAdapters") {
            let [name, switch, mac] = ["Name", "SwitchName", "MacAddress"].map(|field| text(&adapter[field]));
            match &adapter["VMName"] {
                Value::Null => drop(model.host.insert(name, (switch, mac))),
                vm => drop(model.machines.insert((text(vm), name, mac), switch)),
            }
        }
        for vlan in
            list(host, "HostVlans").into_iter().filter(|vlan| model.host.contains_key(&text(&vlan["Name"])))
        {
            let said = match &*text(&vlan["OperationMode"]) {
                "Access" => format!("access {}", vlan["AccessVlanId"]),
                "Trunk" => {
                    format!("trunk {} {}", vlan["NativeVlanId"], text(&vlan["AllowedVlanIdListString"]))
                }
                _ => continue,
            };
            model.vlans.insert(text(&vlan["Name"]), said);
        }
        let there: Vec<String> = model.interfaces();
        let mut routed = BTreeSet::new();
        for address in list(host, "HostAddresses").into_iter().filter(|a| a["PrefixOrigin"] == "Manual") {
            let [interface, ip] = ["InterfaceAlias", "IPAddress"].map(|field| text(&address[field]));
            let v6 = ip.contains(':');
            let gateway = list(host, "HostGateways").into_iter().find(|gateway| {
                text(&gateway["InterfaceAlias"]) == interface && text(&gateway["NextHop"]).contains(':') == v6
            });
            let first = routed.insert((interface.clone(), v6));
            let gateway =
                gateway.filter(|_| first).map_or(String::new(), |gateway| text(&gateway["NextHop"]));
            if there.contains(&interface) {
                model.addresses.insert((interface, ip), format!("{} {gateway}", address["PrefixLength"]));
            }
        }
        for servers in list(host, "HostNameServers") {
            let interface = text(&servers["InterfaceAlias"]);
            let all: Vec<String> = list(servers, "ServerAddresses").into_iter().map(text).collect();
            let by_hand = model.addresses.keys().any(|(known, _)| *known == interface);
            if !all.is_empty() && by_hand {
                model.name_servers.insert(interface, all.join(" "));
            }
        }
        model
    }

    /// Interfaces that the host has at present.
    fn interfaces(&self) -> Vec<String> {
        let virtual_ones = self.host.keys().map(|name| format!("vEthernet ({name})"));
        virtual_ones.chain(self.lbfo_nics.values().cloned()).collect()
    }

    fn forget(&mut self, interface: &str) {
        self.addresses.retain(|(known, _), _| known != interface);
        self.name_servers.remove(interface);
    }

    /// An adapter that is in no team and below no switch.
    fn assert_free(&self, adapter: &str) {
        let in_lbfo = self.lbfo_members.keys().any(|(_, member)| member == adapter);
        let in_team = self.switch_teams.values().any(|members| members.contains(adapter));
        let below = self.switches.values().any(|(below, _)| below.contains(adapter));
        assert!(!in_lbfo && !in_team && !below, "{adapter} is not free: {self:#?}");
    }

    fn embedded(&mut self, switch: &str) -> &mut BTreeSet<String> {
        let (below, embedded) = self.switches.get_mut(switch).expect("the switch is there");
        assert!(*embedded);
        below
    }

    fn move_machine(&mut self, vm: &str, which: impl Fn(&str, &str) -> bool, to: &str) {
        assert!(self.switches.contains_key(to), "{to}");
        let mut moved = 0;
        for ((_, name, mac), switch) in self.machines.iter_mut().filter(|((owner, ..), _)| owner == vm) {
            if which(name, mac) {
                to.clone_into(switch);
                moved += 1;
            }
        }
        assert!(moved > 0, "{vm}");
    }

    pub fn run(&mut self, command: &str) {
        if command.is_empty() || command.starts_with("on the physical switch") {
            return;
        }
        if let Some((get, connect)) = command.split_once(" | Where-Object MacAddress -EQ ") {
            let (address, connect) = connect.split_once(" | ").expect("a command that connects");
            let vm = &parsed(get).1["VMName"][0];
            let to = &parsed(connect).1["SwitchName"][0];
            return self.move_machine(vm, |_, mac| mac == address.trim_matches('\''), to);
        }
        let (name, given) = parsed(command);
        let one =
            |parameter: &str| given.get(parameter).and_then(|all| all.first()).cloned().unwrap_or_default();
        let all = |parameter: &str| given.get(parameter).cloned().unwrap_or_default();
        match &*name {
            r".\install.ps1" => assert!(!std::mem::replace(&mut self.installed, true)),
            r".\uninstall.ps1" => assert!(std::mem::replace(&mut self.installed, false)),
            r".\collect.ps1" | "Get-VMSwitchExtension" => {}
            "reg.exe" => {
                let words: Vec<&str> = command.split(' ').collect();
                match words[1] {
                    "add" => assert!(self.registry.insert(words[4].into(), words[8].into()).is_none()),
                    _ => assert!(self.registry.remove(words[4]).is_some()),
                }
            }
            "Remove-NetLbfoTeamMember" => {
                let team = one("Team");
                assert!(self.lbfo_members.remove(&(team.clone(), one("Name"))).is_some(), "{command}");
                assert!(
                    self.lbfo_members.keys().any(|(known, _)| *known == team),
                    "the last one goes with the team"
                );
            }
            "Add-NetLbfoTeamMember" => {
                self.assert_free(&one("Name"));
                assert!(self.lbfo.contains_key(&one("Team")));
                let mode = if one("AdministrativeMode").is_empty() {
                    "Active".to_owned()
                } else {
                    one("AdministrativeMode")
                };
                self.lbfo_members.insert((one("Team"), one("Name")), mode);
            }
            "New-NetLbfoTeam" => {
                let team = one("Name");
                for member in all("TeamMembers") {
                    self.assert_free(&member);
                    self.lbfo_members.insert((team.clone(), member), "Active".to_owned());
                }
                self.lbfo_nics.insert((team.clone(), "0".to_owned()), one("TeamNicName"));
                let kind = format!("{} {}", one("TeamingMode"), one("LoadBalancingAlgorithm"));
                assert!(self.lbfo.insert(team, kind).is_none());
            }
            "Remove-NetLbfoTeam" => {
                let team = one("Name");
                assert!(self.lbfo.remove(&team).is_some());
                let gone = self.lbfo_nics.extract_if(.., |(known, _), _| *known == team).collect::<Vec<_>>();
                assert_eq!(gone.len(), 1, "an interface of the host is still on the team");
                let nic = &gone[0].1;
                assert!(
                    self.switches.values().all(|(below, _)| !below.contains(nic)),
                    "a switch is still on the team"
                );
                self.lbfo_members.retain(|(known, _), _| *known != team);
            }
            "Remove-NetLbfoTeamNic" => {
                let nic = self.lbfo_nics.remove(&(one("Team"), one("VlanID"))).expect("it is there");
                self.forget(&nic);
            }
            "Add-NetLbfoTeamNic" => {
                assert!(self.lbfo.contains_key(&one("Team")));
                self.lbfo_nics.insert((one("Team"), one("VlanID")), one("Name"));
            }
            "Remove-VMSwitchTeamMember" => {
                assert!(self.embedded(&one("VMSwitchName")).remove(&one("NetAdapterName")));
                assert!(!self.embedded(&one("VMSwitchName")).is_empty());
            }
            "Add-VMSwitchTeamMember" => {
                self.assert_free(&one("NetAdapterName"));
                self.embedded(&one("VMSwitchName")).insert(one("NetAdapterName"));
            }
            "New-NetSwitchTeam" => {
                all("TeamMembers").iter().for_each(|member| self.assert_free(member));
                let members = all("TeamMembers").into_iter().collect();
                assert!(self.switch_teams.insert(one("Name"), members).is_none());
            }
            "Remove-NetSwitchTeam" => {
                let team = one("Name");
                assert!(self.switches.values().all(|(below, _)| !below.contains(&team)));
                assert!(self.switch_teams.remove(&team).is_some());
            }
            "Add-NetSwitchTeamMember" => {
                self.assert_free(&one("Name"));
                self.switch_teams.get_mut(&one("Team")).expect("the team").insert(one("Name"));
            }
            "Remove-NetSwitchTeamMember" => {
                assert!(self.switch_teams.get_mut(&one("Team")).expect("the team").remove(&one("Name")));
            }
            "New-VMSwitch" => {
                let below = all("NetAdapterName");
                below.iter().for_each(|adapter| self.assert_free(adapter));
                assert_eq!(one("AllowManagementOS"), "$false");
                let embedded = one("EnableEmbeddedTeaming") == "$true";
                let switch = (below.into_iter().collect(), embedded);
                // What a new switch has enabled.
                let filtering = "Microsoft Windows Filtering Platform".to_owned();
                self.extensions.insert((one("Name"), filtering));
                assert!(self.switches.insert(one("Name"), switch).is_none());
            }
            "Remove-VMSwitch" => {
                let name = one("Name");
                assert!(self.switches.remove(&name).is_some(), "{command}");
                assert!(self.machines.values().all(|switch| *switch != name), "a machine is on {name}");
                assert!(self.host.values().all(|(switch, _)| *switch != name), "the host is on {name}");
                self.extensions.retain(|(switch, _)| *switch != name);
            }
            "Rename-VMSwitch" => {
                let (from, to) = (one("Name"), one("NewName"));
                let switch = self.switches.remove(&from).expect("the switch");
                assert!(self.switches.insert(to.clone(), switch).is_none(), "{to} is there");
                let renamed = |name: &str| if name == from { to.clone() } else { name.to_owned() };
                self.machines.values_mut().for_each(|switch| *switch = renamed(switch));
                self.host.values_mut().for_each(|(switch, _)| *switch = renamed(switch));
                self.extensions =
                    self.extensions.iter().map(|(on, name)| (renamed(on), name.clone())).collect();
            }
            "Enable-VMSwitchExtension" => {
                assert!(self.installed && self.switches.contains_key(&one("VMSwitchName")));
                self.extensions.insert((one("VMSwitchName"), one("Name")));
            }
            "Disable-VMSwitchExtension" => {
                assert!(self.extensions.remove(&(one("VMSwitchName"), one("Name"))), "{command}");
            }
            "Connect-VMNetworkAdapter" => {
                self.move_machine(&one("VMName"), |name, _| name == one("Name"), &one("SwitchName"))
            }
            "Add-VMNetworkAdapter" => {
                assert!(given.contains_key("ManagementOS") && self.switches.contains_key(&one("SwitchName")));
                let adapter = (one("SwitchName"), one("StaticMacAddress"));
                let twice = self.host.values().any(|(_, mac)| !mac.is_empty() && *mac == adapter.1);
                assert!(!twice && self.host.insert(one("Name"), adapter).is_none(), "{command}");
            }
            "Remove-VMNetworkAdapter" => {
                let (switch, _) = self.host.remove(&one("Name")).expect("it is there");
                assert_eq!(switch, one("SwitchName"));
                self.vlans.remove(&one("Name"));
                self.forget(&format!("vEthernet ({})", one("Name")));
            }
            "Set-VMNetworkAdapterVlan" => {
                let adapter = one("VMNetworkAdapterName");
                assert!(given.contains_key("ManagementOS") && self.host.contains_key(&adapter));
                let said = if given.contains_key("Access") {
                    format!("access {}", one("VlanId"))
                } else {
                    format!("trunk {} {}", one("NativeVlanId"), one("AllowedVlanIdList"))
                };
                self.vlans.insert(adapter, said);
            }
            "New-NetIPAddress" => {
                let interface = one("InterfaceAlias");
                assert!(self.interfaces().contains(&interface), "{command}: {self:#?}");
                assert!(
                    self.addresses.keys().all(|(_, ip)| *ip != one("IPAddress")),
                    "{command}: it is there"
                );
                let rest = format!("{} {}", one("PrefixLength"), one("DefaultGateway"));
                self.addresses.insert((interface, one("IPAddress")), rest);
            }
            "Set-DnsClientServerAddress" => {
                assert!(self.interfaces().contains(&one("InterfaceAlias")), "{command}");
                self.name_servers.insert(one("InterfaceAlias"), all("ServerAddresses").join(" "));
            }
            _ => panic!("no such command: {command}"),
        }
    }

    /// After the plan: one switch under the old name on a switch team of all members, everybody on it as before.
    pub fn assert_converted(&self, before: &Self, name: &str) {
        assert!(
            self.lbfo.is_empty() && self.lbfo_members.is_empty() && self.lbfo_nics.is_empty(),
            "{name}: {self:#?}"
        );
        let members: BTreeSet<String> =
            before.lbfo_members.keys().map(|(_, member)| member.clone()).collect();
        let old = before.switches.iter().find(|(_, (below, _))| !below.is_empty()).expect("a switch");
        let members = if members.is_empty() { old.1.0.clone() } else { members };
        assert_eq!(self.switch_teams, [("Uplinks".to_owned(), members)].into(), "{name}");
        let mut switches = before.switches.clone();
        switches.insert(old.0.clone(), (["Uplinks".to_owned()].into(), false));
        assert_eq!(self.switches, switches, "{name}");
        let mut extensions = before.extensions.clone();
        extensions.insert((old.0.clone(), "LBFO Teaming Extension".to_owned()));
        assert_eq!(self.extensions, extensions, "{name}");
        assert_eq!(self.machines, before.machines, "{name}");
        let addresses = |model: &Self| -> BTreeSet<(String, String)> {
            model.addresses.iter().map(|((_, ip), rest)| (ip.clone(), rest.clone())).collect()
        };
        assert_eq!(addresses(self), addresses(before), "{name}");
        assert_eq!(self.name_servers, before.name_servers, "{name}");
        for (adapter, place) in &before.host {
            assert_eq!(self.host.get(adapter), Some(place), "{name}");
            assert_eq!(self.vlans.get(adapter), before.vlans.get(adapter), "{name}");
        }
        let aggregated =
            before.lbfo.values().any(|kind| kind.starts_with("Static") || kind.starts_with("Lacp"));
        assert_eq!(self.registry.get("TeamingMode").map(String::as_str), aggregated.then_some("0"), "{name}");
    }
}
