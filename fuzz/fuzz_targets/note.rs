//! Signed notes and verifier keys.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seal::note::{NoteVerifier, SignedNote};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(verifier) = NoteVerifier::from_vkey(text)
    {
        assert_eq!(verifier.to_vkey(), text);
    }
    if let Ok(note) = SignedNote::parse(data) {
        let verifier = NoteVerifier::new("acme/gw-1", &bailiwick_fuzz::key().public()).expect("a good name");
        let _ = note.verify(&verifier);
        let _ = note.signers().count();
    }
});
