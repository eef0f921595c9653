//! Text for a terminal of 80 columns.

use std::io::{self, Write};

pub use teaming::report::{COLUMNS, count, count_of, wrap};

/// Prints a long text; a closed pipe is not an error.
pub fn out(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Shortens a text that is too long.
pub fn fit(text: &str, columns: usize) -> String {
    let length = text.chars().count();
    if length <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(length - (columns - 3)).collect();
    format!("...{kept}")
}

/// A name in the quotation marks that a command of PowerShell needs.
pub fn quoted(name: &str) -> String {
    format!("'{}'", name.replace('\'', "''"))
}

/// Names as in `'a', 'b'`.
pub fn all_quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quoted).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_kind_is_counted_in_the_singular() {
        let texts = [0, 1, 2, 1_000].map(|number| count_of(number, "machine"));
        assert_eq!(texts, ["0 machines", "1 machine", "2 machines", "1,000 machines"]);
    }

    #[test]
    fn a_long_text_keeps_its_end() {
        assert_eq!(fit("short", 8), "short");
        assert_eq!(fit("a/long/path", 8), ".../path");
    }
}
