//! Events in the layout of TraceLogging.

use super::{member, samples};
use teaming::event::Event;
use teaming::event::catalog::{FieldType, KINDS};
use teaming::event::trace_logging::{DATA_MOST, Lengths, METADATA_MOST, PROVIDER_METADATA, encode};
use teaming::ids::Ticks;
use teaming::team::member::FailureReason;

fn encoded(event: &Event, switch: &str) -> (Vec<u8>, Vec<u8>) {
    let switch: Vec<u16> = switch.encode_utf16().collect();
    let (mut metadata, mut data) = ([0xAA; METADATA_MOST], [0xAA; DATA_MOST]);
    let lengths = encode(event, Ticks::new(0x0102_0304_0506), &switch, &mut metadata, &mut data);
    let Lengths { metadata: first, data: second } = lengths.expect("it fits");
    assert!(metadata[first..].iter().chain(&data[second..]).all(|byte| *byte == 0xAA));
    (metadata[..first].to_vec(), data[..second].to_vec())
}

/// Written out by hand, byte for byte, from `EventBuilder::reset`, `raw_add_meta_scalar`, `raw_add_data_cstr` and
/// `Provider::new` of the crate `tracelogging_dynamic` 1.2.4, which writes nothing off Windows. The types are `InType` and
/// `OutType` of `tracelogging` (`win_ntstatus` is Hex32 with NtStatus).
///
/// Every sample of this test was read once with `etl.parsers.tracelogging` of etl-parser 1.0.1 (PyPI), which knows nothing
/// of this encoder: names, numbers and texts came out as they went in, and no byte was left over.
#[test]
fn an_event_has_the_bytes_of_the_documented_layout() {
    let reason = FailureReason::PhysicalMediaDisconnected;
    let (metadata, data) = encoded(&Event::MemberDown { member: member(2), reason, up: 3 }, "Ex");
    let expected = [
        &[0x41, 0, 0][..],
        b"MemberDown\0",
        b"Switch\0\x01",
        b"Time\0\x0A",
        b"What\0\x02",
        b"Why\0\x02",
        b"Next\0\x02",
        b"Member\0\x08",
        b"Reason\0\x02",
        b"Up\0\x08",
    ];
    assert_eq!(metadata, expected.concat());
    let expected = [
        &b"E\0x\0\0\0"[..],
        &[6, 5, 4, 3, 2, 1, 0, 0],
        b"Member 2 of the team is down; members up: 3.\0",
        b"Reason: PhysicalMediaDisconnected.\0",
        b"Check the adapter, its cable and the port of the physical switch.\0",
        &[2, 0, 0, 0],
        b"PhysicalMediaDisconnected\0",
        &[3, 0, 0, 0],
    ];
    assert_eq!(data, expected.concat());

    let (metadata, data) = encoded(&Event::NotEnumerated { status: 0xC000_009A_u32.cast_signed() }, "");
    assert!(metadata.ends_with(b"Next\0\x02Status\0\x94\x0E"), "{metadata:?}");
    assert!(data.starts_with(&[0, 0]) && data.ends_with(&[0x9A, 0, 0, 0xC0]), "{data:?}");
    assert_eq!(PROVIDER_METADATA, [&[10, 0][..], b"lbfoext", &[0]].concat()[..]);
}

#[test]
fn every_event_fits_with_a_long_name_of_the_switch_and_states_its_own_length() {
    let name = "a switch with a name of many letters that goes on and on";
    let mut longest = (0, 0);
    for event in samples() {
        let (metadata, data) = encoded(&event, name);
        assert_eq!(metadata[..3], [&(metadata.len() as u16).to_le_bytes()[..], &[0]].concat());
        longest = (longest.0.max(metadata.len()), longest.1.max(data.len()));
        let end = |of: FieldType| matches!(of, FieldType::Text);
        if event.kind().fields.last().is_none_or(|(_, of)| end(*of)) {
            assert_eq!(data.last(), Some(&0));
        }
    }
    println!("at most {longest:?} bytes of metadata and data");
    assert!(longest.0 * 4 > METADATA_MOST * 3 && longest.1 * 4 > DATA_MOST * 3, "{longest:?}");
}

#[test]
fn what_does_not_fit_is_refused_whole() {
    for event in samples() {
        let (metadata, data) = encoded(&event, "External");
        let fits = |most_metadata: usize, most_data: usize| {
            let switch: Vec<u16> = "External".encode_utf16().collect();
            let (mut metadata, mut data) = (vec![0; most_metadata], vec![0; most_data]);
            encode(&event, Ticks::ZERO, &switch, &mut metadata, &mut data).is_some()
        };
        assert!(fits(metadata.len(), data.len()));
        for (metadata, data) in [(metadata.len() - 1, data.len()), (metadata.len(), data.len() - 1), (0, 0)] {
            assert!(!fits(metadata, data), "{event:?}");
        }
    }
}

#[test]
fn no_field_of_a_kind_has_the_name_of_one_that_every_event_has() {
    for kind in KINDS {
        for (name, _) in kind.fields {
            assert!(!["Switch", "Time", "What", "Why", "Next"].contains(name), "{}", kind.name);
        }
    }
}
