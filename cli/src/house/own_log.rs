//! Opening the gateway's own log for writing, after whatever ended its last writer.
//!
//! What a crash left in the journals is signed before anything else happens: a gateway that dies again and
//! again within its first moments would otherwise never sign what it has.

use base::escape_untrusted;
use evidence::{Event, EventKind, LogWriter};
use proxy::Gap;
use seal::key_file;
use seal::trust::Role;

use crate::clock;
use crate::config::Config;

/// The log's writer, and the gap that could not be written down yet.
///
/// # Errors
/// The key cannot be read, or the log cannot be opened: [`evidence::OpenError`] is among the causes.
pub fn open(config: &Config) -> anyhow::Result<(LogWriter, Option<Gap>)> {
    let origin = evidence::Origin::new(&config.file.site, &config.file.gateway.name)?;
    let key = key_file::read_private(&config.key_path(Role::Gateway))?;
    let (mut writer, recovery) = LogWriter::open(&config.log_dir(), &origin, key)?;
    if recovery.reintegrated == 0 && !recovery.may_lack_events() {
        return Ok((writer, None));
    }
    tracing::warn!(
        reintegrated = recovery.reintegrated,
        torn_bytes = recovery.torn_bytes,
        lost = recovery.lost,
        "the evidence log was not closed in good order and was taken up again"
    );
    // Opening it has cut what was torn, so nobody else will say so.
    let gap = Gap::found_by(&recovery).filter(|gap| {
        let mut event = Event::new(EventKind::Gap, clock::now(), origin.gateway());
        event.cause = Some(escape_untrusted(gap.cause.as_bytes(), 1024));
        event.count = gap.count;
        writer.append(&mut [event]).is_err()
    });
    if let Err(error) = writer.checkpoint() {
        // The recorder tries again, and does with connections meanwhile what on_failure says.
        tracing::error!(
            error = control::error_line(&error),
            "what was taken up could not be signed yet"
        );
    }
    Ok((writer, gap))
}

#[cfg(test)]
mod tests {
    use evidence::{VerifyOptions, verify_log};
    use seal::SigningKey;
    use seal::note::NoteVerifier;

    use super::*;

    #[test]
    fn what_a_crash_left_is_signed_before_anything_else_happens() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"
site = "acme"
[gateway]
name = "gw-1"
listen = ["127.0.0.1:3128"]
admin = "127.0.0.1:9128"
[control]
listen = "127.0.0.1:8128"
"#;
        let path = folder.path().join("bailiwick.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::read(&path).unwrap();
        let key = SigningKey::ed25519_from_seed(&[7; 32]);
        std::fs::create_dir_all(config.keys_dir()).unwrap();
        key_file::write_private(&config.key_path(Role::Gateway), &key).unwrap();
        let origin = evidence::Origin::new("acme", "gw-1").unwrap();
        let verifier = NoteVerifier::new("acme/gw-1", &key.public()).unwrap();
        // It dies before it signs, three times over.
        for round in 1..4 {
            let (mut writer, gap) = open(&config).unwrap();
            assert_eq!(gap, None);
            assert_eq!(writer.last_checkpoint().size(), round - 1);
            let mut events = [Event::new(EventKind::Start, clock::now(), origin.gateway())];
            writer.append(&mut events).unwrap();
        }
        drop(open(&config).unwrap());
        let found = verify_log(
            &config.log_dir(),
            &verifier,
            &VerifyOptions::default(),
            &mut |_| {},
        )
        .unwrap();
        assert_eq!((found.size(), found.unsigned), (3, 0));
    }
}
