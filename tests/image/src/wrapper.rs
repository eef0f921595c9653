//! The rustc wrapper of the image build (`RUSTC_WRAPPER`): cargo calls it for each crate.
//!
//! Host crates: wdk-build is written for a Windows host. Its sources are compiled as published, with the
//! `windows` crates behind it exchanged for stand-ins and one function added to its `std`. A
//! `[patch]` would do the same, but it would change `Cargo.lock`, which is one for both systems.
//! Crates of the image: paths are cut from panic messages, so that two folders give the same bytes.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};

use crate::kit;

/// The environment variable that makes this program a wrapper: the folder of the stand-ins.
pub const SHIMS: &str = "LBFOEXT_IMAGE_SHIMS";

/// Only the names of these are needed, by crates that are not used on this host.
const EMPTY: [&str; 8] = [
    "windows_collections",
    "windows_core",
    "windows_future",
    "windows_link",
    "windows_numerics",
    "windows_result",
    "windows_strings",
    "windows_threading",
];

/// Becomes the compiler; returns only when that fails.
pub fn run(shims: &Path) -> Result<()> {
    let mut arguments = env::args_os().skip(1);
    let rustc = arguments.next().context("a wrapper is called with the compiler's path")?;
    let arguments: Vec<OsString> = arguments.collect();
    let for_image = arguments.iter().any(|argument| argument == "--target");
    let arguments = if for_image { for_the_image(arguments) } else { for_the_host(arguments, shims) };
    Err(Command::new(&rustc).args(arguments).exec()).with_context(|| rustc.display().to_string())
}

fn for_the_host(mut arguments: Vec<OsString>, shims: &Path) -> Vec<OsString> {
    match crate_name(&arguments) {
        Some("windows") => replace_source(&mut arguments, &shims.join("windows.rs")),
        Some(name) if EMPTY.contains(&name) => replace_source(&mut arguments, &shims.join("empty.rs")),
        Some("wdk_build") => {
            let library = shims.join(kit::STD_SHIM);
            arguments.extend(
                ["--cfg", "target_os=\"windows\"", "-Aexplicit_builtin_cfgs_in_flags"].map(Into::into),
            );
            arguments.extend(["--extern".into(), assignment("std", library.as_os_str())]);
        }
        _ => {}
    }
    // Whoever uses wdk-build also reads the library that stands for its `std`.
    arguments.extend(["-L".into(), assignment("dependency", shims)]);
    arguments
}

fn for_the_image(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let variable = |name: &str| env::var_os(name).unwrap_or_default();
    let mut short = variable("CARGO_PKG_NAME");
    short.push("-");
    short.push(variable("CARGO_PKG_VERSION"));
    for folder in ["CARGO_MANIFEST_DIR", "OUT_DIR"].map(variable).iter().filter(|folder| !folder.is_empty()) {
        let mut remap = OsString::from("--remap-path-prefix=");
        remap.push(assignment(folder, &short));
        arguments.push(remap);
    }
    arguments
}

fn crate_name(arguments: &[OsString]) -> Option<&str> {
    let at = arguments.iter().position(|argument| argument == "--crate-name")?;
    arguments.get(at + 1)?.to_str()
}

/// The crate's root file is the one argument of its kind.
fn replace_source(arguments: &mut [OsString], file: &Path) {
    let is_source = |argument: &&mut OsString| Path::new(argument).extension() == Some(OsStr::new("rs"));
    if let Some(source) = arguments.iter_mut().find(is_source) {
        *source = file.into();
    }
}

fn assignment(name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> OsString {
    let mut text = name.as_ref().to_owned();
    text.push("=");
    text.push(value);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(crate_name: &str) -> Vec<String> {
        let call = [
            "--crate-name",
            crate_name,
            "--edition=2021",
            "/registry/x-1.0/src/lib.rs",
            "--crate-type",
            "lib",
        ];
        let call = for_the_host(call.map(OsString::from).to_vec(), Path::new("/shims"));
        call.into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn windows_crates_of_the_host_become_stand_ins() {
        assert_eq!(host("windows")[3], "/shims/windows.rs");
        assert_eq!(host("windows_future")[3], "/shims/empty.rs");
    }

    #[test]
    fn wdk_build_keeps_its_published_sources() {
        let call = host("wdk_build");
        assert_eq!(call[3], "/registry/x-1.0/src/lib.rs");
        assert!(call.contains(&format!("std=/shims/{}", kit::STD_SHIM)));
    }

    #[test]
    fn other_host_crates_keep_their_sources() {
        assert_eq!(host("windows_sys")[3], "/registry/x-1.0/src/lib.rs");
    }
}
