//! The map of the tree for who comes new names every file of the core and of the driver, and nothing that is gone.

use super::tidy::{root, sources, text};

/// The paths in backticks of a document.
fn quoted(document: &str) -> Vec<&str> {
    document.split('`').skip(1).step_by(2).collect()
}

/// Folders whose files the map names as one.
const WHOLE: [&str; 2] = ["kernel", "ndis"];

#[test]
fn the_map_names_every_file_of_the_core_and_of_the_driver() {
    let map = text(&root().join(".github/CONTRIBUTING.md"));
    let map = map.split("## Ten questions").next().unwrap_or_default();
    let named = quoted(map);
    for folder in ["teaming/src", "src"] {
        for path in sources(folder) {
            let file =
                path.strip_prefix(root().join(folder)).expect("below it").to_string_lossy().into_owned();
            let name = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let first = name.split('/').next().unwrap_or_default();
            let name = if WHOLE.contains(&first) { first } else { name };
            let room = matches!((folder, name), ("src", "control" | "data" | "requests"));
            let known = ["lib", "build"].contains(&name) || room || named.contains(&name);
            assert!(known, "{folder}/{file} is not in .github/CONTRIBUTING.md");
        }
    }
}

#[test]
fn every_path_that_the_map_names_is_there() {
    let map = text(&root().join(".github/CONTRIBUTING.md"));
    let ends = [".rs", ".md", ".csv", ".inf"];
    let paths = quoted(&map)
        .into_iter()
        .filter(|path| path.contains('/') && ends.iter().any(|end| path.ends_with(end)));
    let mut count = 0;
    for path in paths {
        assert!(root().join(path).exists(), "{path} is gone");
        count += 1;
    }
    assert!(count > 30, "only {count} paths: are they still in backticks?");
}
