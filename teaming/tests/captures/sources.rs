//! Finds the package folder of another crate, which may have more than code: captures, for example. The compiler
//! writes the paths of a crate's sources to its dep-info file, and that exists because this test was built with the
//! crate.

use std::fs;
use std::path::{Path, PathBuf};

/// The package folder of a crate, from its newest dep-info file in the build folder `deps`.
pub fn package_folder(deps: &Path, crate_name: &str) -> PathBuf {
    let entries = fs::read_dir(deps).unwrap_or_else(|error| panic!("{}: {error}", deps.display()));
    let mut found: Vec<_> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_suffix(".d")
                .and_then(|name| name.rsplit_once('-'))
                .is_some_and(|(name, _)| name == crate_name)
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    let (_, newest) = found.last().unwrap_or_else(|| {
        panic!("no dep-info of {crate_name} in {}: it is not built there", deps.display())
    });
    let text = fs::read_to_string(newest).expect("readable dep-info");
    // A rule in make's format: "result: source source ...", with escaped spaces.
    let (_, sources) = text.split_once(": ").unwrap_or_else(|| panic!("no rule in {}", newest.display()));
    let first = sources.replace("\\ ", "\0").split_whitespace().next().map(|path| path.replace('\0', " "));
    let root = PathBuf::from(first.unwrap_or_else(|| panic!("no source in {}", newest.display())));
    let package = root.ancestors().find(|folder| folder.join("Cargo.toml").exists());
    package.unwrap_or_else(|| panic!("{} lies in no package", root.display())).to_path_buf()
}
