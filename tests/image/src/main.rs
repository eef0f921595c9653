//! `cargo image`: builds the driver image `lbfoext.sys` on Linux, from the WDK crates as published.
//!
//! The same program also serves as cargo's rustc wrapper and as the linker during that build (see `wrapper` and
//! `linker`). It changes nothing outside the workspace's `target` folder but temporary folders of its own and cargo's cache of
//! crates, and it is not part of a build on Windows.

mod build;
mod kit;
mod linker;
mod package;
mod reproduce;
mod sign;
mod toolchain;
mod witnesses;
mod wrapper;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Builds the driver image lbfoext.sys on Linux.
#[derive(Parser)]
#[command(name = "cargo image", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Build the image (what happens without a command, too)
    Build,
    /// Pack the image with its symbols, the files of `inf` and a signed catalog, and verify all of it
    Package {
        /// The key to sign with, in PEM; without one, a key is made for this package and thrown away
        #[arg(long, requires = "certificate")]
        key: Option<PathBuf>,
        /// The self-signed certificate of the key, in PEM
        #[arg(long, requires = "key")]
        certificate: Option<PathBuf>,
    },
    /// Build the image once more in another folder and compare the bytes
    Reproduce,
    /// Build the extensions that check the simulated switch (tests/vswitch/witness)
    Witnesses,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    if linker::is_called() {
        return linker::run();
    }
    if let Some(shims) = std::env::var_os(wrapper::SHIMS) {
        return wrapper::run(Path::new(&shims));
    }
    let workspace = workspace()?;
    match Arguments::parse().command.unwrap_or(Command::Build) {
        Command::Build => build::run(&workspace),
        Command::Package { key, certificate } => package::run(&workspace, key.zip(certificate)),
        Command::Reproduce => reproduce::run(&workspace),
        Command::Witnesses => witnesses::run(&workspace),
    }
}

/// The folder of the `Cargo.lock` that the image is built with.
fn workspace() -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).map(Path::to_owned).context("tests/image lies in the workspace")
}
