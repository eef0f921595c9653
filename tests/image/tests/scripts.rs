//! The scripts of the package, as far as a machine without PowerShell can judge them: they parse, every cmdlet takes the
//! parameters that it is given, and what changes the host can be previewed and undone.
//!
//! `tests/data/cmdlets.csv` has the parameters of each cmdlet, from Microsoft's reference: of the modules for Windows
//! Server 2025, and of Windows PowerShell 5.1.

use std::collections::BTreeMap;

use tree_sitter::{Node, Parser, Tree};

const SCRIPTS: [(&str, &str); 4] = [
    ("install.ps1", include_str!("../../../inf/install.ps1")),
    ("uninstall.ps1", include_str!("../../../inf/uninstall.ps1")),
    ("collect.ps1", include_str!("../../../inf/collect.ps1")),
    ("convert.ps1", include_str!("../../../inf/convert.ps1")),
];
/// The plans that `teamctl convert` prints of recorded hosts: a line with `>` or `<` is a command.
const PLANS: [(&str, &str); 2] = [
    ("lbfo", include_str!("../../../perf/hosts/lbfo.plan.txt")),
    ("set", include_str!("../../../perf/hosts/set.plan.txt")),
];
const CMDLETS: &str = include_str!("../../data/cmdlets.csv");
/// What an operator types from these.
const DOCUMENTS: [(&str, &str); 2] =
    [("GUIDE.md", include_str!("../../../inf/GUIDE.md")), ("README.md", include_str!("../../../README.md"))];
/// Parameters that every cmdlet has (about_CommonParameters).
const COMMON: [&str; 3] = ["ErrorAction", "Verbose", "WarningAction"];
/// What changes the host, and what undoes it: the inverse, or the script that does.
const CHANGES: [(&str, &str); 8] = [
    ("New-NetSwitchTeam", "Remove-NetSwitchTeam"),
    ("Remove-NetSwitchTeam", "New-NetSwitchTeam"),
    ("New-VMSwitch", "Remove-VMSwitch"),
    ("Remove-VMSwitch", "New-VMSwitch"),
    ("Enable-VMSwitchExtension", "Disable-VMSwitchExtension"),
    ("Disable-VMSwitchExtension", "Enable-VMSwitchExtension"),
    ("netcfg.exe", "install.ps1"),
    ("reg.exe", "reg.exe import"),
];
/// Functions without an undo of their own, with the reason.
const NO_UNDO: [(&str, &str); 2] =
    [("Remove-Package", "install.ps1 brings the package back"), ("Invoke-Tool", "its callers have one")];

fn parse(script: &str) -> Tree {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
    parser.parse(script, None).unwrap()
}

fn is_powershell(script: &str) -> bool {
    !parse(script).root_node().has_error()
}

/// All nodes of a kind, in the order of the text.
fn nodes<'a>(node: Node<'a>, kind: &str, found: &mut Vec<Node<'a>>) {
    if node.kind() == kind {
        found.push(node);
    }
    for index in 0..node.child_count() {
        nodes(node.child(index).unwrap(), kind, found);
    }
}

fn all<'a>(tree: &'a Tree, kind: &str) -> Vec<Node<'a>> {
    let mut found = Vec::new();
    nodes(tree.root_node(), kind, &mut found);
    found
}

/// Every call of a script: the command, and the names of the parameters that are given to it. Commands that the script
/// prints for somebody to run count as well.
fn calls(script: &str) -> Vec<(String, Vec<String>)> {
    let tree = parse(script);
    let text = |node: Node| script[node.byte_range()].to_owned();
    let mut calls = Vec::new();
    for command in all(&tree, "command") {
        let Some(name) = command.child_by_field_name("command_name") else { continue };
        let elements = command.child_by_field_name("command_elements");
        let mut parameters = Vec::new();
        for index in 0..elements.map_or(0, |elements| elements.child_count()) {
            let element = elements.unwrap().child(index).unwrap();
            if element.kind() == "command_parameter" {
                parameters.push(text(element).trim_matches(['-', ':']).to_owned());
            }
        }
        calls.push((text(name), parameters));
    }
    for string in all(&tree, "string_literal") {
        printed(&text(string), &mut calls);
    }
    calls
}

/// The commands within a text: a cmdlet's name, and `-Parameter` up to the next one.
fn printed(text: &str, calls: &mut Vec<(String, Vec<String>)>) {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let mut open = false;
    for word in words {
        let is_name = |word: &str| word.starts_with(|c: char| c.is_ascii_uppercase());
        match word.split_once('-') {
            Some(("", parameter)) if open && is_name(parameter) => {
                calls.last_mut().unwrap().1.push(parameter.into())
            }
            // Not Hyper-V, which is a name.
            Some((verb, noun)) if is_name(verb) && is_name(noun) && noun.len() > 1 => {
                calls.push((word.into(), Vec::new()));
                open = true;
            }
            _ => {}
        }
    }
}

/// (name, text) of each function of a script.
fn functions(script: &str) -> BTreeMap<String, String> {
    let tree = parse(script);
    let text = |node: Node| script[node.byte_range()].to_owned();
    let named = |function: Node| {
        let mut names = Vec::new();
        nodes(function, "function_name", &mut names);
        (text(names[0]), text(function))
    };
    all(&tree, "function_statement").into_iter().map(named).collect()
}

/// What the reference does not know: a command of a script, or a parameter of one.
fn unknown(script: &str) -> Vec<String> {
    unknown_among(calls(script), &functions(script))
}

fn unknown_among(calls: Vec<(String, Vec<String>)>, own: &BTreeMap<String, String>) -> Vec<String> {
    let known: BTreeMap<&str, Vec<&str>> = CMDLETS
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect::<Vec<_>>())
        .map(|fields| (fields[0], fields[2].split(' ').collect()))
        .collect();
    let mut unknown = Vec::new();
    for (command, parameters) in calls {
        if own.contains_key(&command) || !command.contains('-') || command.contains('.') {
            continue;
        }
        let Some(all) = known.get(command.as_str()) else {
            unknown.push(command);
            continue;
        };
        let strange = parameters
            .into_iter()
            .filter(|name| !all.contains(&name.as_str()) && !COMMON.contains(&name.as_str()));
        unknown.extend(strange.map(|name| format!("{command} -{name}")));
    }
    unknown
}

/// Functions that change the host without a preview or without saying how that is undone.
fn careless(script: &str) -> Vec<String> {
    let mut careless = Vec::new();
    for (name, text) in functions(script) {
        let called: Vec<String> = calls(&text).into_iter().map(|(command, _)| command).collect();
        for (change, undo) in CHANGES {
            // In an undo or a message the command is a part of a text, and not run.
            let runs = all(&parse(&text), "command").into_iter().any(|command| {
                let call = &text[command.byte_range()];
                call.starts_with(change)
                    || call.starts_with(&format!("& {change}"))
                    || call.starts_with(&format!("Invoke-Tool '{change}'"))
            });
            if !runs || NO_UNDO.iter().any(|(exempt, _)| *exempt == name) {
                continue;
            }
            let undone = text.lines().any(|line| line.contains("$Undo.Push(") && line.contains(undo))
                || (change == "netcfg.exe" && text.contains("$Undo.Push((Join-Path $PSScriptRoot"));
            if !undone || !text.contains("$PSCmdlet.ShouldProcess(") {
                careless.push(format!("{name}: {change} among {called:?}"));
            }
        }
    }
    careless
}

#[test]
fn the_scripts_are_powershell_in_ascii() {
    for (name, script) in SCRIPTS {
        // Windows PowerShell reads a file without a mark in the machine's own code page.
        assert!(script.is_ascii(), "{name}");
        assert!(is_powershell(script), "{name}");
    }
}

#[test]
fn a_lost_brace_is_noticed() {
    for (name, script) in SCRIPTS {
        let (before, after) = script.rsplit_once('}').unwrap();
        assert!(!is_powershell(&format!("{before}{after}")), "{name}");
    }
}

#[test]
fn every_cmdlet_that_a_script_runs_or_prints_takes_the_parameters_that_it_is_given() {
    for (name, script) in SCRIPTS {
        assert_eq!(unknown(script), [""; 0], "{name}");
        let made = calls(script);
        let least = if name == "convert.ps1" { 5 } else { 30 };
        assert!(made.len() > least, "{name}: only {} calls were found", made.len());
    }
}

#[test]
fn every_cmdlet_in_the_documents_takes_the_parameters_that_it_is_given() {
    for (name, text) in DOCUMENTS {
        let mut calls = Vec::new();
        // A parameter belongs to the cmdlet before it on its line.
        text.lines().for_each(|line| printed(line, &mut calls));
        let cmdlets = calls.iter().filter(|(_, parameters)| !parameters.is_empty()).count();
        assert!(cmdlets > 3, "{name}: only {cmdlets} commands were found");
        assert_eq!(unknown_among(calls, &BTreeMap::new()), [""; 0], "{name}");
    }
}

#[test]
fn an_unknown_cmdlet_and_an_unknown_parameter_are_noticed_where_they_are_run_and_where_they_are_printed() {
    let (_, install) = SCRIPTS[0];
    for (from, to, fault) in [
        (
            "New-NetSwitchTeam -Name $TeamName -TeamMembers",
            "New-NetSwitchTeam -Name $TeamName -Members",
            "New-NetSwitchTeam -Members",
        ),
        (
            "New-NetSwitchTeam -Name $TeamName",
            "New-NetSwitchTeam -WhatIf -Name $TeamName",
            "New-NetSwitchTeam -WhatIf",
        ),
        ("-AllowManagementOS $AllowManagementOS", "-ManagementOS $true", "New-VMSwitch -ManagementOS"),
        ("| Out-Host", "| Out-Screen", "Out-Screen"),
        ("Push(\"Remove-VMSwitch -Name", "Push(\"Remove-VMSwitch -SwitchName", "Remove-VMSwitch -SwitchName"),
        ("First: Remove-NetLbfoTeam -Name", "First: Remove-LbfoTeam -Name", "Remove-LbfoTeam"),
    ] {
        assert!(install.contains(from), "{from}");
        assert!(unknown(&install.replace(from, to)).contains(&fault.into()), "{to}");
    }
}

#[test]
fn every_step_that_changes_the_host_can_be_previewed_and_says_what_undoes_it() {
    for (name, script) in SCRIPTS {
        assert_eq!(careless(script), [""; 0], "{name}");
    }
    let runs = |script: &str, change: &str| calls(script).iter().any(|(command, _)| command == change);
    for (change, inverse) in &CHANGES[..6] {
        assert!(runs(SCRIPTS[0].1, change) || runs(SCRIPTS[1].1, change), "{change}");
        assert!(CHANGES.contains(&(inverse, change)));
    }
}

#[test]
fn what_collects_runs_nothing_that_changes_the_host() {
    // Out-File writes the file that is asked for.
    let harmless = [
        "Get-",
        "Select-",
        "ForEach-",
        "ConvertTo-",
        "Test-",
        "Write-",
        "Where-",
        "Join-",
        "Split-",
        "Set-StrictMode",
        "Out-File",
    ];
    for (name, script) in &SCRIPTS[2..] {
        let own = functions(script);
        for (command, _) in calls(script) {
            let may = own.contains_key(&command) || harmless.iter().any(|verb| command.starts_with(verb));
            assert!(may || !command.contains('-') || command.contains('.'), "{name}: {command}");
        }
    }
}

/// The commands of a plan, each alone.
fn commands(plan: &str) -> Vec<&str> {
    let starts = ["    > ", "    < "];
    plan.lines().filter_map(|line| starts.iter().find_map(|start| line.strip_prefix(start))).collect()
}

#[test]
fn every_command_of_a_plan_is_powershell_with_parameters_that_its_cmdlet_takes() {
    for (name, plan) in PLANS {
        let all = commands(plan);
        assert!(all.len() > 25, "{name}: only {} commands were found", all.len());
        for command in all {
            assert!(command.is_ascii() && is_powershell(command), "{name}: {command}");
            assert_eq!(unknown(command), [""; 0], "{name}: {command}");
            // A step is one cmdlet; the last one of a pipe acts, those before it find what it acts on.
            let calls = calls(command);
            let acting = calls
                .iter()
                .filter(|(call, _)| !["Get-", "Where-"].iter().any(|verb| call.starts_with(verb)));
            assert!(acting.count() <= 1 && !calls.is_empty(), "{name}: {command}");
        }
    }
    let (_, plan) = PLANS[0];
    for (from, to, fault) in [
        ("New-NetSwitchTeam -Name", "New-NetSwitchTeam -TeamName", "New-NetSwitchTeam -TeamName"),
        ("Remove-NetLbfoTeamMember", "Remove-LbfoTeamMember", "Remove-LbfoTeamMember"),
    ] {
        let changed = plan.replace(from, to);
        assert!(commands(&changed).iter().any(|command| unknown(command).contains(&fault.into())), "{to}");
    }
    let open = plan.replace("-Team 'Old'", "-Team 'Old");
    assert!(commands(&open).iter().any(|command| !is_powershell(command)));
}

#[test]
fn a_step_without_a_preview_or_an_undo_is_noticed() {
    // The third changes nothing.
    for (_, script) in &SCRIPTS[..2] {
        let pushes = script.lines().filter(|line| line.contains("$Undo.Push(") && line.contains('-'));
        for line in pushes {
            assert!(!careless(&script.replace(line, "")).is_empty(), "without {line}");
        }
        assert!(
            !careless(&script.replace("$PSCmdlet.ShouldProcess(", "$PSCmdlet.ShouldContinue(")).is_empty()
        );
    }
}

#[test]
fn what_is_refused_is_refused_with_a_way_out() {
    let (_, install) = SCRIPTS[0];
    let functions = functions(install);
    let assertions: String =
        ["Assert-Switch", "Assert-Team", "Assert-Member"].map(|name| functions[name].as_str()).concat();
    for refused in
        ["EmbeddedTeamingEnabled", "Get-NetLbfoTeamNic", "Get-NetLbfoTeamMember", "'*VFP*'", "'Forwarding'"]
    {
        assert!(assertions.contains(refused), "{refused}");
    }
    let ways = ["First: ", "Choose ", "Use ", " lists ", " needs ", " at most ", " part of "];
    let tree = parse(&assertions);
    let refusals = all(&tree, "flow_control_statement");
    let refusals = refusals.into_iter().map(|node| &assertions[node.byte_range()]);
    let refusals: Vec<&str> = refusals.filter(|statement| statement.starts_with("throw")).collect();
    assert_eq!(refusals.len(), 14);
    for refusal in refusals {
        assert!(ways.iter().any(|way| refusal.contains(way)), "{refusal}");
    }
}
