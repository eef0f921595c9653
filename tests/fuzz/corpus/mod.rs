//! The corpus of a fuzz target is one text file, `tests/fuzz/corpus/TARGET.hex`: one line for each input, in
//! hexadecimal, sorted, without duplicates. So git shows an added input as an added line and can merge two additions.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The targets that have a corpus.
pub const TARGETS: [&str; 3] = ["flows", "payloads", "saved"];

/// The folder of the corpus files. `cargo fuzz` reads the inputs of `TARGET` from its subfolder `TARGET`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus")
}

/// The inputs of a target, in the order of the file.
///
/// # Panics
///
/// If the file cannot be read, or a line is no input.
pub fn inputs(target: &str) -> Vec<Vec<u8>> {
    let path = folder().join(target).with_extension("hex");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let line = |(at, line)| decode(line).unwrap_or_else(|| panic!("{}:{}", path.display(), at + 1));
    text.lines().enumerate().map(line).collect()
}

/// The bytes of a line; `None` if it is not pairs of hexadecimal digits.
pub fn decode(line: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).ok().filter(|digits| !digits.starts_with('+'))?;
        (pair.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
    };
    line.as_bytes().chunks(2).map(pair).collect()
}

/// The text of the file for these inputs, independent of their order.
pub fn encode(inputs: impl IntoIterator<Item = Vec<u8>>) -> String {
    let unique: BTreeSet<Vec<u8>> = inputs.into_iter().collect();
    let line = |input: &Vec<u8>| input.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    unique.iter().map(line).collect()
}

/// The inputs in a folder, one in each file.
///
/// # Errors
///
/// If the folder or a file in it cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    fs::read_dir(folder)?.map(|entry| fs::read(entry?.path())).collect()
}
