//! `.reg` files, as Microsoft's article 310516 describes them: written with the values of settings, and read.

use anyhow::{Context, bail};
use std::fmt::Write;
use teaming::settings::Lookup;

/// The key of the settings.
pub const PARAMETERS: &str = r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\lbfoext\Parameters";
const VERSION: &str = "Windows Registry Editor Version 5.00";

/// A value, as far as the settings distinguish types.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Data {
    Dword(u32),
    Qword(u64),
    /// Number of bytes.
    Binary(usize),
    /// Of another type, as it is written.
    Other(String),
}

impl Data {
    pub fn number(value: u64) -> Self {
        u32::try_from(value).map_or(Self::Qword(value), Self::Dword)
    }

    pub fn as_number(&self) -> Option<u64> {
        match self {
            Self::Dword(value) => Some((*value).into()),
            Self::Qword(value) => Some(*value),
            Self::Binary(_) | Self::Other(_) => None,
        }
    }

    /// What the driver finds.
    pub fn lookup(&self) -> Lookup {
        self.as_number().map_or(Lookup::WrongType, Lookup::Value)
    }
}

/// A value below the key of the settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key relative to that of the settings; empty for that one itself.
    pub key: String,
    pub name: String,
    pub data: Data,
    /// Where it was found.
    pub place: String,
}

/// The whole path of a key.
pub fn path(key: &str) -> String {
    if key.is_empty() { PARAMETERS.to_owned() } else { format!(r"{PARAMETERS}\{key}") }
}

pub fn write(entries: &[Entry]) -> String {
    let mut text = format!("{VERSION}\r\n");
    let mut open: Option<&str> = None;
    for entry in entries {
        if open != Some(&entry.key) {
            let _ = write!(text, "\r\n[{}]\r\n", path(&entry.key));
            open = Some(&entry.key);
        }
        let name = entry.name.replace('\\', r"\\").replace('"', "\\\"");
        let data = match entry.data.as_number().map(|value| (u32::try_from(value), value)) {
            Some((Ok(value), _)) => format!("dword:{value:08x}"),
            Some((Err(_), value)) => {
                let bytes: Vec<String> =
                    value.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                format!("hex(b):{}", bytes.join(","))
            }
            None => continue,
        };
        let _ = write!(text, "\"{name}\"={data}\r\n");
    }
    text
}

/// The values below the key of the settings; those of other keys are left out, and what a file deletes.
pub fn read(text: &str) -> anyhow::Result<Vec<Entry>> {
    let mut lines = text
        .lines()
        .zip(1..)
        .map(|(line, number)| (line.trim(), number))
        .filter(|(line, _)| !line.is_empty());
    match lines.next() {
        Some((VERSION | "REGEDIT4", _)) => {}
        first => bail!(
            "its first line is \"{}\", and that of a .reg file is \"{VERSION}\"",
            first.map_or("", |(line, _)| line)
        ),
    }
    let (mut entries, mut key) = (Vec::new(), None);
    while let Some((line, number)) = lines.next() {
        if line.starts_with(';') {
            continue;
        }
        if let Some(named) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            key = below(named);
            continue;
        }
        let mut whole = line.to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            let Some((more, _)) = lines.next() else { bail!("line {number} goes on, and the file ends") };
            whole += more;
        }
        let (name, data) = value(&whole).with_context(|| format!("line {number} is \"{line}\""))?;
        if let (Some(key), Some(name), Some(data)) = (&key, name, data) {
            entries.push(Entry { key: String::clone(key), name, data, place: format!("line {number}") });
        }
    }
    Ok(entries)
}

/// The key relative to that of the settings; `None` for another one, and for one that is deleted.
fn below(named: &str) -> Option<String> {
    let head = named.get(..PARAMETERS.len()).filter(|head| head.eq_ignore_ascii_case(PARAMETERS))?;
    let rest = &named[head.len()..];
    if rest.is_empty() { Some(String::new()) } else { rest.strip_prefix('\\').map(str::to_owned) }
}

/// Name and data of `"name"=data`; no name is that of `@`, no data that of a deletion.
fn value(line: &str) -> anyhow::Result<(Option<String>, Option<Data>)> {
    let (name, data) = if let Some(rest) = line.strip_prefix('@') {
        (None, rest.trim_start().strip_prefix('=').context("no = follows @")?)
    } else {
        let rest =
            line.strip_prefix('"').context("it is no key, no comment and no value in quotation marks")?;
        let (name, rest) = quoted(rest).context("the name has no end")?;
        (Some(name), rest.trim_start().strip_prefix('=').context("no = follows the name")?)
    };
    Ok((name, self::data(data.trim())?))
}

/// The text up to the closing quotation mark, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut name, mut letters) = (String::new(), text.char_indices());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((name, &text[at + 1..])),
            '\\' => name.push(letters.next()?.1),
            _ => name.push(letter),
        }
    }
    None
}

fn data(text: &str) -> anyhow::Result<Option<Data>> {
    if text == "-" {
        return Ok(None);
    }
    if let Some(digits) = text.strip_prefix("dword:") {
        let number =
            u32::from_str_radix(digits, 16).context("dword: is followed by eight hexadecimal digits")?;
        return Ok(Some(Data::Dword(number)));
    }
    let Some(rest) = text.strip_prefix("hex") else {
        if !text.starts_with('"') {
            bail!("the data begins with neither a quotation mark nor dword: or hex");
        }
        return Ok(Some(Data::Other(text.to_owned())));
    };
    let (kind, bytes) = rest.split_once(':').context("no : follows hex")?;
    let bytes: Vec<u8> = bytes
        .split(',')
        .map(str::trim)
        .filter(|byte| !byte.is_empty())
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()
        .context("hex: is followed by bytes of two hexadecimal digits")?;
    Ok(Some(match (kind, <[u8; 8]>::try_from(&*bytes), <[u8; 4]>::try_from(&*bytes)) {
        ("(b)", Ok(eight), _) => Data::Qword(u64::from_le_bytes(eight)),
        ("(4)", _, Ok(four)) => Data::Dword(u32::from_le_bytes(four)),
        ("" | "(3)", ..) => Data::Binary(bytes.len()),
        _ => Data::Other(text.to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &str) -> String {
        format!("{VERSION}\r\n\r\n[{PARAMETERS}]\r\n{lines}")
    }

    #[test]
    fn every_form_of_a_value_is_read() {
        for (line, data) in [
            ("\"A\"=dword:0000000a", Data::Dword(10)),
            ("\"A\"=hex(b):01,00,00,00,00,00,00,80", Data::Qword(0x8000_0000_0000_0001)),
            ("\"A\"=hex(4):05,00,00,00", Data::Dword(5)),
            ("\"A\"=hex:01,02,\\\r\n  03", Data::Binary(3)),
            ("\"A\"=hex:", Data::Binary(0)),
            ("\"A\"=hex(b):01,02", Data::Other("hex(b):01,02".to_owned())),
            ("\"A\"=\"7\"", Data::Other("\"7\"".to_owned())),
            ("; a note\r\n\"A\"=\"\\\\\"", Data::Other("\"\\\\\"".to_owned())),
        ] {
            let entries = read(&file(line)).unwrap_or_else(|error| panic!("{line}: {error:#}"));
            assert_eq!(entries.len(), 1, "{line}");
            assert_eq!((&*entries[0].name, &entries[0].data), ("A", &data), "{line}");
        }
        let odd = read(&file("\"a\\\"b\\\\c\"=dword:1\r\n\"B\"=-\r\n@=\"x\"")).expect("it is read");
        assert_eq!(odd.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["a\"b\\c"]);
    }

    #[test]
    fn keys_of_others_and_keys_that_are_deleted_are_left_out() {
        let text = file("\"A\"=dword:1\r\n")
            .to_uppercase()
            .replace("DWORD", "dword")
            .replace(&VERSION.to_uppercase(), VERSION);
        let more = format!(
            "{text}[HKEY_CURRENT_USER\\X]\n\"B\"=dword:2\n[-{PARAMETERS}]\n[{PARAMETERS}2]\n\"C\"=dword:3\n[{PARAMETERS}\\Switches\\1]\n\"D\"=dword:4\n"
        );
        let all: Vec<(String, String)> =
            read(&more).expect("read").into_iter().map(|e| (e.key, e.name)).collect();
        assert_eq!(all, [(String::new(), "A".to_owned()), (r"Switches\1".to_owned(), "D".to_owned())]);
    }

    #[test]
    fn what_is_no_reg_file_is_refused_with_the_line() {
        for (text, says) in [
            ("".to_owned(), "first line"),
            ("hello".to_owned(), "first line"),
            (file("TeamingMode=1"), "line 4"),
            (file("\"A\"=dword:xyz"), "eight hexadecimal digits"),
            (file("\"A=dword:1"), "no end"),
            (file("\"A\" dword:1"), "no ="),
            (file("\"A\"=1"), "neither"),
            (file("\"A\"=hex:1,zz"), "bytes"),
            (file("\"A\"=hex:01,\\"), "the file ends"),
        ] {
            let error = format!("{:#}", read(&text).expect_err(&text));
            assert!(error.contains(says), "{error}");
        }
    }
}
