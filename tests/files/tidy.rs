//! House rules that no compiler checks: file lengths, where `unsafe` may stand, which crates the driver is made of,
//! tables that documents and code share.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest file in lines, tests at its end not counted: one file, one walk.
const LONGEST: usize = 520;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn everything() -> Vec<PathBuf> {
    ["src", "teaming/src", "tests", "perf"].into_iter().flat_map(sources).collect()
}

pub fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lines of the code proper: up to the unit tests.
pub fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(at, line)| (at + 1, line))
}

#[test]
fn no_file_is_longer_than_one_walk() {
    for path in everything() {
        let lines = code(&text(&path)).count();
        assert!(lines <= LONGEST, "{} has {lines} lines: cut it by nouns", path.display());
    }
}

#[test]
fn unsafe_stands_in_ndis_and_kernel_and_at_the_entry_only() {
    for path in ["src", "teaming/src"].into_iter().flat_map(sources) {
        let relative = path.strip_prefix(root()).expect("inside the repository");
        let allowed = ["src/ndis", "src/kernel", "src/entry.rs"];
        if allowed.iter().any(|place| relative.starts_with(place)) {
            continue;
        }
        for (number, line) in code(&text(&path)) {
            let code = line.split("//").next().unwrap_or_default();
            let word = code.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "unsafe");
            assert!(
                !word,
                "{}:{number}: move it behind a typed wrapper in src/ndis or src/kernel",
                relative.display()
            );
        }
    }
}

#[test]
fn the_core_forbids_unsafe_code_and_knows_no_clock() {
    assert!(text(&root().join("teaming/src/lib.rs")).contains("#![forbid(unsafe_code)]"));
    for path in sources("teaming/src") {
        for (number, line) in code(&text(&path)) {
            assert!(!line.contains("std::time"), "{}:{number}: time is an argument", path.display());
        }
    }
}

#[test]
fn every_setting_stands_in_the_readme_with_its_default() {
    let readme = text(&root().join("README.md"));
    for setting in teaming::settings::SETTINGS {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{}`", setting.name)));
        let row = row.unwrap_or_else(|| panic!("{} has no row in the README", setting.name));
        assert!(
            row.contains(&format!("| {} |", setting.default)),
            "{row}: the default is {}",
            setting.default
        );
    }
}

#[test]
fn the_readme_lists_the_choices_of_every_setting_and_the_policies_that_any_team_may_have() {
    let readme = text(&root().join("README.md"));
    for setting in teaming::settings::SETTINGS {
        let choices = format!("| `{}` | {} | {} |", setting.name, setting.default, setting.kind);
        let is_choice = matches!(setting.kind, teaming::settings::SettingKind::Choice(_));
        assert!(!is_choice || readme.contains(&choices), "the README lacks {choices}");
    }
    let any_team =
        teaming::flow::POLICIES.into_iter().filter(|policy| policy.keeps_an_address_on_one_member());
    let numbers: Vec<String> = any_team.map(|policy| policy.number().to_string()).collect();
    let sentence = format!("all but {} need TeamingMode 0", numbers.join(" and "));
    assert!(readme.contains(&sentence), "the README lacks: {sentence}");
}

#[test]
fn every_reason_of_a_drop_stands_in_the_readme() {
    let readme = text(&root().join("README.md"));
    for reason in teaming::forward::drop_reason::DROP_REASONS {
        assert!(readme.contains(reason.sentence()), "the README does not explain {}", reason.name());
    }
}

/// The crates that the driver is made of, with the paths by which its sources use them.
const CRATES: [&str; 6] = ["wdk", "wdk-sys", "wdk-alloc", "heapless", "bitflags", "crc32fast"];

/// Every line below the named headings of a manifest: a dependency, what is said of it, and why it is there.
fn dependencies<'a>(manifest: &'a str, headings: &[&str]) -> Vec<(&'a str, &'a str, &'a str)> {
    let mut wanted = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if let Some((heading, _)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            wanted = headings.contains(&heading);
        } else if let Some((name, rest)) = line.split_once(" = ").filter(|_| wanted) {
            let (what, why) = rest.split_once('#').unwrap_or((rest, ""));
            found.push((name, what.trim(), why.trim()));
        }
    }
    found
}

/// Whether code of a folder names a crate, by a path or an import.
fn is_used(name: &str, folder: &str) -> bool {
    let path = format!("{}::", name.replace('-', "_"));
    sources(folder).iter().any(|file| {
        code(&text(file)).any(|(_, line)| {
            let line = line.split("//").next().unwrap_or_default();
            let named = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            line.match_indices(&path).any(|(at, _)| named(at))
        })
    })
}

#[test]
fn the_driver_is_made_of_six_crates_and_uses_each() {
    let windows = "target.'cfg(windows)'.dependencies";
    for (folder, headings, sources, all) in
        [(".", &["dependencies", windows][..], "src", 6), ("teaming", &["dependencies"], "teaming/src", 3)]
    {
        let manifest = text(&root().join(folder).join("Cargo.toml"));
        let found = dependencies(&manifest, headings);
        for &(name, what, why) in &found {
            assert!(!why.is_empty(), "{folder}: {name} needs a reason");
            assert!(is_used(name, sources), "{name} is not used in {sources}");
            let own = name == "teaming" || CRATES.contains(&name);
            assert!(own, "{folder}: {name} is one more crate in the kernel: do without, or change this list");
            if ["heapless", "bitflags", "crc32fast"].contains(&name) {
                assert!(
                    what.contains("default-features = false"),
                    "{folder}: {name} with its default features"
                );
            }
        }
        let known = found.iter().filter(|(name, ..)| CRATES.contains(name)).count();
        assert_eq!(known, all, "{folder}: {found:?}");
    }
}

#[test]
fn every_manifest_that_names_crc32fast_names_the_one_version_without_avx() {
    let mut count = 0;
    for folder in [".", "teaming", "perf", "tests/vswitch", "tests/image", "tests/fuzz"] {
        let manifest = text(&root().join(folder).join("Cargo.toml"));
        for line in manifest.lines().filter(|line| line.starts_with("crc32fast")) {
            let wanted = r#"crc32fast = { version = "=1.4.2", default-features = false }"#;
            assert!(line.starts_with(wanted), "{folder}: {line}");
            count += 1;
        }
    }
    assert_eq!(count, 3);
}
