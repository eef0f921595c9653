//! The INF against the rules for extensions of the Hyper-V extensible switch.
//!
//! The facts stand here, from the documentation pages named beside them, and not in the INF alone; each rule is
//! also shown an INF that breaks it. Two rules are not about the file: INF-12 (an installed extension is
//! disabled until it is enabled on a switch; the install script does that) and INF-13 (an MSI package, at release).

use std::collections::BTreeMap;

use teaming::settings::{SETTINGS, Setting, SettingKind};

const INF: &str = include_str!("../../inf/lbfoext.inf");
const SCRIPTS: [(&str, &str); 2] = [
    ("install", include_str!("../../inf/install.ps1")),
    ("uninstall", include_str!("../../inf/uninstall.ps1")),
];
const EXTENSION: &str = "{6E3C2C0F-5A0B-4C55-9E0E-7B1B8B1F5D21}";
const NAME: &str = "LBFO Teaming Extension";

/// A line of a section: what is left of `=`, if anything is, and the values right of it.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    key: Option<String>,
    values: Vec<String>,
}

/// An INF as SetupAPI reads it (general-syntax-rules-for-inf-files.md), but without its leniency. There is a
/// published parser, but it needs a nightly compiler.
#[derive(Debug, Default)]
struct Inf(BTreeMap<String, Vec<Line>>);

impl Inf {
    /// Reads a text whose %tokens% are replaced by what the Strings section says they stand for.
    fn parse(text: &str) -> Result<Self, String> {
        let mut inf = Self::default();
        let mut section = None;
        for (number, line) in text.lines().enumerate() {
            let at = |fault: &str| format!("line {}: {fault}: {line}", number + 1);
            let fields = fields(line).ok_or_else(|| at("quotation mark or line is open"))?;
            let [first, rest @ ..] = &fields[..] else { continue };
            if let Some(name) = first.strip_prefix('[') {
                let name = name.strip_suffix(']').filter(|_| rest.is_empty()).ok_or_else(|| at("section"))?;
                if inf.0.insert(name.to_lowercase(), Vec::new()).is_some() {
                    return Err(at("a second section of this name"));
                }
                section = Some(name.to_lowercase());
                continue;
            }
            let lines =
                section.as_ref().and_then(|name| inf.0.get_mut(name)).ok_or_else(|| at("no section"))?;
            lines.push(entry(&fields));
        }
        inf.expand()?;
        Ok(inf)
    }

    fn expand(&mut self) -> Result<(), String> {
        let strings: BTreeMap<String, String> =
            self.section("Strings").iter().filter_map(Line::pair).collect();
        let fields =
            self.0.values_mut().flatten().flat_map(|line| line.key.iter_mut().chain(&mut line.values));
        for field in fields {
            let Some((name, rest)) = field.strip_prefix('%').and_then(|text| text.split_once('%')) else {
                continue;
            };
            if name.parse::<u32>().is_err() {
                let value =
                    strings.get(&name.to_lowercase()).ok_or_else(|| format!("%{name}% has no string"))?;
                *field = format!("{value}{rest}");
            }
        }
        Ok(())
    }

    fn section(&self, name: &str) -> &[Line] {
        self.0.get(&name.to_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// The values of a directive, which has to be there just once.
    fn directive(&self, section: &str, key: &str) -> Option<&[String]> {
        let mut lines = self.section(section).iter().filter(|line| line.is(key));
        lines.next().filter(|_| lines.next().is_none()).map(|line| &*line.values)
    }

    fn value(&self, section: &str, key: &str) -> Option<&str> {
        self.directive(section, key).filter(|values| values.len() == 1).map(|values| &*values[0])
    }

    fn number(&self, section: &str, key: &str) -> Option<u64> {
        self.value(section, key).and_then(number)
    }

    /// The section that a directive names, for directives that name one.
    fn named(&self, section: &str, key: &str) -> &str {
        self.value(section, key).unwrap_or_default()
    }

    /// (flags, data) of a registry value that an AddReg section writes once, below HKR.
    fn registry(&self, section: &str, subkey: &str, name: &str) -> Option<(u64, &[String])> {
        let mut lines = self.section(section).iter().filter(|line| {
            let [root, key, value, ..] = &line.values[..] else { return false };
            root == "HKR" && key.eq_ignore_ascii_case(subkey) && value.eq_ignore_ascii_case(name)
        });
        let line = lines.next().filter(|_| lines.next().is_none())?;
        let flags = line
            .values
            .get(3)
            .map_or(Some(0), |flags| if flags.is_empty() { Some(0) } else { number(flags) })?;
        Some((flags, line.values.get(4..).unwrap_or_default()))
    }
}

impl Line {
    fn is(&self, key: &str) -> bool {
        self.key.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(key))
    }

    fn pair(&self) -> Option<(String, String)> {
        Some((self.key.as_ref()?.to_lowercase(), self.values.first()?.clone()))
    }
}

/// The fields of a line: `=` ends the first, commas part the others; quotation marks and comments are gone.
fn fields(line: &str) -> Option<Vec<String>> {
    let (mut fields, mut field, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => (quoted, any) = (!quoted, true),
            ';' if !quoted => break,
            ',' | '=' if !quoted => {
                fields.push(field.trim_end().to_owned());
                if c == '=' {
                    fields.push("=".into());
                }
                (field, any) = (String::new(), true);
            }
            ' ' | '\t' if !quoted && field.is_empty() => {}
            c => (field, any) = (field + &c.to_string(), true),
        }
    }
    if any {
        fields.push(if quoted { field } else { field.trim_end().to_owned() });
    }
    (!quoted && !line.trim_end().ends_with('\\')).then_some(fields)
}

fn entry(fields: &[String]) -> Line {
    match fields {
        [key, equals, values @ ..] if equals == "=" => {
            Line { key: Some(key.clone()), values: values.to_vec() }
        }
        values => Line { key: None, values: values.to_vec() },
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

const REG_SZ: u64 = 0;
const REG_MULTI_SZ: u64 = 0x0001_0000;
const REG_EXPAND_SZ: u64 = 0x0002_0000;
const REG_DWORD: u64 = 0x0001_0001;
/// Types without a flag of their own: the type's number (11) above, binary data (inf-addreg-directive.md).
const REG_QWORD: u64 = 0x000b_0001;
/// FLG_ADDREG_NOCLOBBER: a value that is there already stays.
const KEEP: u64 = 2;

const MODELS: &str = "Models.NTamd64.10.0...19041";

/// Each rule that the INF breaks, with what it has to say about it.
fn broken(inf: &Inf) -> Vec<(&'static str, &'static str)> {
    let mut broken = Vec::new();
    let mut rule = |name, fine: bool, text| broken.extend((!fine).then_some((name, text)));
    let text = |section: &str, subkey: &str, name: &str, flags: u64, data: &str| {
        inf.registry(section, subkey, name).is_some_and(|(have, is)| have == flags && is == [data])
    };
    let add_reg = inf.named("Install", "AddReg");
    let add_service = inf.directive("Install.Services", "AddService").unwrap_or_default();
    let [service, _flags, service_section, log_section] = add_service else {
        return vec![("INF-09", "AddService names a service, its section and that of the event log")];
    };
    let image = format!("{service}.sys");

    rule("INF-01", inf.value("Version", "Signature") == Some("$Windows NT$"), "a signature of Windows NT");
    rule("INF-01", inf.value("Version", "Class") == Some("NetService"), "class NetService");
    let class = inf.value("Version", "ClassGuid").map(str::to_uppercase);
    rule("INF-01", class.as_deref() == Some("{4D36E974-E325-11CE-BFC1-08002BE10318}"), "the class's GUID");

    rule(
        "INF-02",
        inf.number("Install", "Characteristics") == Some(0x40000),
        "NCF_LW_FILTER and nothing else",
    );
    rule("INF-03", inf.value("Install", "NetCfgInstanceId") == Some(EXTENSION), "the extension's GUID");
    rule("INF-04", text(add_reg, "Ndi", "FilterType", REG_DWORD, "2"), "a modifying filter");
    rule("INF-05", text(add_reg, "Ndi", "FilterRunType", REG_DWORD, "2"), "an optional filter");
    rule(
        "INF-06",
        text(add_reg, "Ndi", "FilterClass", REG_SZ, "ms_switch_forward"),
        "a forwarding extension",
    );

    let interfaces = r"Ndi\Interfaces";
    rule("INF-07", text(add_reg, interfaces, "UpperRange", REG_SZ, "noupper"), "no upper range");
    rule("INF-07", text(add_reg, interfaces, "LowerRange", REG_SZ, "nolower"), "no lower range");
    rule(
        "INF-07",
        text(add_reg, interfaces, "FilterMediaTypes", REG_SZ, "vmnetextension"),
        "switches, nothing else",
    );

    rule("INF-08", text(add_reg, "Ndi", "Service", REG_SZ, service), "the service's name below Ndi");
    rule("INF-08", text(add_reg, "Ndi", "CoServices", REG_MULTI_SZ, service), "the service among CoServices");
    let help = inf.registry(add_reg, "Ndi", "HelpText").is_some_and(|(_, text)| !text[0].is_empty());
    rule("INF-08", help, "a help text");

    rule("INF-09", service == "lbfoext", "the service's name");
    let entries = [("ServiceType", 1), ("StartType", 1), ("ErrorControl", 1)];
    let typed = entries.iter().all(|&(key, value)| inf.number(service_section, key) == Some(value));
    rule("INF-09", typed, "a kernel driver, started by the system, errors reported");
    rule("INF-09", inf.value(service_section, "LoadOrderGroup") == Some("NDIS"), "the load order group NDIS");
    let binary = inf.value(service_section, "ServiceBinary");
    rule("INF-09", binary == Some(&format!(r"%13%\{image}")), "the image in the driver store");
    rule(
        "INF-09",
        inf.value(service_section, "DisplayName") == Some(NAME),
        "the name that drops are reported with",
    );
    let remove = inf.directive("Install.Remove.Services", "DelService");
    rule(
        "INF-09",
        remove.is_some_and(|remove| remove == [service.as_str(), "0x204"]),
        "the service stopped and removed, with its source of events",
    );

    // Registering for event logging, inf-addservice-directive.md; all kinds of entries but audits are 7.
    let messages = inf.named(log_section, "AddReg");
    let file = format!(r"%13%\{image}");
    rule("events", text(messages, "", "EventMessageFile", REG_EXPAND_SZ, &file), "texts from the image");
    rule("events", text(messages, "", "TypesSupported", REG_DWORD, "7"), "every kind of entry");

    let parameters = inf.section(inf.named(service_section, "AddReg"));
    let below =
        |line: &Line| line.key.is_none() && line.values.starts_with(&["HKR".into(), "Parameters".into()]);
    rule("INF-10", parameters.iter().all(below), "every value below the Parameters key");

    rule("INF-11", inf.value("Version", "CatalogFile") == Some("lbfoext.cat"), "a catalog");
    rule("INF-11", inf.number("Version", "PnpLockdown") == Some(1), "files locked down");
    rule("INF-11", inf.directive("Version", "DriverVer").is_some_and(is_present_version), "date and version");
    let manufacturer = inf.section("Manufacturer").first().map(|line| line.values.join("."));
    rule(
        "INF-11",
        manufacturer.as_deref() == Some(MODELS),
        "models for x86-64 from the build that the image needs",
    );
    let [model] = inf.section(MODELS) else { return vec![("INF-11", "one model")] };
    rule("INF-11", model.is(NAME) && model.values == ["Install", "lbfo_lbfoext"], "the model's name and id");

    // What a driver package needs beyond the numbered rules: its one file, listed, copied, in the driver store.
    let files = inf.section(inf.named("Install", "CopyFiles"));
    let copied = files.len() == 1 && files[0].values == [image.as_str()];
    rule("files", copied && inf.value("SourceDisksFiles", &image) == Some("1"), "the image copied");
    rule("files", inf.directive("SourceDisksNames", "1").is_some(), "the medium named");
    rule(
        "files",
        inf.value("DestinationDirs", "DefaultDestDir") == Some("13"),
        "the driver store as destination",
    );

    let fine =
        SETTINGS.iter().all(|setting| default_in(inf, service_section, setting) == Some(setting.default));
    rule(
        "settings",
        fine && parameters.len() == SETTINGS.len(),
        "each setting with the driver's own default",
    );
    broken
}

/// mm/dd/yyyy and the version of the workspace, in the four numbers that Windows compares (inf-driverver-directive.md).
fn is_present_version(driver_ver: &[String]) -> bool {
    let [date, version] = driver_ver else { return false };
    let date: Vec<u32> = date.split('/').filter_map(|part| part.parse().ok()).collect();
    let [month @ 1..=12, day, year] = date[..] else { return false };
    let days = [31, if year % 4 == 0 { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    year >= 2026
        && (1..=days[month as usize - 1]).contains(&day)
        && *version == concat!(env!("CARGO_PKG_VERSION"), ".0")
}

/// The default that the INF writes for a setting, if it writes it in the type that holds all its values.
fn default_in(inf: &Inf, service: &str, setting: &Setting) -> Option<u64> {
    let (flags, data) = inf.registry(inf.named(service, "AddReg"), "Parameters", setting.name)?;
    let wide = matches!(setting.kind, SettingKind::Number { max, .. } if max > u64::from(u32::MAX));
    match data {
        [value] if !wide && flags == REG_DWORD | KEEP => number(value),
        bytes if wide && flags == REG_QWORD | KEEP => {
            let bytes: Vec<u8> = bytes.iter().map_while(|byte| u8::from_str_radix(byte, 16).ok()).collect();
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        }
        _ => None,
    }
}

#[test]
fn the_inf_obeys_the_rules_for_forwarding_extensions() {
    assert_eq!(broken(&Inf::parse(INF).unwrap()), []);
}

#[test]
fn the_inf_writes_the_default_of_each_setting() {
    let inf = Inf::parse(INF).unwrap();
    let service = &inf.directive("Install.Services", "AddService").unwrap()[2];
    let written: Vec<_> =
        SETTINGS.iter().map(|setting| (setting.name, default_in(&inf, service, setting))).collect();
    let expected: Vec<_> = SETTINGS.iter().map(|setting| (setting.name, Some(setting.default))).collect();
    assert_eq!(written, expected);
}

/// INF-14: SetupAPI reads ASCII without a mark (it converts strings to Unicode itself), lines ended by LF.
#[test]
fn setup_api_can_read_the_encoding() {
    assert!(INF.chars().all(|c| c == '\n' || (' '..='~').contains(&c)));
    assert!(INF.lines().all(|line| line.len() < 4096));
}

#[test]
fn every_section_is_reached_and_every_directive_leads_somewhere() {
    let inf = Inf::parse(INF).unwrap();
    let mut reached: Vec<&str> =
        ["Version", "Manufacturer", "Strings", "SourceDisksNames", "SourceDisksFiles"].into();
    reached.extend(["DestinationDirs", MODELS, "Install", "Install.Services", "Install.Remove.Services"]);
    reached.extend([inf.named("Install", "AddReg"), inf.named("Install", "CopyFiles")]);
    let service = &inf.directive("Install.Services", "AddService").unwrap()[2];
    let log = &inf.directive("Install.Services", "AddService").unwrap()[3];
    reached.extend([log.as_str(), inf.named(log, "AddReg")]);
    let security = format!("{}.Security", inf.named(service, "AddReg"));
    reached.extend([service.as_str(), inf.named(service, "AddReg"), security.as_str()]);
    let mut reached: Vec<String> = reached.into_iter().map(str::to_lowercase).collect();
    reached.sort();
    assert_eq!(inf.0.into_keys().collect::<Vec<_>>(), reached);
}

/// A descriptor in place of an inherited one (`P`), which keys below inherit (`CI`): all access for the system and for
/// administrators, reading for users, and nothing for anybody else (inf-addreg-directive.md, security-descriptor-string-format).
#[test]
fn administrators_alone_write_the_settings_and_the_private_oids() {
    let inf = Inf::parse(INF).unwrap();
    let service = &inf.directive("Install.Services", "AddService").unwrap()[2];
    let security = inf.section(&format!("{}.Security", inf.named(service, "AddReg")));
    let [Line { key: None, values }] = security else { panic!("{security:?}") };
    let [descriptor] = &values[..] else { panic!("{values:?}") };
    let entries = descriptor.strip_prefix("D:P(").and_then(|rest| rest.strip_suffix(')')).expect("protected");
    let mut entries: Vec<&str> = entries.split(")(").collect();
    entries.sort_unstable();
    assert_eq!(entries, ["A;CI;KA;;;BA", "A;CI;KA;;;SY", "A;CI;KR;;;BU"]);
}

#[test]
fn the_inf_and_the_driver_agree_on_names() {
    assert_eq!(String::from_utf16(lbfoext::module::FRIENDLY_NAME).unwrap(), NAME);
    assert_eq!(String::from_utf16(lbfoext::module::EXTENSION_ID).unwrap(), EXTENSION);
}

/// (rule, what stands in the INF, what breaks the rule in its place)
const BREAKS: [(&str, &str, &str); 33] = [
    ("INF-01", "= NetService", "= NetTrans"),
    ("INF-01", "4D36E974", "4D36E975"),
    ("INF-01", "$Windows NT$", "$Windows$"),
    ("INF-02", "0x40000 ", "0x40400 "),
    ("INF-03", "6E3C2C0F", "6E3C2C0E"),
    ("INF-04", "FilterType, 0x00010001, 2", "FilterType, 0x00010001, 1"),
    ("INF-05", "FilterRunType, 0x00010001, 2", "FilterRunType,, 2"),
    ("INF-06", "ms_switch_forward", "ms_switch_filter"),
    ("INF-07", "vmnetextension", "ethernet, vmnetextension"),
    ("INF-07", "UpperRange,, \"noupper\"", "UpperRange,, \"ndis5\""),
    ("INF-08", "CoServices, 0x00010000", "CoServices,"),
    ("INF-08", "Ndi, Service,, \"lbfoext\"", "Ndi, Service,, \"lbfo\""),
    ("INF-08", "HKR, Ndi, HelpText,, %Help%", ""),
    ("INF-09", "ServiceType    = 1", "ServiceType    = 2"),
    ("INF-09", "LoadOrderGroup = NDIS", "LoadOrderGroup = Base"),
    ("INF-09", r"%13%\lbfoext.sys", r"%12%\lbfoext.sys"),
    ("INF-09", "DelService = lbfoext, 0x204", ""),
    ("INF-09", "DelService = lbfoext, 0x204", "DelService = lbfoext, 0x200"),
    ("INF-09", "lbfoext,, Service, EventLog", "lbfoext,, Service"),
    ("events", "EventMessageFile, 0x00020000", "EventMessageFile, 0x00000000"),
    ("events", "TypesSupported, 0x00010001, 7", ""),
    ("INF-09", "DisplayName    = %Name%", "DisplayName    = %Help%"),
    ("INF-10", "HKR, Parameters, FlowletGapUs", "HKR,, FlowletGapUs"),
    ("INF-11", "CatalogFile = lbfoext.cat", ""),
    ("INF-11", "PnpLockdown = 1", "PnpLockdown = 0"),
    ("INF-11", "11/23/2026", "02/30/2027"),
    ("INF-11", "10.0...19041   ;", "10.0   ;"),
    ("files", "lbfoext.sys = 1", "lbfoext.dll = 1"),
    ("files", "DefaultDestDir = 13", "DefaultDestDir = 12"),
    ("settings", "LinkUpDelayMs, 0x00010003, 2000", "LinkUpDelayMs, 0x00010003, 200"),
    ("settings", "LinkUpDelayMs, 0x00010003", "LinkUpDelayMs, 0x00010001"),
    ("settings", "00,00,00,00,00,00,00,00", "00,00,00,00"),
    ("settings", "HKR, Parameters, MoveDeadlineMs, 0x00010003, 30000", ""),
];

#[test]
fn each_rule_is_noticed_when_it_is_broken() {
    for (rule, from, to) in BREAKS {
        assert!(INF.contains(from), "{from} is not in the INF");
        let faults = broken(&Inf::parse(&INF.replace(from, to)).unwrap());
        assert!(faults.iter().any(|(name, _)| *name == rule), "{to} for {from}: {faults:?}");
    }
}

#[test]
fn the_scripts_install_and_remove_what_the_inf_describes() {
    let inf = Inf::parse(INF).unwrap();
    let model = &inf.section(MODELS)[0];
    let build = MODELS.rsplit('.').next().unwrap();
    let package = "'lbfoext.inf', 'lbfoext.sys', 'lbfoext.cat'";
    let named = [("ExtensionName", NAME), ("ComponentId", &model.values[1]), ("ServiceName", "lbfoext")];
    let only_in_one = [("FirstBuild", build), ("Package", package)];
    for (name, value) in &named {
        for (script, text) in SCRIPTS {
            assert_eq!(variable(text, name), Some(&*format!("'{value}'")), "${name} in {script}.ps1");
        }
    }
    for (name, value) in &only_in_one {
        let mut values = SCRIPTS.iter().filter_map(|(_, text)| variable(text, name));
        assert_eq!((values.next(), values.next()), (Some(*value), None), "${name}");
    }
}

/// What a script assigns to a variable of its own, comment taken off.
fn variable<'a>(script: &'a str, name: &str) -> Option<&'a str> {
    let line =
        script.lines().find_map(|line| line.strip_prefix('$')?.strip_prefix(name)?.strip_prefix(" = "))?;
    line.split('#').next().map(str::trim)
}

#[test]
fn what_setup_api_would_misread_is_refused() {
    for text in ["[A\nx = 1", "x = 1", "[A]\nx = \"1", "[A]\n[a]", "[A]\nx = %Missing%", "[A]\nx = 1\\"] {
        assert!(Inf::parse(text).is_err(), "{text}");
    }
    let inf = Inf::parse("[A]\nb = \"a; \"\"c\"\", d\", %E%x ; f\n[Strings]\nE = \"g\"").unwrap();
    assert_eq!(inf.directive("a", "B").unwrap(), ["a; \"c\", d", "gx"]);
}
