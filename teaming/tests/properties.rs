//! Payloads of property requests: truncated, with wrong lengths, of newer revisions, random.

use proptest::prelude::*;
use teaming::ids::PortId;
use teaming::ports::policy::Security;
use teaming::ports::property::{
    Malformed, Property, PropertyType, deletion, first_answer, isolation_is_enforced, security, vlan,
};
use teaming::ports::vlan::VlanProperty;

fn block(size: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0x99; length];
    let [low, high, ..] = size.to_le_bytes();
    bytes[..4].copy_from_slice(&[0x80, 1, low, high]);
    bytes
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn security_body() -> Vec<u8> {
    let mut body = block(17, 24);
    body[8..17].copy_from_slice(&[1, 0, 0, 0, 0x39, 0x30, 0, 0, 1]);
    body
}

fn request(kind: u32, body: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = block(64, at);
    put(&mut bytes, 8, 7);
    put(&mut bytes, 12, kind);
    put(&mut bytes, 52, u32::try_from(body.len()).unwrap());
    put(&mut bytes, 56, u32::try_from(at).unwrap());
    bytes.extend(body);
    bytes
}

const EXPECTED: Security =
    Security { mac_spoofing: true, teaming: true, priority_tag: false, virtual_subnet: 12_345 };

#[test]
fn a_security_property_is_read_wherever_its_head_says_and_whatever_its_revision() {
    for at in (64..128).step_by(8) {
        for (revision, size) in [(1, 17_u8), (2, 24), (9, 24)] {
            let mut body = security_body();
            (body[1], body[2]) = (revision, size);
            let bytes = request(2, &body, at);
            let read = Property::parse(&bytes).unwrap();
            assert_eq!((read.port, read.kind), (PortId::new(7), PropertyType::Security));
            assert_eq!(security(read.body.unwrap()), Ok(EXPECTED));
        }
    }
}

#[test]
fn every_field_of_every_header_is_checked() {
    let whole = request(2, &security_body(), 72);
    for (at, value) in [(0, 0x81), (1, 0), (2, 63), (3, 0)] {
        let mut head = whole.clone();
        head[at] = value;
        let rejected = Property::parse(&head) == Err(Malformed);
        // The size 64 already has a high octet of 0.
        assert_eq!(rejected, at != 3, "octet {at} of the head");
        let mut body = security_body();
        body[at] = if at == 2 { 16 } else { value };
        assert_eq!(
            security(&body),
            if at == 3 { Ok(EXPECTED) } else { Err(Malformed) },
            "octet {at} of the body"
        );
    }
    for (offset, length) in [(u32::MAX, 24), (72, u32::MAX), (u32::MAX, u32::MAX), (96, 24), (73, 24)] {
        let mut lying = whole.clone();
        put(&mut lying, 52, length);
        put(&mut lying, 56, offset);
        assert_eq!(Property::parse(&lying).unwrap().body, Err(Malformed), "{offset} {length}");
    }
}

#[test]
fn no_length_that_is_too_short_is_read() {
    let whole = request(2, &security_body(), 64);
    for length in 0..whole.len() {
        match Property::parse(&whole[..length]) {
            Ok(read) => assert!(length >= 64 && read.body == Err(Malformed)),
            Err(Malformed) => assert!(length < 64),
        }
    }
    let body = security_body();
    for length in 0..17 {
        assert_eq!(security(&body[..length]), Err(Malformed));
    }
    let mut trunk = block(1048, 1048);
    put(&mut trunk, 8, 2);
    assert!(matches!(vlan(&trunk), Ok(VlanProperty::Trunk { .. })));
    for length in 0..1048 {
        assert_eq!(vlan(&trunk[..length]), Err(Malformed));
    }
}

#[test]
fn modes_that_do_not_exist_are_malformed() {
    for (mode, private, known) in [
        (0, 1, true),
        (1, 9, true),
        (2, 9, true),
        (3, 0, false),
        (3, 1, true),
        (3, 3, true),
        (3, 4, false),
        (4, 1, false),
    ] {
        let mut body = block(1048, 1048);
        put(&mut body, 8, mode);
        put(&mut body, 16, private);
        assert_eq!(vlan(&body).is_ok(), known, "{mode} {private}");
    }
}

#[test]
fn only_isolation_that_is_enforced_is_accepted() {
    for (mode, enforced) in [(0, true), (1, true), (2, false), (3, false), (77, false)] {
        let mut body = block(20, 20);
        put(&mut body, 8, mode);
        assert_eq!(isolation_is_enforced(&body), Ok(enforced));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..1200), valid in any::<bool>()) {
        if valid && bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&[0x80, 1, 0xff, 0xff]);
        }
        if let Ok(read) = Property::parse(&bytes) && let Ok(body) = read.body {
            prop_assert!(body.len() <= bytes.len());
            let _ = (security(body), vlan(body), isolation_is_enforced(body));
        }
        let _ = (deletion(&bytes), first_answer(&bytes), security(&bytes));
        if let Ok(property) = vlan(&bytes) {
            let _ = property.check();
        }
    }
}
