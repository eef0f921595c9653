//! `cargo image witnesses`: builds the extensions of `tests/vswitch/witness`, which are written in C from the
//! documentation and share no line with the driver, against a header made from tables of the Windows Driver Kit.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::kit::{self, copy_changed};

const CLANG: &str = "/usr/bin/clang-19";
const LINKER: &str = "/usr/bin/lld-link-19";

/// As drivers are compiled for a kernel: no runtime, no floating point, no calls that Windows does not have.
const COMPILE: [&str; 13] = [
    "--target=x86_64-pc-windows-msvc",
    "-std=c17",
    "-O2",
    "-ffreestanding",
    "-fno-stack-protector",
    "-mno-stack-arg-probe",
    "-fno-strict-aliasing",
    "-mno-mmx",
    "-mno-sse",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-c",
];

const LINK: [&str; 13] = [
    "/DRIVER",
    "/NODEFAULTLIB",
    "/SUBSYSTEM:NATIVE",
    "/KERNEL",
    "/ENTRY:DriverEntry",
    "/NXCOMPAT",
    "/DYNAMICBASE",
    "/OPT:REF,ICF",
    "/INTEGRITYCHECK",
    "/MANIFEST:NO",
    "/RELEASE",
    "/Brepro",
    "/DEBUG:NONE",
];

/// Builds every witness. Each file is replaced only if its bytes change.
pub fn run(workspace: &Path) -> Result<()> {
    for (file, package) in [(CLANG, "clang-19"), (LINKER, "lld-19")] {
        if !Path::new(file).exists() {
            bail!(
                "the witnesses cannot be built here: {file} is missing.\n  \
                 apt-get install --no-install-recommends {package}"
            );
        }
    }
    // Before the build, as for the image.
    let sources = image::witness_digest(workspace)?;
    let folder = workspace.join("target/image/witnesses");
    let input = folder.join("source");
    copy_changed(&workspace.join(image::WITNESS_SOURCES), &input)?;
    fs::write(folder.join("ndis.h"), header(&input)?)?;
    let libraries = libraries(workspace, &input, &folder)?;
    let extension = compile(&input, &folder, "extension")?;
    let results = workspace.join(image::WITNESSES);
    let first = !results.exists();
    fs::create_dir_all(&results)?;
    for name in image::WITNESS_NAMES {
        let object = compile(&input, &folder, name)?;
        let driver = folder.join(name).with_extension("sys");
        kit::run(
            Command::new(LINKER)
                .args(LINK)
                .arg(format!("/OUT:{}", driver.display()))
                .args([&object, &extension])
                .args(&libraries),
        )?;
        let result = results.join(name).with_extension("sys");
        crate::build::place(&driver, &result)?;
        println!("witness  {}", result.strip_prefix(workspace).unwrap_or(&result).display());
    }
    fs::write(results.join("sources"), sources)?;
    if first {
        // As for the image: the native build script watches this file while there is nothing else to watch.
        fs::write(workspace.join(image::MARKER), "")?;
    }
    Ok(())
}

fn compile(input: &Path, folder: &Path, name: &str) -> Result<PathBuf> {
    let object = folder.join(name).with_extension("obj");
    kit::run(
        Command::new(CLANG)
            .args(COMPILE)
            .arg(format!("-I{}", folder.display()))
            .arg(format!("-I{}", input.display()))
            .arg(input.join(name).with_extension("c"))
            .arg("-o")
            .arg(&object),
    )?;
    Ok(object)
}

/// Import libraries of the functions that the lists of exports name.
fn libraries(workspace: &Path, input: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let known = workspace.join("tests/image/exports");
    let lists = [
        ("ndis.sys", vec![known.join("ndis.sys.txt"), input.join("exports.txt")]),
        ("ntoskrnl.exe", vec![known.join("ntoskrnl.exe.txt")]),
    ];
    let mut libraries = Vec::new();
    for (exporter, files) in lists {
        let mut definition = format!("LIBRARY {exporter}\nEXPORTS\n");
        for file in files {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .for_each(|name| definition.push_str(&format!("  {name}\n")));
        }
        let list = folder.join(exporter).with_extension("def");
        fs::write(&list, definition)?;
        let library = list.with_extension("lib");
        kit::run(Command::new(LINKER).args([
            "/lib".into(),
            "/machine:x64".into(),
            format!("/def:{}", list.display()),
            format!("/out:{}", library.display()),
        ]))?;
        libraries.push(library);
    }
    Ok(libraries)
}

/// `ndis.h`: every structure of `layout.csv`, each field where the table says, and the constants of `constants.csv`.
///
/// A structure is a union: of its fields in order, and of one structure for each field that overlaps another. The
/// compiler checks every offset and size once more.
fn header(folder: &Path) -> Result<String> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).with_context(|| name.to_owned());
    let (layout, constants, interface) = (read("layout.csv")?, read("constants.csv")?, read("interface.h")?);
    let structures = structures(&layout)?;
    let mut text =
        String::from("// Made by `cargo image witnesses`.\n#pragma once\n#include \"kernel.h\"\n\n");
    for structure in &structures {
        writeln!(text, "typedef union {0} {0};", structure.name)?;
    }
    text.push_str("\n#include \"interface.h\"\n\n");
    for line in constants.lines().skip(1) {
        let (name, value) = line.split_once(',').with_context(|| line.to_owned())?;
        // Statuses are signed.
        let cast = if name.contains("_STATUS_") { "(NDIS_STATUS)" } else { "" };
        writeln!(text, "#define {name} ({cast}{value})")?;
    }
    for structure in &structures {
        structure.define(&mut text, &structures, &interface)?;
    }
    Ok(text)
}

struct Structure<'a> {
    name: &'a str,
    size: usize,
    align: &'a str,
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    name: String,
    offset: usize,
    size: usize,
    of: &'a str,
}

fn structures(table: &str) -> Result<Vec<Structure<'_>>> {
    let mut all: Vec<Structure> = Vec::new();
    for line in table.lines().skip(1) {
        let mut cells = line.splitn(5, ',');
        let mut next = || cells.next().with_context(|| line.to_owned());
        let (name, field) = (next()?, next()?);
        let (offset, size, of) = (next()?.parse()?, next()?.parse()?, next()?);
        if field == "__sizeof" {
            let align = of.strip_prefix("align=").with_context(|| line.to_owned())?;
            all.push(Structure { name, size, align, fields: Vec::new() });
        } else {
            let structure = all.last_mut().filter(|last| last.name == name).context("a field of nothing")?;
            structure.fields.push(Field { name: field.replace('.', "_"), offset, size, of });
        }
    }
    Ok(all)
}

impl Structure<'_> {
    fn define(&self, text: &mut String, all: &[Structure], interface: &str) -> Result<()> {
        let name = self.name;
        writeln!(text, "\nunion {name} {{")?;
        writeln!(text, "    struct {{")?;
        let (mut end, mut overlapping) = (0, Vec::new());
        for (number, field) in self.fields.iter().enumerate() {
            if field.offset < end || field.of.contains('@') {
                overlapping.push(field);
                continue;
            }
            let gap = field.offset - end;
            if gap > 0 {
                writeln!(text, "        UCHAR Gap{number}_[{gap}];")?;
            }
            writeln!(text, "        {};", field.member(all, interface))?;
            end = field.offset + field.size;
        }
        writeln!(text, "    }};\n    _Alignas({}) UCHAR Bytes_[{}];", self.align, self.size)?;
        for field in overlapping {
            let (name, offset) = (&field.name, field.offset);
            let before = if offset == 0 { String::new() } else { format!("UCHAR Before{name}_[{offset}]; ") };
            writeln!(text, "    struct {{ {before}{}; }};", field.member(all, interface))?;
        }
        writeln!(text, "}};\n_Static_assert(sizeof({name}) == {}, \"{name}\");", self.size)?;
        for field in self.fields.iter().filter(|field| !field.of.contains('@')) {
            let (of, offset, size) = (&field.name, field.offset, field.size);
            writeln!(
                text,
                "_Static_assert(__builtin_offsetof({name}, {of}) == {offset} && \
                 sizeof((({name} *)0)->{of}) == {size}, \"{name}.{of}\");"
            )?;
        }
        Ok(())
    }
}

impl Field<'_> {
    fn member(&self, all: &[Structure], interface: &str) -> String {
        let Self { name, size, of, .. } = self;
        if let Some((of, place)) = of.split_once(':')
            && let Some((width, bit)) = place.split_once("@bit")
        {
            let skip = if bit == "0" { String::new() } else { format!("{of} : {bit}; ") };
            return format!("{skip}{of} {name} : {width}");
        }
        let known = |of: &str| all.iter().any(|structure| structure.name == of);
        let bare = of.trim_end_matches(['*', ' ']).trim_start_matches('_');
        let pointed = of.strip_prefix('P').map(|to| if to == "NDIS_STRING" { "UNICODE_STRING" } else { to });
        let (of, count) = match (of.split_once('['), pointed) {
            _ if *of == "NDIS_STRING" => ("UNICODE_STRING".to_owned(), 1),
            _ if known(of) => ((*of).to_owned(), 1),
            _ if of.ends_with('*') && known(bare) => (format!("{bare} *"), 1),
            (None, Some(to)) if *size == 8 && known(to) => (format!("{to} *"), 1),
            (None, _) if *size == 8 && interface.contains(&format!("(*{of})")) => ((*of).to_owned(), 1),
            (Some(("PVOID", _)), _) => ("PVOID".to_owned(), size / 8),
            (None, _) => match (size, *of) {
                (1, _) => ("UCHAR".to_owned(), 1),
                (2, _) => ("USHORT".to_owned(), 1),
                (4, "NDIS_STATUS" | "LONG") => ((*of).to_owned(), 1),
                (4, _) => ("ULONG".to_owned(), 1),
                (8, "ULONG64" | "UINT64" | "SIZE_T" | "NET_LUID") => ("ULONG64".to_owned(), 1),
                (8, _) => ("PVOID".to_owned(), 1),
                (size, _) => ("UCHAR".to_owned(), *size),
            },
            (Some(_), _) => ("UCHAR".to_owned(), *size),
        };
        let count = if count == 1 { String::new() } else { format!("[{count}]") };
        format!("{of} {name}{count}")
    }
}
