//! Any bytes as a header window: headers and keys stay consistent, and each key has the fields that its basis states.
#![no_main]

#[path = "../../../teaming/tests/invariants/mod.rs"]
#[allow(dead_code, reason = "tests use the rest of it")]
mod invariants;

libfuzzer_sys::fuzz_target!(|window: &[u8]| {
    let window = &window[..window.len().min(teaming::frame::WINDOW_MAX)];
    invariants::hold(window);
    if let Some((_, cut)) = window.split_last() {
        invariants::hold(cut);
    }
});
