//! Requests to a witness: their form, and what the witness answers to whatever comes.

#![no_main]

use std::cell::RefCell;

use evidence::witness::{AddCheckpoint, Witness};
use libfuzzer_sys::fuzz_target;
use seal::note::{NoteVerifier, SignedNote, sign};

thread_local! {
    static WITNESS: RefCell<Witness> = RefCell::new(witness());
}

/// A witness that knows one log, signed by the key that signs everything here.
fn witness() -> Witness {
    let key = bailiwick_fuzz::key();
    let log = NoteVerifier::new("acme/gw-1", &key.public()).expect("a good name");
    let folder = std::env::temp_dir().join(format!("bailiwick-fuzz-witness-{}", std::process::id()));
    Witness::open(&folder, "w.example", key, [log]).expect("a folder of our own")
}

fuzz_target!(|data: &[u8]| {
    let Ok(request) = AddCheckpoint::parse(data) else {
        return;
    };
    assert_eq!(request.to_string().as_bytes(), data);
    // Signed by ourselves, so that what is behind the signature is reached.
    let text = SignedNote::parse(request.checkpoint.as_bytes())
        .map_or(request.checkpoint.clone(), |note| note.unverified_text().to_owned());
    let signed = AddCheckpoint {
        checkpoint: sign(&text, "acme/gw-1", &bailiwick_fuzz::key()).unwrap_or_default(),
        ..request
    };
    WITNESS.with_borrow_mut(|witness| {
        witness.answer(data, 1_790_000_000);
        let answer = witness.answer(signed.to_string().as_bytes(), 1_790_000_000);
        if answer.status == 200 {
            let note = format!("{text}\n{}", answer.body);
            let note = SignedNote::parse(note.as_bytes()).expect("a cosigned note");
            note.cosigned_at(witness.verifier()).expect("its own cosignature");
        }
    });
});
