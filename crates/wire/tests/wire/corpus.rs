//! Inputs worth keeping, run as a test: those of `wire_stream` and `wire_roundtrip` that once reached something new, and
//! one for each rule. The name of a file says what it is about; its bytes are peer, seed, stream (see `checks`).

use std::fs;
use std::path::Path;

use crate::checks::{cuts_change_nothing, decoded_packets_survive_encoding};

#[test]
fn the_corpus_passes_every_check() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut inputs = 0;
    for entry in fs::read_dir(&directory).expect("the corpus is part of the crate") {
        let path = entry.expect("readable").path();
        let input = fs::read(&path).expect("readable");
        let outcome = std::panic::catch_unwind(|| {
            cuts_change_nothing(&input);
            // The same input without the seed of the cuts.
            let roundtrip: Vec<u8> = input.iter().take(1).chain(input.iter().skip(2)).copied().collect();
            decoded_packets_survive_encoding(&roundtrip);
        });
        assert!(outcome.is_ok(), "{}", path.display());
        inputs += 1;
    }
    assert!(inputs >= INPUTS_MIN, "{inputs} inputs in {}", directory.display());
}

/// A guard against a corpus that was lost.
const INPUTS_MIN: usize = 100;
