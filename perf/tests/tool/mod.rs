//! Runs `teamctl` as a program.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod frames;
pub mod schema;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

pub fn teamctl(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(env!("CARGO_BIN_EXE_teamctl")).args(arguments).current_dir(root).output().expect("it starts")
}

pub fn json(arguments: &[&str]) -> Value {
    let output = teamctl(&[&["replay", "--json"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Asserts exit code 2, no output on standard output, and an error that contains all of `says`.
pub fn refused(arguments: &[&str], says: &[&str]) {
    let output = teamctl(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    assert!(output.stdout.is_empty());
    for part in says {
        assert!(error.contains(part), "{arguments:?} does not say \"{part}\": {error}");
    }
}

/// Asserts exit code 2 and an error that contains all of `says`.
pub fn refused_after(arguments: &[&str], says: &[&str]) {
    let output = teamctl(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    assert!(says.iter().all(|part| error.contains(part)), "{error}");
}

/// The output of a command that succeeds.
pub fn printed(arguments: &[&str]) -> String {
    let output = teamctl(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("text")
}
