//! The linker as the compiler calls it, with paths that are the same in every folder.
//!
//! A symbol file records the linker's command line, its folder and the path of each input, and the image has a digest of
//! the symbol file. So the inputs are linked from a folder of their own by relative paths that do not tell where they
//! lie, and what the linker wrote there is copied to where it is expected.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{kit, toolchain::LINKER};

/// Options with the path of an output, all of which lie in one folder.
const OUTPUTS: [&str; 4] = ["/OUT:", "/IMPLIB:", "/PDB:", "/MAP:"];
const FOLDERS: &str = "/LIBPATH:";
const INPUT: &str = "/DEF:";

/// Whether this program was called as the linker.
pub fn is_called() -> bool {
    let name = env::args_os().next().map(PathBuf::from);
    name.is_some_and(|name| name.file_name() == Path::new(LINKER).file_name())
}

/// Gives this program the linker's name; the result is what the compiler is to call.
pub fn install(folder: &Path) -> Result<PathBuf> {
    let link = folder.join(Path::new(LINKER).file_name().context("the linker has a name")?);
    fs::create_dir_all(folder)?;
    let _ = fs::remove_file(&link);
    symlink(env::current_exe()?, &link)?;
    Ok(link)
}

pub fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let call = Call::new(env::args_os().skip(1), folder.path())?;
    kit::run(Command::new(LINKER).current_dir(folder.path()).args(&call.arguments))?;
    let to = call.output.context("the linker is not told where to write")?;
    for entry in fs::read_dir(folder.path())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// A call of the linker, rewritten.
struct Call {
    arguments: Vec<OsString>,
    /// The folder of the outputs.
    output: Option<PathBuf>,
}

impl Call {
    fn new(arguments: impl Iterator<Item = OsString>, folder: &Path) -> Result<Self> {
        let mut call = Self { arguments: Vec::new(), output: None };
        for (index, argument) in arguments.enumerate() {
            let rewritten = call.rewrite(index, &argument, folder);
            call.arguments.push(rewritten.with_context(|| argument.to_string_lossy().into_owned())?);
        }
        Ok(call)
    }

    fn rewrite(&mut self, index: usize, argument: &OsStr, folder: &Path) -> Result<OsString> {
        let text = argument.to_str().context("a path that is no UTF-8")?;
        if let Some(option) = OUTPUTS.iter().find(|option| text.starts_with(**option)) {
            let path = Path::new(&text[option.len()..]);
            let (to, name) = (path.parent().context("no folder")?, path.file_name().context("no name")?);
            ensure!(self.output.as_deref().is_none_or(|output| output == to), "outputs in two folders");
            self.output = Some(to.into());
            return Ok([OsStr::new(option), name].into_iter().collect());
        }
        if let Some(path) = text.strip_prefix(FOLDERS) {
            let link = format!("folders/{index}");
            link_to(Path::new(path), &folder.join(&link))?;
            return Ok(format!("{FOLDERS}{link}").into());
        }
        if text.starts_with('@') {
            bail!("a list of arguments in a file is not supported");
        }
        let (option, path) = text.strip_prefix(INPUT).map_or(("", text), |path| (INPUT, path));
        let path = Path::new(path);
        if path.is_absolute() && path.is_file() {
            // Under its own name: the map tells the objects' names, the symbols those of libraries.
            let link = Path::new("files").join(index.to_string()).join(path.file_name().context("no name")?);
            link_to(path, &folder.join(&link))?;
            return Ok([OsStr::new(option), link.as_os_str()].into_iter().collect());
        }
        Ok(argument.into())
    }
}

fn link_to(path: &Path, link: &Path) -> Result<()> {
    fs::create_dir_all(link.parent().context("no folder")?)?;
    Ok(symlink(path, link)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(folder: &Path, input: &Path) -> (Vec<String>, Option<PathBuf>) {
        let arguments = [
            "/DRIVER",
            input.to_str().unwrap(),
            "/LIBPATH:/kit/lib",
            &format!("/DEF:{}", input.display()),
            "ntoskrnl.lib",
            "/OUT:/deps/lbfoext.dll",
            "/IMPLIB:/deps/lbfoext.dll.lib",
        ];
        let call = Call::new(arguments.into_iter().map(OsString::from), folder).unwrap();
        (call.arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect(), call.output)
    }

    #[test]
    fn the_linker_sees_the_same_call_wherever_its_inputs_lie() {
        let calls = [(); 2].map(|()| {
            let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let input = elsewhere.path().join("lbfoext.o");
            fs::write(&input, "object").unwrap();
            let (arguments, output) = rewritten(folder.path(), &input);
            assert_eq!(fs::read(folder.path().join(&arguments[1])).unwrap(), b"object");
            assert_eq!(output, Some("/deps".into()));
            arguments
        });
        assert_eq!(calls[0], calls[1]);
        let expected =
            ["/DRIVER", "files/1/lbfoext.o", "/LIBPATH:folders/2", "/DEF:files/3/lbfoext.o", "ntoskrnl.lib"];
        assert_eq!(calls[0][..5], expected);
    }

    #[test]
    fn outputs_in_two_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["/OUT:/a/lbfoext.dll", "/PDB:/b/lbfoext.pdb"].map(OsString::from);
        assert!(Call::new(arguments.into_iter(), folder.path()).is_err());
    }
}
