//! What `inf/collect.ps1` has saved of a host: one JSON object with the output of one cmdlet in each member, under the
//! cmdlets' own names of properties. What a host does not have is missing or null.

use anyhow::{Context, bail};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use teaming::ids::AdapterId;
use teaming::report::{LastEvent, drops, last_events, word_of};
use teaming::status::MEMBER;

/// `Format` of the files that are read.
pub const FORMAT: u64 = 1;
/// The first build of Windows that exports what the driver imports.
pub const FIRST_BUILD: u32 = 19_041;
/// Name of the extension, as in the INF.
pub const EXTENSION: &str = "LBFO Teaming Extension";

/// One host.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct Host {
    format: u64,
    /// Time, as ISO 8601.
    pub collected: String,
    pub computer: String,
    /// Build number of Windows.
    pub build: u32,
    /// Logical processors of a core: 2 with hyper-threading.
    pub threads_per_core: u32,
    /// Get-VMSwitch.
    #[serde(deserialize_with = "list")]
    pub switches: Vec<Switch>,
    /// Get-VMSwitchExtension of every switch.
    #[serde(deserialize_with = "list")]
    pub extensions: Vec<Extension>,
    /// Get-VMSwitchExtensionSwitchData of every switch.
    #[serde(deserialize_with = "list")]
    pub team_status: Vec<TeamStatus>,
    /// Get-VMSwitchExtensionPortData of every machine.
    #[serde(deserialize_with = "list")]
    pub port_status: Vec<PortStatus>,
    /// Get-NetSwitchTeamMember.
    #[serde(deserialize_with = "list")]
    pub switch_team_members: Vec<SwitchTeamMember>,
    /// Get-NetLbfoTeam.
    #[serde(deserialize_with = "list")]
    pub lbfo_teams: Vec<LbfoTeam>,
    /// Get-NetLbfoTeamMember.
    #[serde(deserialize_with = "list")]
    pub lbfo_team_members: Vec<LbfoTeamMember>,
    /// Get-NetLbfoTeamNic.
    #[serde(deserialize_with = "list")]
    pub lbfo_team_nics: Vec<LbfoTeamNic>,
    /// Get-VMSwitchTeam of the switches with embedded teaming.
    #[serde(deserialize_with = "list")]
    pub embedded_teams: Vec<EmbeddedTeam>,
    /// Get-NetAdapter.
    #[serde(deserialize_with = "list")]
    pub adapters: Vec<Adapter>,
    /// Get-NetAdapterVmq.
    #[serde(deserialize_with = "list")]
    pub vmq: Vec<Vmq>,
    /// Get-VMNetworkAdapter of machines and of the management system.
    #[serde(deserialize_with = "list")]
    pub vm_adapters: Vec<VmAdapter>,
    /// Get-VM.
    #[serde(deserialize_with = "list")]
    pub machines: Vec<Machine>,
    /// Get-VMNetworkAdapterVlan of the management system.
    #[serde(deserialize_with = "list")]
    pub host_vlans: Vec<HostVlan>,
    /// Get-NetIPAddress.
    #[serde(deserialize_with = "list")]
    pub host_addresses: Vec<HostAddress>,
    /// Get-NetRoute of the default routes.
    #[serde(deserialize_with = "list")]
    pub host_gateways: Vec<HostGateway>,
    /// Get-DnsClientServerAddress.
    #[serde(deserialize_with = "list")]
    pub host_name_servers: Vec<HostNameServers>,
    /// Get-NetAdapterRdma.
    #[serde(deserialize_with = "list")]
    pub rdma: Vec<Rdma>,
    /// Get-NetTCPConnection: who works on the host over the network.
    #[serde(deserialize_with = "list")]
    pub sessions: Vec<Session>,
    /// The values below `lbfoext\Parameters`; `None` if they could not be read.
    pub settings: Option<BTreeMap<String, Value>>,
    /// Entries of the source `lbfoext` in the System event log, newest first.
    #[serde(deserialize_with = "list")]
    pub events: Vec<Event>,
    /// Events of the trace session that -Trace names, in their order.
    #[serde(deserialize_with = "list")]
    pub trace: Vec<TraceEvent>,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct Switch {
    pub name: String,
    pub switch_type: String,
    /// Switch Embedded Teaming.
    pub embedded_teaming_enabled: bool,
    #[serde(deserialize_with = "list")]
    pub net_adapter_interface_descriptions: Vec<String>,
    /// SR-IOV.
    pub iov_enabled: bool,
    /// Default, None, Weight or Absolute.
    pub bandwidth_reservation_mode: String,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct Extension {
    pub switch_name: String,
    pub name: String,
    pub extension_type: String,
    pub enabled: bool,
    pub running: bool,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct TeamStatus {
    pub switch_name: String,
    /// The fields of the class about the team.
    data: BTreeMap<String, Value>,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortStatus {
    #[serde(rename = "VMName")]
    pub vm_name: String,
    /// The fields of the class about a port.
    data: BTreeMap<String, Value>,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwitchTeamMember {
    pub name: String,
    pub team: String,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct LbfoTeamNic {
    pub name: String,
    pub interface_description: String,
    pub team: String,
    /// `None` for the interface without a VLAN.
    #[serde(rename = "VlanID")]
    pub vlan_id: Option<u16>,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct LbfoTeam {
    pub name: String,
    /// Static, SwitchIndependent or Lacp.
    pub teaming_mode: String,
    /// TransportPorts, IPAddresses, MacAddresses, HyperVPort or Dynamic.
    pub load_balancing_algorithm: String,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct LbfoTeamMember {
    pub name: String,
    pub team: String,
    /// Active or Standby.
    pub administrative_mode: String,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct EmbeddedTeam {
    /// The switch's.
    pub name: String,
    /// Of the members.
    #[serde(deserialize_with = "list")]
    pub net_adapter_interface_description: Vec<String>,
    /// HyperVPort or Dynamic.
    pub load_balancing_algorithm: String,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct Machine {
    pub name: String,
    /// As in Running, Off, Saved or Paused.
    pub state: String,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostVlan {
    /// The adapter's.
    pub name: String,
    /// Untagged, Access, Trunk or Private.
    pub operation_mode: String,
    pub access_vlan_id: u16,
    pub native_vlan_id: u16,
    /// As in 10,20-30.
    pub allowed_vlan_id_list_string: String,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostAddress {
    /// The adapter's name.
    pub interface_alias: String,
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    pub prefix_length: u8,
    /// Manual if it was set by hand, as in Dhcp if not.
    pub prefix_origin: String,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostGateway {
    pub interface_alias: String,
    pub next_hop: String,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostNameServers {
    pub interface_alias: String,
    #[serde(deserialize_with = "list")]
    pub server_addresses: Vec<String>,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct Rdma {
    pub name: String,
    pub enabled: bool,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct Session {
    pub local_address: String,
    pub local_port: u16,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct Adapter {
    pub name: String,
    pub interface_description: String,
    /// In braces.
    pub interface_guid: String,
    /// Up, Disconnected or Disabled, as in Get-NetAdapter.
    pub status: String,
    pub driver_file_name: String,
    pub driver_version: String,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct Vmq {
    pub name: String,
    pub enabled: bool,
    pub base_processor_group: u16,
    pub base_processor_number: u32,
    pub max_processor_number: Option<u32>,
    pub max_processors: u32,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct VmAdapter {
    #[serde(rename = "VMName")]
    pub vm_name: Option<String>,
    pub name: String,
    pub switch_name: Option<String>,
    /// 12 hexadecimal digits; zeros while none is assigned.
    pub mac_address: String,
    /// Above 0 if it may have a virtual function.
    pub iov_weight: u32,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct Event {
    pub time_created: String,
    pub id: u16,
    pub message: String,
}

/// An event of a trace session, with its fields by name.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub struct TraceEvent {
    pub id: u16,
    fields: BTreeMap<String, Value>,
}

/// ConvertTo-Json writes a list of one as that one, and an empty one as null.
fn list<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned>(from: D) -> Result<Vec<T>, D::Error> {
    let all = match Value::deserialize(from)? {
        Value::Null => Vec::new(),
        Value::Array(all) => all,
        one => vec![one],
    };
    all.into_iter().map(|one| serde_json::from_value(one).map_err(serde::de::Error::custom)).collect()
}

impl Host {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
        Self::parse(&bytes).with_context(|| format!("{name} is not what inf/collect.ps1 writes"))
    }

    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let host: Self = serde_json::from_str(&text(bytes)?)?;
        if host.format != FORMAT {
            bail!(
                "its Format is {}, and this teamctl reads {FORMAT}; collect again with its own script",
                host.format
            );
        }
        Ok(host)
    }

    /// The adapter with these halves of its GUID (`Member1GuidHigh`, `Member1GuidLow`).
    pub fn adapter(&self, guid: [u64; 2]) -> Option<&Adapter> {
        self.adapters.iter().find(|adapter| halves(&adapter.interface_guid) == Some(guid))
    }

    pub fn status(&self, switch: &str) -> Option<&TeamStatus> {
        self.team_status.iter().find(|status| status.switch_name == switch)
    }

    /// The switches on which the extension is enabled.
    pub fn ours(&self) -> impl Iterator<Item = &Switch> {
        let enabled = |switch: &&Switch| {
            let here = |e: &&Extension| e.switch_name == switch.name && e.name == EXTENSION;
            self.extensions.iter().filter(here).any(|extension| extension.enabled)
        };
        self.switches.iter().filter(enabled)
    }
}

impl TraceEvent {
    #[cfg(test)]
    pub fn new(id: u16, fields: &[(&str, &str)]) -> Self {
        let field = |(name, value): &(&str, &str)| ((*name).to_owned(), Value::from(*value));
        Self { id, fields: fields.iter().map(field).collect() }
    }

    /// The fields as text; tracerpt.exe pads numbers.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| match value {
            Value::String(text) => text.trim().to_owned(),
            other => other.to_string(),
        };
        self.fields.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    }
}

/// The digest under which a survey names an adapter, of its GUID as text in braces or without.
pub fn digest(guid: &str) -> Option<u32> {
    let digits: String = guid.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_uppercase();
    let parts =
        [digits.get(..8)?, digits.get(8..12)?, digits.get(12..16)?, digits.get(16..20)?, digits.get(20..)?];
    let text: Vec<u16> = format!("{{{}}}", parts.join("-")).encode_utf16().collect();
    let mut crc = flate2::Crc::new();
    crc.update(&AdapterId::parse(&text)?.get());
    Some(crc.sum())
}

/// The halves of a GUID as the status has them.
fn halves(guid: &str) -> Option<[u64; 2]> {
    let digits: String = guid.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |range| digits.get(range).and_then(|half| u64::from_str_radix(half, 16).ok());
    let both = [half(0..16)?, half(16..32)?];
    (digits.len() == 32).then_some(both)
}

/// UTF-8, or UTF-16 as Windows PowerShell redirects it, with its mark.
pub fn text(bytes: &[u8]) -> anyhow::Result<String> {
    if let Some(wide) = bytes.strip_prefix(&[0xFF, 0xFE]) {
        let units: Vec<u16> = wide
            .chunks(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
            .collect();
        return Ok(String::from_utf16(&units)?);
    }
    let plain = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    Ok(std::str::from_utf8(plain)?.to_owned())
}

fn number(data: &BTreeMap<String, Value>, field: &str) -> Option<u64> {
    // Numbers above what a double holds may come as text.
    data.get(field).and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()))
}

impl TeamStatus {
    /// A number by the name of its field; `None` if the host did not report it.
    pub fn number(&self, field: &str) -> Option<u64> {
        number(&self.data, field)
    }

    /// The members that exist, by index.
    pub fn members(&self) -> impl Iterator<Item = MemberStatus<'_>> {
        (1..=u16::try_from(teaming::ids::MEMBERS).unwrap_or(u16::MAX))
            .map(|index| MemberStatus { status: self, index })
            .filter(|member| member.number("State").is_some_and(|state| state != 0))
    }

    /// The drops that happened: reason, sentence, count.
    pub fn drops(&self) -> impl Iterator<Item = (String, &'static str, u64)> + '_ {
        drops(|field| self.number(field)).into_iter()
    }

    /// The last events, newest first.
    pub fn last_events(&self) -> Vec<LastEvent> {
        last_events(|field| self.number(field))
    }
}

impl PortStatus {
    pub fn number(&self, field: &str) -> Option<u64> {
        number(&self.data, field)
    }
}

/// The fields of one member.
#[derive(Clone, Copy)]
pub struct MemberStatus<'a> {
    status: &'a TeamStatus,
    pub index: u16,
}

impl MemberStatus<'_> {
    pub fn number(&self, field: &str) -> Option<u64> {
        self.status.number(&format!("Member{}{field}", self.index))
    }

    /// The word for a number, from the field's own description.
    pub fn word(&self, field: &str) -> String {
        word_of(&MEMBER, field, self.number(field))
    }

    /// Halves of its adapter's GUID; `None` if that is not known.
    pub fn guid(&self) -> Option<[u64; 2]> {
        let both = [self.number("GuidHigh")?, self.number("GuidLow")?];
        (both != [0, 0]).then_some(both)
    }

    /// What people call it: the adapter's name, else its index.
    pub fn name(&self, host: &Host) -> String {
        let adapter = self.guid().and_then(|guid| host.adapter(guid));
        adapter.map_or_else(|| format!("member {}", self.index), |adapter| adapter.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_one_and_of_none_are_read_as_powershell_writes_them() {
        let text = r#"{"Format": 1, "Switches": {"Name": "External", "NetAdapterInterfaceDescriptions": "One"}, "Vmq": null}"#;
        let host = Host::parse(text.as_bytes()).unwrap();
        assert_eq!(host.switches[0].net_adapter_interface_descriptions, ["One"]);
        assert!(host.vmq.is_empty());
        let marked = [&[0xEF, 0xBB, 0xBF], text.as_bytes()].concat();
        let wide: Vec<u8> =
            [0xFF, 0xFE].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        for bytes in [marked, wide] {
            assert_eq!(Host::parse(&bytes).unwrap().switches[0].name, "External");
        }
    }

    #[test]
    fn another_format_is_refused_with_its_number() {
        let error = Host::parse(br#"{"Format": 2}"#).unwrap_err().to_string();
        assert!(error.contains("Format is 2"), "{error}");
        assert!(Host::parse(b"{}").is_err());
    }

    #[test]
    fn numbers_have_the_words_of_their_description() {
        assert_eq!(word_of(&teaming::status::TEAM, "Status", Some(1)), "Degraded");
        assert_eq!(word_of(&teaming::status::TEAM, "Status", Some(9)), "9");
        assert_eq!(
            halves("{00112233-4455-6677-8899-AABBCCDDEEFF}"),
            Some([0x0011_2233_4455_6677, 0x8899_AABB_CCDD_EEFF])
        );
        assert_eq!(halves("{0011}"), None);
    }
}
