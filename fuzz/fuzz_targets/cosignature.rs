//! What witnesses answer: signature lines, keys, and the numbers in conflicts.

#![no_main]

use evidence::witness::{Cosigned, Heard, Submission};
use libfuzzer_sys::fuzz_target;
use seal::cosignature::CosignatureVerifier;
use seal::note::{NoteVerifier, sign};

const TEXT: &str = "acme/gw-1\n5\nqaQSJN/jhU6phWn3JecteXsVmggXP0v/xsG5UYmsKJQ=\n";

fuzz_target!(|data: &[u8]| {
    let key = bailiwick_fuzz::key();
    let log = NoteVerifier::new("acme/gw-1", &key.public()).expect("a good name");
    let witness = CosignatureVerifier::new("w.example", &key.public()).expect("a good name");
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(found) = CosignatureVerifier::from_vkey(text)
    {
        assert_eq!(found.to_vkey(), text);
    }
    let signed = sign(TEXT, "acme/gw-1", &key).expect("a checkpoint");
    let mut cosigned = Cosigned::open(signed.as_bytes(), &log).expect("our own");
    for status in [200, 409] {
        let mut submission = Submission::new(&cosigned, &witness, 2);
        if let Ok(Heard::Cosigned { line, time_s }) = submission.handle_answer(status, data) {
            assert_eq!(cosigned.adopt(&line, &witness), Ok(time_s));
            assert_eq!(cosigned.cosigned_at(&witness), Ok(time_s));
            let again = Cosigned::open(cosigned.to_string().as_bytes(), &log).expect("our own");
            assert_eq!(again, cosigned);
        }
    }
    let _ = Cosigned::open(data, &log);
});
