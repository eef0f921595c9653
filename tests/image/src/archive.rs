//! The package's zip file. Its bytes depend on the files, their order and the time alone.

use std::io::Write;

use anyhow::{Context, Result, anyhow, ensure};
use rawzip::{CompressionMethod, ZipArchive, ZipArchiveWriter, time::UtcDateTime};

const LEVEL: u8 = 9;

/// Packs files, which are (name, content), all with the same time, in seconds since 1970.
pub fn write(files: &[(String, Vec<u8>)], time: u64) -> Result<Vec<u8>> {
    let time = UtcDateTime::from_unix(time.try_into()?);
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, content) in files {
        let file = archive.new_file(name).compression_method(CompressionMethod::Deflate).last_modified(time);
        let (mut entry, sums) = file.start()?;
        let mut plain = sums.wrap(Vec::new());
        plain.write_all(content)?;
        let (plain, sums) = plain.finish()?;
        entry.write_all(&miniz_oxide::deflate::compress_to_vec(&plain, LEVEL))?;
        entry.finish(sums)?;
    }
    Ok(archive.finish()?)
}

/// Unpacks what `write` packed, and compares lengths and checksums.
pub fn read(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let archive = ZipArchive::from_slice(archive)?;
    let mut files = Vec::new();
    let mut entries = archive.entries();
    while let Some(header) = entries.next_entry()? {
        let name = header.file_path().try_normalize()?.as_ref().to_owned();
        ensure!(header.compression_method() == CompressionMethod::Deflate, "{name} is packed in another way");
        let entry = archive.get_entry(header.wayfinder())?;
        let content = miniz_oxide::inflate::decompress_to_vec(entry.data());
        let content = content.map_err(|error| anyhow!("{error}")).with_context(|| name.clone())?;
        let sums = entry.claim_verifier();
        ensure!(
            sums.size() == content.len() as u64 && sums.crc() == rawzip::crc32(&content),
            "{name} is damaged"
        );
        files.push((name, content));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<(String, Vec<u8>)> {
        vec![
            ("lbfoext.sys".into(), vec![7; 5000]),
            ("EVENTS.md".into(), b"# Events\n".to_vec()),
            ("empty".into(), vec![]),
        ]
    }

    #[test]
    fn what_was_packed_is_unpacked_and_packing_again_gives_the_same_bytes() {
        let archive = write(&files(), 1_795_392_000).unwrap();
        assert_eq!(read(&archive).unwrap(), files());
        assert_eq!(write(&files(), 1_795_392_000).unwrap(), archive);
        assert!(archive.len() < 1000, "{} bytes: not compressed", archive.len());
    }

    #[test]
    fn no_changed_byte_of_the_archive_gives_other_contents() {
        let contents =
            |files: Vec<(String, Vec<u8>)>| files.into_iter().map(|(_, content)| content).collect::<Vec<_>>();
        let archive = write(&files(), 1_795_392_000).unwrap();
        let mut refused = 0;
        for at in 0..archive.len() {
            let mut changed = archive.clone();
            changed[at] ^= 1;
            match read(&changed) {
                Ok(read) => assert_eq!(contents(read), contents(files()), "at {at}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 50, "only {refused} changes were refused");
    }
}
