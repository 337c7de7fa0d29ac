//! Checkpoints, signed and bare.

#![no_main]

use evidence::Checkpoint;
use libfuzzer_sys::fuzz_target;
use seal::note::{NoteVerifier, sign};

fuzz_target!(|text: &str| {
    let key = bailiwick_fuzz::key();
    let verifier = NoteVerifier::new("acme/gw-1", &key.public()).expect("a good name");
    let _ = Checkpoint::open(text.as_bytes(), &verifier);
    // Signed by ourselves, so that the text behind the signature is read.
    if let Ok(signed) = sign(text, "acme/gw-1", &key)
        && let Ok(checkpoint) = Checkpoint::open(signed.as_bytes(), &verifier)
    {
        assert_eq!(checkpoint.to_string(), text);
    }
});
