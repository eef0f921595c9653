//! Payloads of offload requests with every header field, every length, newer revisions and random bytes are read as
//! their header states or rejected. Replays the corpus of the fuzz target `payloads`.

#[path = "../../tests/fuzz/corpus/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod corpus;
mod payloads;

use proptest::prelude::*;
use std::collections::BTreeMap;
use teaming::oid::payload::{Command, FilterTarget, command, size};
use teaming::oid::{OIDS, OidContext, Resource, oids};

/// A payload of `length` bytes whose header has this type, revision and size.
fn payload(length: usize, kind: u8, revision: u8, stated: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let [low, high] = u16::try_from(stated).unwrap().to_le_bytes();
    bytes.iter_mut().zip([kind, revision, low, high]).for_each(|(place, byte)| *place = byte);
    bytes
}

#[test]
fn a_payload_is_read_exactly_when_type_revision_size_and_length_allow_it() {
    for row in OIDS.iter().filter(|row| row.place == OidContext::Envelope) {
        let Some(needed) = size(row.oid) else { continue };
        for length in (0..8).chain(needed - 4..needed + 5) {
            for stated in [0, 3, needed - 1, needed, needed + 1, length, 0xFFFF] {
                for kind in [0, 0x7F, 0x80, 0x81, 0x96, 0xFF] {
                    for revision in [0, 1, 2, 3, 255] {
                        let bytes = payload(length, kind, revision, stated);
                        let sound = kind == 0x80 && revision >= 1 && stated >= needed && length >= needed;
                        assert_eq!(
                            command(row.oid, &bytes).is_some(),
                            sound,
                            "{} {length} {stated}",
                            row.words().name
                        );
                        payloads::hold(&bytes);
                    }
                }
            }
        }
    }
}

/// The offset of a field in the Windows Driver Kit.
fn offset(structure: &str, field: &str) -> usize {
    let layout = include_str!("../../tests/data/layout.csv");
    let prefix = format!("{structure},{field},");
    let line = layout.lines().find(|line| line.starts_with(&prefix)).expect("a field");
    line.split(',').nth(2).unwrap().parse().unwrap()
}

#[test]
fn every_id_is_read_where_the_kit_says_that_it_lies() {
    type Row = (u32, &'static str, &'static [(&'static str, u64, usize)], Command);
    let uses = |oid, structure, field: &'static [(&'static str, u64, usize)], resource, id| -> Row {
        (oid, structure, field, Command::Use { resource, id })
    };
    const VF: &[(&str, u64, usize)] = &[("VFId", 0x0203, 2)];
    let vf = |oid, structure| uses(oid, structure, VF, Resource::Vf, 0x0203);
    let rows: [Row; 20] = [
        vf(oids::SRIOV_READ_VF_CONFIG_SPACE, "NDIS_SRIOV_READ_VF_CONFIG_SPACE_PARAMETERS"),
        vf(oids::SRIOV_WRITE_VF_CONFIG_SPACE, "NDIS_SRIOV_WRITE_VF_CONFIG_SPACE_PARAMETERS"),
        vf(oids::SRIOV_READ_VF_CONFIG_BLOCK, "NDIS_SRIOV_READ_VF_CONFIG_BLOCK_PARAMETERS"),
        vf(oids::SRIOV_WRITE_VF_CONFIG_BLOCK, "NDIS_SRIOV_WRITE_VF_CONFIG_BLOCK_PARAMETERS"),
        vf(oids::SRIOV_RESET_VF, "NDIS_SRIOV_RESET_VF_PARAMETERS"),
        vf(oids::SRIOV_SET_VF_POWER_STATE, "NDIS_SRIOV_SET_VF_POWER_STATE_PARAMETERS"),
        vf(oids::SRIOV_VF_VENDOR_DEVICE_ID, "NDIS_SRIOV_VF_VENDOR_DEVICE_ID_INFO"),
        vf(oids::SRIOV_BAR_RESOURCES, "NDIS_SRIOV_BAR_RESOURCES_INFO"),
        uses(
            oids::NIC_SWITCH_VPORT_PARAMETERS,
            "NDIS_NIC_SWITCH_VPORT_PARAMETERS",
            &[("VPortId", 0x0102_0304, 4)],
            Resource::Vport,
            0x0102_0304,
        ),
        (
            oids::RECEIVE_FILTER_QUEUE_PARAMETERS,
            "NDIS_RECEIVE_QUEUE_PARAMETERS",
            // NDIS_RECEIVE_QUEUE_PARAMETERS_PROCESSOR_AFFINITY_CHANGED among others.
            &[("QueueId", 7, 4), ("Flags", 0x0006_0001, 4), ("ProcessorAffinity", 0xF0, 8)],
            Command::UpdateQueue { queue: 7, processors: Some((0, 0xF0)) },
        ),
        (
            oids::RECEIVE_FILTER_QUEUE_PARAMETERS,
            "NDIS_RECEIVE_QUEUE_PARAMETERS",
            &[("QueueId", 7, 4), ("Flags", 0x0005_0003, 4), ("ProcessorAffinity", 0xF0, 8)],
            Command::UpdateQueue { queue: 7, processors: None },
        ),
        (
            oids::RECEIVE_FILTER_FREE_QUEUE,
            "NDIS_RECEIVE_QUEUE_FREE_PARAMETERS",
            &[("QueueId", 0x0102_0304, 4)],
            Command::FreeQueue { queue: 0x0102_0304 },
        ),
        (
            oids::RECEIVE_FILTER_SET_FILTER,
            "NDIS_RECEIVE_FILTER_PARAMETERS",
            &[("QueueId", 7, 4), ("VPortId", 9, 4)],
            Command::SetFilter { queue: 7, vport: 9 },
        ),
        (
            oids::RECEIVE_FILTER_CLEAR_FILTER,
            "NDIS_RECEIVE_FILTER_CLEAR_PARAMETERS",
            &[("QueueId", 7, 4), ("FilterId", 9, 4)],
            Command::ClearFilter { queue: 7, filter: 9 },
        ),
        (
            oids::RECEIVE_FILTER_MOVE_FILTER,
            "NDIS_RECEIVE_FILTER_MOVE_FILTER_PARAMETERS",
            &[
                ("FilterId", 9, 4),
                ("SourceQueueId", 1, 4),
                ("SourceVPortId", 2, 4),
                ("DestQueueId", 3, 4),
                ("DestVPortId", 5, 4),
            ],
            Command::MoveFilter {
                filter: 9,
                from: FilterTarget { queue: 1, vport: 2 },
                to: FilterTarget { queue: 3, vport: 5 },
            },
        ),
        (
            oids::NIC_SWITCH_FREE_VF,
            "NDIS_NIC_SWITCH_FREE_VF_PARAMETERS",
            &[("VFId", 0x0203, 2)],
            Command::FreeVf { vf: 0x0203 },
        ),
        (
            oids::NIC_SWITCH_CREATE_VPORT,
            "NDIS_NIC_SWITCH_VPORT_PARAMETERS",
            &[("AttachedFunctionId", 0xFFFF, 2)],
            Command::CreateVport { function: 0xFFFF },
        ),
        (
            oids::NIC_SWITCH_DELETE_VPORT,
            "NDIS_NIC_SWITCH_DELETE_VPORT_PARAMETERS",
            &[("VPortId", 5, 4)],
            Command::DeleteVport { vport: 5 },
        ),
        (
            oids::TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
            "IPSEC_OFFLOAD_V2_UPDATE_SA",
            &[("OffloadHandle", 0x1122_3344_5566_7788, 8)],
            Command::UpdateSa { handle: 0x1122_3344_5566_7788 },
        ),
        (
            oids::RECEIVE_FILTER_ALLOCATE_QUEUE,
            "NDIS_RECEIVE_QUEUE_PARAMETERS",
            &[("ProcessorAffinity", 0xF0, 8)],
            Command::AllocateQueue { group: 0, processors: 0xF0 },
        ),
    ];
    for (oid, structure, fields, expected) in rows {
        let mut bytes = vec![0; 1_700];
        bytes[..4].copy_from_slice(&[0x80, 2, 0xA4, 0x06]);
        for &(field, value, size) in fields {
            let at = offset(structure, field);
            bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
        assert_eq!(command(oid, &bytes), Some(expected), "{structure}");
    }
}

#[test]
fn every_id_that_an_adapter_writes_is_found_where_the_kit_says_that_it_lies() {
    let rows = BTreeMap::from([
        (Resource::Queue, ("NDIS_RECEIVE_QUEUE_PARAMETERS", "QueueId", 4)),
        (Resource::Filter, ("NDIS_RECEIVE_FILTER_PARAMETERS", "FilterId", 4)),
        (Resource::Vf, ("NDIS_NIC_SWITCH_VF_PARAMETERS", "VFId", 2)),
        (Resource::Vport, ("NDIS_NIC_SWITCH_VPORT_PARAMETERS", "VPortId", 4)),
    ]);
    for (resource, (structure, field, size)) in rows {
        let mut bytes = vec![0; 1_700];
        let at = offset(structure, field);
        bytes[at..at + size].copy_from_slice(&0x0A0B_0C0D_u32.to_le_bytes()[..size]);
        let expected = if size == 2 { 0x0C0D } else { 0x0A0B_0C0D };
        assert_eq!(teaming::oid::payload::made(resource, &bytes), Some(expected), "{structure}");
    }
}

#[test]
fn an_array_that_lies_about_its_elements_is_not_read() {
    use teaming::oid::payload::QueueArray;
    let array = |first: u32, count: u32, size: u32, length: usize| {
        let mut bytes = payload(length, 0x80, 1, 20);
        for (at, value) in [(8, first), (12, count), (16, size)] {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        QueueArray::read(&bytes).map(|array| array.len())
    };
    assert_eq!(array(20, 2, 16, 52), Some(2));
    assert_eq!(array(24, 2, 24, 72), Some(2));
    assert_eq!(array(u32::MAX, 0, 0, 20), None);
    assert_eq!(array(0, 0, 0, 20), Some(0));
    for (first, count, size) in [
        (20, 3, 16),
        (21, 2, 16),
        (20, 2, 17),
        (20, 2, 15),
        (20, 2, 0),
        (4, 2, 16),
        (u32::MAX, 1, 16),
        (20, u32::MAX, u32::MAX),
    ] {
        assert_eq!(array(first, count, size, 52), None, "{first} {count} {size}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_behind_a_plausible_header_holds(
        revision in any::<u8>(), stated in 0..1_800_u16, noise in prop::collection::vec(any::<u8>(), 0..1_800),
    ) {
        let mut bytes = noise;
        let [low, high] = stated.to_le_bytes();
        bytes.iter_mut().zip([0x80, revision, low, high]).for_each(|(place, byte)| *place = byte);
        payloads::hold(&bytes);
    }

    #[test]
    fn plausible_arrays_hold(
        first in 16..40_u32, count in 0..20_u32, size in 12..40_u32, length in 20..400_usize,
    ) {
        let mut bytes = payload(length, 0x80, 1, 20);
        for (at, value) in [(8, first), (12, count), (16, size)] {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        payloads::hold(&bytes);
    }
}

#[test]
fn every_input_that_reached_something_new_holds_and_so_does_every_cut_of_it() {
    let inputs = corpus::inputs("payloads");
    assert!(inputs.len() > 20, "{} inputs", inputs.len());
    for bytes in inputs {
        (0..=bytes.len()).for_each(|length| payloads::hold(&bytes[..length]));
    }
}
