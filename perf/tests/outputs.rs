//! No option that names a file to be written makes the tool write over what it reads.

mod tool;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tool::frames::{Udp, capture};
use tool::{printed, refused, teamctl};

/// Every option that names a file to be written: of which command, with which file name, and what else it needs.
const OPTIONS: [(&str, &str, &str, &[&str]); 6] = [
    ("replay", "--report", "pcap", &[]),
    ("replay", "--save", "pcapng", &[]),
    ("replay", "--save-host", "pcap", &[]),
    ("compare", "--reg", "pcap", &["--members", "2"]),
    ("compare", "--report", "pcap", &["--members", "2"]),
    ("scenario", "--save-host", "sys", &["failover"]),
];

/// The commands of the tool.
fn commands() -> Vec<String> {
    let help = printed(&["--help"]);
    let list =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    list.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next().map(str::to_owned)).collect()
}

/// The options of a command whose help begins with "Write".
fn written(command: &str) -> Vec<String> {
    let help = String::from_utf8(teamctl(&[command, "--help"]).stdout).expect("text");
    let lines: Vec<&str> = help.lines().map(str::trim).collect();
    let pairs = lines.windows(2).filter(|pair| pair[0].starts_with("--") && pair[1].starts_with("Write"));
    pairs.filter_map(|pair| pair[0].split_whitespace().next().map(str::to_owned)).collect()
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("made");
    folder
}

fn small() -> Vec<u8> {
    let udp =
        |port| Udp::new([2, 0, 0, 0, 0, 5], "10.0.0.5", [2, 0, 0, 0, 9, 9], "192.0.2.7").ports(port, 53);
    let path = capture("outputs.pcap", &(1..6).map(|port| udp(port).bytes()).collect::<Vec<_>>());
    fs::read(path).expect("there")
}

#[test]
fn no_option_writes_over_what_is_read_by_whatever_name_it_is_called() {
    let mut all: Vec<(String, String)> = Vec::new();
    for command in commands() {
        all.extend(written(&command).into_iter().map(|option| (command.clone(), option)));
    }
    let mut known = OPTIONS.map(|(command, option, ..)| (command.to_owned(), option.to_owned()));
    all.sort();
    known.sort();
    assert_eq!(all, known, "each option that writes has its row here");

    let bytes = small();
    for (command, option, end, rest) in OPTIONS {
        let folder = folder(&format!("outputs{option}-{command}"));
        let [input, link, hard] = ["input", "link", "hard"].map(|name| folder.join(format!("{name}.{end}")));
        fs::write(&input, &bytes).expect("written");
        fs::hard_link(&input, &hard).expect("linked");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&input, &link).expect("linked");
        let round = folder.join("..").join(folder.file_name().expect("a name")).join(format!("input.{end}"));
        let text = |path: &Path| path.to_str().expect("text").to_owned();
        let input = text(&input);
        for output in [input.clone(), text(&round), text(&hard), text(&link)] {
            let named: &[&str] = if command == "scenario" { &["--image", &input] } else { &[&input] };
            let asked = [&[command], named, rest, &[option, &output]].concat();
            refused(&asked, &[option, &output, "would write over", "that is read", "write to another place"]);
            assert_eq!(fs::read(&input).expect("there"), bytes, "{asked:?}");
        }
        if command == "scenario" {
            continue;
        }
        // A capture that comes by standard input is one as well.
        let from = fs::File::open(&input).expect("there");
        let mut tool = Command::new(env!("CARGO_BIN_EXE_teamctl"));
        let tool = tool.arg(command).arg("-").args(rest).args([option, &input]).stdin(Stdio::from(from));
        let output = tool.output().expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(&format!("{option} would write over the capture that is read")), "{error}");
        assert_eq!(fs::read(&input).expect("there"), bytes);
    }
}

#[test]
fn a_folder_of_members_keeps_the_capture_that_is_read_and_two_options_do_not_share_a_file() {
    let folder = folder("outputs-members");
    let old = folder.join("member-3.pcapng");
    fs::write(&old, small()).expect("written");
    let [old, name] = [&old, &folder].map(|path| path.to_str().expect("text"));
    // As one of the team, and as one of an earlier team.
    for members in ["2", "4"] {
        let asked = ["replay", old, "--machines", "all", "--save", name, "--members", members];
        refused(&asked, &["--save", "member-3.pcapng", "that is read"]);
        assert_eq!(fs::read_dir(&folder).expect("there").count(), 1);
    }
    assert_eq!(fs::read(old).expect("there"), small());

    let both = folder.join("both");
    let both = both.to_str().expect("text");
    let page = [folder.join("../outputs-members/both"), folder.join("both")];
    for page in page.iter().map(|page| page.to_str().expect("text")) {
        let asked = ["replay", old, "--report", page, "--save-host", both];
        refused(&asked, &["--save-host", both, "which --report writes"]);
    }
    let asked = ["compare", old, "--members", "2", "--reg", both, "--report", both];
    refused(&asked, &["--report", "which --reg writes"]);
    assert_eq!(fs::read_dir(&folder).expect("there").count(), 1);
    // What is no file is nobody's.
    printed(&["replay", old, "--members", "2", "--report", "/dev/null", "--save-host", "/dev/null"]);
}
