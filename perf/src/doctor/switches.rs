//! The switches of a host: which extension runs there, on what, and how its team is.

use super::{Findings, Severity};
use crate::host::{EXTENSION, Event, FIRST_BUILD, MemberStatus, Switch, TeamStatus};
use crate::nearest;
use crate::text::count_of;
use std::collections::{BTreeMap, BTreeSet};
use teaming::event::{self, catalog::Level};
use teaming::report::{LastEvent, span};
use teaming::settings::{Lookup, SETTINGS, Settings};

/// Drops after which somebody should look, with what to do.
const SERIOUS: [(&str, &str); 5] = [
    (
        "NoLiveMember",
        "Bring a member's link up: check cables, the ports of the physical switch and Get-NetAdapter.",
    ),
    ("PortClosed", "Look for events 8 and 9: a port has a policy that the extension cannot enforce."),
    ("NoResources", "Free non-paged memory of the host."),
    (
        "UnknownAssociation",
        "Restart the machine's IPsec: its security association is on no member that is known.",
    ),
    ("PinnedMemberDown", "Look why the member is down: LACP and similar frames are bound to it."),
];

pub fn examine(findings: &mut Findings<'_>) {
    let host = findings.host;
    if host.build < FIRST_BUILD {
        findings.add(
            Severity::Error,
            "windows-too-old",
            format!("Windows build {} does not export what the driver imports.", host.build),
            "Use Windows Server 2022 or later.",
        );
    }
    if !host.extensions.iter().any(|extension| extension.name == EXTENSION) {
        return findings.add(
            Severity::Error,
            "not-installed",
            format!("No switch knows '{EXTENSION}'."),
            "Run install.ps1 -SwitchName NAME.",
        );
    }
    let ours: Vec<&Switch> = host.ours().collect();
    if ours.is_empty() {
        findings.add(
            Severity::Error,
            "not-enabled",
            format!("'{EXTENSION}' is installed, but enabled on no switch."),
            format!("Enable-VMSwitchExtension -VMSwitchName NAME -Name '{EXTENSION}'"),
        );
    }
    for switch in ours {
        below(findings, switch);
        running(findings, switch);
    }
    settings(findings);
    events(findings);
}

/// What the switch stands on.
fn below(findings: &mut Findings<'_>, switch: &Switch) {
    let (host, name) = (findings.host, &switch.name);
    if switch.embedded_teaming_enabled {
        findings.add(
            Severity::Error,
            "set-below",
            format!("Switch '{name}' has Switch Embedded Teaming: the team is SET's, and no page says what an extension sees of it."),
            format!(
                "Make the switch anew on a switch team: Remove-VMSwitch '{name}', New-NetSwitchTeam, \
                 New-VMSwitch -NetAdapterName TEAM."
            ),
        );
    }
    let lbfo = host
        .lbfo_team_nics
        .iter()
        .find(|nic| switch.net_adapter_interface_descriptions.contains(&nic.interface_description));
    if let Some(nic) = lbfo {
        findings.add(
            Severity::Error,
            "lbfo-below",
            format!(
                "Switch '{name}' stands on LBFO team '{}', which shows the extension one adapter.",
                nic.team
            ),
            format!("Remove-NetLbfoTeam '{}', then New-NetSwitchTeam with its members.", nic.team),
        );
    }
    let others = host.extensions.iter().filter(|extension| {
        let forwards = extension.extension_type == "Forwarding" && extension.enabled;
        extension.switch_name == *name && forwards && extension.name != EXTENSION
    });
    for other in others {
        let sdn = if other.name.contains("VFP") {
            " It belongs to Network Controller (SDN): the two exclude each other."
        } else {
            ""
        };
        findings.add(
            Severity::Error,
            "other-forwarding-extension",
            format!(
                "'{}' is enabled on switch '{name}' too; a switch has one forwarding extension.{sdn}",
                other.name
            ),
            format!("Disable-VMSwitchExtension -VMSwitchName '{name}' -Name '{}'", other.name),
        );
    }
}

fn running(findings: &mut Findings<'_>, switch: &Switch) {
    let (host, name) = (findings.host, &switch.name);
    let here = host.extensions.iter().find(|e| e.switch_name == *name && e.name == EXTENSION);
    if !here.is_some_and(|extension| extension.running) {
        return findings.add(
            Severity::Error,
            "not-running",
            format!("The extension is enabled on switch '{name}', but does not run."),
            "Read the System event log, source lbfoext and Hyper-V-VmSwitch; then disable and enable the extension.",
        );
    }
    let Some(status) = host.status(name).filter(|status| status.number("Status").is_some()) else {
        return findings.add(
            Severity::Warning,
            "no-status",
            format!("The extension runs on switch '{name}', but its status cannot be read."),
            "net stop vmms; mofcomp -N:root\\virtualization\\v2 lbfoext.mof; net start vmms",
        );
    };
    team(findings, switch, status);
    drops(findings, switch, status);
    last_events(findings, switch, status);
}

fn team(findings: &mut Findings<'_>, switch: &Switch, status: &TeamStatus) {
    let name = &switch.name;
    let members: Vec<MemberStatus<'_>> = status.members().collect();
    let active = members.iter().filter(|member| carries(**member)).count();
    let resting = members.iter().filter(|member| is_standby(**member)).count();
    let of = format!("{active} of {} members of switch '{name}' carry traffic", members.len());
    match (members.len(), active) {
        (0, _) => findings.add(
            Severity::Error,
            "no-member",
            format!("Switch '{name}' has no adapter to the outside."),
            format!("Set-VMSwitch '{name}' -NetAdapterName TEAM"),
        ),
        (_, 0) => findings.add(
            Severity::Error,
            "team-down",
            format!("{of}: nothing leaves the host."),
            "See what is said of each member.",
        ),
        (all, active) if active + resting < all => findings.add(
            Severity::Warning,
            "team-degraded",
            format!("{of}; the others' flows go through them."),
            "See what is said of each member.",
        ),
        (1, _) => findings.add(
            Severity::Note,
            "one-adapter",
            format!("Switch '{name}' has one adapter: there is nothing to fail over to."),
            "New-NetSwitchTeam -Name TEAM -TeamMembers A,B; then New-VMSwitch -NetAdapterName TEAM",
        ),
        _ => {}
    }
    members.iter().for_each(|member| one_member(findings, switch, *member));
}

/// Active, or handing over what it carries.
fn carries(member: MemberStatus<'_>) -> bool {
    matches!(member.number("State"), Some(4 | 7))
}

/// Up, and waiting for another member's failure.
fn is_standby(member: MemberStatus<'_>) -> bool {
    member.number("State") == Some(5)
}

fn one_member(findings: &mut Findings<'_>, switch: &Switch, member: MemberStatus<'_>) {
    let who =
        format!("'{}' (member {}) of switch '{}'", member.name(findings.host), member.index, switch.name);
    if member.number("State") == Some(6) {
        findings.add(
            Severity::Note,
            "out-of-service",
            format!("{who} carries no traffic: its setting OutOfService is 1."),
            "When the work on it is done: set OutOfService to 0.",
        );
    } else if !carries(member) && !is_standby(member) {
        let why = member.word("FailureReason");
        let fix = match &*why {
            "PhysicalMediaDisconnected" => {
                "Check the cable, the transceiver and the port of the physical switch."
            }
            "AdministrativeDecision" => "Enable-NetAdapter, or connect the member to the switch again.",
            "WaitingForStableConnectivity" => {
                "Wait for LinkUpDelayMs; if it goes on, the link flaps: check the cable."
            }
            "NicNotPresent" => "Check that the adapter is there: Get-NetAdapter -IncludeHidden.",
            _ => "Read the events about this member.",
        };
        let (severity, id) = (Severity::Warning, "member-out");
        findings.add(
            severity,
            id,
            format!("{who} carries no traffic: {}, {why}.", member.word("State")),
            fix,
        );
    }
    match &*member.word("LinkStateSource") {
        "None" => findings.add(
            Severity::Warning,
            "link-state-unknown",
            format!("Nobody tells the link state of {who}: a failure of its link is not noticed."),
            "Update the adapter's driver; see event 6.",
        ),
        "Interface" => findings.add(
            Severity::Note,
            "link-state-read",
            format!("The link state of {who} is read from the interface table: a failure is noticed within half a second."),
            "Nothing; with a driver that indicates its link state a failure is noticed at once.",
        ),
        _ => {}
    }
}

fn drops(findings: &mut Findings<'_>, switch: &Switch, status: &TeamStatus) {
    for (reason, sentence, count) in status.drops() {
        if let Some((_, fix)) = SERIOUS.iter().find(|(serious, _)| *serious == reason) {
            let found =
                format!("{} dropped on switch '{}': {sentence}", count_of(count, "packet"), switch.name);
            findings.add(Severity::Warning, "drops", found, *fix);
        }
    }
}

/// Values of the registry that the driver does not take, by its own reader.
fn settings(findings: &mut Findings<'_>) {
    let Some(values) = &findings.host.settings else { return };
    let same = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
    let (_, issues) = Settings::read(|setting| {
        let found = values.iter().find(|(name, _)| same(name, setting.name));
        found.map_or(Lookup::Missing, |(_, value)| value.as_u64().map_or(Lookup::WrongType, Lookup::Value))
    });
    for issue in issues {
        let (name, kind) = (issue.setting.name, issue.setting.kind);
        findings.add(
            Severity::Warning,
            "setting-ignored",
            format!("Setting {issue}."),
            format!("Write {name} with {kind}, below lbfoext\\Parameters."),
        );
    }
    let allowed = |name: &str| {
        let (_, value) = values.iter().find(|(known, _)| same(known, name))?;
        let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
        value.as_u64().filter(|value| setting.accepts(*value))
    };
    for (_, found, fix) in crate::settings::without_effect(allowed) {
        findings.add(Severity::Warning, "setting-without-effect", found, fix);
    }
    for name in values.keys() {
        let known = || SETTINGS.iter().map(|setting| setting.name);
        if !known().any(|setting| same(name, setting)) {
            findings.add(
                Severity::Warning,
                "setting-unknown",
                format!("lbfoext\\Parameters has {name}, which is no setting."),
                format!("Delete the value; nearest are {}.", nearest::of(name, known()).join(", ")),
            );
        }
    }
}

/// What happened last that somebody should act upon and the event log does not have.
fn last_events(findings: &mut Findings<'_>, switch: &Switch, status: &TeamStatus) {
    let mut told = BTreeSet::new();
    for LastEvent { id, name, age_ms } in status.last_events() {
        let kind = event::kind(id).filter(|kind| kind.level <= Level::Warning && !kind.in_system_log);
        let Some(kind) = kind.filter(|_| told.insert(id)) else { continue };
        let found = format!("Switch '{}' had event {id} {name}, last {} before.", switch.name, span(age_ms));
        findings.add(Severity::Note, "last-events", found, kind.text[2]);
    }
}

/// What the event log says that somebody should act upon, by kind.
fn events(findings: &mut Findings<'_>) {
    let host = findings.host;
    let mut kinds: BTreeMap<u16, Vec<&Event>> = BTreeMap::new();
    host.events.iter().for_each(|event| kinds.entry(event.id).or_default().push(event));
    for (id, all) in kinds {
        let kind = event::kind(id).filter(|kind| kind.level <= Level::Warning);
        let newest = all.iter().max_by(|a, b| a.time_created.cmp(&b.time_created));
        let (Some(kind), Some(newest)) = (kind, newest) else { continue };
        let times = if all.len() == 1 { "once".to_owned() } else { format!("{} times", all.len()) };
        let (name, at, said) = (kind.name, &newest.time_created, &newest.message);
        let found = format!("Event {id} {name}, {times}, last at {at}: {said}");
        findings.add(Severity::Note, "events", found, kind.text[2]);
    }
}
