//! Replays the corpus of the fuzz target `flows`, and checks the file format of all corpora.

#[path = "../../tests/fuzz/corpus/mod.rs"]
#[allow(dead_code, reason = "the command that packs uses the rest of it")]
mod corpus;
#[allow(dead_code, reason = "other tests use the rest of it")]
mod invariants;

#[test]
fn every_input_that_reached_something_new_holds_and_so_does_every_cut_of_it() {
    let inputs = corpus::inputs("flows");
    assert!(inputs.len() > 100, "{} inputs", inputs.len());
    for window in inputs {
        invariants::hold_for_every_truncation(&window[..window.len().min(teaming::frame::WINDOW_MAX)]);
    }
}

#[test]
fn every_corpus_is_as_packing_it_would_write_it() {
    for target in corpus::TARGETS {
        let file = std::fs::read_to_string(corpus::folder().join(target).with_extension("hex"));
        let packed = corpus::encode(corpus::inputs(target));
        assert!(file.expect("a corpus") == packed, "{target}: sort its lines, or unpack and pack it");
    }
}

#[test]
fn packing_sorts_and_keeps_every_byte() {
    let text = corpus::encode([vec![0xff, 0], vec![], vec![0x0a], vec![0xff, 0]]);
    assert_eq!(text, "\n0a\nff00\n");
    let inputs: Option<Vec<_>> = text.lines().map(corpus::decode).collect();
    assert_eq!(inputs, Some(vec![vec![], vec![0x0a], vec![0xff, 0]]));
    for damaged in ["0", "0g", "+1", "0\u{e9}"] {
        assert_eq!(corpus::decode(damaged), None, "{damaged}");
    }
}
