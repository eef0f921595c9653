//! The lists of an adapter's resources: where the kit says that their members lie, with any distance of the elements, and
//! never outside the answer.

use proptest::prelude::*;
use teaming::ids::{MacAddr, PortId};
use teaming::offload::lists::{List, Listed, Owner, Parameters};
use teaming::oid::Resource;

const ALL: [List; 5] =
    [List::Queues, List::Vfs, List::Vports, List::FiltersOfQueue(3), List::FiltersOfVport(5)];

/// The offset of a field in the Windows Driver Kit.
fn offset(structure: &str, field: &str) -> usize {
    let table =
        concat!(include_str!("../../tests/data/layout.csv"), include_str!("../../tests/data/lists.csv"));
    let prefix = format!("{structure},{field},");
    let line = table.lines().find(|line| line.starts_with(&prefix)).expect("a field");
    line.split(',').nth(2).unwrap().parse().unwrap()
}

/// The structures of a list and of its elements, the size of an element in its first revision, and the field of the id.
fn structures(list: List) -> (&'static str, &'static str, usize, &'static str) {
    match list {
        List::Queues => ("NDIS_RECEIVE_QUEUE_INFO_ARRAY", "NDIS_RECEIVE_QUEUE_INFO", 1084, "QueueId"),
        List::Vfs => ("NDIS_NIC_SWITCH_VF_INFO_ARRAY", "NDIS_NIC_SWITCH_VF_INFO", 1632, "VFId"),
        List::Vports => ("NDIS_NIC_SWITCH_VPORT_INFO_ARRAY", "NDIS_NIC_SWITCH_VPORT_INFO", 576, "VPortId"),
        List::FiltersOfQueue(_) | List::FiltersOfVport(_) => {
            ("NDIS_RECEIVE_FILTER_INFO_ARRAY", "NDIS_RECEIVE_FILTER_INFO", 16, "FilterId")
        }
    }
}

fn put(bytes: &mut [u8], at: usize, value: u32, size: usize) {
    bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

/// An answer with these ids, and `gap` bytes before the first element and after each.
fn answer(list: List, ids: &[u32], gap: usize) -> Vec<u8> {
    let (array, info, size, id) = structures(list);
    let mut bytes = vec![0; list.header_size()];
    assert!(list.write_request(&mut bytes));
    let first = bytes.len() + gap;
    for (field, value) in
        [("FirstElementOffset", first), ("NumElements", ids.len()), ("ElementSize", size + gap)]
    {
        put(&mut bytes, offset(array, field), u32::try_from(value).unwrap(), 4);
    }
    for (index, &number) in ids.iter().enumerate() {
        bytes.resize(first + index * (size + gap), 0xEE);
        let mut element = vec![0; size];
        element[..4].copy_from_slice(&[0x80, 1, (size % 256) as u8, (size / 256) as u8]);
        put(&mut element, offset(info, id), number, if list == List::Vfs { 2 } else { 4 });
        if list == List::Vfs {
            put(&mut element, offset(info, "MacAddressLength"), 6, 2);
            let at = offset(info, "CurrentMacAddress");
            element[at..at + 6].copy_from_slice(&[2, 0, 0, 0, 0, number as u8]);
        }
        if list == List::Vports {
            put(&mut element, offset(info, "AttachedFunctionId"), number + 100, 2);
        }
        bytes.extend(element);
        bytes.resize(first + (index + 1) * (size + gap), 0xEE);
    }
    bytes
}

fn read(list: List, bytes: &[u8]) -> Option<Vec<Listed>> {
    list.read(bytes).map(Iterator::collect)
}

#[test]
fn elements_are_found_at_any_distance_and_tell_what_they_are_on() {
    for list in ALL {
        for gap in [0, 4, 24] {
            let listed = read(list, &answer(list, &[1, 7, 2], gap)).expect("it is sound");
            assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), [1, 7, 2], "{list:?}");
            for one in listed {
                let (on, mac) = match list {
                    List::Queues => (None, None),
                    List::Vfs => (None, Some(MacAddr([2, 0, 0, 0, 0, one.id as u8]))),
                    List::Vports => (Some((Resource::Vf, one.id + 100)), None),
                    List::FiltersOfQueue(_) => (Some((Resource::Queue, 3)), None),
                    List::FiltersOfVport(_) => (Some((Resource::Vport, 5)), None),
                };
                assert_eq!((one.on, one.mac), (on, mac), "{list:?}");
            }
        }
        assert_eq!(read(list, &answer(list, &[], 8)), Some(vec![]), "{list:?}");
    }
}

#[test]
fn what_every_adapter_has_is_not_listed_and_a_function_of_number_0_is() {
    let ids =
        |list| read(list, &answer(list, &[0, 4], 0)).unwrap().iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(ids(List::Queues), [4]);
    assert_eq!(ids(List::Vports), [4]);
    assert_eq!(ids(List::Vfs), [0, 4]);
}

#[test]
fn a_list_that_ends_before_its_last_element_is_damaged_and_so_is_one_with_a_wrong_header() {
    for list in ALL {
        let whole = answer(list, &[1, 2], 0);
        for length in 0..whole.len() {
            assert_eq!(read(list, &whole[..length]), None, "{list:?} of {length} bytes");
        }
        let (_, _, size, _) = structures(list);
        for at in [0, 1, list.header_size(), list.header_size() + size + 2] {
            let mut damaged = whole.clone();
            (damaged[at], damaged[at + 1]) = (0, 0);
            assert_eq!(read(list, &damaged), None, "{list:?} at {at}");
        }
        for field in ["FirstElementOffset", "NumElements", "ElementSize"] {
            for value in [u32::MAX, 0x8000_0000, 1] {
                let mut damaged = whole.clone();
                put(&mut damaged, offset(structures(list).0, field), value, 4);
                assert!(
                    value == 1 && field == "NumElements" || read(list, &damaged).is_none(),
                    "{list:?} {field}"
                );
            }
        }
    }
}

#[test]
fn a_filter_tells_the_address_that_it_tests() {
    let mut bytes = vec![0; 48 + 2 * 56];
    let filter = Parameters::of(9, List::FiltersOfQueue(3)).unwrap();
    assert!(filter.write_request(&mut bytes));
    let parameters = "NDIS_RECEIVE_FILTER_PARAMETERS";
    for (field, value) in [
        ("FieldParametersArrayOffset", 48),
        ("FieldParametersArrayNumElements", 2),
        ("FieldParametersArrayElementSize", 56),
    ] {
        put(&mut bytes, offset(parameters, field), value, 4);
    }
    assert_eq!((bytes[offset(parameters, "FilterId")], bytes[offset(parameters, "QueueId")]), (9, 3));
    let of = "NDIS_RECEIVE_FILTER_FIELD_PARAMETERS";
    for (index, which) in [(0, 4), (1, 1)] {
        let field = &mut bytes[48 + index * 56..][..56];
        field[..4].copy_from_slice(&[0x80, 1, 56, 0]);
        put(field, offset(of, "FrameHeader"), 1, 4);
        put(field, offset(of, "HeaderField"), which, 4);
        let at = offset(of, "FieldValue.FieldByteArrayValue");
        field[at..at + 6].copy_from_slice(&[2, 1, 1, 1, 1, which as u8]);
    }
    let owner = Owner::Address(MacAddr([2, 1, 1, 1, 1, 1]));
    assert_eq!(filter.owner(&bytes), Some(owner), "the first tests a VLAN");
    assert_eq!(filter.owner(&bytes[..48 + 56]), None);
    assert_eq!(filter.owner(&bytes[..20]), None);
}

#[test]
fn a_queue_tells_its_port_from_the_second_revision_on() {
    let (of, queue) = ("NDIS_RECEIVE_QUEUE_PARAMETERS", Parameters::of(9, List::Queues).unwrap());
    let mut bytes = vec![0; 4_096];
    assert!(!queue.write_request(&mut bytes[..1_091]));
    assert!(queue.write_request(&mut bytes));
    assert_eq!(bytes[offset(of, "QueueId")], 9);
    let at = offset(of, "PortId");
    assert_eq!(queue.owner(&bytes), None, "the default port is nobody's");
    for (revision, size) in [(2, 1_092), (3, 1_096), (4, 1_112)] {
        put(&mut bytes, at, 700, 4);
        bytes[..4].copy_from_slice(&[0x80, revision, size as u8, (size >> 8) as u8]);
        assert_eq!(queue.owner(&bytes[..size]), Some(Owner::Port(PortId::new(700))));
        assert_eq!(queue.owner(&bytes[..at + 3]), None);
    }
    bytes[..4].copy_from_slice(&[0x80, 1, 0x3C, 4]);
    assert_eq!(queue.owner(&bytes), None, "the first revision has no port");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200), sound in any::<bool>()) {
        if sound && bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&[0x80, 2, 200, 0]);
        }
        for list in ALL {
            let _ = read(list, &bytes);
        }
        for list in ALL {
            let _ = Parameters::of(1, list).map(|asked| asked.owner(&bytes));
        }
    }
}
