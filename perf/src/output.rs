//! The files that the tool writes: never one that it reads, and never one twice.

use anyhow::{Context, bail};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

/// What a command reads and writes, as it was named on the command line.
#[derive(Default)]
pub struct Files {
    /// What each is, and its path.
    read: Vec<(&'static str, PathBuf)>,
    /// The option that names each, and its path.
    written: Vec<(&'static str, PathBuf)>,
}

impl Files {
    /// A file that is read, as "the capture". `-` is standard input.
    pub fn read(mut self, what: &'static str, path: Option<&Path>) -> Self {
        self.read.extend(path.map(|path| match path == Path::new("-") {
            true => (what, PathBuf::from("/dev/stdin")),
            false => (what, path.to_owned()),
        }));
        self
    }

    /// A file that an option names to be written, or removed.
    pub fn written(mut self, option: &'static str, path: Option<&Path>) -> Self {
        self.written.extend(path.map(|path| (option, path.to_owned())));
        self
    }

    /// An error if something would be written over what is read, or over what is written besides; before anything is
    /// written.
    pub fn check(&self) -> anyhow::Result<()> {
        for (number, (option, path)) in self.written.iter().enumerate() {
            if let Some((what, _)) = self.read.iter().find(|(_, input)| is_same(path, input)) {
                bail!(
                    "{option} would write over {what} that is read, {}; write to another place",
                    path.display()
                );
            }
            let before = self.written.iter().take(number);
            if let Some((other, _)) = before.rev().find(|(of, before)| of != option && is_same(path, before))
            {
                bail!(
                    "{option} would write over {}, which {other} writes; write to another place",
                    path.display()
                );
            }
        }
        Ok(())
    }
}

pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Whether two paths lead to one file, by whatever links. Of files that are not there yet the folders are compared.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(of_one), Ok(of_other)) => {
            of_one.is_file() && of_other.is_file() && is_one_file((one, &of_one), (other, &of_other))
        }
        (Err(_), Err(_)) => one.file_name() == other.file_name() && folder(one) == folder(other),
        _ => false,
    }
}

#[cfg(unix)]
fn is_one_file((_, one): (&Path, &Metadata), (_, other): (&Path, &Metadata)) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_one_file((one, _): (&Path, &Metadata), (other, _): (&Path, &Metadata)) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

fn folder(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    if folder == Path::new("") { Path::new(".").canonicalize().ok() } else { folder.canonicalize().ok() }
}
