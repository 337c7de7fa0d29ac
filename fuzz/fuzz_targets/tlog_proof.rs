//! Proofs of single events.

#![no_main]

use evidence::{Proof, verify_proof};
use libfuzzer_sys::fuzz_target;
use seal::note::NoteVerifier;

fuzz_target!(|text: &str| {
    if let Ok(proof) = text.parse::<Proof>() {
        assert_eq!(proof.to_string(), text);
    }
    let verifier = NoteVerifier::new("acme/gw-1", &bailiwick_fuzz::key().public()).expect("a good name");
    assert!(verify_proof(text, b"{}", &verifier).is_err());
});
