//! The witness's promises: each refusal by its number, and never two stories, whatever the disk does.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::merkle::tests::Leaves;
use crate::merkle::{consistency_proof, root_of};

const NOW: u64 = 1_790_000_000;

/// A memory in memory, which can fail before or after a note has landed.
#[derive(Clone, Default)]
struct TestMemory {
    notes: Arc<Mutex<HashMap<String, String>>>,
    failing: Arc<Mutex<Option<Landing>>>,
}

#[derive(Clone, Copy, Debug)]
enum Landing {
    Before,
    After,
}

impl Memory for TestMemory {
    fn recall(&mut self, origin: &str) -> Result<Option<String>, MemoryError> {
        Ok(self.notes.lock().unwrap().get(origin).cloned())
    }

    fn keep(&mut self, origin: &str, note: &str) -> Result<(), MemoryError> {
        let failing = *self.failing.lock().unwrap();
        if !matches!(failing, Some(Landing::Before)) {
            self.notes
                .lock()
                .unwrap()
                .insert(origin.to_owned(), note.to_owned());
        }
        match failing {
            None => Ok(()),
            Some(_) => Err(MemoryError::Io {
                path: self.path(origin),
                source: io::ErrorKind::StorageFull.into(),
            }),
        }
    }

    fn path(&self, origin: &str) -> PathBuf {
        origin.into()
    }
}

fn log_key() -> SigningKey {
    SigningKey::ed25519_from_seed(&[7; 32])
}

fn log(origin: &str) -> NoteVerifier {
    NoteVerifier::new(origin, &log_key().public()).unwrap()
}

fn witness_on(memory: &TestMemory) -> Witness {
    let key = SigningKey::ed25519_from_seed(&[9; 32]);
    let own = CosignatureVerifier::new("witness.example/w1", &key.public()).unwrap();
    Witness::with_memory(Box::new(memory.clone()), own, key, [log("acme/gw-1")]).unwrap()
}

/// One story that a log could tell: its entries.
struct Story(Leaves);

impl Story {
    fn new(word: &str, size: u64) -> Self {
        let leaf = |number: u64| crate::merkle::leaf_hash(format!("{word} {number}").as_bytes());
        Self(Leaves((0..size).map(leaf).collect()))
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        let origin = "acme/gw-1".parse().unwrap();
        Checkpoint::new(origin, size, root_of(&self.0.0[..usize::try_from(size).unwrap()]))
    }

    fn request(&self, old: u64, size: u64) -> AddCheckpoint {
        let proof = consistency_proof(&mut Leaves(self.0.0.clone()), old, size).unwrap();
        AddCheckpoint {
            old,
            proof,
            checkpoint: self.checkpoint(size).sign(&log_key()).unwrap(),
        }
    }
}

fn ask(witness: &mut Witness, request: &AddCheckpoint) -> Answer {
    witness.answer(request.to_string().as_bytes(), NOW)
}

fn is_cosigned(answer: &Answer, witness: &Witness, checkpoint: &Checkpoint) -> bool {
    let note = format!("{checkpoint}\n{}", answer.body);
    answer.status == 200
        && SignedNote::parse(note.as_bytes()).is_ok_and(|note| note.cosigned_at(witness.verifier()).is_ok())
}

#[test]
fn a_log_that_grows_is_cosigned_at_each_size() {
    let story = Story::new("a", 40);
    let mut witness = witness_on(&TestMemory::default());
    for (old, size) in [(0, 1), (1, 7), (7, 8), (8, 40), (40, 40)] {
        let answer = ask(&mut witness, &story.request(old, size));
        assert!(
            is_cosigned(&answer, &witness, &story.checkpoint(size)),
            "{answer:?}"
        );
    }
}

#[test]
fn each_refusal_has_the_number_of_the_specification() {
    let story = Story::new("a", 40);
    let memory = TestMemory::default();
    let mut witness = witness_on(&memory);
    assert_eq!(ask(&mut witness, &story.request(0, 10)).status, 200);
    let good = story.request(10, 20);

    let size = |answer: &Answer, size: &str| {
        assert_eq!((answer.status, answer.content_type), (409, "text/x.tlog.size"));
        assert_eq!(answer.body, size);
    };
    // The witness stands elsewhere.
    size(&ask(&mut witness, &story.request(0, 20)), "10\n");
    size(&ask(&mut witness, &story.request(5, 20)), "10\n");
    size(&ask(&mut witness, &story.request(12, 20)), "10\n");
    // A smaller tree is never cosigned again, with whatever proof.
    size(&ask(&mut witness, &story.request(5, 8)), "10\n");
    // Another tree of the same size.
    size(&ask(&mut witness, &Story::new("b", 10).request(10, 10)), "10\n");

    let status = |witness: &mut Witness, request: &AddCheckpoint| ask(witness, request).status;
    let mut backwards = good.clone();
    backwards.old = 21;
    assert_eq!(status(&mut witness, &backwards), 400);
    let mut unproven = good.clone();
    unproven.proof.pop();
    assert_eq!(status(&mut witness, &unproven), 422);
    unproven.proof.clear();
    assert_eq!(status(&mut witness, &unproven), 422);
    assert_eq!(status(&mut witness, &Story::new("b", 40).request(10, 20)), 422);

    let mut other_key = good.clone();
    let stranger = SigningKey::ed25519_from_seed(&[8; 32]);
    other_key.checkpoint = story.checkpoint(20).sign(&stranger).unwrap();
    assert_eq!(status(&mut witness, &other_key), 403);
    let mut edited = good.clone();
    edited.checkpoint = edited.checkpoint.replace("\n20\n", "\n21\n");
    assert_eq!(status(&mut witness, &edited), 403);
    let mut unknown = good.clone();
    unknown.checkpoint = unknown.checkpoint.replace("acme/gw-1", "acme/gw-2");
    assert_eq!(status(&mut witness, &unknown), 404);
    let mut extended = good.clone();
    extended.checkpoint = seal::note::sign(
        &format!("{}an extension\n", story.checkpoint(20)),
        "acme/gw-1",
        &log_key(),
    )
    .unwrap();
    assert_eq!(status(&mut witness, &extended), 400);
    assert_eq!(witness.answer(b"old 10\n", NOW).status, 400);
    assert_eq!(witness.answer(&[b'x'; 1 << 20], NOW).status, 413);

    // None of this moved it.
    assert_eq!(status(&mut witness, &good), 200);
}

#[test]
fn the_note_that_is_kept_carries_both_signatures_and_nothing_of_strangers() {
    let story = Story::new("a", 10);
    let memory = TestMemory::default();
    let mut witness = witness_on(&memory);
    let mut request = story.request(0, 10);
    request.checkpoint.push_str("— stranger AAAAAAAA\n");
    assert_eq!(ask(&mut witness, &request).status, 200);
    let kept = witness.kept("acme/gw-1").unwrap().unwrap();
    assert!(!kept.contains("stranger"), "{kept}");
    let kept = super::super::Cosigned::open(kept.as_bytes(), &log("acme/gw-1")).unwrap();
    assert_eq!(kept.checkpoint(), &story.checkpoint(10));
    assert_eq!(kept.cosigned_at(witness.verifier()), Ok(NOW));
}

#[test]
fn a_memory_that_fails_gets_no_signature_and_the_truth_is_what_landed() {
    for landing in [Landing::Before, Landing::After] {
        let (story, other) = (Story::new("a", 40), Story::new("b", 40));
        let memory = TestMemory::default();
        let mut witness = witness_on(&memory);
        assert_eq!(ask(&mut witness, &story.request(0, 10)).status, 200);
        *memory.failing.lock().unwrap() = Some(landing);
        let answer = ask(&mut witness, &story.request(10, 20));
        assert_eq!(answer.status, 500);
        assert!(!answer.body.contains('—') && !answer.body.contains("acme"));
        *memory.failing.lock().unwrap() = None;
        let known = match landing {
            Landing::Before => 10,
            Landing::After => 20,
        };
        assert_eq!(
            ask(&mut witness, &story.request(0, 30)).body,
            format!("{known}\n")
        );
        assert_eq!(ask(&mut witness, &other.request(known, 30)).status, 422);
        assert_eq!(ask(&mut witness, &story.request(known, 30)).status, 200);
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_make_a_later_tree_look_earlier() {
    let story = Story::new("a", 20);
    let mut witness = witness_on(&TestMemory::default());
    let at = |witness: &mut Witness, request: AddCheckpoint, now_s| {
        witness
            .add_checkpoint(request.to_string().as_bytes(), now_s)
            .unwrap()
    };
    at(&mut witness, story.request(0, 10), NOW);
    let line = at(&mut witness, story.request(10, 20), NOW - 3600);
    let note = format!("{}\n{line}", story.checkpoint(20));
    let note = SignedNote::parse(note.as_bytes()).unwrap();
    assert_eq!(note.cosigned_at(witness.verifier()), Ok(NOW));
}

#[test]
fn a_memory_that_somebody_else_wrote_is_refused_at_the_start() {
    let story = Story::new("a", 10);
    let memory = TestMemory::default();
    for foreign in [
        "hello".to_owned(),
        story.checkpoint(5).sign(&log_key()).unwrap(),
        {
            let text = story.checkpoint(5).to_string();
            let stranger = SigningKey::ed25519_from_seed(&[8; 32]);
            format!(
                "{text}\n{}",
                cosign(&text, "witness.example/w1", &stranger, 1).unwrap()
            )
        },
    ] {
        memory
            .notes
            .lock()
            .unwrap()
            .insert("acme/gw-1".to_owned(), foreign);
        let key = SigningKey::ed25519_from_seed(&[9; 32]);
        let own = CosignatureVerifier::new("witness.example/w1", &key.public()).unwrap();
        let opened = Witness::with_memory(Box::new(memory.clone()), own, key, [log("acme/gw-1")]);
        assert!(matches!(
            opened,
            Err(WitnessError::Memory(MemoryError::Foreign { .. }))
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two stories that part at some entry, submitted in any order with any proofs, a memory that
    /// fails now and then, restarts in between: what was cosigned is one story, ever longer.
    #[test]
    fn whatever_is_asked_only_one_growing_story_is_cosigned(
        parting in 0u64..20,
        asks in prop::collection::vec((any::<bool>(), 0u64..24, 0u64..24, 0u8..8), 1..60),
    ) {
        let first = Story::new("a", 24);
        let mut second = Story(Leaves(first.0.0.clone()));
        for number in parting..24 {
            second.0.0[usize::try_from(number).unwrap()] = crate::merkle::leaf_hash(&number.to_be_bytes());
        }
        let memory = TestMemory::default();
        let mut witness = witness_on(&memory);
        let mut cosigned: Vec<Checkpoint> = Vec::new();
        for (is_first, one, other, luck) in asks {
            let story = if is_first { &first } else { &second };
            *memory.failing.lock().unwrap() = match luck {
                0 => Some(Landing::Before),
                1 => Some(Landing::After),
                _ => None,
            };
            if luck == 2 {
                witness = witness_on(&memory);
            }
            let (old, size) = (one.min(other), one.max(other));
            let answer = ask(&mut witness, &story.request(old, size));
            if answer.status == 200 {
                prop_assert!(is_cosigned(&answer, &witness, &story.checkpoint(size)));
                cosigned.push(story.checkpoint(size));
            }
        }
        for pair in cosigned.windows(2) {
            prop_assert!(pair[0].size() <= pair[1].size());
        }
        if let Some(last) = cosigned.last() {
            let story = if first.checkpoint(last.size()) == *last { &first } else { &second };
            for checkpoint in &cosigned {
                prop_assert_eq!(checkpoint, &story.checkpoint(checkpoint.size()));
            }
        }
    }
}
