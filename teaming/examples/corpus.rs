//! Unpacks the corpora of the fuzz targets into the folders that `cargo fuzz` reads, and packs them again.

#[path = "../../tests/fuzz/corpus/mod.rs"]
mod corpus;

use std::fs;
use std::io;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo run -p teaming --example corpus -- unpack|pack [TARGET ...]
  unpack  tests/fuzz/corpus/TARGET.hex into the folder tests/fuzz/corpus/TARGET, beside what is there
  pack    what is in the folder into the file: sorted, none twice
Without TARGET all of them.";

fn unpack(target: &str) -> io::Result<usize> {
    let folder = corpus::folder().join(target);
    fs::create_dir_all(&folder)?;
    let inputs = corpus::inputs(target);
    for (number, input) in inputs.iter().enumerate() {
        fs::write(folder.join(format!("{number:04}")), input)?;
    }
    Ok(inputs.len())
}

fn pack(target: &str) -> io::Result<usize> {
    let folder = corpus::folder().join(target);
    let text = corpus::encode(corpus::files(&folder)?);
    fs::write(folder.with_extension("hex"), &text)?;
    Ok(text.lines().count())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, targets): (fn(&str) -> io::Result<usize>, _) = match arguments.split_first() {
        Some((command, targets)) if command == "unpack" => (unpack, targets),
        Some((command, targets)) if command == "pack" => (pack, targets),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let all: Vec<&str> = match targets {
        [] => corpus::TARGETS.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    if let Some(unknown) = all.iter().find(|target| !corpus::TARGETS.contains(target)) {
        eprintln!("no target {unknown}: {}", corpus::TARGETS.join(", "));
        return ExitCode::from(2);
    }
    for target in all {
        match command(target) {
            Ok(count) => println!("{target}: {count} inputs"),
            Err(error) => {
                eprintln!("{target}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
