//! Writes a capture of any size, for measuring: `cargo run --release -p perf --example generate -- FRAMES FILE`.
//!
//! Sixteen VMs send TCP/IPv4 to the external network in 5,000 flows; one frame in eight is in the reverse direction.
//! Frames have 80 to 1,500 bytes and are 5 us apart. The same number of frames always gives the same file.

use std::env;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

const FLOWS: u64 = 5_000;
const MACHINES: u64 = 16;
const GAP_NS: u64 = 5_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, frames, path] = arguments.as_slice() else { return usage() };
    let Ok(frames) = frames.parse() else { return usage() };
    match write(frames, path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write {path}: {error}");
            ExitCode::from(2)
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: generate FRAMES FILE");
    ExitCode::from(2)
}

pub fn write(frames: u64, path: impl AsRef<Path>) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    // Nanoseconds, version 2.4, Ethernet.
    for word in [0xA1B2_3C4D, 0x0004_0002, 0, 0, 65_535, 1] {
        out.write_all(&u32::to_le_bytes(word))?;
    }
    let mut random = 1_u64;
    for number in 0..frames {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let drawn = random >> 33;
        let frame = frame(
            drawn % FLOWS,
            (drawn >> 20).is_multiple_of(8),
            80 + usize::try_from(drawn >> 8).unwrap_or(0) % 1420,
        );
        let at = number * GAP_NS;
        let length = frame.len() as u64;
        for word in [at / 1_000_000_000, at % 1_000_000_000, length, length] {
            out.write_all(&u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes())?;
        }
        out.write_all(&frame)?;
    }
    out.flush()
}

fn frame(flow: u64, back: bool, length: usize) -> Vec<u8> {
    let [machine, _] = u16::try_from(flow % MACHINES).unwrap_or(0).to_le_bytes();
    let [low, high] = u16::try_from(flow / MACHINES).unwrap_or(0).to_le_bytes();
    let (inside, outside) = ([2, 0, 0, 0, 1, machine], [2, 0, 0, 0, 2, 1]);
    let (near, far) = ([10, 0, 0, machine + 1], [192, 0, 2, high + 1]);
    let mut frame = if back { [inside, outside] } else { [outside, inside] }.concat();
    frame.extend([0x08, 0, 0x45, 0]);
    frame.extend(u16::try_from(length - 14).unwrap_or(0).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(if back { [far, near] } else { [near, far] }.concat());
    let ports = [[0x80 | high, low], [1, 187]];
    frame.extend(if back { [ports[1], ports[0]] } else { ports }.concat());
    frame.resize(length, 0);
    frame
}
