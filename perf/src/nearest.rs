//! Suggestions for an unknown name.

/// The three names of `known` that are nearest to `written`, best first.
pub fn of(written: &str, known: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut all: Vec<(usize, &str)> = known.map(|name| (distance(written, name), name)).collect();
    all.sort_by_key(|(far, _)| *far);
    all.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Edit distance: letters to insert, delete or replace.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (number, letter) in from.chars().enumerate() {
        let mut corner = number;
        let mut left = number + 1;
        for (above, other) in row.iter_mut().skip(1).zip(&to) {
            let replaced = corner + usize::from(letter != *other);
            corner = *above;
            left = replaced.min(corner + 1).min(left + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = number + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_counts_letters() {
        for (from, to, far) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "adc", 1),
            ("DATA-7", "DATA-07", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!([distance(from, to), distance(to, from)], [far; 2], "{from} {to}");
        }
    }

    #[test]
    fn the_nearest_come_first() {
        let known = ["DATA-01", "SAVE-02", "DATA-07", "failover"];
        assert_eq!(of("DATA-7", known.into_iter())[0], "DATA-07");
        assert_eq!(of("failovr", known.into_iter())[0], "failover");
    }
}
