//! The mini kit: what a build expects of an installed Windows Driver Kit, laid out as the real one.
//!
//! Headers are our own declarations (`minikit/include`), import libraries are made from lists of exported
//! names (`minikit/lib`). On Windows none of this is used.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::toolchain::Toolchain;

/// The version folder below `Include` and `Lib`; wdk-build wants four numbers that begin with 10.
pub const VERSION: &str = "10.0.1.0";
/// The library that wdk-build gets in place of `std`.
pub const STD_SHIM: &str = "libkitstd.rlib";

pub struct Kit {
    /// The kit's root, `WDKContentRoot` of the build.
    pub root: PathBuf,
    /// The folder of the crates that stand for Windows-only ones.
    pub shims: PathBuf,
}

/// Lays the kit out below `target/image`; files that are as they should be keep their times.
pub fn assemble(workspace: &Path, toolchain: &Toolchain) -> Result<Kit> {
    let sources = workspace.join("tests/image/minikit");
    let kit = Kit { root: workspace.join("target/image/kit"), shims: workspace.join("target/image/shims") };
    headers(&sources, &kit.root)?;
    libraries(&sources, &kit.root, toolchain)?;
    shims(&sources, &kit.shims, toolchain)?;
    Ok(kit)
}

fn headers(sources: &Path, root: &Path) -> Result<()> {
    let include = root.join("Include").join(VERSION);
    for folder in ["km/crt", "shared"] {
        fs::create_dir_all(include.join(folder))?;
    }
    copy_changed(&sources.join("include"), &include.join("km"))?;
    Ok(())
}

/// One import library per list, and an empty one for the stack-cookie library that Rust code does not use.
fn libraries(sources: &Path, root: &Path, toolchain: &Toolchain) -> Result<()> {
    let folder = root.join("Lib").join(VERSION).join("km/x64");
    fs::create_dir_all(&folder)?;
    let cookies = folder.join("BufferOverflowFastFailK.lib");
    if !cookies.exists() {
        librarian(toolchain, &["/llvmlibempty".into(), format!("/out:{}", cookies.display())])?;
    }
    for list in copy_changed(&sources.join("lib"), &root.join("exports"))? {
        let library = folder.join(list.file_stem().context("a list has a name")?).with_extension("lib");
        librarian(toolchain, &[format!("/def:{}", list.display()), format!("/out:{}", library.display())])?;
    }
    Ok(())
}

fn librarian(toolchain: &Toolchain, arguments: &[String]) -> Result<()> {
    run(Command::new(&toolchain.linker).args(["/lib", "/machine:x64"]).args(arguments))
}

fn shims(sources: &Path, folder: &Path, toolchain: &Toolchain) -> Result<()> {
    let changed = copy_changed(&sources.join("shim"), folder)?;
    let library = folder.join(STD_SHIM);
    // A library is readable only by the compiler that wrote it; building it takes no time worth saving.
    if !changed.is_empty() || !library.exists() || older(&library, &toolchain.rustc)? {
        run(Command::new(&toolchain.rustc)
            .args(["--edition=2024", "--crate-type=rlib", "--crate-name=kitstd", "-o"])
            .args([&library, &folder.join("std.rs")]))?;
    }
    Ok(())
}

/// Copies the files of a folder that are new or different, and tells which these are.
pub fn copy_changed(from: &Path, to: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(to)?;
    let mut changed = Vec::new();
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let content = fs::read(entry.path())?;
        let copy = to.join(entry.file_name());
        if fs::read(&copy).ok().as_deref() != Some(&content) {
            fs::write(&copy, content)?;
            changed.push(copy);
        }
    }
    Ok(changed)
}

fn older(file: &Path, than: &Path) -> Result<bool> {
    Ok(fs::metadata(file)?.modified()? < fs::metadata(than)?.modified()?)
}

/// Runs a tool to its end; its own words are the message when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let tool = Path::new(command.get_program()).display().to_string();
    let status = command.status().with_context(|| tool.clone())?;
    ensure!(status.success(), "{tool}: {status}");
    Ok(())
}
