//! Where the driver image lies and which sources it was built from; the formats of its package.
//!
//! `cargo image` writes the digest of the sources beside the image; the tests compute it again, so that an
//! image older than the code it is tested for is noticed. Nothing here builds or runs anything.

pub mod archive;
pub mod authenticode;
pub mod catalog;
pub mod symbols;

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// The target whose calling convention, object format and `core` the kernel shares.
pub const TARGET: &str = "x86_64-pc-windows-msvc";
/// The driver image, from the workspace's root.
pub const IMAGE: &str = "target/x86_64-pc-windows-msvc/release/lbfoext.sys";
/// The symbols of the image, for a debugger.
pub const SYMBOLS: &str = "target/x86_64-pc-windows-msvc/release/lbfoext.pdb";
/// The package that is copied to a host.
pub const PACKAGE: &str = "target/x86_64-pc-windows-msvc/release/lbfoext.zip";
/// The linker's map of the image.
pub const MAP: &str = "target/x86_64-pc-windows-msvc/release/lbfoext.map";
/// The digest of the sources that the image was built from.
pub const SOURCES: &str = "target/x86_64-pc-windows-msvc/release/lbfoext.sys.sources";
/// A file whose time changes when the image appears (`src/build.rs` names it, too).
pub const MARKER: &str = "target/image.marker";

/// The extensions that the simulated switch is checked with, and the folder of their sources.
pub const WITNESSES: &str = "target/witnesses";
pub const WITNESS_SOURCES: &str = "tests/vswitch/witness";
pub const WITNESS_NAMES: [&str; 2] = ["passthrough", "forward"];

/// What decides the bytes of the image, from the workspace's root: files, and folders with all they hold.
const INPUTS: [&str; 7] =
    [".cargo", "Cargo.lock", "Cargo.toml", "src", "teaming/Cargo.toml", "teaming/src", "tests/image/minikit"];

/// SHA-256 over the names and contents of everything that the image is built from.
pub fn sources_digest(workspace: &Path) -> io::Result<String> {
    digest_of(workspace, &INPUTS)
}

/// The same of everything that the witnesses are built from.
pub fn witness_digest(workspace: &Path) -> io::Result<String> {
    digest_of(workspace, &[WITNESS_SOURCES, "tests/image/exports"])
}

fn digest_of(workspace: &Path, inputs: &[&str]) -> io::Result<String> {
    let mut files = Vec::new();
    for input in inputs {
        collect(&workspace.join(input), &mut files)?;
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        let name = file.strip_prefix(workspace).map_err(io::Error::other)?;
        let content = fs::read(&file)?;
        // Lengths first: no two different sets of files give the same stream of bytes.
        digest.update((name.as_os_str().len() as u64).to_le_bytes());
        digest.update(name.as_os_str().as_encoded_bytes());
        digest.update((content.len() as u64).to_le_bytes());
        digest.update(content);
    }
    Ok(hex(&digest.finalize()))
}

/// SHA-256 of one file.
pub fn file_digest(file: &Path) -> io::Result<String> {
    Ok(hex(&Sha256::digest(fs::read(file)?)))
}

/// Adds `path`, or what is below it; prose beside the code does not reach the image.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else if path.extension() != Some(OsStr::new("md")) {
        files.push(path.to_owned());
    }
    Ok(())
}

/// The usual form of a digest.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(source: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in [".cargo", "src/ndis", "teaming/src", "tests/image/minikit"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for file in ["Cargo.lock", "Cargo.toml", "teaming/Cargo.toml"] {
            fs::write(root.path().join(file), file).unwrap();
        }
        fs::write(root.path().join("src/ndis/oid.rs"), source).unwrap();
        root
    }

    #[test]
    fn a_changed_source_changes_the_digest() {
        let [a, b, c] = ["fn a() {}", "fn b() {}", "fn a() {}"].map(workspace);
        let [a, b, c] = [a, b, c].map(|root| sources_digest(root.path()).unwrap());
        assert_ne!(a, b);
        assert_eq!(a, c, "the folder it lies in does not count");
    }

    #[test]
    fn a_renamed_source_changes_the_digest() {
        let root = workspace("fn a() {}");
        let before = sources_digest(root.path()).unwrap();
        fs::rename(root.path().join("src/ndis/oid.rs"), root.path().join("src/ndis/nbl.rs")).unwrap();
        assert_ne!(sources_digest(root.path()).unwrap(), before);
    }

    #[test]
    fn prose_does_not_make_an_image_stale() {
        let root = workspace("fn a() {}");
        let before = sources_digest(root.path()).unwrap();
        fs::write(root.path().join("src/ARCHITECTURE.md"), "# Architecture").unwrap();
        assert_eq!(sources_digest(root.path()).unwrap(), before);
    }
}
