//! Run tokens: the credentials that tie a connection to a run.
//!
//! A client presents the run id as user name and the token as password. The token says which plugin
//! and which artifact are running until when, signed by the control plane's run key, so a gateway
//! verifies it without asking anybody. SOCKS5 allows 255 bytes for a password (RFC 1929), and some
//! clients do not decode percent-escapes, hence a compact binary form in base64url:
//!
//! ```text
//! version u8 = 1 ‖ artifact digest [32] ‖ expiry u32be (Unix seconds) ‖ plugin id length u8 ‖
//! plugin id, three characters of a 39-letter alphabet per u16be ‖ Ed25519 signature [64]
//! ```
//!
//! The signature covers `"bailiwick-run-token/1\0" ‖ run id [16] ‖` all that precedes it: the run id
//! travels as the user name and is bound all the same. The longest plugin id makes 251 characters.

use base::{ArtifactDigest, PluginId, RunId, Sha256Digest, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{PublicKey, SigningKey};

const VERSION: u8 = 1;
const CONTEXT: &[u8] = b"bailiwick-run-token/1\0";
const SIGNATURE_LEN: usize = 64;
/// What SOCKS5 allows for a password.
const MAX_TEXT: usize = 255;
/// The alphabet of plugin ids; value 0 pads.
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789._-";
const BASE: u16 = 40;

/// What a run token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunClaims {
    /// The run.
    pub run_id: RunId,
    /// The plugin that runs.
    pub plugin_id: PluginId,
    /// The artifact that runs.
    pub artifact_digest: ArtifactDigest,
    /// From this moment on the token is refused; whole seconds.
    pub expires: Timestamp,
}

/// Why a token was not minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// Run keys are Ed25519.
    #[error("run tokens are signed with an Ed25519 key")]
    KeyType,
    /// The expiry does not fit 32 bits of Unix seconds.
    #[error("a run token's expiry lies between 1970 and 2106")]
    Expiry,
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Not a run token at all.
    #[error("these credentials are not a run token")]
    Malformed,
    /// No run key made the signature, or it was made for another run.
    #[error("this run token was not issued for this run")]
    Forged,
    /// The signature is good and the time is over.
    #[error("this run token has expired")]
    Expired {
        /// Whose token it was; verified.
        run_id: RunId,
    },
}

/// Mints the token for a run.
///
/// # Errors
/// [`MintError`].
pub fn mint(claims: &RunClaims, key: &SigningKey) -> Result<String, MintError> {
    if key.public().ed25519_bytes().is_none() {
        return Err(MintError::KeyType);
    }
    let expires = u32::try_from(claims.expires.unix_s()).map_err(|_| MintError::Expiry)?;
    let mut token = vec![VERSION];
    token.extend_from_slice(claims.artifact_digest.sha256().as_bytes());
    token.extend_from_slice(&expires.to_be_bytes());
    pack(&claims.plugin_id, &mut token);
    let signature = key.sign(&message(&claims.run_id, &token));
    token.extend_from_slice(&signature);
    Ok(URL_SAFE_NO_PAD.encode(token))
}

/// Verifies the token presented for `run_id` under any of `keys`.
///
/// # Errors
/// [`TokenRefusal`]. Expiry is looked at last: only a genuine token is called expired.
pub fn verify<'k>(
    run_id: RunId,
    token: &str,
    keys: impl IntoIterator<Item = &'k PublicKey>,
    now: Timestamp,
) -> Result<RunClaims, TokenRefusal> {
    if token.len() > MAX_TEXT {
        return Err(TokenRefusal::Malformed);
    }
    let bytes = URL_SAFE_NO_PAD
        .decode(token)
        .map_err(|_| TokenRefusal::Malformed)?;
    let signed_len = bytes
        .len()
        .checked_sub(SIGNATURE_LEN)
        .ok_or(TokenRefusal::Malformed)?;
    let (signed, signature) = bytes.split_at(signed_len);
    let claims = unpack(run_id, signed).ok_or(TokenRefusal::Malformed)?;
    let message = message(&run_id, signed);
    if !keys
        .into_iter()
        .any(|key| key.verify(&message, signature).is_ok())
    {
        return Err(TokenRefusal::Forged);
    }
    if now >= claims.expires {
        Err(TokenRefusal::Expired { run_id })
    } else {
        Ok(claims)
    }
}

/// The name under which an event may mention a token that was presented: the first 16 hex digits of
/// its SHA-256. The token itself is never written down.
pub fn token_fingerprint(token: &[u8]) -> String {
    Sha256Digest::of(token).to_hex()[..16].to_owned()
}

fn message(run_id: &RunId, signed: &[u8]) -> Vec<u8> {
    [CONTEXT, run_id.as_bytes(), signed].concat()
}

fn pack(plugin_id: &PluginId, out: &mut Vec<u8>) {
    let text = plugin_id.as_str().as_bytes();
    out.push(u8::try_from(text.len()).expect("plugin ids have at most 128 bytes"));
    for chunk in text.chunks(3) {
        let digit = |at: usize| {
            chunk.get(at).map_or(0, |letter| {
                let position = ALPHABET.iter().position(|known| known == letter);
                1 + u16::try_from(position.expect("plugin ids use this alphabet")).expect("39 letters")
            })
        };
        let packed = (digit(0) * BASE + digit(1)) * BASE + digit(2);
        out.extend_from_slice(&packed.to_be_bytes());
    }
}

fn unpack(run_id: RunId, signed: &[u8]) -> Option<RunClaims> {
    let (&version, rest) = signed.split_first()?;
    let (digest, rest) = rest.split_first_chunk::<32>()?;
    let (expires, rest) = rest.split_first_chunk::<4>()?;
    let (&length, packed) = rest.split_first()?;
    if version != VERSION || packed.len() != usize::from(length).div_ceil(3) * 2 {
        return None;
    }
    let mut text = Vec::with_capacity(packed.len() / 2 * 3);
    for pair in packed.chunks_exact(2) {
        let value = u16::from_be_bytes([pair[0], pair[1]]);
        for digit in [value / (BASE * BASE), value / BASE % BASE, value % BASE] {
            if digit != 0 {
                text.push(*ALPHABET.get(usize::from(digit) - 1)?);
            }
        }
    }
    let plugin_id: PluginId = String::from_utf8(text).ok()?.parse().ok()?;
    if plugin_id.as_str().len() != usize::from(length) {
        return None;
    }
    Some(RunClaims {
        run_id,
        plugin_id,
        artifact_digest: ArtifactDigest::new(Sha256Digest::from_bytes(*digest)),
        expires: Timestamp::from_unix_us(i64::from(u32::from_be_bytes(*expires)) * 1_000_000),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::ed25519_from_seed(&[byte; 32])
    }

    fn claims(plugin: &str) -> RunClaims {
        RunClaims {
            run_id: RunId::from_parts(1_700_000_000_000, [5; 10]),
            plugin_id: plugin.parse().unwrap(),
            artifact_digest: ArtifactDigest::new(Sha256Digest::of(b"build")),
            expires: Timestamp::from_unix_us(1_800_000_000_000_000),
        }
    }

    const BEFORE: Timestamp = Timestamp::from_unix_us(1_799_999_999_000_000);
    const AFTER: Timestamp = Timestamp::from_unix_us(1_800_000_000_000_000);

    #[test]
    fn a_token_gives_back_what_was_signed() {
        let claims = claims("acme.weather");
        let token = mint(&claims, &key(1)).unwrap();
        let keys = [key(2).public(), key(1).public()];
        assert_eq!(verify(claims.run_id, &token, &keys, BEFORE), Ok(claims));
    }

    #[test]
    fn the_longest_plugin_id_still_fits_a_socks5_password() {
        let claims = claims(&"z".repeat(128));
        let token = mint(&claims, &key(1)).unwrap();
        assert!(token.len() <= MAX_TEXT, "{}", token.len());
        assert!(
            token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
        assert_eq!(
            verify(claims.run_id, &token, &[key(1).public()], BEFORE),
            Ok(claims)
        );
    }

    #[test]
    fn a_token_is_refused_for_another_run_under_another_key_and_after_its_time() {
        let claims = claims("acme.weather");
        let token = mint(&claims, &key(1)).unwrap();
        let keys = [key(1).public()];
        let other_run = RunId::from_parts(1_700_000_000_000, [6; 10]);
        assert_eq!(
            verify(other_run, &token, &keys, BEFORE),
            Err(TokenRefusal::Forged)
        );
        assert_eq!(
            verify(claims.run_id, &token, &[key(2).public()], BEFORE),
            Err(TokenRefusal::Forged)
        );
        let expired = TokenRefusal::Expired {
            run_id: claims.run_id,
        };
        assert_eq!(verify(claims.run_id, &token, &keys, AFTER), Err(expired));
    }

    #[test]
    fn text_that_is_no_token_is_malformed() {
        let run_id = claims("a").run_id;
        for bad in ["", "A", "not a token", &"A".repeat(300), &"A".repeat(200)] {
            assert_eq!(
                verify(run_id, bad, &[key(1).public()], BEFORE),
                Err(TokenRefusal::Malformed),
                "{bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_plugin_id_survives_packing(plugin in "[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?") {
            let claims = claims(&plugin);
            let token = mint(&claims, &key(1)).unwrap();
            prop_assert_eq!(verify(claims.run_id, &token, &[key(1).public()], BEFORE), Ok(claims));
        }

        #[test]
        fn one_changed_byte_is_never_accepted(at in any::<prop::sample::Index>(), flip in 1u8..=255) {
            let claims = claims("acme.weather");
            let mut bytes = URL_SAFE_NO_PAD.decode(mint(&claims, &key(1)).unwrap()).unwrap();
            let index = at.index(bytes.len());
            bytes[index] ^= flip;
            let token = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert!(verify(claims.run_id, &token, &[key(1).public()], BEFORE).is_err());
        }
    }
}
