//! `teamctl settings`: the driver's own table of settings, files that set chosen values, and the check of such files.

mod check;
mod reg;

use crate::nearest;
use crate::text::{count_of, out, wrap};
use anyhow::{Context, bail};
use check::Fault;
pub use check::without_effect;
use clap::{Args, ValueEnum};
use reg::{Data, Entry};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::PathBuf;
use teaming::member_settings::MEMBER_SETTINGS;
use teaming::settings::{SETTINGS, Setting, SettingKind, TakesEffect};

pub const EXAMPLES: &str = "\
Examples:
  teamctl settings                                   the table
  teamctl settings TeamingMode=Static LoadBalancingAlgorithm=0 --format reg
  teamctl settings LinkUpDelayMs=5000 --format dsc   for Windows PowerShell DSC
  teamctl settings HashSeed=7 --switch ID --format reg     for one switch
  teamctl settings Weight=5000 --switch ID --adapter GUID --format reg
  teamctl settings --check parameters.reg            what the driver ignores
  teamctl settings --check hv1.json                  the same of a host

ID:   Get-VMSwitch | Select-Object Name, Id
GUID: Get-NetAdapter | Select-Object Name, InterfaceGuid

Exit codes: 0 fine, 1 the check found something, 2 wrong usage or input.";

#[derive(Args)]
pub struct Command {
    /// Values to set, each by its number or its word
    #[arg(value_name = "NAME=VALUE", conflicts_with = "check")]
    pub set: Vec<String>,

    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// For one switch alone, by its id
    #[arg(long, value_name = "ID", conflicts_with = "check")]
    pub switch: Option<String>,

    /// For one adapter of that switch, by its InterfaceGuid
    #[arg(long, value_name = "GUID", requires = "switch")]
    pub adapter: Option<String>,

    /// Check a .reg file, or JSON as --format json and collect.ps1 write it
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum Format {
    /// Each setting with its default, range and meaning
    Table,
    /// A file for reg.exe import
    Reg,
    /// A configuration of Windows PowerShell DSC with its resource Registry
    Dsc,
    /// One object: the chosen values, or the table if none is chosen
    Json,
}

/// True unless a check found something.
pub fn run(arguments: &Command) -> anyhow::Result<bool> {
    if let Some(path) = &arguments.check {
        let name = path.display().to_string();
        let bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
        let entries = entries(&crate::host::text(&bytes).with_context(|| format!("{name} is no text"))?)
            .with_context(|| format!("{name} is neither a .reg file nor JSON of settings"))?;
        let faults = check::faults(&entries);
        out(&findings(&name, entries.len(), &faults, arguments.format == Format::Json)?)?;
        return Ok(faults.is_empty());
    }
    let chosen = chosen(arguments)?;
    if chosen.is_empty() && matches!(arguments.format, Format::Reg | Format::Dsc) {
        bail!("name the values that the file sets, as in TeamingMode=Static; teamctl settings lists all");
    }
    let faults = check::faults(&chosen);
    if !faults.is_empty() {
        bail!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
    out(&match arguments.format {
        Format::Table => table(arguments.adapter.is_some(), &chosen),
        Format::Reg => reg::write(&chosen),
        Format::Dsc => dsc(&chosen),
        Format::Json if chosen.is_empty() => serde_json::to_string_pretty(&described())? + "\n",
        Format::Json => serde_json::to_string_pretty(&tree(&chosen))? + "\n",
    })?;
    Ok(true)
}

/// The values of the command line, as entries below the key that they are for.
fn chosen(arguments: &Command) -> anyhow::Result<Vec<Entry>> {
    for id in arguments.switch.iter().chain(&arguments.adapter) {
        let digits: Vec<usize> = id.trim_matches(['{', '}']).split('-').map(str::len).collect();
        if digits != [8, 4, 4, 4, 12] || !id.chars().all(|c| c.is_ascii_hexdigit() || "{}-".contains(c)) {
            bail!("\"{id}\" is no GUID; write one like 01234567-89AB-CDEF-0123-456789ABCDEF");
        }
    }
    let key = match (&arguments.switch, &arguments.adapter) {
        (None, _) => String::new(),
        (Some(switch), None) => format!(r"Switches\{switch}"),
        // The driver asks for the adapter's key by its GUID in braces.
        (Some(switch), Some(adapter)) => {
            format!(r"Switches\{switch}\Members\{{{}}}", adapter.trim_matches(['{', '}']))
        }
    };
    let table = if arguments.adapter.is_some() { MEMBER_SETTINGS } else { SETTINGS };
    let mut entries: Vec<Entry> = Vec::new();
    for text in &arguments.set {
        let Some((name, value)) = text.split_once('=') else {
            bail!("\"{text}\" sets nothing; write NAME=VALUE, as in TeamingMode=0");
        };
        let Some(setting) = table.iter().find(|setting| setting.name.eq_ignore_ascii_case(name)) else {
            if MEMBER_SETTINGS.iter().any(|setting| setting.name.eq_ignore_ascii_case(name)) {
                bail!("{name} is a setting of one adapter; name it with --switch ID --adapter GUID");
            }
            let near = nearest::of(name, table.iter().map(|setting| setting.name)).join(", ");
            bail!("there is no setting \"{name}\"; near it: {near}; teamctl settings lists all");
        };
        if entries.iter().any(|entry| entry.name == setting.name) {
            bail!("{name} is given twice; leave one of them out");
        }
        let number = number(setting, value)
            .with_context(|| format!("{name} is \"{value}\", allowed is {}", setting.kind))?;
        entries.push(Entry {
            key: key.clone(),
            name: setting.name.to_owned(),
            data: Data::number(number),
            place: text.clone(),
        });
    }
    Ok(entries)
}

/// A number, also in hexadecimal with 0x, or the word for one.
fn number(setting: &Setting, text: &str) -> anyhow::Result<u64> {
    if let SettingKind::Choice(choices) = setting.kind
        && let Some((number, _)) = choices.iter().find(|(_, word)| word.eq_ignore_ascii_case(text))
    {
        return Ok(*number);
    }
    Ok(match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16)?,
        None => text.parse()?,
    })
}

/// A `.reg` file with these values for all switches, each a setting by its name.
pub fn file(values: &[(&str, u64)]) -> String {
    let entry = |(name, value): &(&str, u64)| Entry {
        key: String::new(),
        name: (*name).to_owned(),
        data: Data::number(*value),
        place: String::new(),
    };
    reg::write(&values.iter().map(entry).collect::<Vec<_>>())
}

fn table(of_adapter: bool, chosen: &[Entry]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let (common, member): (&[Setting], &[Setting]) =
        if of_adapter { (&[], MEMBER_SETTINGS) } else { (SETTINGS, MEMBER_SETTINGS) };
    for (title, settings) in [("of all switches, or of one", common), ("of one adapter", member)] {
        if settings.is_empty() {
            continue;
        }
        lines.push(format!("Settings {title}"));
        for setting in settings {
            let set = chosen
                .iter()
                .find(|entry| entry.name == setting.name)
                .and_then(|entry| entry.data.as_number());
            let value = set.map_or_else(
                || format!("{}, the default", setting.default),
                |value| format!("{value}; the default is {}", setting.default),
            );
            let when = match setting.takes_effect {
                TakesEffect::AtOnce => "",
                TakesEffect::AtRestart => "; takes effect at the next start",
            };
            lines.push(String::new());
            lines.push(format!("{} = {value}{when}", setting.name));
            lines.extend(wrap(&setting.kind.to_string(), " ", "  "));
            lines.extend(wrap(setting.help, " ", "  "));
        }
        lines.push(String::new());
    }
    lines.extend(
        wrap(&format!("Below {}.", reg::PARAMETERS), "", "  ")
            .into_iter()
            .map(|line| line.trim_start().to_owned()),
    );
    lines.join("\n") + "\n"
}

/// The table as an object.
fn described() -> Value {
    let one = |setting: &Setting| {
        let range = match setting.kind {
            SettingKind::Number { min, max } => json!({ "min": min, "max": max }),
            SettingKind::Choice(choices) => {
                let words: Map<String, Value> =
                    choices.iter().map(|(number, word)| (number.to_string(), json!(word))).collect();
                json!({ "choices": words })
            }
        };
        let at_once = setting.takes_effect == TakesEffect::AtOnce;
        json!({ "name": setting.name, "default": setting.default, "range": range, "help": setting.help, "at_once": at_once })
    };
    let all = |settings: &[Setting]| settings.iter().map(one).collect::<Vec<_>>();
    json!({ "key": reg::PARAMETERS, "settings": all(SETTINGS), "of_one_adapter": all(MEMBER_SETTINGS) })
}

/// Values as members, subkeys as objects.
fn tree(entries: &[Entry]) -> Value {
    let mut root = Map::new();
    for entry in entries {
        let mut at = &mut root;
        for part in entry.key.split('\\').filter(|part| !part.is_empty()) {
            let inner = at.entry(part).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = inner else { unreachable!("keys are objects") };
            at = inner;
        }
        at.insert(entry.name.clone(), json!(entry.data.as_number()));
    }
    Value::Object(root)
}

/// By the page about DSC's resource Registry (learn.microsoft.com: registryresource).
fn dsc(entries: &[Entry]) -> String {
    let mut lines = vec![
        "Configuration LbfoextSettings".to_owned(),
        "{".to_owned(),
        "    Import-DscResource -ModuleName PSDesiredStateConfiguration".to_owned(),
        "    Node 'localhost'".to_owned(),
        "    {".to_owned(),
    ];
    for entry in entries {
        let number = entry.data.as_number().unwrap_or(0);
        let kind = if u32::try_from(number).is_ok() { "Dword" } else { "Qword" };
        lines.extend([
            format!("        Registry {}", entry.name),
            "        {".to_owned(),
            "            Ensure = 'Present'".to_owned(),
            format!("            Key = '{}'", reg::path(&entry.key)),
            format!("            ValueName = '{}'", entry.name),
            format!("            ValueType = '{kind}'"),
            format!("            ValueData = '{number}'"),
            "        }".to_owned(),
        ]);
    }
    lines.extend(["    }".to_owned(), "}".to_owned()]);
    lines.join("\n") + "\n"
}

/// The entries of a file.
fn entries(text: &str) -> anyhow::Result<Vec<Entry>> {
    if !text.trim_start().starts_with('{') {
        return reg::read(text);
    }
    let Value::Object(mut object) = serde_json::from_str(text)? else { bail!("it is no object") };
    if object.contains_key("Format") && object.contains_key("Computer") {
        object = match object.remove("Settings") {
            Some(Value::Object(settings)) => settings,
            _ => bail!("it is of a host whose settings could not be read; collect again as administrator"),
        };
    }
    let mut entries = Vec::new();
    branch("", object, &mut entries);
    Ok(entries)
}

fn branch(key: &str, object: Map<String, Value>, entries: &mut Vec<Entry>) {
    for (name, value) in object {
        let below = if key.is_empty() { name.clone() } else { format!(r"{key}\{name}") };
        let data = match value {
            Value::Object(inner) => {
                branch(&below, inner, entries);
                continue;
            }
            Value::Number(number) if number.is_u64() => Data::number(number.as_u64().unwrap_or(0)),
            Value::Array(bytes) => Data::Binary(bytes.len()),
            other => Data::Other(other.to_string()),
        };
        entries.push(Entry { key: key.to_owned(), name, data, place: below });
    }
}

fn findings(file: &str, values: usize, faults: &[Fault], as_json: bool) -> anyhow::Result<String> {
    if as_json {
        let all = json!({ "file": file, "values": values, "faults": faults });
        return Ok(serde_json::to_string_pretty(&all)? + "\n");
    }
    let mut lines =
        vec![format!("{file}: {}, {} to correct", count_of(values as u64, "value"), faults.len())];
    for fault in faults {
        lines.push(String::new());
        lines.push(format!("{} {}", fault.id, fault.place));
        lines.extend(wrap(&fault.found, " ", "  "));
        lines.extend(wrap(&fault.fix, "  To do:", "    "));
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use teaming::settings::{Lookup, Settings};

    fn command(set: &[&str], switch: Option<&str>, adapter: Option<&str>) -> Command {
        Command {
            set: set.iter().map(|text| (*text).to_owned()).collect(),
            format: Format::Table,
            switch: switch.map(str::to_owned),
            adapter: adapter.map(str::to_owned),
            check: None,
        }
    }

    /// What the driver's reader makes of entries of one key.
    fn driver(entries: &[Entry]) -> (Settings, usize) {
        let (settings, issues) = Settings::read(|setting| {
            let entry = entries.iter().find(|entry| entry.name.eq_ignore_ascii_case(setting.name));
            entry.map_or(Lookup::Missing, |entry| entry.data.lookup())
        });
        (settings, issues.len())
    }

    /// Values inside and at both ends of every setting's range.
    fn values(setting: &Setting) -> Vec<u64> {
        match setting.kind {
            SettingKind::Number { min, max } => vec![min, min + 1, setting.default, max / 2, max],
            SettingKind::Choice(choices) => choices.iter().map(|(number, _)| *number).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_back_by_the_driver_as_exactly_those_settings() {
        for setting in SETTINGS {
            for value in values(setting) {
                // Alone, and beside others; whether it has an effect is another matter.
                let name = setting.name;
                let base = command(
                    &[&*format!("{name}={value}"), "TeamingMode=0"]
                        [..if name == "TeamingMode" { 1 } else { 2 }],
                    None,
                    None,
                );
                let entries = chosen(&base).expect("allowed");
                let (expected, issues) = driver(&entries);
                assert_eq!(issues, 0, "{name}={value}");
                let text = reg::write(&entries);
                let wide: Vec<u8> =
                    [0xFF, 0xFE].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
                for text in
                    [text.clone(), crate::host::text(&wide).expect("text"), tree(&entries).to_string()]
                {
                    let back = super::entries(&text).expect("it is read");
                    assert_eq!(back.len(), entries.len(), "{text}");
                    assert_eq!(driver(&back), (expected, 0), "{text}");
                    let found =
                        back.iter().find(|entry| entry.name == name).and_then(|entry| entry.data.as_number());
                    assert_eq!(found, Some(value), "{text}");
                }
            }
        }
    }

    #[test]
    fn every_word_of_a_choice_stands_for_its_number() {
        for setting in SETTINGS {
            let SettingKind::Choice(choices) = setting.kind else { continue };
            for (value, word) in choices {
                assert_eq!(number(setting, &word.to_lowercase()).expect("a word"), *value);
                assert_eq!(number(setting, &format!("{value:#x}")).expect("a number"), *value);
            }
            assert!(number(setting, "fastest").is_err());
        }
    }

    #[test]
    fn a_value_of_one_switch_or_adapter_stands_below_its_key() {
        let (id, guid) = ("01234567-89AB-CDEF-0123-456789ABCDEF", "00000000-0000-0000-0000-000000000001");
        let one = chosen(&command(&["HashSeed=0x1234567890"], Some(id), None)).expect("allowed");
        assert_eq!(one[0].key, format!(r"Switches\{id}"));
        assert!(reg::write(&one).contains("\"HashSeed\"=hex(b):90,78,56,34,12,00,00,00\r\n"));
        let weight = chosen(&command(&["weight=5000"], Some(id), Some(guid))).expect("allowed");
        assert_eq!(weight[0].key, format!(r"Switches\{id}\Members\{{{guid}}}"));
        for text in [reg::write(&weight), tree(&weight).to_string()] {
            assert_eq!(check::faults(&entries(&text).expect("it is read")).len(), 0, "{text}");
        }
    }

    #[test]
    fn the_table_has_every_setting_within_the_width_of_a_terminal() {
        let text = table(false, &chosen(&command(&["LinkUpDelayMs=5"], None, None)).expect("allowed"));
        for setting in SETTINGS.iter().chain(MEMBER_SETTINGS) {
            assert!(text.contains(&format!("\n{} = ", setting.name)), "{}", setting.name);
        }
        assert!(text.contains("LinkUpDelayMs = 5; the default is 2000"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= crate::text::COLUMNS), "{text}");
        assert_eq!(described()["settings"].as_array().map(Vec::len), Some(SETTINGS.len()));
    }
}
