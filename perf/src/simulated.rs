//! `--save-host`: the simulated host as `inf/collect.ps1` would save a real one, for `show`, `events` and `doctor`.
//!
//! The status is what the driver answers when it is asked through the switch, the events are what it wrote to the System
//! event log with the texts of its message table, the settings are in the registry that it reads. Names, which no driver
//! knows, are made up.

use crate::host::{EXTENSION, FORMAT};
use crate::output;
use serde_json::{Map, Value, json};
use std::path::Path;
use teaming::event::catalog::{self, KINDS};
use teaming::ids::AdapterId;
use teaming::settings::SETTINGS;
use vswitch::adapter::identity::instance_id;
use vswitch::machine::etw::{Field, TraceEvent};
use vswitch::machine::registry::{self, SERVICES};
use vswitch::scenario::{EXTERNAL_PORT, Net};
use vswitch::switch::control::features::{Feature, declared};
use vswitch::switch::ports::{Nic, NicId, NicKind};

#[allow(dead_code, reason = "the build script of the driver uses the rest")]
#[path = "../../src/build/messages.rs"]
mod messages;

/// The first switch of the simulation, as its entries in the event log call it.
const SWITCH: &str = "Simulated";
/// What a host of today reports.
const BUILD: u32 = 26_100;
const MULTIPLEXOR: &str = "Microsoft Network Adapter Multiplexor Driver";
/// Bytes before the data of the answer about the switch, and about a port (custom-switch-feature-status).
const TEAM_HEAD: usize = 72;
const PORT_HEAD: usize = 80;
/// A millisecond of the virtual clock, in which the driver's thread writes what it has to write.
const MILLISECOND: u64 = 10_000;

/// Writes the file.
pub fn save(net: &Net, path: &Path) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&description(net))? + "\n";
    output::write(path, &text)
}

/// What the file has. The simulated time goes on by a millisecond.
pub fn description(net: &Net) -> Value {
    net.advance(MILLISECOND);
    let count = net.look(|state| state.modules.len()).unwrap_or(0);
    let switches: Vec<Net> = (0..count).map(|number| net.on(number)).collect();
    let mut lists: [Vec<Value>; 8] = Default::default();
    let [switch, extensions, teams, ports, members, adapters, vnics, machines] = &mut lists;
    for one in &switches {
        let name = name_of(one);
        switch.push(json!({ "Name": name, "EmbeddedTeamingEnabled": false, "IovEnabled": false,
                            "NetAdapterInterfaceDescriptions": [MULTIPLEXOR], "SwitchType": "External",
                            "BandwidthReservationMode": "Default" }));
        let running = one.is_running();
        extensions.push(json!({ "SwitchName": name, "Name": EXTENSION, "ExtensionType": "Forwarding",
                                "Enabled": true, "Running": running }));
        teams.extend(ask(one, None).map(|data| json!({ "SwitchName": name, "Data": data })));
        for (index, up) in links(one) {
            let number = one.switch() * 32 + usize::from(index);
            let adapter = format!("Ethernet {number}");
            members.push(json!({ "Name": adapter, "Team": team_of(one) }));
            adapters.push(json!({ "Name": adapter, "InterfaceDescription": format!("Simulated Adapter #{number}"),
                                  "InterfaceGuid": guid(one.switch(), index), "Status": if up { "Up" } else { "Disconnected" },
                                  "DriverFileName": "simulated.sys", "DriverVersion": "1.0.0.0" }));
        }
        for (id, kind, mac) in vnics_of(one) {
            let mac: String = mac.iter().map(|byte| format!("{byte:02X}")).collect();
            let vm = (kind != NicKind::Internal).then(|| machine(one, id));
            let adapter =
                if vm.is_some() { "Network Adapter".to_owned() } else { format!("Host {}", id.port) };
            vnics.push(json!({ "VMName": vm, "Name": adapter, "SwitchName": name, "MacAddress": mac, "IovWeight": 0 }));
            if let Some(vm) = vm {
                ports.extend(ask(one, Some(id.port)).map(|data| json!({ "VMName": vm, "Data": data })));
                machines.push(json!({ "Name": vm, "State": "Running" }));
            }
        }
    }
    let [switch, extensions, teams, ports, members, adapters, vnics, machines] = lists;
    json!({
        "Format": FORMAT, "Collected": iso(net.now()), "Computer": "SIMULATED", "Build": BUILD, "ThreadsPerCore": 1,
        "Switches": switch, "Extensions": extensions, "TeamStatus": teams, "PortStatus": ports,
        "SwitchTeamMembers": members, "LbfoTeams": [], "LbfoTeamMembers": [], "LbfoTeamNics": [], "EmbeddedTeams": [],
        "Adapters": adapters, "Vmq": [], "VmAdapters": vnics, "Machines": machines, "HostVlans": [], "HostAddresses": [],
        "HostGateways": [], "HostNameServers": [], "Rdma": [], "Sessions": [], "Settings": settings(net),
        "Events": events(net), "Trace": trace(net),
    })
}

fn name_of(net: &Net) -> String {
    if net.switch() == 0 { SWITCH.to_owned() } else { format!("{SWITCH} {}", net.switch() + 1) }
}

fn team_of(net: &Net) -> String {
    format!("Uplinks of {}", name_of(net))
}

fn machine(net: &Net, id: NicId) -> String {
    let number = id.port.saturating_sub(net.vm(0).port) + 1;
    if net.switch() == 0 {
        format!("machine {number}")
    } else {
        format!("machine {number} of {}", name_of(net))
    }
}

/// Index of each adapter, and whether its link is up.
fn links(net: &Net) -> Vec<(u16, bool)> {
    let module = net.switch();
    let all = net.look(|state| {
        let adapters = &state.modules.get(module)?.external.adapters;
        Some(adapters.iter().map(|(index, adapter)| (*index, adapter.link_up)).collect())
    });
    all.flatten().unwrap_or_default()
}

/// The vNICs of machines and of the host.
fn vnics_of(net: &Net) -> Vec<(NicId, NicKind, [u8; 6])> {
    let module = net.switch();
    let all = net.look(|state| {
        let inside = |nic: &&Nic| nic.id.port != EXTERNAL_PORT && nic.kind != NicKind::External;
        let nics = state.modules.get(module)?.topology.nics().filter(inside);
        Some(nics.map(|nic| (nic.id, nic.kind, nic.mac)).collect())
    });
    all.flatten().unwrap_or_default()
}

fn guid(switch: usize, index: u16) -> String {
    AdapterId::new(instance_id(switch, index)).text().map(char::from).iter().collect()
}

/// The driver's answer about the team or a port, by the fields of the class; `None` if it gives none.
fn ask(net: &Net, port: Option<u32>) -> Option<Map<String, Value>> {
    let of_port = port.is_some();
    let feature: Feature = declared().into_iter().find(|feature| feature.of_port == of_port)?;
    let answer =
        net.feature_status(port, feature.id, feature.length()).filter(|answer| answer.status == 0)?;
    let data = answer.payload.get(if of_port { PORT_HEAD } else { TEAM_HEAD }..)?;
    let words = data.chunks_exact(8).filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)));
    Some(feature.fields.into_iter().zip(words.map(Value::from)).collect())
}

/// The values of the registry below `Parameters`.
fn settings(net: &Net) -> Map<String, Value> {
    let path = format!("{SERVICES}\\lbfoext\\Parameters");
    let value = |name: &str| {
        Some(match net.world().registry_value(&path, name)? {
            registry::Value::Dword(number) => json!(number),
            registry::Value::Qword(number) => json!(number),
            registry::Value::Sz(text) => json!(text),
            registry::Value::MultiSz(all) => json!(all),
            registry::Value::Binary(bytes) | registry::Value::Raw(_, bytes) => json!(bytes),
        })
    };
    SETTINGS.iter().filter_map(|setting| Some((setting.name.to_owned(), value(setting.name)?))).collect()
}

/// The entries of the event log as the Event Viewer shows them, newest first.
fn events(net: &Net) -> Vec<Value> {
    let table = messages::table(KINDS);
    let shown = net.world().error_log().into_iter().rev().filter_map(|entry| {
        let message = entry.shown(&table)?;
        Some(json!({ "Id": entry.id(), "Message": message, "TimeCreated": iso(entry.at) }))
    });
    shown.collect()
}

/// What a trace session got, as tracerpt.exe prints its fields; of a host whose survey is on.
fn trace(net: &Net) -> Vec<Value> {
    let path = format!("{SERVICES}\\lbfoext\\Parameters");
    if net.world().registry_value(&path, "Survey") != Some(registry::Value::Dword(1)) {
        return Vec::new();
    }
    let text = |field: &Field| match field {
        Field::Number(number) => number.to_string(),
        Field::Status(number) | Field::Hex(number) => format!("{number:#x}"),
        Field::Text(text) => text.clone(),
    };
    let event = |event: &TraceEvent| {
        let fields: Map<String, Value> =
            event.fields.iter().map(|(name, value)| (name.clone(), json!(text(value)))).collect();
        json!({ "Id": event.id, "Fields": fields })
    };
    net.world().trace().iter().map(event).collect()
}

/// The virtual clock as a time, which begins with a year.
fn iso(at: u64) -> String {
    let (seconds, rest) = (at / 10_000_000, at % 10_000_000);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    format!(
        "2026-01-{:02}T{:02}:{:02}:{:02}.{rest:07}+00:00",
        1 + days % 31,
        hours % 24,
        minutes % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_virtual_clock_is_shown_as_a_time() {
        assert_eq!(iso(0), "2026-01-01T00:00:00.0000000+00:00");
        assert_eq!(iso(((26 * 60 + 61) * 60 + 5) * 10_000_000 + 7), "2026-01-02T03:01:05.0000007+00:00");
    }
}
