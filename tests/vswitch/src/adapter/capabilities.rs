//! The capabilities of one physical adapter, as the structures of the documented queries and indications, in the
//! revisions and with the lengths of its own version of NDIS.

use crate::adapter::wire::{
    self, filter_caps, ipsec_caps, offload, oid, put, sriov_caps, status, structure, switch_caps,
};
use lbfoext::ndis::raw::{BUFFER_OVERFLOW, BUFFER_TOO_SHORT, INVALID_LENGTH};

/// Capabilities of an adapter. For an offload that it lacks, all numbers are 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Virtual machine queues in addition to the default one.
    pub queues: u32,
    pub filters: u32,
    /// `NDIS_RECEIVE_FILTER_*_SUPPORTED` bits, by member.
    pub properties: u32,
    pub tests: u32,
    pub headers: u32,
    pub mac_fields: u32,
    pub functions: u32,
    pub vports: u32,
    pub queue_pairs: u32,
    pub switch_bits: u32,
    pub associations: u32,
    /// Minor version of NDIS that its driver was written for: 30 for NDIS 6.30.
    pub version: u16,
}

/// Minor versions in which structures grew.
pub const VERSIONS: [u16; 9] = [30, 40, 50, 60, 70, 80, 83, 85, 89];
/// A version that does not exist yet.
pub const TO_COME: u16 = 99;

/// `NDIS_OFFLOAD` by minor version: revision, and bytes with and without what compilers pad.
const OFFLOAD: [(u16, u8, usize, usize); 7] = [
    (99, 9, 320, 320),
    (89, 8, 217, 220),
    (85, 7, 216, 216),
    (83, 6, 216, 216),
    (70, 5, 188, 188),
    (50, 4, 177, 180),
    (30, 3, 156, 156),
];

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            queues: 16,
            filters: 32,
            properties: 0x12,
            tests: 1,
            headers: 1,
            mac_fields: 0x09,
            functions: 8,
            vports: 16,
            queue_pairs: 32,
            switch_bits: 0x03,
            associations: 32,
            version: 85,
        }
    }
}

impl Capabilities {
    pub const NONE: Self = Self {
        queues: 0,
        filters: 0,
        properties: 0,
        tests: 0,
        headers: 0,
        mac_fields: 0,
        functions: 0,
        vports: 0,
        queue_pairs: 0,
        switch_bits: 0,
        associations: 0,
        version: 30,
    };

    /// A random adapter; each kind of offload is missing with probability 1/4.
    pub fn random(mut draw: impl FnMut(u64) -> u64) -> Self {
        let mut number = |most: u64| draw(most + 1) as u32;
        let (vmq, sriov, ipsec) = (number(3), number(3), number(3));
        let any = |has: u32, value: u32| if has == 0 { 0 } else { value };
        Self {
            queues: any(vmq, 1 + number(62)),
            filters: any(vmq, 1 + number(126)),
            properties: any(vmq, 2 | number(0xFF)),
            tests: any(vmq, 1 | number(7)),
            headers: any(vmq, 1 | number(0x1F)),
            mac_fields: any(vmq, 1 | number(0x3F)),
            functions: any(sriov, 1 + number(62)),
            vports: any(sriov, 1 + number(126)),
            queue_pairs: any(sriov, 1 + number(126)),
            switch_bits: any(sriov, number(0x7F)),
            associations: any(ipsec, 1 + number(1023)),
            version: [&VERSIONS[..], &[TO_COME]].concat()[number(VERSIONS.len() as u64) as usize],
        }
    }

    /// The status of a query whose buffer is too short; BytesNeeded says how much is needed
    /// (oid-tcp-offload-hardware-capabilities, ns-oidrequest-ndis_oid_request).
    pub const fn too_short(&self) -> i32 {
        match self.version % 3 {
            0 => INVALID_LENGTH,
            1 => BUFFER_TOO_SHORT,
            _ => BUFFER_OVERFLOW,
        }
    }

    /// The answer to a query; `None` if the adapter lacks the offload.
    pub fn answer(&self, number: u32) -> Option<Vec<u8>> {
        match number {
            oid::FILTER_HARDWARE | oid::FILTER_CURRENT => self.filter(),
            oid::SWITCH_HARDWARE | oid::SWITCH_CURRENT => self.switch(),
            oid::SRIOV_HARDWARE | oid::SRIOV_CURRENT => self.sriov(),
            oid::OFFLOAD_HARDWARE | oid::OFFLOAD_CURRENT => self.offload(),
            _ => None,
        }
    }

    /// The structure in an indication of a change.
    pub fn indication(&self, code: i32) -> Option<Vec<u8>> {
        match code {
            status::FILTER_CURRENT | status::FILTER_HARDWARE => self.filter(),
            status::SWITCH_CURRENT | status::SWITCH_HARDWARE => self.switch(),
            status::OFFLOAD_CURRENT | status::OFFLOAD_HARDWARE => self.offload(),
            _ => None,
        }
    }

    /// `NDIS_RECEIVE_FILTER_CAPABILITIES`.
    fn filter(&self) -> Option<Vec<u8>> {
        if self.queues == 0 {
            return None;
        }
        let mut bytes = structure(84, 2, 84, 0);
        for (member, value) in [
            (filter_caps::FILTER_TYPES, 1),
            (filter_caps::QUEUE_TYPES, 1),
            (filter_caps::QUEUES, self.queues),
            (filter_caps::PROPERTIES, self.properties),
            (filter_caps::TESTS, self.tests),
            (filter_caps::HEADERS, self.headers),
            (filter_caps::MAC_FIELDS, self.mac_fields),
            (filter_caps::FILTERS, self.filters),
            (filter_caps::MIN_LOOKAHEAD, 64),
            (filter_caps::MAX_LOOKAHEAD, 256),
        ] {
            put(&mut bytes, member, u64::from(value));
        }
        Some(bytes)
    }

    /// `NDIS_NIC_SWITCH_CAPABILITIES`.
    fn switch(&self) -> Option<Vec<u8>> {
        if self.functions == 0 {
            return None;
        }
        let (size, revision) = if self.version >= 60 { (132, 3) } else { (116, 2) };
        let mut bytes = structure(size, revision, size as u16, 0);
        if self.version >= 60 {
            put(&mut bytes, switch_caps::RSS_PORTS, u64::from(self.vports - 1));
            put(&mut bytes, switch_caps::DEFAULT_TABLE, 128);
            put(&mut bytes, switch_caps::PORT_TABLE, 64);
            put(&mut bytes, switch_caps::DEFAULT_PAIRS, 16);
        }
        for (member, value) in [
            (switch_caps::CAPABILITIES, self.switch_bits),
            (switch_caps::SWITCHES, 1),
            (switch_caps::VPORTS, self.vports),
            (switch_caps::VFS, self.functions),
            (switch_caps::QUEUE_PAIRS, self.queue_pairs),
        ] {
            put(&mut bytes, member, u64::from(value));
        }
        Some(bytes)
    }

    /// `NDIS_SRIOV_CAPABILITIES`: supported, by the driver of a physical function.
    fn sriov(&self) -> Option<Vec<u8>> {
        (self.functions > 0).then(|| {
            let mut bytes = structure(12, 1, 12, 0);
            put(&mut bytes, sriov_caps::CAPABILITIES, 3);
            bytes
        })
    }

    /// `NDIS_OFFLOAD` with its second version of IPsec.
    fn offload(&self) -> Option<Vec<u8>> {
        if self.associations == 0 {
            return None;
        }
        let (_, revision, size, padded) =
            OFFLOAD.into_iter().find(|(since, ..)| self.version >= *since).unwrap_or(OFFLOAD[6]);
        let size = if self.associations.is_multiple_of(2) { size } else { padded };
        let mut bytes = structure(size, revision, size as u16, 0);
        bytes[0] = 0xA7;
        let ipsec = bytes.get_mut(offload::IPSEC.at..offload::IPSEC.at + 32)?;
        put(ipsec, ipsec_caps::ENCAPSULATION, 2);
        put(ipsec, ipsec_caps::CAPACITY, u64::from(self.associations));
        Some(bytes)
    }

    /// Numbers of queues and filters in an `NDIS_RECEIVE_FILTER_CAPABILITIES`.
    pub fn promised_queues(bytes: &[u8]) -> (u32, u32) {
        (wire::get32(bytes, filter_caps::QUEUES), wire::get32(bytes, filter_caps::FILTERS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_size_that_their_header_states() {
        let mut n = 0;
        for round in 0..200 {
            let capabilities = Capabilities::random(|below| {
                n = (n * 1_103_515_245 + 12_345 + round) % 0x8000_0000;
                (n >> 7) % below
            });
            for query in [oid::FILTER_CURRENT, oid::SWITCH_CURRENT, oid::SRIOV_CURRENT, oid::OFFLOAD_CURRENT]
            {
                let Some(bytes) = capabilities.answer(query) else { continue };
                assert_eq!(wire::header(&bytes).map(|h| usize::from(h.2)), Some(bytes.len()));
            }
            let promised = capabilities.answer(oid::FILTER_HARDWARE);
            assert_eq!(promised.is_some(), capabilities.queues > 0);
            if let Some(bytes) = promised {
                assert_eq!(
                    Capabilities::promised_queues(&bytes),
                    (capabilities.queues, capabilities.filters)
                );
            }
        }
        assert_eq!(Capabilities::NONE.answer(oid::FILTER_HARDWARE), None);
    }
}
