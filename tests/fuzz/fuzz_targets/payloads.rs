//! Any bytes as the payload of an offload request: no bytes beyond the size in its header are read.
#![no_main]

#[path = "../../../teaming/tests/payloads/mod.rs"]
mod payloads;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| payloads::hold(bytes));
