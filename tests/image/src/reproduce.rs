//! Proves that the image and its symbols depend on their sources alone: a clean build in another folder gives the same
//! bytes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::build;

/// Not sources: what builds leave, and the history.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

pub fn run(workspace: &Path) -> Result<()> {
    build::build(workspace)?;
    let elsewhere = tempfile::Builder::new().prefix("lbfoext-").tempdir()?;
    copy(workspace, elsewhere.path())?;
    build::build(elsewhere.path())?;

    // The symbols first: the image has a digest of them.
    for (file, kept) in [(image::SYMBOLS, "elsewhere.pdb"), (image::IMAGE, "elsewhere.sys")] {
        let [here, there] = [workspace, elsewhere.path()].map(|root| fs::read(root.join(file)));
        let (here, there) = (here?, there?);
        if here != there {
            let kept = workspace.join("target/image").join(kept);
            fs::write(&kept, &there)?;
            bail!("{file}: {}; compare with {}", difference(&here, &there), kept.display());
        }
        println!("{file}: {} bytes, sha-256 {}", here.len(), image::file_digest(&workspace.join(file))?);
    }
    println!("reproduced in {}", elsewhere.path().display());
    Ok(())
}

fn difference(here: &[u8], there: &[u8]) -> String {
    let differing = here.iter().zip(there).filter(|(a, b)| a != b).count();
    let first = here.iter().zip(there).position(|(a, b)| a != b).unwrap_or(here.len().min(there.len()));
    format!(
        "{differing} bytes differ, the first at {first:#x}; lengths are {} and {}",
        here.len(),
        there.len()
    )
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (source, copy): (PathBuf, PathBuf) = (entry.path(), to.join(entry.file_name()));
        if LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::create_dir(&copy)?;
            self::copy(&source, &copy)?;
        } else {
            fs::copy(&source, &copy)?;
        }
    }
    Ok(())
}
