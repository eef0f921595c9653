//! Finds the compilers that the image is built with, and says what to install where one is missing.
//!
//! One set of versions, so that everybody gets the same bytes: Debian's newest rustc with its library
//! sources (no prebuilt `core` for the Windows target is needed) and LLVM 19.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// The oldest rustc that the workspace compiles with.
const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");

pub struct Toolchain {
    pub rustc: PathBuf,
    /// The folder of `libclang.so`, for bindgen.
    pub libclang: PathBuf,
    pub linker: PathBuf,
}

/// A tool, the file that proves its presence, and the package that brings it.
struct Needed {
    what: &'static str,
    file: &'static str,
    package: &'static str,
}

const RUSTC: &str = "/usr/bin/rustc";
/// Called by `linker`, which the compiler calls.
pub const LINKER: &str = "/usr/bin/lld-link-19";
const LIBCLANG: &str = "/usr/lib/llvm-19/lib";
const NEEDED: [Needed; 4] = [
    Needed { what: "a Rust compiler for the Windows target", file: RUSTC, package: "rustc-web" },
    Needed {
        what: "the sources of core and alloc",
        file: "/usr/lib/rustlib/src/rust/library/core/src/lib.rs",
        package: "rust-web-src",
    },
    Needed {
        what: "libclang, which bindgen reads headers with",
        file: "/usr/lib/llvm-19/lib/libclang.so",
        package: "libclang-19-dev",
    },
    Needed { what: "the linker lld-link", file: LINKER, package: "lld-19" },
];

pub fn find() -> Result<Toolchain> {
    let missing: Vec<&Needed> = NEEDED.iter().filter(|needed| !Path::new(needed.file).exists()).collect();
    if !missing.is_empty() {
        bail!("{}", advice(&missing));
    }
    let version = rustc_version(Path::new(RUSTC))?;
    if parse(&version) < parse(RUST_VERSION) {
        bail!(
            "{RUSTC} is version {version}, older than {RUST_VERSION}.\n  apt-get install rustc-web rust-web-src"
        );
    }
    Ok(Toolchain { rustc: RUSTC.into(), libclang: LIBCLANG.into(), linker: LINKER.into() })
}

fn advice(missing: &[&Needed]) -> String {
    let lines: String = missing
        .iter()
        .map(|needed| format!("  missing: {} ({}), package {}\n", needed.what, needed.file, needed.package))
        .collect();
    let packages: Vec<&str> = missing.iter().map(|needed| needed.package).collect();
    format!(
        "the image cannot be built here:\n{lines}On Debian:\n  apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

fn rustc_version(rustc: &Path) -> Result<String> {
    let output =
        Command::new(rustc).arg("--version").output().with_context(|| rustc.display().to_string())?;
    let line = String::from_utf8(output.stdout)?;
    line.split(' ').nth(1).map(str::to_owned).with_context(|| format!("rustc says {line:?}"))
}

/// The numbers of a version, for comparison.
fn parse(version: &str) -> Vec<u32> {
    version.split(['.', '-']).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_each_missing_package_in_one_line_to_paste() {
        let missing: Vec<&Needed> = NEEDED.iter().collect();
        let text = advice(&missing);
        assert!(text.ends_with(
            "apt-get install --no-install-recommends rustc-web rust-web-src libclang-19-dev lld-19"
        ));
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(parse("1.100.0") > parse("1.95"));
        assert!(parse("1.63.0") < parse("1.95"));
        assert!(parse("1.96.0-beta.1") > parse("1.95"));
    }
}
