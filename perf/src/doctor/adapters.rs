//! The adapters of a host: the members' speeds, drivers and queue processors, and the machines' addresses.

use super::{Findings, Severity};
use crate::host::{Adapter, Host, MemberStatus, Switch, Vmq};
use std::collections::{BTreeMap, BTreeSet};
use teaming::settings::{Lookup, Settings};

pub fn examine(findings: &mut Findings<'_>) {
    let host = findings.host;
    for switch in host.ours() {
        let Some(status) = host.status(&switch.name) else { continue };
        let members: Vec<MemberStatus<'_>> = status.members().collect();
        speeds(findings, switch, &members);
        let known: Vec<&Adapter> = members.iter().filter_map(|member| host.adapter(member.guid()?)).collect();
        drivers(findings, switch, &known);
        processors(findings, switch, &known);
    }
    addresses(findings);
}

fn named(parts: impl Iterator<Item = (String, String)>) -> String {
    parts.map(|(name, what)| format!("'{name}' {what}")).collect::<Vec<_>>().join(", ")
}

fn speeds(findings: &mut Findings<'_>, switch: &Switch, members: &[MemberStatus<'_>]) {
    let host = findings.host;
    let told =
        || members.iter().filter_map(|m| Some((m, m.number("SpeedMbps").filter(|speed| *speed != 0)?)));
    let unlike: BTreeSet<u64> = told().map(|(_, speed)| speed).collect();
    if unlike.len() > 1 {
        let all = named(told().map(|(member, speed)| (member.name(host), format!("{speed} Mb/s"))));
        findings.add(
            Severity::Note,
            "unlike-speeds",
            format!(
                "The members of switch '{}' have unlike speeds: {all}. Each gets flows by its speed.",
                switch.name
            ),
            "Nothing, or set Weight of single adapters.",
        );
    }
}

fn drivers(findings: &mut Findings<'_>, switch: &Switch, members: &[&Adapter]) {
    let driver =
        |adapter: &&Adapter| (adapter.driver_file_name.to_lowercase(), adapter.driver_version.clone());
    let files: BTreeSet<String> = members.iter().map(|adapter| driver(adapter).0).collect();
    let versions: BTreeSet<(String, String)> = members.iter().map(driver).collect();
    let all = named(
        members.iter().map(|a| (a.name.clone(), format!("{} {}", a.driver_file_name, a.driver_version))),
    );
    if files.len() > 1 {
        findings.add(
            Severity::Note,
            "unlike-adapters",
            format!("The members of switch '{}' have unlike drivers: {all}. The team offers what all of them can do.", switch.name),
            "Nothing, or take adapters of one kind to use all offloads.",
        );
    } else if versions.len() > 1 {
        findings.add(
            Severity::Warning,
            "unlike-driver-versions",
            format!("The members of switch '{}' have one driver in unlike versions: {all}.", switch.name),
            "Update the older ones.",
        );
    }
}

/// The processors that serve an adapter's queues (KB 2974384): from the base on, as many as allowed, of each core the first.
fn processors_of(vmq: &Vmq, threads: u32) -> BTreeSet<(u16, u32)> {
    let last = vmq.max_processor_number.unwrap_or(u32::MAX);
    let step = usize::try_from(threads.max(1)).unwrap_or(1);
    let numbers = (vmq.base_processor_number..=last).step_by(step);
    numbers
        .take(vmq.max_processors.min(64) as usize)
        .map(|number| (vmq.base_processor_group, number))
        .collect()
}

fn processors(findings: &mut Findings<'_>, switch: &Switch, members: &[&Adapter]) {
    let host = findings.host;
    let vmq = |adapter: &&&Adapter| host.vmq.iter().find(|vmq| vmq.name == adapter.name);
    let on: Vec<&Vmq> = members.iter().filter_map(|a| vmq(&a)).filter(|vmq| vmq.enabled).collect();
    if !on.is_empty() && on.len() < members.len() {
        let off = members
            .iter()
            .filter(|a| !on.iter().any(|vmq| vmq.name == a.name))
            .map(|a| format!("'{}'", a.name));
        findings.add(
            Severity::Warning,
            "queues-off",
            format!(
                "Some members of switch '{}' have VMQ, others not: {}.",
                switch.name,
                off.collect::<Vec<_>>().join(", ")
            ),
            "Enable-NetAdapterVmq -Name NAME, or disable it on all members.",
        );
    }
    let sets: Vec<(&Vmq, BTreeSet<(u16, u32)>)> =
        on.iter().map(|vmq| (*vmq, processors_of(vmq, host.threads_per_core))).collect();
    let shown = || {
        named(sets.iter().map(|(vmq, set)| {
            let numbers: Vec<String> =
                set.iter().map(|(group, number)| format!("{group}:{number}")).collect();
            (vmq.name.clone(), numbers.join(" "))
        }))
    };
    let pairs = || {
        sets.iter()
            .enumerate()
            .flat_map(|(at, one)| sets.iter().skip(at + 1).map(move |other| (&one.1, &other.1)))
    };
    let fix = "Set-NetAdapterVmq -Name NAME -BaseProcessorNumber N -MaxProcessors N";
    match placement(host) {
        0 if pairs().any(|(one, other)| !one.is_disjoint(other)) => findings.add(
            Severity::Warning,
            "queue-processors-overlap",
            format!(
                "With OffloadPlacement 0 no processor may serve two members of switch '{}': {}.",
                switch.name,
                shown()
            ),
            fix,
        ),
        2 if pairs().any(|(one, other)| one != other) => findings.add(
            Severity::Warning,
            "queue-processors-differ",
            format!(
                "With OffloadPlacement 2 all members of switch '{}' need the same processors: {}.",
                switch.name,
                shown()
            ),
            fix,
        ),
        _ => {}
    }
}

/// `OffloadPlacement` in force.
fn placement(host: &Host) -> u64 {
    let found =
        host.settings.iter().flatten().find(|(name, _)| name.eq_ignore_ascii_case("OffloadPlacement"));
    let number = found.and_then(|(_, value)| value.as_u64());
    let read = |setting: &teaming::settings::Setting| match (setting.name, number) {
        ("OffloadPlacement", Some(number)) => Lookup::Value(number),
        _ => Lookup::Missing,
    };
    use teaming::offload::OffloadPlacement::{EveryMember, FollowFlows, SingleMember};
    match Settings::read(read).0.offload_placement {
        FollowFlows => 0,
        SingleMember => 1,
        EveryMember => 2,
    }
}

/// Two machines of one host with one address; those of unlike hosts are the fleet's matter.
fn addresses(findings: &mut Findings<'_>) {
    let host = findings.host;
    let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for adapter in &host.vm_adapters {
        if let (Some(vm), Some(mac)) = (&adapter.vm_name, assigned(&adapter.mac_address)) {
            users.entry(mac).or_default().insert(vm);
        }
    }
    for (mac, vms) in users.into_iter().filter(|(_, vms)| vms.len() > 1) {
        let all: Vec<&str> = vms.into_iter().collect();
        findings.add(
            Severity::Error,
            "address-twice",
            format!(
                "Machines {} have the same MAC address {mac}: each gets the other's traffic.",
                all.join(", ")
            ),
            "Set-VMNetworkAdapter -VMName NAME -DynamicMacAddress, with the machine off",
        );
    }
}

/// The address, if one is assigned.
pub fn assigned(mac: &str) -> Option<&str> {
    (mac.len() == 12 && mac.chars().any(|digit| digit != '0')).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_from_the_base_by_cores() {
        let vmq = Vmq { base_processor_number: 4, max_processors: 3, ..Vmq::default() };
        let set =
            |threads| processors_of(&vmq, threads).into_iter().map(|(_, number)| number).collect::<Vec<_>>();
        assert_eq!(set(2), [4, 6, 8]);
        assert_eq!(set(1), [4, 5, 6]);
        let short = Vmq { max_processor_number: Some(6), ..vmq };
        assert_eq!(processors_of(&short, 2).len(), 2);
    }
}
