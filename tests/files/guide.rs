//! The operator's guide says what the product says elsewhere.

use super::tidy::{root, text};

/// The rows of a document's table that begin as this one does.
fn table(document: &str, first: &str) -> Vec<String> {
    let rows = document.lines().skip_while(|line| *line != first).take_while(|line| line.starts_with('|'));
    rows.map(str::to_owned).collect()
}

#[test]
fn the_guide_explains_every_reason_of_a_drop_as_the_readme_does() {
    let [readme, guide] = ["README.md", "inf/GUIDE.md"].map(|file| text(&root().join(file)));
    let heading = "| the switch says | why, and what to do |";
    let rows = table(&guide, heading);
    assert_eq!(rows, table(&readme, heading));
    assert_eq!(rows.len(), teaming::forward::drop_reason::DROP_REASONS.len() + 2);
}

#[test]
fn the_guide_names_events_by_their_ids_and_files_that_are_in_the_package() {
    let guide = text(&root().join("inf/GUIDE.md"));
    let events = text(&root().join("inf/EVENTS.md"));
    let mut named = 0;
    for kind in teaming::event::catalog::KINDS {
        for (at, _) in guide.match_indices(&format!(" ({})", kind.name)) {
            let id = guide[..at].split_whitespace().next_back().unwrap_or_default();
            assert!(events.contains(&format!("\n{id} {} (", kind.name)), "event {id} is not {}", kind.name);
            named += 1;
        }
    }
    assert!(named >= 4, "only {named} events are named");
    for file in
        guide.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".md") || word.ends_with(".ps1"))
    {
        let file = file.trim_start_matches(".\\");
        assert!(
            !file.contains(' ') && root().join("inf").join(file).exists(),
            "{file} is not in the package"
        );
    }
}
