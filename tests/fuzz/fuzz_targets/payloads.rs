//! Any bytes as the payload of an offload request: read as far as its header vouches, and no further.
#![no_main]

#[path = "../../../teaming/tests/payloads/mod.rs"]
mod payloads;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| payloads::hold(bytes));
