//! Security catalogs (`.cat`): a signed list of the digests of a driver package's files.
//!
//! A catalog is a PKCS #7 SignedData whose content is a certificate trust list (`szOID_CTL`). Microsoft's pages name the
//! numbers and say what is in the list (catalog-files.md, mscat.h), but not how it is laid out. What is written here is the
//! form of catalogs of version 2 that Inf2Cat and MakeCat write, as two public projects that write such catalogs
//! describe it (the FileCatalog build tasks of .NET, LINBIT/generate-cat-file): two entries for each file, one named by its SHA-256 and one by
//! its SHA-1, each with the file's name and the systems that it is for; the former also says what was digested.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use cms::{
    cert::x509::{attr::Attribute, ext::Extension, spki::AlgorithmIdentifierOwned},
    content_info::{CmsVersion, ContentInfo},
    signed_data::{EncapsulatedContentInfo, SignedData, SignerInfo, SignerInfos},
};
use der::{
    Any, Decode, Encode, Sequence, Tag, TagNumber, Tagged,
    asn1::{BmpString, ObjectIdentifier, OctetString, SetOfVec, UtcTime},
};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::authenticode;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// `szOID_CTL`, `szOID_CATALOG_LIST`, `szOID_CATALOG_LIST_MEMBER2`, `CAT_NAMEVALUE_OBJID`, `CAT_MEMBERINFO2_OBJID`.
const TRUST_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.10.1");
const CATALOG_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.12.1.1");
const CATALOG_MEMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.12.1.3");
const NAME_VALUE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.12.2.1");
const MEMBER_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.12.2.3");
/// `SPC_INDIRECT_DATA_OBJID`, and the two kinds of it: `SPC_PE_IMAGE_DATA_OBJID`, `SPC_CAB_DATA_OBJID` (any other file).
const INDIRECT_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.4");
const IMAGE_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.15");
const FILE_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.25");

/// An SpcLink without a name: `file [2] { unicode [0] "" }`.
const NO_LINK: [u8; 4] = [0xa2, 2, 0x80, 0];
/// SpcPeImageData: all parts of the image (three bits), and the link above.
const WHOLE_IMAGE: [u8; 12] = [0x30, 10, 0x03, 2, 5, 0xa0, 0xa0, 4, 0xa2, 2, 0x80, 0];
/// `CRYPTCAT_ATTR_AUTHENTICATED | CRYPTCAT_ATTR_DATAASCII | CRYPTCAT_ATTR_NAMEASCII` (mscat.h).
const NAME_VALUE_FLAGS: u32 = 0x1001_0001;
/// The version of Windows that the files are for: Windows NT (2), 10.0.
const SYSTEM: &str = "2:10.0";

#[derive(Clone, Debug, PartialEq, Sequence)]
struct TrustList {
    usage: Vec<ObjectIdentifier>,
    id: OctetString,
    updated: UtcTime,
    algorithm: AlgorithmIdentifierOwned,
    entries: Vec<Entry>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    attributes: Option<Vec<Extension>>,
}

#[derive(Clone, Debug, PartialEq, Sequence)]
struct Entry {
    id: OctetString,
    attributes: SetOfVec<Attribute>,
}

#[derive(Clone, Debug, PartialEq, Sequence)]
struct NameValue {
    name: BmpString,
    flags: u32,
    /// UTF-16, little-endian, with a zero at its end.
    value: OctetString,
}

#[derive(Clone, Debug, PartialEq, Sequence)]
struct IndirectData {
    data: TypedData,
    digest: DigestInfo,
}

#[derive(Clone, Debug, PartialEq, Sequence)]
struct TypedData {
    kind: ObjectIdentifier,
    value: Any,
}

#[derive(Clone, Debug, PartialEq, Sequence)]
struct DigestInfo {
    algorithm: AlgorithmIdentifierOwned,
    digest: OctetString,
}

/// What a catalog says of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The file's name without a folder.
    pub name: String,
    /// Digested as a PE image (see `authenticode`) and not byte by byte.
    pub is_image: bool,
    pub sha1: [u8; 20],
    pub sha256: [u8; 32],
}

impl Member {
    /// # Errors
    /// The file begins as an image but is none.
    pub fn of(name: &str, file: &[u8]) -> Result<Self> {
        let is_image = authenticode::is_image(file);
        let covered =
            if is_image { authenticode::covered(file).context(name.to_owned())? } else { file.to_vec() };
        let (sha1, sha256) = (Sha1::digest(&covered).into(), Sha256::digest(&covered).into());
        Ok(Self { name: name.into(), is_image, sha1, sha256 })
    }
}

/// What a catalog says of the package as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Names of the systems as Inf2Cat writes them, with commas between them.
    pub systems: String,
    /// Hardware ids of the INF's models, in its order.
    pub hardware_ids: Vec<String>,
    /// When the list was made, in seconds since 1970.
    pub time: u64,
}

/// A catalog without a signature. Its bytes depend on the arguments alone.
pub fn write(package: &Package, members: &[Member]) -> Result<Vec<u8>> {
    let mut entries = Vec::new();
    for member in members {
        entries.push(entry(member, &member.sha1, None)?);
        entries.push(entry(member, &member.sha256, Some(indirect_data(member)?))?);
    }
    // A number for the list that is the same for the same files, in place of a random one.
    let mut digest = Sha256::new();
    members.iter().for_each(|member| digest.update(member.sha256));
    let hardware_ids = package.hardware_ids.iter().enumerate();
    let hardware_ids = hardware_ids.map(|(index, id)| (format!("HWID{}", index + 1), id.to_lowercase()));
    let attributes = [("OS".to_owned(), package.systems.clone())].into_iter().chain(hardware_ids);
    let list = TrustList {
        usage: vec![CATALOG_LIST],
        id: OctetString::new(&digest.finalize()[..16])?,
        updated: UtcTime::from_unix_duration(Duration::from_secs(package.time))?,
        algorithm: with_null(CATALOG_MEMBER),
        entries,
        attributes: Some(attributes.map(|(name, value)| extension(&name, &value)).collect::<Result<_>>()?),
    };
    let content =
        EncapsulatedContentInfo { econtent_type: TRUST_LIST, econtent: Some(Any::encode_from(&list)?) };
    let data = SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::new(),
        encap_content_info: content,
        certificates: None,
        crls: None,
        signer_infos: SignerInfos(SetOfVec::new()),
    };
    Ok(ContentInfo { content_type: SIGNED_DATA, content: Any::encode_from(&data)? }.to_der()?)
}

fn entry(member: &Member, id: &[u8], digested: Option<Attribute>) -> Result<Entry> {
    // An element [2] without content, in every entry that either tool writes.
    let info = Any::new(Tag::ContextSpecific { constructed: false, number: TagNumber::N2 }, Vec::new())?;
    let mut attributes = SetOfVec::new();
    attributes.insert(attribute(MEMBER_INFO, info)?)?;
    attributes.insert(attribute(NAME_VALUE, Any::encode_from(&name_value("OSAttr", SYSTEM)?)?)?)?;
    attributes.insert(attribute(NAME_VALUE, Any::encode_from(&name_value("File", &member.name)?)?)?)?;
    if let Some(digested) = digested {
        attributes.insert(digested)?;
    }
    Ok(Entry { id: OctetString::new(id)?, attributes })
}

fn indirect_data(member: &Member) -> Result<Attribute> {
    let (kind, value) =
        if member.is_image { (IMAGE_DATA, &WHOLE_IMAGE[..]) } else { (FILE_DATA, &NO_LINK[..]) };
    let data = IndirectData {
        data: TypedData { kind, value: Any::from_der(value)? },
        digest: DigestInfo { algorithm: with_null(SHA256), digest: OctetString::new(member.sha256)? },
    };
    attribute(INDIRECT_DATA, Any::encode_from(&data)?)
}

fn attribute(oid: ObjectIdentifier, value: Any) -> Result<Attribute> {
    Ok(Attribute { oid, values: SetOfVec::try_from([value])? })
}

fn extension(name: &str, value: &str) -> Result<Extension> {
    let extn_value = OctetString::new(name_value(name, value)?.to_der()?)?;
    Ok(Extension { extn_id: NAME_VALUE, critical: false, extn_value })
}

fn name_value(name: &str, value: &str) -> Result<NameValue> {
    let units = value.encode_utf16().chain([0]);
    let value = OctetString::new(units.flat_map(u16::to_le_bytes).collect::<Vec<u8>>())?;
    Ok(NameValue { name: BmpString::from_utf8(name)?, flags: NAME_VALUE_FLAGS, value })
}

fn with_null(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters: Some(Any::null()) }
}

/// A catalog that was read.
pub struct Catalog {
    pub package: Package,
    pub members: Vec<Member>,
    /// Whether each signer's digest is that of the list; no signer, no element.
    digests: Vec<bool>,
}

impl Catalog {
    /// Reads what `write` writes, signed or not; refuses what it does not expect rather than pass over it.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let envelope = ContentInfo::from_der(bytes).context("no PKCS #7")?;
        ensure!(envelope.content_type == SIGNED_DATA, "no signed data");
        let data: SignedData = envelope.content.decode_as().context("no signed data")?;
        let content = data.encap_content_info;
        ensure!(content.econtent_type == TRUST_LIST, "no certificate trust list");
        let content = content.econtent.context("an empty envelope")?;
        let list: TrustList = content.decode_as().context("no certificate trust list")?;
        ensure!(list.usage == [CATALOG_LIST] && list.algorithm == with_null(CATALOG_MEMBER), "no catalog");
        // The signed digest is that of the content without its tag and length (RFC 2315, 9.3).
        let digest = Sha256::digest(content.value());
        let signers = data.signer_infos.0.iter();
        let digests =
            signers.map(|signer| message_digest(signer).is_some_and(|signed| signed == *digest)).collect();
        let (pairs, rest) = list.entries.as_chunks::<2>();
        ensure!(rest.is_empty(), "an odd number of entries");
        let members = pairs.iter().map(member).collect::<Result<_>>()?;
        let package = package(&list)?;
        Ok(Self { package, members, digests })
    }

    /// What is wrong with a catalog for these files, which are (name, content): each one must be listed, nothing else
    /// may be, and the list must be the one that was signed. That the signature is of a trusted key is not looked at.
    pub fn faults(&self, files: &[(String, Vec<u8>)]) -> Vec<String> {
        let mut faults = Vec::new();
        if self.digests.is_empty() {
            faults.push("the catalog is not signed".into());
        }
        if self.digests.contains(&false) {
            faults.push("the list is not the one that was signed".into());
        }
        for (name, content) in files {
            match (self.members.iter().find(|member| member.name == *name), Member::of(name, content)) {
                (None, _) => faults.push(format!("{name} is not in the catalog")),
                (Some(listed), Ok(member)) if *listed == member => {}
                _ => faults.push(format!("{name} is not as the catalog says")),
            }
        }
        let names: BTreeSet<&String> = files.iter().map(|(name, _)| name).collect();
        let listed = self.members.iter();
        faults.extend(
            listed
                .filter(|member| !names.contains(&member.name))
                .map(|member| format!("{} is missing", member.name)),
        );
        if self.members.len() > files.len() {
            faults.push("a file is listed twice".into());
        }
        faults
    }
}

fn message_digest(signer: &SignerInfo) -> Option<Vec<u8>> {
    let mut attributes = signer.signed_attrs.as_ref()?.iter();
    let digest = attributes.find(|attribute| attribute.oid == MESSAGE_DIGEST)?;
    let digest: OctetString = digest.values.get(0)?.decode_as().ok()?;
    Some(digest.into_bytes())
}

/// The two entries of a file, which must agree in all but the digest.
fn member([by_sha1, by_sha256]: &[Entry; 2]) -> Result<Member> {
    let name = value(by_sha1, "File")?;
    ensure!(value(by_sha256, "File")? == name, "{name}: its entries have two names");
    for entry in [by_sha1, by_sha256] {
        ensure!(value(entry, "OSAttr")? == SYSTEM, "{name} is for another system");
    }
    let mut digested = by_sha256.attributes.iter().filter(|attribute| attribute.oid == INDIRECT_DATA);
    let data = digested.next().and_then(|attribute| attribute.values.get(0));
    let data: IndirectData = data.with_context(|| format!("{name} has no digest"))?.decode_as()?;
    ensure!(data.digest.algorithm == with_null(SHA256), "{name}: the digest is no SHA-256");
    ensure!(data.digest.digest == by_sha256.id, "{name}: two digests");
    let sha1 = by_sha1.id.as_bytes().try_into().with_context(|| format!("{name}: no SHA-1"))?;
    let sha256 = by_sha256.id.as_bytes().try_into().with_context(|| format!("{name}: no SHA-256"))?;
    ensure!([IMAGE_DATA, FILE_DATA].contains(&data.data.kind), "{name} is of an unknown kind");
    Ok(Member { name, is_image: data.data.kind == IMAGE_DATA, sha1, sha256 })
}

fn package(list: &TrustList) -> Result<Package> {
    let mut package = Package {
        systems: String::new(),
        hardware_ids: Vec::new(),
        time: list.updated.to_unix_duration().as_secs(),
    };
    for extension in list.attributes.iter().flatten() {
        ensure!(extension.extn_id == NAME_VALUE, "an unknown attribute of the package");
        let pair = NameValue::from_der(extension.extn_value.as_bytes())?;
        let (name, value) = text(&pair)?;
        match name.as_str() {
            "OS" => package.systems = value,
            name if name.starts_with("HWID") => package.hardware_ids.push(value),
            _ => anyhow::bail!("an unknown attribute of the package: {name}"),
        }
    }
    Ok(package)
}

/// The value of a named attribute, which must be there once.
fn value(entry: &Entry, name: &str) -> Result<String> {
    let mut found = Vec::new();
    for attribute in entry.attributes.iter().filter(|attribute| attribute.oid == NAME_VALUE) {
        for value in attribute.values.iter().filter(|value| value.tag() == Tag::Sequence) {
            found.push(text(&value.decode_as::<NameValue>()?)?);
        }
    }
    let mut values = found.into_iter().filter(|(found, _)| found == name).map(|(_, value)| value);
    values.next().filter(|_| values.next().is_none()).with_context(|| format!("an entry without one {name}"))
}

fn text(pair: &NameValue) -> Result<(String, String)> {
    let (units, rest) = pair.value.as_bytes().as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let value = units.strip_suffix(&[0]).filter(|_| rest.is_empty()).context("a value without its end")?;
    Ok((pair.name.chars().collect(), String::from_utf16(value)?))
}

#[cfg(test)]
mod tests;
