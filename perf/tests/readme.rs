//! Runs every command in the documents' code blocks, and compares the output that a document shows.
//!
//! Commands in the text, between back quotes, are run too. A block after the line `<!-- replay -->` is the output of
//! `teamctl replay`. In other blocks a line that starts with `teamctl` or `cargo run --release` is a command; if it
//! starts with `$ `, the lines up to the next such line are its output.

#[allow(dead_code, reason = "the benches use the rest")]
#[path = "../benches/figures/mod.rs"]
mod figures;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

const DOCUMENTS: [&str; 3] = ["README.md", "perf/README.md", "perf/captures/varied/README.md"];

/// Commands that this test cannot run, and where they are run.
const ELSEWHERE: [(&str, &str); 13] = [
    ("cargo test -p perf --test readme", "this is it"),
    ("cargo rustc -p lbfoext --lib", "only Windows, with the kit"),
    ("cargo image package --key", "people with a key; .ci/run signs with one that is thrown away"),
    ("bash .ci/run", "whoever lands a change"),
    (
        r".\install.ps1",
        "only Windows; tests/files/inf.rs and tests/image/tests/scripts.rs hold its text against facts",
    ),
    (r".\uninstall.ps1", "as the one before"),
    (r".\convert.ps1", "as the one before"),
    ("cargo bench -p perf --bench count", ".ci/run"),
    ("cargo bench -p perf --bench holds", ".ci/run"),
    ("cargo bench -p perf --bench peer", ".ci/run"),
    ("cargo test -p lbfoext --test driver witnesses::", ".ci/run image, with the other tests of images"),
    ("cargo bench -p perf --bench walk", "people: it takes minutes"),
    ("cargo run --release -p perf --example generate", "perf/tests/cli.rs, with fewer frames"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A folder with the files that the commands name. It is made once; what a command reads that another one writes is
/// written above it in the same document.
static WORKPLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let captures = root().join("perf/captures");
    fs::create_dir_all(place.join("perf/captures/varied")).expect("made");
    fs::copy(captures.join("office.pcapng"), place.join("my.pcapng")).expect("copied");
    for entry in fs::read_dir(captures.join("varied")).expect("there").flatten() {
        fs::copy(entry.path(), place.join("perf/captures/varied").join(entry.file_name())).expect("copied");
    }
    fs::create_dir_all(place.join("perf/hosts")).expect("made");
    for entry in fs::read_dir(root().join("perf/hosts")).expect("there").flatten() {
        fs::copy(entry.path(), place.join("perf/hosts").join(entry.file_name())).expect("copied");
    }
    place
});

fn teamctl(arguments: &[&str]) -> Output {
    let tool = env!("CARGO_BIN_EXE_teamctl");
    Command::new(tool).args(arguments).current_dir(&*WORKPLACE).output().expect("it starts")
}

/// The code blocks, each with the last line before it that is not empty.
fn blocks(text: &str) -> Vec<(String, Vec<String>)> {
    let (mut blocks, mut before, mut open) = (Vec::new(), String::new(), None);
    for line in text.lines() {
        match (&mut open, line.starts_with("```")) {
            (None, true) => open = Some(Vec::new()),
            (Some(_), true) => blocks.push((before.clone(), open.take().unwrap_or_default())),
            (Some(lines), false) => lines.push(line.to_owned()),
            (None, false) if !line.trim().is_empty() => line.clone_into(&mut before),
            (None, false) => {}
        }
    }
    blocks
}

/// The texts between back quotes outside of code blocks.
fn quoted(text: &str) -> Vec<String> {
    let mut inside = false;
    let prose = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    let prose = prose.collect::<Vec<_>>().join(" ");
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The arguments of a line that calls the tool.
fn arguments(line: &str) -> Option<Vec<&str>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["teamctl", rest @ ..] | ["cargo", "run", "--release", "--", rest @ ..] => Some(rest.to_vec()),
        ["cargo", "run", "--release"] => Some(Vec::new()),
        _ => None,
    }
}

/// Runs a command and returns its output. A doctor who finds the fault that the document speaks of ends with 1.
fn printed(name: &str, arguments: &[&str]) -> String {
    let output = teamctl(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    let found = arguments == ["doctor", "sim.json"] && output.status.code() == Some(1);
    assert!(output.status.success() || found, "{name}: teamctl {}: {error}", arguments.join(" "));
    String::from_utf8(output.stdout).expect("text")
}

/// The document with the present output of its commands, and the number of commands.
fn renewed(name: &str) -> (String, usize) {
    let (mut text, mut run) = (String::new(), 0);
    let (mut before, mut inside, mut replaced) = (String::new(), false, false);
    for line in document(name).lines() {
        let fence = line.starts_with("```");
        let command = arguments(line.strip_prefix("$ ").unwrap_or(line)).filter(|_| inside && !fence);
        replaced &= !fence && command.is_none();
        if !replaced {
            text += &format!("{line}\n");
        }
        if fence {
            inside = !inside;
            if inside && before == "<!-- replay -->" {
                text += &printed(name, &[]);
                (replaced, run) = (true, run + 1);
            }
        } else if let Some(command) = command {
            let shown = printed(name, &command);
            run += 1;
            if line.starts_with("$ ") {
                text += &shown;
                replaced = true;
            }
        } else if !inside && !line.trim().is_empty() {
            line.clone_into(&mut before);
        }
    }
    (text, run)
}

/// With `RENEW=1` in the environment the documents are rewritten instead.
#[test]
fn every_command_of_the_documents_runs_and_prints_what_they_show() {
    let mut all = 0;
    for name in DOCUMENTS {
        let (mut text, run) = renewed(name);
        if let Some(baseline) = figures::Baseline::load().filter(|_| name == "perf/README.md") {
            text = baseline.put_into(&text);
        }
        all += run;
        let old = document(name);
        if std::env::var_os("RENEW").is_some() {
            fs::write(root().join(name), text).expect("written");
            continue;
        }
        let differ = text.lines().zip(old.lines()).find(|(new, old)| new != old);
        assert_eq!(text.lines().count(), old.lines().count(), "{name}: {differ:?}; RENEW=1 writes it anew");
        assert_eq!(differ, None, "{name}: printed and shown; RENEW=1 writes it anew");
    }
    assert!(all >= 9, "{all} commands were found");
}

#[test]
fn every_command_in_the_text_runs() {
    let mut run = 0;
    for name in DOCUMENTS {
        for command in quoted(&document(name)) {
            // The name of the tool alone is not a command.
            let Some(arguments) = arguments(&command).filter(|_| command.contains(' ')) else { continue };
            let output = teamctl(&arguments);
            assert!(
                output.status.success(),
                "{name}: {command}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            run += 1;
        }
    }
    assert!(run >= 2, "{run} commands were found");
}

#[test]
fn the_figures_of_a_packet_are_those_that_were_measured() {
    let text = document("perf/README.md");
    let baseline = figures::Baseline::load().expect("perf/baseline.json");
    assert!(
        baseline.put_into(&text) == text,
        "perf/README.md and perf/baseline.json differ: cargo bench -p perf --bench count -- --store REASON"
    );
}

#[test]
fn every_other_command_of_the_documents_is_run_by_somebody() {
    let ci = document(".ci/run");
    for name in DOCUMENTS {
        let text = document(name);
        let lines = blocks(&text).into_iter().flat_map(|(_, lines)| lines);
        for line in lines.chain(quoted(&text)) {
            let command = line.strip_prefix("$ ").unwrap_or(&line);
            let is_command = ["cargo ", r".\", "bash "].iter().any(|start| command.starts_with(start));
            let known = ELSEWHERE.iter().any(|(start, _)| command.starts_with(start));
            if is_command && arguments(command).is_none() {
                assert!(known || ci.contains(command), "{name}: nobody runs {command}");
            }
        }
    }
}
