//! The feature status that the installed package declares: its MOF file says whose a feature is and how long its data is
//! (custom-switch-feature-status, custom-port-feature-status). All fields are whole numbers of 8 bytes, so that their layout
//! does not depend on an alignment.

use lbfoext::ndis::raw::oids;

const PACKAGE: &str = include_str!("../../../../../inf/lbfoext.mof");

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Feature {
    pub id: [u8; 16],
    /// Of a port; otherwise of the switch.
    pub of_port: bool,
    pub fields: Vec<String>,
}

impl Feature {
    /// Bytes of its data.
    pub fn length(&self) -> usize {
        self.fields.len() * 8
    }
}

/// A GUID as it lies in memory.
fn guid(text: &str) -> [u8; 16] {
    let digits = text.replace('-', "");
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap_or(0);
    [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map(byte)
}

/// The features of the package.
pub fn declared() -> Vec<Feature> {
    let classes = PACKAGE.split("[ Dynamic,").skip(1);
    let feature = |class: &str| {
        let id = guid(class.split('"').nth(1).unwrap_or_default());
        let of_port = class.contains(": Msvm_EthernetPortData");
        let number = |at: usize| format!("WmiDataId({at})");
        let lines = class.lines().filter(|line| line.contains("WmiDataId("));
        let fields: Vec<String> = lines
            .zip(1..)
            .filter(|(line, at)| line.contains(&number(*at)))
            .filter_map(|(line, _)| Some(line.split_once("] uint64 ")?.1.split(' ').next()?.to_owned()))
            .collect();
        Feature { id, of_port, fields }
    };
    classes.map(feature).collect()
}

/// The feature of the package that a query is about.
pub fn find(oid: u32, payload: &[u8]) -> Option<Feature> {
    let of_port = oid == oids::SWITCH_PORT_FEATURE_STATUS_QUERY;
    let (head, at) = if of_port { (64, 16) } else { (56, 12) };
    let id = payload.get(..head)?.get(at..at + 16)?;
    declared().into_iter().find(|feature| feature.of_port == of_port && feature.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_declares_one_feature_of_the_switch_and_one_of_ports() {
        let all = declared();
        assert_eq!(all.iter().map(|feature| feature.of_port).collect::<Vec<_>>(), [false, true]);
        assert!(all[0].fields.len() > 400 && all[1].fields.len() == 6, "{all:?}");
        assert_eq!(all[0].fields[0], "Status");
        assert_eq!(all[0].id[..4], [0x0C, 0x4E, 0x0E, 0x1B]);
    }
}
