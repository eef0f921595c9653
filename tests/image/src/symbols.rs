//! Which symbols belong to which image: the number that both have.

use anyhow::{Context, Result, ensure};
use object::{Object, read::pe::PeFile64};

/// The GUID and the age that a debugger compares, and the file name under which the image asks for its symbols.
#[derive(Debug, PartialEq, Eq)]
pub struct SymbolsId {
    pub guid: [u8; 16],
    pub age: u32,
}

/// What an image says of its symbols: the file's name, and the id (its CodeView record).
pub fn of_image(image: &[u8]) -> Result<(String, SymbolsId)> {
    let image = PeFile64::parse(image)?;
    let record = image.pdb_info()?.context("the image names no symbols")?;
    let name = String::from_utf8(record.path().to_vec())?;
    Ok((name, SymbolsId { guid: record.guid(), age: record.age() }))
}

/// The first bytes of a symbol file (LLVM: "The MSF File Format").
const MAGIC: &[u8; 32] = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0";
/// The stream of the file that holds its id.
const ID_STREAM: usize = 1;

/// The id of a symbol file: its second stream begins with a version, a time, the age and the GUID.
pub fn of_file(file: &[u8]) -> Result<SymbolsId> {
    ensure!(file.starts_with(MAGIC), "no symbol file");
    let stream = id_stream(file).context("the symbol file is cut off")?;
    let age = word(&stream, 8).context("the symbol file has no id")?;
    let guid = stream.get(12..28).and_then(|guid| guid.try_into().ok());
    Ok(SymbolsId { guid: guid.context("the symbol file has no id")?, age })
}

/// A file of blocks. A list of blocks leads to the directory, which has the length of each stream and then the
/// blocks of each.
fn id_stream(file: &[u8]) -> Option<Vec<u8>> {
    let block_size = word(file, 32).filter(|size| *size > 0)? as usize;
    let block = |number: u32| {
        let start = (number as usize).checked_mul(block_size)?;
        file.get(start..start.checked_add(block_size)?)
    };
    let directory_blocks = (word(file, 44)? as usize).div_ceil(block_size);
    let list = block(word(file, 52)?)?;
    let mut directory = Vec::new();
    for index in 0..directory_blocks {
        directory.extend(block(word(list, 4 * index)?)?);
    }
    let streams = word(&directory, 0)? as usize;
    let blocks_of = |stream: usize| Some((word(&directory, 4 + 4 * stream)? as usize).div_ceil(block_size));
    let mut first = 4 + 4 * streams;
    for stream in 0..ID_STREAM {
        first += 4 * blocks_of(stream)?;
    }
    block(word(&directory, first)?).filter(|_| streams > ID_STREAM).map(<[u8]>::to_vec)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six blocks of 64 bytes: the header, two unused, the list, the directory, and the stream of the id.
    fn symbol_file() -> Vec<u8> {
        let mut file = vec![0; 6 * 64];
        file[..32].copy_from_slice(MAGIC);
        let mut put = |at: usize, words: &[u32]| {
            for (index, word) in words.iter().enumerate() {
                file[at + 4 * index..][..4].copy_from_slice(&word.to_le_bytes());
            }
        };
        put(32, &[64, 1, 6, 24, 0, 3]);
        put(3 * 64, &[4]);
        put(4 * 64, &[2, 100, 28, 1, 2, 5]); // two streams of 100 and 28 bytes; the blocks 1, 2 and 5
        put(5 * 64, &[20_000_404, 0, 3, 0x0403_0201]);
        file
    }

    #[test]
    fn the_id_is_in_the_second_stream_of_a_symbol_file() {
        let id = of_file(&symbol_file()).unwrap();
        assert_eq!((id.age, &id.guid[..5]), (3, &[1, 2, 3, 4, 0][..]));
    }

    #[test]
    fn what_is_no_symbol_file_or_cut_off_is_refused() {
        let file = symbol_file();
        assert!(of_file(b"").is_err());
        for length in 0..file.len() {
            assert!(of_file(&file[..length]).is_err(), "{length} bytes");
        }
    }
}
