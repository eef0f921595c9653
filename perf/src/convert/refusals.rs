//! Why there is no plan, each with the way out.

use super::source::{Source, Team, is_running, machine, new_name};
use crate::host::{EXTENSION, FIRST_BUILD, Host};
use crate::text::{all_quoted, quoted};
use serde::Serialize;
use std::collections::BTreeSet;
use teaming::ids::MEMBERS;

#[derive(Serialize, Debug)]
pub struct Refusal {
    /// A name that does not change.
    pub id: &'static str,
    pub why: String,
    /// What to do first.
    pub way: String,
}

/// All that stands against it; empty if nothing does. `team`: the name of the new team.
pub fn of(host: &Host, source: Option<&Source<'_>>, team: &str, cut_off: bool) -> Vec<Refusal> {
    let mut all = Vec::new();
    let mut add = |id, why: String, way: &str| all.push(Refusal { id, why, way: way.to_owned() });
    if host.build < FIRST_BUILD {
        let why = format!("Windows build {} does not export what the driver imports.", host.build);
        add("windows-too-old", why, "Install Windows Server 2022 or later.");
    }
    let Some(source) = source else {
        nothing(host, &mut add);
        return all;
    };
    extensions(host, source, &mut add);
    members(source, &mut add);
    names(host, source, team, &mut add);
    if !cut_off {
        paths(host, source, &mut add);
    }
    all
}

type Add<'a> = dyn FnMut(&'static str, String, &str) + 'a;

fn nothing(host: &Host, add: &mut Add<'_>) {
    let why = format!(
        "On {} no switch, or not the one that --switch names, stands on an LBFO team or has embedded teaming (SET).",
        host.computer
    );
    let alone = host.lbfo_teams.first();
    let way = match alone {
        Some(team) => format!(
            "LBFO team '{}' has no switch on it, and this product works below a Hyper-V switch: Remove-NetLbfoTeam -Name {}, \
             then .\\install.ps1 with TeamName, TeamMembers and SwitchName.",
            team.name,
            quoted(&team.name)
        ),
        None => "Nothing to convert: .\\install.ps1 with TeamName, TeamMembers and SwitchName makes a team."
            .to_owned(),
    };
    add("nothing-to-convert", why, &way);
}

fn extensions(host: &Host, source: &Source<'_>, add: &mut Add<'_>) {
    let name = &source.switch.name;
    for other in host.extensions.iter().filter(|e| e.switch_name == *name && e.enabled && e.name != EXTENSION)
    {
        if other.name.contains("VFP") {
            add(
                "vfp-on-switch",
                format!(
                    "'{}' is enabled on switch '{name}': software defined networking (SDN) forwards there, and this \
                         extension in its place would break it.",
                    other.name
                ),
                "Take the host out of SDN (Network Controller, Azure Local), or convert a switch that SDN does not manage.",
            );
        } else if other.extension_type == "Forwarding" {
            add(
                "other-forwarding-extension",
                format!(
                    "'{}' is enabled on switch '{name}', and a switch has one forwarding extension.",
                    other.name
                ),
                &format!(
                    "Disable-VMSwitchExtension -VMSwitchName {} -Name {}, if what it does may end; then collect again.",
                    quoted(name),
                    quoted(&other.name)
                ),
            );
        }
    }
}

fn members(source: &Source<'_>, add: &mut Add<'_>) {
    if !source.unknown.is_empty() || source.members.is_empty() {
        let which = if source.unknown.is_empty() {
            "No member is known".to_owned()
        } else {
            format!("Not known: {}", source.unknown.join(", "))
        };
        add(
            "members-unknown",
            format!("{which}. The file does not say all that a plan needs."),
            "Collect again with the convert.ps1 of this package, as administrator. If an adapter has gone, take it out \
             of the team before.",
        );
        return;
    }
    if source.members.len() == 1 {
        let more = match &source.team {
            Team::Lbfo { nic, .. } => format!("Add-NetLbfoTeamMember -Team {} -Name NAME", quoted(&nic.team)),
            Team::Embedded(_) => {
                format!(
                    "Add-VMSwitchTeamMember -VMSwitchName {} -NetAdapterName NAME",
                    quoted(&source.switch.name)
                )
            }
        };
        add(
            "one-adapter",
            format!(
                "The team has one adapter, {}: it cannot carry the old switch and the new one, and a team of one has \
                     nothing to fail over to.",
                quoted(source.members[0].name())
            ),
            &format!("Add a second adapter: {more}; then collect again."),
        );
    }
    if source.members.len() > MEMBERS {
        add(
            "too-many-adapters",
            format!(
                "The team has {} adapters, and a switch team has at most {MEMBERS}.",
                source.members.len()
            ),
            "Take adapters out of the team, then collect again.",
        );
    }
    if let Team::Lbfo { nic, .. } = &source.team
        && let Some(vlan) = nic.vlan_id
    {
        add(
            "switch-on-vlan-interface",
            format!(
                "Switch '{}' is on the team interface '{}' of VLAN {vlan}, which tags every frame. On a switch team \
                     nobody would.",
                source.switch.name, nic.name
            ),
            &format!(
                "Give every adapter on the switch VLAN {vlan} (Set-VMNetworkAdapterVlan -Access -VlanId {vlan}) when \
                      the switch is on the team interface without a VLAN; then collect again."
            ),
        );
    }
}

fn names(host: &Host, source: &Source<'_>, team: &str, add: &mut Add<'_>) {
    let switch = new_name(&source.switch.name);
    let teams = host.switch_team_members.iter().map(|member| &member.team);
    let taken = teams
        .chain(host.lbfo_teams.iter().map(|team| &team.name))
        .chain(host.adapters.iter().map(|adapter| &adapter.name));
    if taken.clone().any(|name| name.eq_ignore_ascii_case(team)) {
        add(
            "name-taken",
            format!("A team or adapter has the name '{team}' already."),
            "Choose another name for the new team with --team.",
        );
    }
    if host.switches.iter().any(|known| known.name == switch) {
        add(
            "name-taken",
            format!(
                "There is a switch '{switch}', which is what the new one is called until the old one is gone."
            ),
            &format!("Go on with the plan that made it, or Remove-VMSwitch -Name {}.", quoted(&switch)),
        );
    }
}

/// Without a second adapter that has a link, whoever is on the switch is cut off for several steps.
fn paths(host: &Host, source: &Source<'_>, add: &mut Add<'_>) {
    let name = &source.switch.name;
    let elsewhere = |vm: &str| {
        let other = |a: &&crate::host::VmAdapter| {
            machine(a) == Some(vm) && a.switch_name.as_ref().is_some_and(|s| s != name)
        };
        host.vm_adapters.iter().any(|adapter| other(&adapter))
    };
    let on: BTreeSet<&str> = source.machine_adapters(host).map(|(vm, _)| vm).collect();
    let only: Vec<&str> = on.into_iter().filter(|vm| is_running(host, vm) && !elsewhere(vm)).collect();
    if source.up() >= 2 || only.is_empty() {
        return;
    }
    let down = source.members.iter().filter(|member| !member.is_up());
    let down = down
        .map(|member| format!("{} is {}", quoted(member.name()), member.adapter.status))
        .collect::<Vec<_>>();
    let link = if down.is_empty() { "there is no second one".to_owned() } else { down.join(", ") };
    add(
        "only-path",
        format!(
            "Running machines have no other path than switch '{name}': {}. It has {} with a link ({link}), so they would be \
             cut off from the step that takes it out of the team until they are connected to the new switch.",
            all_quoted(only.into_iter()),
            if source.up() == 1 { "one adapter" } else { "no adapter" },
        ),
        "Mend the links and collect again. Or Move-VM -Name NAME -DestinationHost HOST, Stop-VM -Name NAME -Save, or give \
         the machine an adapter on another switch. Or take the time without network into account: --cut-off.",
    );
}
