//! `inf/lbfoext.mof` against the tables that the driver writes by, the INF's extension, and the pages
//! custom-switch-feature-status and custom-port-feature-status.

use super::tidy::{root, text};
use teaming::status::{PORT, PORT_FEATURE, TEAM_FEATURE, TEAM_FIELDS, team_names};

fn guid(feature: &[u8; 38]) -> &str {
    std::str::from_utf8(&feature[1..37]).expect("ASCII")
}

/// NetCfgInstanceId of the INF (PROP-21 of the rule book).
fn extension() -> String {
    let inf = text(&root().join("inf/lbfoext.inf"));
    let line = inf.lines().find(|line| line.contains("NetCfgInstanceId")).expect("the extension's id");
    line.split(['{', '}']).nth(1).expect("a GUID in braces").to_owned()
}

struct Class<'a> {
    uuid: &'a str,
    about: &'a str,
    shown: &'a str,
    /// Name and base.
    name: &'a str,
    fields: Vec<(String, &'a str)>,
}

impl Class<'_> {
    /// With its qualifiers, all of its fields `uint64`, numbered from 1.
    fn text(&self) -> String {
        let Self { uuid, about, shown, name, fields } = self;
        let field = |(number, (field, help)): (usize, &(String, &str))| {
            format!(
                "  [ Read, WmiDataId({number}), InterfaceVersion(\"1\"), InterfaceRevision(\"0\"), \
                 Description(\"{help}\") : Amended ] uint64 {field} = 0;\n"
            )
        };
        [
            format!("\n[ Dynamic,\n  UUID(\"{uuid}\"),\n  ExtensionId(\"{}\"),\n", extension()),
            "  Provider(\"VmmsWmiInstanceAndMethodProvider\"),\n".to_owned(),
            "  InterfaceVersion(\"1\"),\n  InterfaceRevision(\"0\"),\n  Locale(0x409),\n".to_owned(),
            format!("  Description(\"{about}\") : Amended,\n  DisplayName(\"{shown}\") : Amended ]\n"),
            format!("class {name}\n{{\n"),
            (1..).zip(fields).map(field).collect(),
            "};\n".to_owned(),
        ]
        .concat()
    }
}

#[test]
fn the_classes_have_the_fields_that_the_driver_writes_in_their_order() {
    let path = root().join("inf/lbfoext.mof");
    let found = text(&path);
    let (head, _) = found.split_once("\n\n").expect("a comment before the classes");
    let team = Class {
        uuid: guid(TEAM_FEATURE),
        about: "State of the team, its members and what was dropped.",
        shown: "LBFO team",
        name: "LBFOExt_TeamStatus : Msvm_EthernetSwitchData",
        fields: team_names(),
    };
    let port = Class {
        uuid: guid(PORT_FEATURE),
        about: "Member, traffic and queues of a port.",
        shown: "LBFO port",
        name: "LBFOExt_PortStatus : Msvm_EthernetPortData",
        fields: PORT.iter().map(|field| (field.name.to_owned(), field.help)).collect(),
    };
    let expected = format!("{head}\n{}{}", team.text(), port.text());
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(&path, &expected).expect("it is written");
    }
    let wrong = expected.lines().zip(found.lines()).find(|(expected, found)| expected != found);
    assert_eq!(wrong, None, "RENEW=1 cargo test -p lbfoext --test files mof::");
    assert_eq!((found.len(), found.matches(" uint64 ").count()), (expected.len(), TEAM_FIELDS + PORT.len()));
}
