//! The bytes of a PE image that its signature stands for.
//!
//! A signature is written into the file that it signs, so some bytes are not part of the digest: the header's checksum,
//! the entry of the certificate table, and that table at the file's end ("Windows Authenticode Portable Executable
//! Signature Format"). A catalog has the same digest, so that an image can be signed before or after it was listed.

use std::ops::Range;

use anyhow::{Context, Result, ensure};

/// Distances from the PE signature: the magic number of the optional header, the checksum, the entry of the
/// certificate table among the data directories (PE32+).
const MAGIC: usize = 24;
const CHECKSUM: usize = 24 + 64;
const CERTIFICATES: usize = 24 + 112 + 8 * 4;
const PE32_PLUS: [u8; 2] = [0x0b, 0x02];

/// Whether a file is one that Windows digests as an image.
pub fn is_image(file: &[u8]) -> bool {
    file.starts_with(b"MZ")
}

/// The bytes of an image that its digest is taken of. The table of an unsigned image would begin at a multiple of eight
/// bytes, so zeros are added up to there.
///
/// # Errors
/// The file is no PE32+ image, or has data behind its certificate table.
pub fn covered(image: &[u8]) -> Result<Vec<u8>> {
    let headers = headers(image).context("no PE32+ image")?;
    let entry = headers + CERTIFICATES..headers + CERTIFICATES + 8;
    let table = table(image, entry.clone())?;
    let checksum = headers + CHECKSUM..headers + CHECKSUM + 4;
    let mut covered = [&image[..checksum.start], &image[checksum.end..entry.start]].concat();
    match table {
        Some(table) => covered.extend(&image[entry.end..table.start]),
        None => {
            covered.extend(&image[entry.end..]);
            covered.resize(covered.len() + image.len().next_multiple_of(8) - image.len(), 0);
        }
    }
    Ok(covered)
}

/// Where the PE signature lies, if the headers up to the certificate table's entry are there.
fn headers(image: &[u8]) -> Option<usize> {
    let at = u32::from_le_bytes(*image.get(0x3c..)?.first_chunk()?) as usize;
    let fixed = image.get(at..at.checked_add(CERTIFICATES + 8)?)?;
    (fixed.starts_with(b"PE\0\0") && fixed[MAGIC..].starts_with(&PE32_PLUS)).then_some(at)
}

/// The certificate table, which lies at the end of a signed image.
fn table(image: &[u8], entry: Range<usize>) -> Result<Option<Range<usize>>> {
    let word = |at: usize| {
        image[entry.clone()][at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word) as usize)
    };
    let (start, size) = (word(0), word(4));
    if size == 0 {
        return Ok(None);
    }
    let fits = start >= entry.end && start.checked_add(size) == Some(image.len());
    ensure!(fits, "the certificate table is not the end of the image");
    Ok(Some(start..image.len()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The least that is read of an image, and some bytes of content.
    pub(crate) fn image(content: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x40];
        image[..2].copy_from_slice(b"MZ");
        image[0x3c] = 0x40;
        image.extend(b"PE\0\0");
        image.resize(0x40 + MAGIC, 0);
        image.extend(PE32_PLUS);
        image.resize(0x40 + 24 + 240, 0);
        image.extend(content);
        image
    }

    /// The same with a certificate table of 16 bytes and another checksum.
    fn signed(content: &[u8]) -> Vec<u8> {
        let mut image = image(content);
        image.resize(image.len().next_multiple_of(8), 0);
        let start = image.len() as u32;
        image[0x40 + CHECKSUM] = 77;
        image[0x40 + CERTIFICATES..][..4].copy_from_slice(&start.to_le_bytes());
        image[0x40 + CERTIFICATES + 4] = 16;
        image.extend([9; 16]);
        image
    }

    #[test]
    fn a_signature_in_the_image_does_not_change_what_is_signed() {
        for content in [&b"12345678"[..], b"123", b"123456789"] {
            assert_eq!(covered(&image(content)).unwrap(), covered(&signed(content)).unwrap());
        }
    }

    #[test]
    fn every_byte_but_checksum_and_certificate_table_is_covered() {
        let image = image(b"12345678");
        let before = covered(&image).unwrap();
        let mut free = Vec::new();
        for at in 0..image.len() {
            let mut changed = image.clone();
            changed[at] ^= 0x80;
            if covered(&changed).is_ok_and(|bytes| bytes == before) {
                free.push(at - 0x40);
            }
        }
        assert_eq!(free[..4], [CHECKSUM, CHECKSUM + 1, CHECKSUM + 2, CHECKSUM + 3]);
        // The address alone: a size would make it a signed image.
        assert_eq!(free[4..], [CERTIFICATES, CERTIFICATES + 1, CERTIFICATES + 2, CERTIFICATES + 3]);
    }

    #[test]
    fn what_is_no_image_or_has_data_behind_its_signature_is_refused() {
        let mut longer = signed(b"12345678");
        longer.push(0);
        for file in [&b""[..], b"MZ", &image(b"")[..0x40 + CERTIFICATES], &longer] {
            assert!(covered(file).is_err());
        }
    }
}
