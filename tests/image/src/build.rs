//! Builds the image: mini kit, cargo, and the result beside cargo's own.

use std::{env, ffi::OsStr, fs, path::Path, process::Command, time::Instant};

use anyhow::{Context, Result};

use crate::{
    kit::{self, Kit},
    linker,
    toolchain::{self, Toolchain},
    wrapper,
};

pub fn run(workspace: &Path) -> Result<()> {
    let begin = Instant::now();
    build(workspace)?;
    let image = workspace.join(image::IMAGE);
    println!("image    {}", image::IMAGE);
    println!("size     {} bytes", fs::metadata(&image)?.len());
    println!("sha-256  {}", image::file_digest(&image)?);
    println!("built in {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Leaves the image, its symbols, its map and the digest of its sources where `image::IMAGE` and its neighbours say.
pub fn build(workspace: &Path) -> Result<()> {
    let toolchain = toolchain::find()?;
    // Before the build: a source that changes meanwhile makes the image stale, not falsely fresh.
    let sources = image::sources_digest(workspace)?;
    let kit = kit::assemble(workspace, &toolchain)?;
    kit::run(&mut cargo(workspace, &toolchain, &kit)?)?;

    let library = workspace.join(image::IMAGE).with_extension("dll");
    let deps = library.with_file_name("deps");
    place(&deps.join("lbfoext.map"), &workspace.join(image::MAP))?;
    place(&deps.join("lbfoext.pdb"), &workspace.join(image::SYMBOLS))?;
    fs::write(workspace.join(image::SOURCES), sources)?;
    let first = !workspace.join(image::IMAGE).exists();
    place(&library, &workspace.join(image::IMAGE))?;
    if first {
        // The native build script watches this file while there is no image to watch.
        fs::write(workspace.join(image::MARKER), "")?;
    }
    Ok(())
}

fn cargo(workspace: &Path, toolchain: &Toolchain, kit: &Kit) -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os().filter(|(name, _)| leads_astray(name)) {
        command.env_remove(name);
    }
    command
        .current_dir(workspace)
        .args(["rustc", "--package=lbfoext", "--lib", "--crate-type=cdylib", "--release", "--locked"])
        .args(["--target", image::TARGET, "-Zbuild-std=core,alloc", "-Zwarnings"])
        // wdk-build takes the folder above `target` for the workspace.
        .arg("--target-dir")
        .arg(workspace.join("target"))
        .env("CARGO_BUILD_WARNINGS", "deny") // no other build sees the lines for Windows
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1") // build-std on a released compiler
        .env("RUSTC_WRAPPER", env::current_exe()?)
        .env(wrapper::SHIMS, &kit.shims)
        .env("LIBCLANG_PATH", &toolchain.libclang)
        .env(
            "CARGO_TARGET_X86_64_PC_WINDOWS_MSVC_LINKER",
            linker::install(&workspace.join("target/image/linker"))?,
        )
        .env("WDKContentRoot", &kit.root)
        .env("Version_Number", kit::VERSION);
    Ok(command)
}

/// What the caller's environment may say about another build; where crates come from stays as it is.
fn leads_astray(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let source = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"];
    name.starts_with("RUSTFLAGS")
        || name.starts_with("RUSTC")
        || name == "LD_LIBRARY_PATH"
        || (name.starts_with("CARGO_") && !source.iter().any(|kept| name.starts_with(kept)))
}

/// Copies one of cargo's results, unless it is there already: tests depend on the time of the copy.
pub fn place(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| from.display().to_string())?;
    if fs::read(to).ok().as_deref() != Some(&content) {
        fs::write(to, content)?;
    }
    Ok(())
}
