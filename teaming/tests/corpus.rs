//! The corpus of the fuzz target `flows`, replayed.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod invariants;

use std::fs;
use std::path::Path;

#[test]
fn every_input_that_reached_something_new_holds_and_so_does_every_cut_of_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/flows");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus") {
        let window = fs::read(entry.expect("an entry").path()).expect("an input");
        invariants::hold_for_every_truncation(&window[..window.len().min(teaming::frame::WINDOW_MAX)]);
        count += 1;
    }
    assert!(count > 100, "{count} inputs");
}
