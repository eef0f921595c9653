//! Who imports whom: files of the core and of the driver import in one direction, and rooms stay below those that stand
//! on them. `cargo test -p lbfoext --test files imports:: -- --nocapture` prints the counts.

use super::tidy::{code, root, sources, text};
use std::collections::{BTreeMap, BTreeSet};

/// The files that each file imports, by their module paths within the crate.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// `ports/vlan.rs` is `ports::vlan`, `ports/mod.rs` is `ports`, `lib.rs` is nothing.
fn module_of(file: &str) -> String {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { String::new() } else { path.replace('/', "::") }
}

/// The paths after `crate::` and `super::` in a line, groups in braces one by one.
fn paths(line: &str, parent: &str) -> Vec<String> {
    let line = line.split("//").next().unwrap_or_default();
    let mut found = Vec::new();
    for (root, prefix) in [("crate::", String::new()), ("super::", format!("{parent}::"))] {
        for (at, _) in line.match_indices(root) {
            if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &line[at + root.len()..];
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            let (path, after) = rest.split_at(end);
            match after.strip_prefix('{').and_then(|group| group.split_once('}')) {
                Some((group, _)) => {
                    found.extend(group.split(',').map(|one| format!("{prefix}{path}{}", one.trim())))
                }
                None => found.push(format!("{prefix}{path}")),
            }
        }
    }
    found
}

fn imports(folder: &str) -> Imports {
    let files: Vec<_> = sources(folder)
        .into_iter()
        .map(|path| {
            let file =
                path.strip_prefix(root().join(folder)).expect("below it").to_string_lossy().into_owned();
            (module_of(&file), text(&path))
        })
        .collect();
    let modules: BTreeSet<&str> = files.iter().map(|(module, _)| module.as_str()).collect();
    // The file that a path leads into: its longest part that is one.
    let target = |path: &str| {
        let mut part = path.trim_start_matches("::");
        loop {
            if modules.contains(part) {
                return part.to_owned();
            }
            match part.rsplit_once("::") {
                Some((before, _)) => part = before,
                None => return String::new(),
            }
        }
    };
    files
        .iter()
        .map(|(module, text)| {
            let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
            // An import over several lines is one.
            let lines: Vec<&str> =
                code(text).map(|(_, line)| line.split("//").next().unwrap_or_default()).collect();
            let joined = lines.join("\n").replace("{\n", "{").replace(",\n", ", ");
            let all = joined.lines().flat_map(|line| paths(line, parent)).map(|path| target(&path));
            (module.clone(), all.filter(|other| !other.is_empty() && other != module).collect())
        })
        .collect()
}

/// Everything that a file reaches, over any number of imports.
fn reached(imports: &Imports, from: &str) -> BTreeSet<String> {
    let (mut all, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = next.pop() {
        for other in imports.get(&module).into_iter().flatten() {
            if all.insert(other.clone()) {
                next.push(other.clone());
            }
        }
    }
    all
}

fn in_circles(imports: &Imports) -> BTreeSet<&str> {
    imports.keys().map(String::as_str).filter(|module| reached(imports, module).contains(*module)).collect()
}

#[test]
fn files_of_the_core_and_of_the_driver_import_in_no_circle() {
    for (folder, known) in
        [("teaming/src", &[][..]), ("src", &["ndis::envelope", "ndis::oid", "ndis::payload"])]
    {
        let imports = imports(folder);
        let arrows: usize = imports.values().map(BTreeSet::len).sum();
        let circles = in_circles(&imports);
        println!("{folder}: {} files, {arrows} imports, in circles: {circles:?}", imports.len());
        assert!(arrows > 100, "the imports are not seen any more");
        assert_eq!(circles, known.iter().copied().collect(), "{folder}");
    }
}

const EVERYTHING_OF_VSWITCH: &[&str] =
    &["machine", "adapter", "switch", "reference", "check", "inject", "scenario", "exports", "shown"];

const ABOVE_THE_MACHINE: &[&str] =
    &["switch", "adapter", "reference", "check", "inject", "scenario", "symbols", "image"];

/// Sizes of the circles, largest first: files that all import each other, over any number of imports.
fn circles(imports: &Imports) -> Vec<usize> {
    let reach: BTreeMap<&str, BTreeSet<String>> =
        imports.keys().map(|module| (module.as_str(), reached(imports, module))).collect();
    let mut left: BTreeSet<&str> = in_circles(imports);
    let mut sizes = Vec::new();
    while let Some(first) = left.first().copied() {
        let circle: BTreeSet<&str> = left
            .iter()
            .copied()
            .filter(|other| reach[first].contains(*other) && reach[*other].contains(first))
            .collect();
        sizes.push(circle.len());
        left.retain(|module| !circle.contains(module));
    }
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes
}

/// The tests' switch and the tool import in circles yet; none of them may grow.
const LARGEST_CIRCLES: [(&str, &[usize]); 2] =
    [("tests/vswitch/src", &[22, 20, 4, 3, 2, 2, 2]), ("perf/src", &[8])];

#[test]
fn no_circle_of_the_switch_or_of_the_tool_grows() {
    for (folder, largest) in LARGEST_CIRCLES {
        let imports = imports(folder);
        let arrows: usize = imports.values().map(BTreeSet::len).sum();
        let sizes = circles(&imports);
        println!("{folder}: {} files, {arrows} imports, circles of {sizes:?} files", imports.len());
        assert!(arrows > 50, "the imports are not seen any more");
        assert!(sizes.len() <= largest.len(), "{folder}: {sizes:?}, and at most {largest:?} were allowed");
        for (size, most) in sizes.iter().zip(largest) {
            assert!(size <= most, "{folder}: {sizes:?}, and at most {largest:?} were allowed");
        }
    }
}

/// A room, and the rooms that nothing in it may import.
const BELOW: [(&str, &str, &[&str]); 12] = [
    ("src", "module", &["handlers", "timer", "entry", "data", "control", "requests"]),
    ("src", "ndis", &["handlers", "timer", "entry", "data", "control", "requests", "module"]),
    ("src", "kernel", &["handlers", "timer", "data", "control", "requests", "module"]),
    ("tests/vswitch/src", "mutation", EVERYTHING_OF_VSWITCH),
    ("tests/vswitch/src", "rules", EVERYTHING_OF_VSWITCH),
    ("tests/vswitch/src", "machine", ABOVE_THE_MACHINE),
    ("tests/vswitch/src", "exports", ABOVE_THE_MACHINE),
    ("tests/vswitch/src", "shown", ABOVE_THE_MACHINE),
    ("tests/vswitch/src", "adapter", &["reference", "check", "inject", "scenario"]),
    ("tests/vswitch/src", "reference", &["check", "inject", "scenario"]),
    ("tests/vswitch/src", "check", &["inject", "scenario"]),
    ("tests/vswitch/src", "inject", &["check", "scenario"]),
];

#[test]
fn state_imports_no_handler_and_the_machine_knows_no_switch() {
    for (folder, below, above) in BELOW {
        let room = |module: &str| module.split("::").next().unwrap_or_default().to_owned();
        let imports = imports(folder);
        let of_room: Vec<_> = imports.iter().filter(|(module, _)| room(module) == below).collect();
        assert!(!of_room.is_empty(), "{folder} has no {below}");
        for (module, others) in of_room {
            let wrong: Vec<_> = others.iter().filter(|other| above.contains(&room(other).as_str())).collect();
            assert!(wrong.is_empty(), "{folder}: {module} imports {wrong:?}");
        }
    }
}

#[test]
fn a_circle_of_any_length_is_found() {
    let of = |pairs: &[(&str, &str)]| {
        let mut imports = Imports::new();
        for (from, to) in pairs {
            imports.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        imports
    };
    assert!(in_circles(&of(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    assert_eq!(in_circles(&of(&[("a", "b"), ("b", "c"), ("c", "b")])), ["b", "c"].into());
    assert_eq!(
        circles(&of(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("d", "e"), ("e", "d")])),
        [2, 2]
    );
    let line = "use crate::ports::{vlan::Vlans, Port}; // crate::not";
    assert_eq!(paths(line, ""), ["ports::vlan::Vlans", "ports::Port"]);
    assert_eq!(paths("    super::queues(crate::clock::now())", "control"), ["clock::now", "control::queues"]);
}
