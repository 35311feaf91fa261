//! Decode, encode, decode again: the same packet, of the announced length. Input: peer, stream.

#![no_main]

#[allow(dead_code)]
#[path = "../../crates/wire/tests/wire/checks.rs"]
mod checks;
#[allow(dead_code)]
#[path = "../../crates/wire/tests/wire/peers.rs"]
mod peers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::decoded_packets_survive_encoding(input));
