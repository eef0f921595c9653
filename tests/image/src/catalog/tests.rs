use super::*;
use crate::authenticode::tests::image;
use cms::{cert::IssuerAndSerialNumber, signed_data::SignerIdentifier};

fn files() -> Vec<(String, Vec<u8>)> {
    let text = |name: &str| (name.to_owned(), format!("content of {name}").into_bytes());
    let mut files: Vec<_> = ["lbfoext.inf", "lbfoext.mof", "install.ps1", "EVENTS.md"].map(text).into();
    files.push(("lbfoext.sys".into(), image(b"code")));
    files
}

fn members(files: &[(String, Vec<u8>)]) -> Vec<Member> {
    files.iter().map(|(name, content)| Member::of(name, content).unwrap()).collect()
}

fn package() -> Package {
    Package {
        systems: "Server_v100_X64_21H2".into(),
        hardware_ids: vec!["lbfo_lbfoext".into()],
        time: 1_795_392_000,
    }
}

fn written() -> Vec<u8> {
    write(&package(), &members(&files())).unwrap()
}

/// The same catalog with a signer whose digest is of this list; its signature is no number of anybody's.
fn signed(catalog: &[u8]) -> Vec<u8> {
    let envelope = ContentInfo::from_der(catalog).unwrap();
    let mut data: SignedData = envelope.content.decode_as().unwrap();
    let digest = Sha256::digest(data.encap_content_info.econtent.as_ref().unwrap().value());
    let digest = Any::encode_from(&OctetString::new(digest.as_slice()).unwrap()).unwrap();
    let name = cms::cert::x509::name::Name::default();
    let serial_number = cms::cert::x509::serial_number::SerialNumber::new(&[1]).unwrap();
    let signer = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber { issuer: name, serial_number }),
        digest_alg: with_null(SHA256),
        signed_attrs: Some(SetOfVec::try_from([attribute(MESSAGE_DIGEST, digest).unwrap()]).unwrap()),
        signature_algorithm: with_null(SHA256),
        signature: OctetString::new([0; 4]).unwrap(),
        unsigned_attrs: None,
    };
    data.signer_infos.0.insert(signer).unwrap();
    ContentInfo { content_type: SIGNED_DATA, content: Any::encode_from(&data).unwrap() }.to_der().unwrap()
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).unwrap()
}

#[test]
fn what_was_written_is_read_and_writing_again_gives_the_same_bytes() {
    let catalog = Catalog::read(&written()).unwrap();
    assert_eq!(catalog.package, package());
    assert_eq!(catalog.members, members(&files()));
    assert_eq!(written(), written());
}

#[test]
fn an_unsigned_catalog_is_no_proof_of_anything_and_a_signed_one_has_no_fault() {
    let unsigned = Catalog::read(&written()).unwrap();
    assert_eq!(unsigned.faults(&files()), ["the catalog is not signed"]);
    assert_eq!(Catalog::read(&signed(&written())).unwrap().faults(&files()), [""; 0]);
}

#[test]
fn a_changed_byte_of_any_file_is_found_and_the_file_named() {
    let catalog = Catalog::read(&signed(&written())).unwrap();
    for (index, (name, content)) in files().iter().enumerate() {
        // Of an image the byte of the machine: its checksum is not covered (see `authenticode`).
        for at in if name.ends_with(".sys") { 0x44..0x46 } else { 0..content.len() } {
            let mut changed = files();
            changed[index].1[at] ^= 1;
            assert_eq!(catalog.faults(&changed), [format!("{name} is not as the catalog says")]);
        }
    }
}

#[test]
fn a_signature_in_the_image_does_not_change_what_the_catalog_says() {
    let mut image = image(b"code5678");
    let unsigned = Member::of("lbfoext.sys", &image).unwrap();
    let start = image.len() as u32;
    let entry = 0x40 + 24 + 112 + 32;
    image[entry..entry + 4].copy_from_slice(&start.to_le_bytes());
    image[entry + 4] = 8;
    image.extend([1; 8]);
    assert_eq!(Member::of("lbfoext.sys", &image).unwrap(), unsigned);
}

#[test]
fn a_file_more_or_less_or_under_another_name_is_found() {
    let catalog = Catalog::read(&signed(&written())).unwrap();
    let mut more = files();
    more.push(("guide.md".into(), b"new".to_vec()));
    assert_eq!(catalog.faults(&more), ["guide.md is not in the catalog"]);
    assert_eq!(catalog.faults(&files()[1..])[0], "lbfoext.inf is missing");
    let mut renamed = files();
    renamed[0].0 = "other.inf".into();
    assert_eq!(catalog.faults(&renamed), ["other.inf is not in the catalog", "lbfoext.inf is missing"]);
    let mut twice = members(&files());
    twice.push(twice[0].clone());
    let twice = signed(&write(&package(), &twice).unwrap());
    assert_eq!(Catalog::read(&twice).unwrap().faults(&files()), ["a file is listed twice"]);
}

#[test]
fn a_list_that_was_changed_after_it_was_signed_is_found() {
    let mut catalog = signed(&written());
    let at = find(&catalog, b"2\0:\x001\x000\0.\x000\0");
    for system in [b'1', b'3'] {
        catalog[at] = system;
        assert!(Catalog::read(&catalog).is_err(), "another system");
    }
    let mut catalog = signed(&written());
    let at = find(&catalog, b"2\x001\0H\x002\0");
    catalog[at] = b'3';
    assert_eq!(
        Catalog::read(&catalog).unwrap().faults(&files()),
        ["the list is not the one that was signed"]
    );
}

#[test]
fn one_digest_of_two_that_was_changed_is_refused() {
    let member = &members(&files())[0];
    for digest in [&member.sha256[..], &member.sha1] {
        let mut catalog = signed(&written());
        let at = find(&catalog, digest);
        catalog[at] ^= 1;
        let faults = Catalog::read(&catalog).map(|catalog| catalog.faults(&files()));
        assert!(faults.is_err() || faults.is_ok_and(|faults| faults.len() == 2), "{}", digest.len());
    }
}

/// The bytes that Inf2Cat and MakeCat write, as those who read their catalogs state them.
#[test]
fn the_parts_of_an_entry_are_encoded_as_the_tools_of_microsoft_encode_them() {
    let catalog = written();
    let member_info = b"\x30\x10\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x0c\x02\x03\x31\x02\x82\x00";
    let image =
        b"\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x0f\x30\x0a\x03\x02\x05\xa0\xa0\x04\xa2\x02\x80\x00";
    let other = b"\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x19\xa2\x02\x80\x00";
    let flags = b"\x02\x04\x10\x01\x00\x01";
    let unsigned = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0";
    let count = |part: &[u8]| catalog.windows(part.len()).filter(|window| *window == part).count();
    let files = files().len();
    let expected = [2 * files, 1, files - 1, 4 * files + 2, 1];
    assert_eq!([count(member_info), count(image), count(other), count(flags), count(unsigned)], expected);
    assert!(catalog.ends_with(&[0x31, 0]), "no signer");
}

#[test]
fn no_damaged_catalog_makes_the_reader_fail() {
    let catalog = signed(&written());
    for length in 0..catalog.len() {
        assert!(Catalog::read(&catalog[..length]).is_err());
    }
    for at in 0..catalog.len() {
        for bit in 0..8 {
            let mut changed = catalog.clone();
            changed[at] ^= 1 << bit;
            let _ = Catalog::read(&changed).map(|catalog| catalog.faults(&files()));
        }
    }
}
