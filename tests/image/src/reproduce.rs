//! Proves that the image depends on its sources alone: a clean build in another folder gives the same bytes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::build;

/// Not sources: what builds leave, and the history.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

pub fn run(workspace: &Path) -> Result<()> {
    build::build(workspace)?;
    let elsewhere = tempfile::Builder::new().prefix("lbfoext-").tempdir()?;
    copy(workspace, elsewhere.path())?;
    build::build(elsewhere.path())?;

    let [here, there] = [workspace, elsewhere.path()].map(|root| fs::read(root.join(image::IMAGE)));
    let (here, there) = (here?, there?);
    if here != there {
        let kept = workspace.join("target/image/elsewhere.sys");
        fs::write(&kept, &there)?;
        ensure!(here == there, "{}; compare with {}", difference(&here, &there), kept.display());
    }
    println!(
        "reproduced in {}: {} bytes, sha-256 {}",
        elsewhere.path().display(),
        here.len(),
        image::file_digest(&workspace.join(image::IMAGE))?
    );
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
