//! A stream of bytes, whole and in pieces: the same packets, the same refusal. Input: peer, seed of the cuts, stream.

#![no_main]

#[allow(dead_code)]
#[path = "../../crates/wire/tests/wire/checks.rs"]
mod checks;
#[allow(dead_code)]
#[path = "../../crates/wire/tests/wire/peers.rs"]
mod peers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::cuts_change_nothing(input));
