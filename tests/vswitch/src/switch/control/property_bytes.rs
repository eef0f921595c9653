//! Properties in binary form: parameter structures, properties at varying offsets, enumerations. They are written by
//! the offsets of the layout table and not with the driver's structures, so that a wrong offset in those is detected.
//!
//! Undefined bytes have arbitrary values; properties lie at any offset aligned to eight bytes.

use crate::switch::ports::policy::{Private, Property, Security, Vlan};
use std::collections::BTreeSet;

const GARBAGE: u8 = 0x99;
const OBJECT_TYPE_DEFAULT: u8 = 0x80;

/// Bytes with an `NDIS_OBJECT_HEADER` and arbitrary values after it.
struct Block(Vec<u8>);

impl Block {
    fn new(length: usize, revision: u8, size: u16) -> Self {
        let mut block = Self(vec![GARBAGE; length]);
        block.put(0, &[OBJECT_TYPE_DEFAULT, revision]).u16(2, size).u32(4, 0);
        block
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn u16(&mut self, at: usize, value: u16) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }

    fn u32(&mut self, at: usize, value: u32) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }

    fn i32(&mut self, at: usize, value: i32) -> &mut Self {
        self.put(at, &value.to_le_bytes())
    }

    /// One bit for each VLAN id, 4,096 in all.
    fn vlans(&mut self, at: usize, ids: &BTreeSet<u16>) -> &mut Self {
        self.0[at..at + 512].fill(0);
        for id in ids {
            self.0[at + usize::from(id / 8)] |= 1 << (id % 8);
        }
        self
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The GUID of an instance id.
pub fn instance_guid(instance: u64) -> [u8; 16] {
    let mut guid = [0x1D; 16];
    guid[..8].copy_from_slice(&instance.to_le_bytes());
    guid
}

/// The property itself. `newer`: of an undefined later revision, and longer.
pub fn body(property: &Property, newer: bool) -> Vec<u8> {
    let mut bytes = match property {
        Property::Vlan(vlan) => vlan_body(vlan),
        Property::Security(security) => security_body(*security),
        Property::Profile => Block::new(1616, 1, 1616),
        Property::Isolation { mode } => {
            let mut block = Block::new(20, 1, 20);
            block.i32(8, *mode).put(12, &[1]).u32(16, 7);
            block
        }
        Property::RoutingDomain => {
            let mut block = Block::new(292, 1, 290);
            block.u32(284, 0).u16(288, 292);
            block
        }
        Property::Custom { data, .. } => {
            let mut block = Block::new(24 + data.len(), 1, 16);
            block.u32(8, length(data.len())).u32(12, 24).put(24, data);
            block
        }
        Property::Unknown { .. } => Block::new(56, 1, 56),
    };
    if newer {
        let size = u16::from_le_bytes([bytes.0[2], bytes.0[3]]);
        bytes.0.extend([GARBAGE; 16]);
        bytes.put(1, &[9]).u16(2, size + 16);
    }
    bytes.0
}

fn vlan_body(vlan: &Vlan) -> Block {
    let mut block = Block::new(1048, 1, 1048);
    match vlan {
        Vlan::Unknown => {
            block.i32(8, 0);
        }
        Vlan::Access(id) => {
            block.i32(8, 1).u16(16, *id);
        }
        Vlan::Trunk { native, allowed, pruned } => {
            block.i32(8, 2).u16(18, *native).vlans(24, pruned).vlans(536, allowed);
        }
        Vlan::Private(private) => {
            block.i32(8, 3);
            match private {
                Private::Isolated { primary, secondary } => {
                    block.i32(16, 1).u16(20, *primary).u16(24, *secondary);
                }
                Private::Community { primary, secondary } => {
                    block.i32(16, 2).u16(20, *primary).u16(24, *secondary);
                }
                Private::Promiscuous { primary, secondaries } => {
                    block.i32(16, 3).u16(20, *primary).vlans(24, secondaries);
                }
            }
        }
    }
    block
}

fn security_body(security: Security) -> Block {
    let mut block = Block::new(24, 2, 24);
    block
        .put(8, &[u8::from(security.spoofing), u8::from(security.priority_tag)])
        .u32(12, security.subnet)
        .put(16, &[u8::from(security.teaming)]);
    block
}

/// The parameters around a property of a port.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    /// PropertyId, which has a meaning for custom properties only.
    pub id: [u8; 16],
    pub instance: u64,
    /// Major number times 256 and minor number.
    pub version: u16,
    /// Bytes between parameter structure and property.
    pub gap: usize,
    /// Whether the property has a newer revision.
    pub newer: bool,
}

/// `NDIS_SWITCH_PORT_PROPERTY_PARAMETERS` and the property behind it.
pub fn port_property(port: u32, property: &Property, envelope: &Envelope) -> Vec<u8> {
    let body = body(property, envelope.newer);
    let at = (64 + envelope.gap).next_multiple_of(8);
    let mut block = Block::new(at, 1, 64);
    block
        .u32(8, port)
        .i32(12, property.kind())
        .put(16, &envelope.id)
        .u16(32, envelope.version)
        .u16(34, 1)
        .put(36, &instance_guid(envelope.instance))
        .u32(52, length(body.len()))
        .u32(56, length(at));
    block.0.extend(body);
    block.0
}

/// `NDIS_SWITCH_PORT_PROPERTY_DELETE_PARAMETERS`.
pub fn port_property_deletion(port: u32, kind: i32, envelope: &Envelope) -> Vec<u8> {
    let mut block = Block::new(48, 1, 48);
    block.u32(8, port).i32(12, kind).put(16, &envelope.id).put(32, &instance_guid(envelope.instance));
    block.0
}

/// `NDIS_SWITCH_PROPERTY_PARAMETERS` and a custom property of the switch behind it.
pub fn switch_property(data: &[u8], envelope: &Envelope) -> Vec<u8> {
    let body = body(&Property::Custom { id: envelope.id, data: data.to_vec() }, envelope.newer);
    let at = (56 + envelope.gap).next_multiple_of(8);
    let mut block = Block::new(at, 1, 56);
    block
        .i32(8, 1)
        .put(12, &envelope.id)
        .u16(28, envelope.version)
        .u16(30, 1)
        .put(32, &instance_guid(envelope.instance))
        .u32(48, length(body.len()))
        .u32(52, length(at));
    block.0.extend(body);
    block.0
}

/// `NDIS_SWITCH_PROPERTY_DELETE_PARAMETERS`.
pub fn switch_property_deletion(envelope: &Envelope) -> Vec<u8> {
    let mut block = Block::new(44, 1, 44);
    block.i32(8, 1).put(12, &envelope.id).put(28, &instance_guid(envelope.instance));
    block.0
}

/// `NDIS_SWITCH_FEATURE_STATUS_PARAMETERS`, or that of a port, and room for the answer.
pub fn feature_status(port: Option<u32>, id: [u8; 16], room: usize) -> Vec<u8> {
    let head = if port.is_some() { 64 } else { 56 };
    let mut block = Block::new(head + 16 + room, 1, head as u16);
    match port {
        Some(port) => {
            block.u32(8, port).i32(12, 1).put(16, &id).u16(34, 1).put(36, &instance_guid(0));
            block.u32(52, length(16 + room)).u32(56, 64);
        }
        None => {
            block.i32(8, 1).put(12, &id).put(28, &instance_guid(0)).u16(46, 1);
            block.u32(48, 56).u32(52, length(16 + room));
        }
    }
    block.put(head, &[OBJECT_TYPE_DEFAULT, 1]).u16(head + 2, 16).u32(head + 4, 0);
    block.u32(head + 8, length(room)).u32(head + 12, 16);
    block.0
}

/// Lengths of the parameter structure of such a query and of the buffer after it for data.
pub fn feature_room(oid: u32, length: usize) -> (usize, usize) {
    let head = if oid == lbfoext::ndis::raw::oids::SWITCH_PORT_FEATURE_STATUS_QUERY { 64 } else { 56 };
    (head, length.saturating_sub(head + 16))
}

/// Whether the bytes are a custom property of a port that does not lie inside the buffer.
pub fn is_cut_custom(bytes: &[u8]) -> bool {
    let custom = port_property_head(bytes).is_some_and(|(_, of)| of == 1) && bytes.len() >= 64;
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
    custom && word(52).saturating_add(word(56)) > bytes.len()
}

/// The output of an enumeration of port properties: the parameter structure of the input, then the instances.
pub fn enumeration(asked: &[u8], found: &[(u64, &Property)], gap: usize) -> Vec<u8> {
    let mut head = Block(asked[..48].to_vec());
    let first = (48 + gap).next_multiple_of(8);
    head.0.resize(first, GARBAGE);
    head.u32(36, length(first)).u32(40, length(found.len()));
    for (instance, property) in found {
        let body = body(property, false);
        let aligned = body.len().next_multiple_of(8);
        let mut info = Block::new(40, 1, 40);
        info.u16(8, 0x0100)
            .put(12, &instance_guid(*instance))
            .u32(28, length(aligned))
            .u32(32, length(body.len()))
            .u32(36, 40);
        head.0.extend(info.0);
        head.0.extend(body);
        head.0.resize(head.0.len().next_multiple_of(8), GARBAGE);
    }
    head.0
}

/// The output of an enumeration of the switch's properties when there are none; `None` if the input is not a valid
/// `NDIS_SWITCH_PROPERTY_ENUM_PARAMETERS` (38 bytes plus padding).
pub fn empty_switch_enumeration(asked: &[u8]) -> Option<Vec<u8>> {
    let mut head = Block(asked.get(..40)?.to_vec());
    let size = u16::from_le_bytes([head.0[2], head.0[3]]);
    (head.0[0] == OBJECT_TYPE_DEFAULT && head.0[1] >= 1 && size >= 38).then_some(())?;
    head.u32(32, 40).u32(36, 0);
    Some(head.0)
}

/// Port and type in the input of an enumeration; `None` if it is too short or its header does not match.
pub fn asked_for(bytes: &[u8]) -> Option<(u32, i32)> {
    let word = |at: usize| bytes.get(at..at + 4).map(|b| [b[0], b[1], b[2], b[3]]);
    let header = bytes.first() == Some(&OBJECT_TYPE_DEFAULT) && bytes.get(1).is_some_and(|r| *r >= 1);
    (header && bytes.len() >= 48).then_some(())?;
    Some((u32::from_le_bytes(word(8)?), i32::from_le_bytes(word(12)?)))
}

/// Port and type in a property request; `None` if it is not valid.
pub fn port_property_head(bytes: &[u8]) -> Option<(u32, i32)> {
    asked_for(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_of_a_vlan_is_its_number() {
        let vlan = Vlan::Trunk { native: 3, allowed: [2, 1954].into(), pruned: [64].into() };
        let bytes = body(&Property::Vlan(vlan), false);
        assert_eq!(bytes.len(), 1048);
        let bit = |at: usize, id: usize| bytes[at + id / 8] >> (id % 8) & 1;
        assert_eq!((bit(536, 2), bit(536, 1954), bit(536, 1953), bit(24, 64), bit(24, 65)), (1, 1, 0, 1, 0));
    }

    #[test]
    fn a_body_lies_where_its_head_says() {
        let envelope = Envelope { id: [7; 16], instance: 9, version: 0x101, gap: 24, newer: false };
        let bytes = port_property(5, &Property::Security(Security::default()), &envelope);
        assert_eq!(port_property_head(&bytes), Some((5, 2)));
        let at = u32::from_le_bytes(bytes[56..60].try_into().unwrap()) as usize;
        let long = u32::from_le_bytes(bytes[52..56].try_into().unwrap()) as usize;
        assert_eq!((at % 8, at + long, bytes[at]), (0, bytes.len(), OBJECT_TYPE_DEFAULT));
    }
}
