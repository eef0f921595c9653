//! Text for a terminal of 80 columns.

use std::io::{self, Write};

/// Largest line length.
pub const COLUMNS: usize = 80;
/// Prints a long text; a closed pipe is not an error.
pub fn out(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Wraps a text into lines; the first starts with `first` and a space, the others with `indent`.
pub fn wrap(text: &str, first: &str, indent: &str) -> Vec<String> {
    let mut lines = vec![first.to_owned()];
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.chars().count() + word.chars().count() < COLUMNS) {
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(format!("{indent}{word}")),
        }
    }
    lines
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

/// The number with separators, as 10,863.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place != 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
    fn a_long_text_keeps_its_end() {
        assert_eq!(fit("short", 8), "short");
        assert_eq!(fit("a/long/path", 8), ".../path");
    }

    #[test]
    fn numbers_carry_separators() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(12_345_678), "12,345,678");
    }

    #[test]
    fn a_long_sentence_is_broken_between_words() {
        let text = ["words"; 40].join(" ");
        let lines = wrap(&text, " ", "    ");
        assert!(lines.len() == 4 && lines.iter().all(|line| line.len() <= COLUMNS), "{lines:?}");
        let joined: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
        assert_eq!(joined.join(" "), text);
    }
}
