//! Any bytes as saved run-time state: accepted whole or rejected. A fuzzer rarely finds a valid checksum, so the same
//! bytes are also tried with a valid one, as a record and as a part of one.
#![no_main]

#[path = "../../../teaming/tests/saved/mod.rs"]
#[allow(dead_code, reason = "tests use the rest of it")]
mod saved;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    saved::hold(data);
    if let Some(at) = data.len().checked_sub(4) {
        let sealed = [&data[..at], &crc32fast::hash(&data[..at]).to_le_bytes()].concat();
        saved::hold(&sealed);
        saved::hold(&saved::part(&sealed));
    }
});
