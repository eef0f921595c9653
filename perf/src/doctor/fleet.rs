//! Hosts between which machines migrate: what must be equal on them, and what must not.

use super::adapters::assigned;
use super::{Finding, Severity};
use crate::host::Host;
use std::collections::{BTreeMap, BTreeSet};
use teaming::settings::SETTINGS;

/// Settings by which a machine's flows find the same members on another host.
const ALIKE: [&str; 8] = [
    "GenevePort",
    "HashSeed",
    "LoadBalancingAlgorithm",
    "SymmetricHash",
    "TeamingMode",
    "UseAdapterHash",
    "UseIpv6FlowLabel",
    "VxlanPort",
];

pub fn examine(hosts: &[Host], all: &mut Vec<Finding>) {
    let Some(first) = hosts.first().filter(|_| hosts.len() > 1) else { return };
    for name in ALIKE {
        let values: Vec<String> =
            hosts.iter().map(|host| format!("{} on {}", setting(host, name), host.computer)).collect();
        if hosts.iter().any(|host| setting(host, name) != setting(first, name)) {
            add(
                all,
                Severity::Warning,
                "settings-differ",
                format!("{name} is {}: a machine's flows change member when it migrates.", values.join(", ")),
                format!("Write the same {name} below lbfoext\\Parameters of all hosts."),
            );
        }
    }
    let mut users: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for host in hosts {
        for adapter in &host.vm_adapters {
            if let (Some(vm), Some(mac)) = (&adapter.vm_name, assigned(&adapter.mac_address)) {
                users.entry(mac).or_default().insert((&host.computer, vm));
            }
        }
    }
    for (mac, users) in users {
        let on: BTreeSet<&str> = users.iter().map(|(host, _)| *host).collect();
        if on.len() > 1 {
            let who: Vec<String> = users.iter().map(|(host, vm)| format!("{vm} on {host}")).collect();
            add(
                all,
                Severity::Error,
                "address-on-two-hosts",
                format!("MAC address {mac} belongs to {}.", who.join(" and ")),
                "Set-VMHost -MacAddressMinimum and -MacAddressMaximum: ranges of hosts must not overlap",
            );
        }
    }
}

/// The value in the registry, or the default.
fn setting(host: &Host, name: &str) -> String {
    let default = SETTINGS.iter().find(|setting| setting.name == name).map_or(0, |setting| setting.default);
    let found = host.settings.iter().flatten().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map_or_else(|| default.to_string(), |(_, value)| value.to_string())
}

fn add(all: &mut Vec<Finding>, severity: Severity, id: &'static str, found: String, fix: impl Into<String>) {
    all.push(Finding { severity, id, host: "all".to_owned(), found, fix: fix.into() });
}
