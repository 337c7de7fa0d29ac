use std::collections::BTreeMap;
use std::sync::OnceLock;

use evidence::{Event, EventKind};
use proptest::prelude::*;
use seal::SigningKey;

use super::write::{compress, tar_of};
use super::*;
use crate::testing::{auditor_key, breach, golden, time};

const PROVEN: u64 = 2;

fn gateway_key() -> SigningKey {
    SigningKey::ed25519_from_seed(&[4; 32])
}

/// A night whose log really exists: [`breach`], with the entry cited that shows it.
fn night() -> (ConformanceReport, CitedEvent, String) {
    static NIGHT: OnceLock<(ConformanceReport, CitedEvent, String)> = OnceLock::new();
    NIGHT.get_or_init(one_night).clone()
}

fn one_night() -> (ConformanceReport, CitedEvent, String) {
    let mut report = breach();
    let mut open = Event::new(EventKind::Open, time("2026-11-21T09:14:07.512Z"), "gw-1");
    open.plugin_id = Some(report.plugin_id.clone());
    open.artifact_digest = Some(report.artifact_digest);
    open.destination_host = Some("api.randomsite.com".parse().unwrap());
    open.port = Some(base::Port::HTTPS);
    let mut other = open.clone();
    other.plugin_id = Some("azure_openai_embeddings".parse().unwrap());
    let start = Event::new(EventKind::Start, time("2026-11-21T00:00:00Z"), "gw-1");
    let folder = tempfile::tempdir().unwrap();
    let origin = "acme/gw-1".parse().unwrap();
    let (mut writer, _) = evidence::LogWriter::open(folder.path(), &origin, gateway_key()).unwrap();
    writer.append(&mut [start, other, open.clone(), open]).unwrap();
    writer.checkpoint().unwrap();
    let verifier = NoteVerifier::new("acme/gw-1", &gateway_key().public()).unwrap();
    let log = evidence::VerifiedLog::open(folder.path(), &verifier).unwrap();
    let proven = log.prove(PROVEN).unwrap();
    let checkpoint = log.signed_checkpoint().to_owned();
    report.logs[0].to = log.checkpoint().size();
    report.logs[0].checkpoint.clone_from(&checkpoint);
    report.findings[0].events[0].index = PROVEN;
    report.check().unwrap();
    let cited = CitedEvent {
        reference: report.findings[0].events[0].clone(),
        entry: proven.entry,
        proof: Some(proven.proof),
    };
    (report, cited, checkpoint)
}

fn report() -> ConformanceReport {
    night().0
}

fn contents() -> Contents {
    let (_, cited, checkpoint) = night();
    let key = |seed| SigningKey::ed25519_from_seed(&[seed; 32]).public();
    let named = |role, name: &str, key| NamedKey {
        role,
        name: name.into(),
        key,
    };
    Contents {
        builds: vec![Build {
            artifact_digest: report().artifact_digest,
            artifact_name: "invoice_ocr-1.4.2-py3-none-any.whl".into(),
            manifest: b"{\"manifest\":1}".to_vec(),
            earlier: Vec::new(),
            approvals: vec![b"{\"approval\":1}".to_vec()],
        }],
        events: vec![cited],
        checkpoints: vec![("acme/gw-1".into(), checkpoint)],
        cosigned: Vec::new(),
        witnesses: Vec::new(),
        reports: Vec::new(),
        crl_head: b"{\"crl\":42}".to_vec(),
        crl_body: vec![7; 80],
        trust_root: b"{\"root\":1}\n".to_vec(),
        keys: vec![
            named(Role::Auditor, "auditor", auditor_key().public()),
            named(Role::Owner, "owner", key(1)),
            named(Role::Certifier, "certifier", key(2)),
            named(Role::Crl, "crl", key(3)),
        ],
        log_keys: vec![NoteVerifier::new("acme/gw-1", &gateway_key().public()).unwrap()],
        policy: b"{\"version\":7}".to_vec(),
        policy_signature: Vec::new(),
        exceptions: Vec::new(),
        report_inputs: b"{\"runs\":118}".to_vec(),
        notifications: b"{\"to\":\"owner\"}\n".to_vec(),
    }
}

fn written() -> Vec<u8> {
    write_bundle(&report(), &contents()).unwrap()
}

/// A bundle around an archive that a test bent.
fn bent(
    change: impl FnOnce(&mut tar::Builder<Vec<u8>>),
) -> Result<BTreeMap<String, Vec<u8>>, ReadBundleError> {
    let mut archive = tar::Builder::new(Vec::new());
    change(&mut archive);
    read_bundle(&compress(&archive.into_inner().unwrap()).unwrap())
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(kind);
    header
}

/// Writes the name past the library's own checks, as an attacker would.
fn named(mut header: tar::Header, name: &[u8]) -> tar::Header {
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_cksum();
    header
}

#[test]
fn what_went_in_comes_out_and_nothing_else() {
    let files = read_bundle(&written()).unwrap();
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "PLUGIN_MANIFEST.sigstore.json",
            "VERIFY.md",
            "approvals/01.sigstore.json",
            "checkpoints/acme~gw-1.checkpoint",
            "crl/crl.bin",
            "crl/crl.sigstore.json",
            "events/acme~gw-1/2.json",
            "events/acme~gw-1/2.json.tlog-proof",
            "keys/acme~gw-1.vkey",
            "keys/auditor.pub",
            "keys/certifier.pub",
            "keys/crl.pub",
            "keys/owner.pub",
            "notifications.jsonl",
            "policy.json",
            "report-inputs.json",
            "root.json",
        ]
    );
    assert_eq!(files["events/acme~gw-1/2.json"], contents().events[0].entry);
    assert_eq!(files["crl/crl.bin"], vec![7; 80]);
}

#[test]
fn the_same_contents_are_the_same_bytes_in_any_order() {
    let report = report();
    let mut shuffled = contents();
    shuffled.keys.rotate_left(2);
    let mut twice = contents();
    twice.events.extend(contents().events);
    // VERIFY.md names the first key of a role, so the order of roles does not matter either.
    assert_eq!(write_bundle(&report, &shuffled).unwrap(), written());
    assert_eq!(write_bundle(&report, &twice).unwrap(), written());
}

#[test]
fn the_archive_and_its_guide_are_as_they_were() {
    let files = read_bundle(&written()).unwrap();
    golden("VERIFY.md", &files["VERIFY.md"]);
    golden("evidence.tar", &tar_of(&files).unwrap());
}

#[test]
fn the_guide_names_only_what_is_there() {
    let report = report();
    let mut little = contents();
    little.builds[0].manifest.clear();
    little.builds[0].approvals.clear();
    little.crl_body.clear();
    little.log_keys.clear();
    let files = read_bundle(&write_bundle(&report, &little).unwrap()).unwrap();
    let guide = String::from_utf8(files["VERIFY.md"].clone()).unwrap();
    assert!(guide.contains("conformance-report/v1"));
    assert!(!guide.contains("plugin-manifest/v1") && !guide.contains("-verify \"$(cat"));
    assert!(guide.contains("without proof"));
    assert!(!files.contains_key("PLUGIN_MANIFEST.sigstore.json"));
}

#[test]
fn another_plugins_event_never_goes_in() {
    let report = report();
    let refused = |change: &dyn Fn(&mut Event)| {
        let mut contents = contents();
        let mut event = Event::from_entry(&contents.events[0].entry).unwrap();
        change(&mut event);
        contents.events[0].entry = event.to_entry().unwrap();
        contents.events[0].proof = None;
        match write_bundle(&report, &contents) {
            Err(WriteBundleError::Event { source, .. }) => Some(source),
            _ => None,
        }
    };
    assert_eq!(refused(&|_| {}), None);
    assert_eq!(
        refused(&|e| e.plugin_id = Some("other".parse().unwrap())),
        Some(Misplaced::Foreign)
    );
    let other = base::ArtifactDigest::new(base::Sha256Digest::of(b"other"));
    assert_eq!(
        refused(&|e| e.artifact_digest = Some(other)),
        Some(Misplaced::Foreign)
    );
    assert_eq!(refused(&|e| e.seq = 3), Some(Misplaced::Index { seq: 3 }));
    // A gap is nobody's.
    assert_eq!(
        refused(&|e| (e.plugin_id, e.artifact_digest) = (None, None)),
        None
    );
}

#[test]
fn a_proof_that_does_not_hold_never_goes_in() {
    let refused = |change: fn(&mut Contents)| {
        let mut contents = contents();
        change(&mut contents);
        matches!(
            write_bundle(&report(), &contents),
            Err(WriteBundleError::Event {
                source: Misplaced::Proof(_),
                ..
            })
        )
    };
    assert!(!refused(|_| {}));
    assert!(refused(|c| {
        let mut event = Event::from_entry(&c.events[0].entry).unwrap();
        event.bytes_out = Some(1);
        c.events[0].entry = event.to_entry().unwrap();
    }));
    assert!(refused(
        |c| c.events[0].proof = Some("c2sp.org/tlog-proof@v1\n".into())
    ));
    assert!(refused(|c| {
        let other = SigningKey::ed25519_from_seed(&[5; 32]).public();
        c.log_keys = vec![NoteVerifier::new("acme/gw-1", &other).unwrap()];
    }));
}

#[test]
fn a_cited_event_must_be_there_and_be_an_event() {
    let report = report();
    let mut missing = contents();
    missing.events.clear();
    assert!(matches!(
        write_bundle(&report, &missing),
        Err(WriteBundleError::Missing { index: PROVEN, .. })
    ));
    let mut broken = contents();
    broken.events[0].entry.push(b' ');
    assert!(matches!(
        write_bundle(&report, &broken),
        Err(WriteBundleError::Event {
            source: Misplaced::Event(_),
            ..
        })
    ));
    let mut clash = contents();
    clash.keys[1].name = "auditor".into();
    assert!(matches!(
        write_bundle(&report, &clash),
        Err(WriteBundleError::Twice { .. })
    ));
}

#[test]
fn an_archive_that_leads_out_of_its_folder_is_refused() {
    for name in [
        &b"../evil"[..],
        b"/etc/passwd",
        b"a/../../b",
        b".hidden",
        b"a\nb",
        b"\xff",
    ] {
        let read = bent(|archive| {
            let header = named(header(tar::EntryType::Regular, 1), name);
            archive.append(&header, &b"x"[..]).unwrap();
        });
        assert!(matches!(read, Err(ReadBundleError::Name { .. })), "{name:?}");
    }
}

#[test]
fn an_archive_with_anything_but_plain_files_is_refused() {
    use tar::EntryType as Kind;
    for kind in [
        Kind::Symlink,
        Kind::Link,
        Kind::Directory,
        Kind::Fifo,
        Kind::Char,
        Kind::GNULongName,
        Kind::XHeader,
        Kind::GNUSparse,
    ] {
        let read = bent(|archive| {
            let mut header = header(kind, 0);
            header.set_link_name_literal("/etc/passwd").unwrap();
            archive.append(&named(header, b"link"), &b""[..]).unwrap();
        });
        assert!(read.is_err(), "{kind:?}");
    }
}

#[test]
fn an_archive_written_otherwise_is_refused() {
    let with = |change: fn(&mut tar::Header)| {
        bent(|archive| {
            let mut header = header(tar::EntryType::Regular, 1);
            change(&mut header);
            archive.append(&named(header, b"a"), &b"x"[..]).unwrap();
        })
    };
    assert!(with(|_| {}).is_ok());
    assert!(matches!(with(|h| h.set_mtime(1)), Err(ReadBundleError::NotOurs)));
    assert!(matches!(with(|h| h.set_uid(1000)), Err(ReadBundleError::NotOurs)));
    assert!(matches!(
        with(|h| h.set_mode(0o4755)),
        Err(ReadBundleError::NotOurs)
    ));
    let two = |first: &'static [u8], second: &'static [u8]| {
        bent(|archive| {
            for name in [first, second] {
                let header = named(header(tar::EntryType::Regular, 1), name);
                archive.append(&header, &b"x"[..]).unwrap();
            }
        })
    };
    assert!(two(b"a", b"b").is_ok());
    assert!(matches!(two(b"b", b"a"), Err(ReadBundleError::NotOurs)));
    assert!(matches!(two(b"a", b"a"), Err(ReadBundleError::NotOurs)));
}

#[test]
fn nothing_may_follow_the_end() {
    let mut trailing = written();
    trailing.extend_from_slice(b"hidden");
    assert!(matches!(
        read_bundle(&trailing),
        Err(ReadBundleError::Trailer { bytes: 6 })
    ));
    let mut twice = written();
    twice.extend_from_slice(&written());
    assert!(matches!(
        read_bundle(&twice),
        Err(ReadBundleError::Trailer { .. })
    ));
    let files = read_bundle(&written()).unwrap();
    let mut padded = tar_of(&files).unwrap();
    padded.extend_from_slice(&[0; 512]);
    assert!(matches!(
        read_bundle(&compress(&padded).unwrap()),
        Err(ReadBundleError::NotOurs)
    ));
}

#[test]
fn a_bomb_is_refused_before_it_goes_off() {
    let bomb = compress(&vec![0; MAX_CONTENT_BYTES + 512]).unwrap();
    assert!(bomb.len() < 100_000);
    assert!(matches!(
        read_bundle(&bomb),
        Err(ReadBundleError::TooLarge { what: "bytes", .. })
    ));
}

#[test]
fn a_truncated_bundle_is_never_read() {
    let whole = written();
    for end in (0..whole.len()).step_by(13) {
        assert!(read_bundle(&whole[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn a_bundle_is_called_after_day_plugin_build_and_run() {
    let mut report = breach();
    assert_eq!(
        bundle_name(&report),
        "evidence-2026-11-21-invoice_ocr-c7c5c1d70c5d.tar.zst"
    );
    report.run_id = Some(report.findings[0].runs[0]);
    assert!(bundle_name(&report).ends_with("-019aa3f0-1c00-7000-8000-000000000001.tar.zst"));
}

proptest! {
    #[test]
    fn any_files_round_trip(files in prop::collection::btree_map("[a-z]{1,8}(/[a-z]{1,8})?", prop::collection::vec(any::<u8>(), 0..700), 0..6)) {
        let bytes = compress(&tar_of(&files).unwrap()).unwrap();
        prop_assert_eq!(read_bundle(&bytes).unwrap(), files);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_bundle(&bytes);
        let _ = read_bundle(&compress(&bytes).unwrap());
    }

    #[test]
    fn one_changed_byte_is_never_read_as_something_else(at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let whole = written();
        let mut changed = whole.clone();
        let index = at.index(changed.len());
        changed[index] ^= flip;
        if let Ok(files) = read_bundle(&changed) {
            prop_assert_eq!(files, read_bundle(&whole).unwrap());
        }
    }

    #[test]
    fn no_files_make_the_inspector_panic_and_none_is_passed_over(
        files in prop::collection::btree_map(
            "(events/|keys/|checkpoints/|reports/|crl/)?[a-z~]{1,6}(/[0-9]{1,2}[.]json)?([.]tlog-proof|[.]vkey|[.]pub|[.]cosigned)?",
            prop::collection::vec(any::<u8>(), 0..60),
            0..8,
        )
    ) {
        let root = seal::trust::TrustRoot::first(vec![auditor_key().public()], 1, time("2030-01-01T00:00:00Z"));
        let inspection = inspect(&files, &root);
        prop_assert!(inspection.items.len() >= files.len());
        prop_assert_eq!(inspection.proven, 0);
        let verified = |item: &Item| matches!(item.finding, super::Finding::Verified(_));
        // A proof is worth what the entry beside it is worth.
        prop_assert!(inspection.items.iter().filter(|item| verified(item)).all(|item| item.name.ends_with(".tlog-proof")));
    }
}

#[test]
fn a_bundle_is_worth_what_the_trust_root_says_of_its_keys() {
    use seal::trust::{Signer, TrustRoot};
    let signer = |name: &str, role, key: SigningKey| Signer {
        name: name.into(),
        key: key.public(),
        role,
        scopes: vec!["*".parse().unwrap()],
        valid_from: time("2026-01-01T00:00:00Z"),
        valid_until: None,
    };
    let root_key = SigningKey::ed25519_from_seed(&[90; 32]).public();
    let root = TrustRoot::first(vec![root_key], 1, time("2030-01-01T00:00:00Z")).with_signer(signer(
        "gateway",
        Role::Gateway,
        gateway_key(),
    ));
    let files = read_bundle(&written()).unwrap();
    let inspection = inspect(&files, &root);
    assert_eq!((inspection.events, inspection.proven), (1, 1));
    // The documents in this bundle are none, and the root names no other key.
    let worth = |name: &str| {
        inspection
            .items
            .iter()
            .find(|item| item.name == name)
            .unwrap()
            .finding
            .clone()
    };
    assert!(matches!(
        worth("events/acme~gw-1/2.json"),
        super::Finding::Verified(_)
    ));
    assert!(matches!(
        worth("checkpoints/acme~gw-1.checkpoint"),
        super::Finding::Verified(_)
    ));
    assert!(matches!(worth("keys/auditor.pub"), super::Finding::Refused(_)));
    assert!(matches!(worth("VERIFY.md"), super::Finding::Unsigned(_)));
    assert!(!inspection.is_clean());
    let nobody = TrustRoot::first(vec![auditor_key().public()], 1, time("2030-01-01T00:00:00Z"));
    assert_eq!(inspect(&files, &nobody).proven, 0);
}
