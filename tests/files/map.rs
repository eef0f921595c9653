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

/// The names in the parentheses after each path in backticks: "`src/timer.rs` (`expire`, `work`)".
fn named_in_files(document: &str) -> Vec<(&str, Vec<&str>)> {
    let parts: Vec<&str> = document.split('`').collect();
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut is_open = false;
    for pair in parts[1..].chunks(2) {
        let &[word, after] = pair else { continue };
        if is_open && let Some((_, names)) = found.last_mut() {
            names.push(word);
        }
        is_open = match after {
            " (" => {
                found.push((word, Vec::new()));
                true
            }
            ", " => is_open,
            _ => false,
        };
    }
    found
}

#[test]
fn every_function_that_the_map_names_is_in_its_file() {
    let map = text(&root().join(".github/CONTRIBUTING.md"));
    let (_, questions) = map.split_once("## Ten questions").expect("the questions");
    let (questions, _) = questions.split_once("## How to run").expect("their end");
    let mut count = 0;
    for (file, names) in named_in_files(questions) {
        let text = text(&root().join(file));
        for name in names {
            let is_word = |at: usize| {
                let end = |c: char| c.is_alphanumeric() || c == '_';
                !text[..at].ends_with(end) && !text[at + name.len()..].starts_with(end)
            };
            assert!(text.match_indices(name).any(|(at, _)| is_word(at)), "{file} has no {name}");
            count += 1;
        }
    }
    assert!(count > 20, "only {count} functions: are they still in backticks and parentheses?");
    assert_eq!(
        named_in_files("see `a.rs` (`b`, `c`), `d.rs`, `e.rs` (`f`)"),
        [("a.rs", vec!["b", "c"]), ("e.rs", vec!["f"])]
    );
}
