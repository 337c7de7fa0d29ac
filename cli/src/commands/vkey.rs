//! Keys of logs and witnesses as they are named on a command line: the key itself, or a file.

use std::path::Path;

use anyhow::Context as _;
use seal::PublicKey;
use seal::cosignature::CosignatureVerifier;
use seal::note::NoteVerifier;

use crate::files;

/// Larger files hold no keys.
const MAX_KEY_FILE_BYTES: usize = 1 << 20;

/// The keys of logs that `text` names: a `name+hash+key`, or a file with such lines.
///
/// # Errors
/// The file cannot be read, or something in it is no log's key.
pub fn logs(text: &str) -> anyhow::Result<Vec<NoteVerifier>> {
    lines(text)?
        .iter()
        .map(|line| NoteVerifier::from_vkey(line).with_context(|| format!("{line:?} is no log's key")))
        .collect()
}

/// The keys of witnesses that `text` names: a `name+hash+key`, or a file with such lines.
///
/// # Errors
/// The file cannot be read, or something in it is no witness's key.
pub fn witnesses(text: &str) -> anyhow::Result<Vec<CosignatureVerifier>> {
    lines(text)?
        .iter()
        .map(|line| {
            CosignatureVerifier::from_vkey(line).with_context(|| format!("{line:?} is no witness's key"))
        })
        .collect()
}

/// The key of one log: a `name+hash+key`, a file with one, or a public key in PEM, in which case the
/// log's name is `origin`.
///
/// # Errors
/// The file cannot be read or holds no key, or a PEM key comes without a name.
pub fn log(text: &str, origin: impl FnOnce() -> Option<String>) -> anyhow::Result<NoteVerifier> {
    if !is_file(text) {
        return NoteVerifier::from_vkey(text)
            .with_context(|| format!("{text:?} is neither a file nor a verifier key (name+hash+key)"));
    }
    let content = read(text)?;
    if content.contains("PUBLIC KEY") {
        let key = PublicKey::from_pem(&content).with_context(|| text.to_owned())?;
        let origin = origin().with_context(|| {
            format!("{text} says which key and not which log; name the log with --origin <site>/<gateway>")
        })?;
        return Ok(NoteVerifier::new(&origin, &key)?);
    }
    match logs(text)?.as_slice() {
        [only] => Ok(only.clone()),
        found => anyhow::bail!("{text} holds {} keys where one is needed", found.len()),
    }
}

/// The lines of a file, or the text itself where it is a key.
fn lines(text: &str) -> anyhow::Result<Vec<String>> {
    if !is_file(text) && text.contains('+') {
        return Ok(vec![text.to_owned()]);
    }
    let content = read(text)?;
    let lines = content.lines().map(str::trim);
    let keys: Vec<_> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    anyhow::ensure!(!keys.is_empty(), "{text} holds no key");
    Ok(keys)
}

fn is_file(text: &str) -> bool {
    Path::new(text).is_file()
}

fn read(path: &str) -> anyhow::Result<String> {
    let bytes = files::read_limited(Path::new(path), MAX_KEY_FILE_BYTES)
        .with_context(|| format!("cannot read {path}"))?;
    String::from_utf8(bytes).with_context(|| format!("{path} is no text"))
}
