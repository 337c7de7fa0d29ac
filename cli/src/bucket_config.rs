//! `[evidence.bucket]` and addresses of buckets: where an archive goes that is no folder.
//!
//! Nothing here is secret. Credentials are in a file of their own, or in the environment, and are read
//! when they are used.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::export_config::{Peer, Receiver};

/// The region that S3-compatible servers expect where nobody set another.
const USUAL_REGION: &str = "us-east-1";

/// How the bucket is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// The server, `https://s3.example:9000`, or `http://` to this machine; AWS by region if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The file with `aws_access_key_id` and `aws_secret_access_key`; the environment
    /// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`) if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// The file with the authorities that may have signed the server's certificate, instead of those that
    /// this machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether the bucket is named in front of the server's name instead of behind it.
    #[serde(default)]
    pub virtual_host: bool,
}

/// `s3://bucket/prefix`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketAddress {
    /// The bucket.
    pub bucket: String,
    /// What every name in it begins with, without slashes around it; may be empty.
    pub prefix: String,
}

/// A text that names no bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bucket is written s3://BUCKET or s3://BUCKET/PREFIX, of a-z A-Z 0-9 . _ = - alone")]
pub struct InvalidBucketAddress;

impl FromStr for BucketAddress {
    type Err = InvalidBucketAddress;

    fn from_str(text: &str) -> Result<Self, InvalidBucketAddress> {
        let rest = text.strip_prefix("s3://").ok_or(InvalidBucketAddress)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'=' | b'-');
        let is_part =
            |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_letter);
        let is_prefix = prefix.is_empty() || prefix.split('/').all(is_part);
        if (3..=63).contains(&bucket.len()) && is_part(bucket) && is_prefix {
            Ok(Self {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            })
        } else {
            Err(InvalidBucketAddress)
        }
    }
}

impl fmt::Display for BucketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if self.prefix.is_empty() {
            return Ok(());
        }
        write!(f, "/{}", self.prefix)
    }
}

impl BucketConfig {
    /// The region that requests are signed for.
    pub fn region(&self) -> &str {
        self.region.as_deref().unwrap_or(USUAL_REGION)
    }

    /// The server's address, without a slash at its end.
    pub fn endpoint(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://s3.{}.amazonaws.com", self.region()),
        }
    }

    /// The server.
    ///
    /// # Errors
    /// What is wrong with the endpoint.
    pub fn peer(&self) -> Result<Peer, String> {
        let endpoint = self.endpoint();
        let wrong = || format!("{endpoint:?} is no server: write https://host:port, without a path");
        match endpoint.parse::<Receiver>() {
            Ok(Receiver::Http { peer, path }) if path == "/" => Ok(peer),
            _ => Err(wrong()),
        }
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let peer = self
            .peer()
            .map_err(|message| ("evidence.bucket.endpoint", message))?;
        if !peer.tls && !peer.is_here() {
            let message = "http:// goes to this machine alone; write https://".to_owned();
            return Err(("evidence.bucket.endpoint", message));
        }
        if self.ca_file.is_some() && !peer.tls {
            let message = "authorities are for https:// servers".to_owned();
            return Err(("evidence.bucket.ca_file", message));
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if self.region().is_empty() || !self.region().bytes().all(is_word) {
            let message = format!("{:?} is no region, such as \"eu-central-1\"", self.region());
            return Err(("evidence.bucket.region", message));
        }
        Ok(())
    }
}

/// Checks where the archive goes and how it is reached.
///
/// # Errors
/// The key, and what is wrong with it.
pub fn check(archive_to: Option<&str>, bucket: Option<&BucketConfig>) -> Result<(), (&'static str, String)> {
    let place = archive_to.unwrap_or("archive");
    if !place.starts_with("s3://") {
        if place.trim().is_empty() || place.contains("://") {
            let message = "name a folder, or a bucket as s3://BUCKET/PREFIX".to_owned();
            return Err(("evidence.archive_to", message));
        }
        if bucket.is_some() {
            let message = "it is for an archive_to that begins with s3://".to_owned();
            return Err(("evidence.bucket", message));
        }
        return Ok(());
    }
    if !cfg!(feature = "s3") {
        let message = "this build reaches no buckets (feature s3); name a folder".to_owned();
        return Err(("evidence.archive_to", message));
    }
    if let Err(error) = place.parse::<BucketAddress>() {
        return Err(("evidence.archive_to", error.to_string()));
    }
    bucket.cloned().unwrap_or_default().check()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_one_way() {
        for text in ["s3://fleet", "s3://fleet/acme/archive", "s3://a.b-c/day=1"] {
            let address: BucketAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let slash: BucketAddress = "s3://fleet/acme/".parse().unwrap();
        assert_eq!(slash.to_string(), "s3://fleet/acme");
        for bad in [
            "",
            "s3://",
            "s3://ab",
            "s3:///x",
            "s3://fleet//x",
            "s3://fleet/../x",
            "s3://user@fleet",
            "s3://fleet/a b",
            "s3://fleet?x=1",
            "gs://fleet",
        ] {
            assert_eq!(bad.parse::<BucketAddress>(), Err(InvalidBucketAddress), "{bad}");
        }
    }

    #[test]
    fn nothing_goes_in_the_clear_to_another_machine() {
        let with = |endpoint: &str| BucketConfig {
            endpoint: Some(endpoint.to_owned()),
            ..BucketConfig::default()
        };
        let key = |endpoint: &str| check(Some("s3://fleet"), Some(&with(endpoint))).map_err(|(key, _)| key);
        for good in [
            "https://s3.example:9000",
            "https://s3.example/",
            "http://127.0.0.1:9000",
            "http://localhost:1",
        ] {
            assert_eq!(key(good), Ok(()), "{good}");
        }
        for bad in [
            "http://s3.example",
            "s3.example",
            "https://user@s3.example",
            "https://s3.example/path",
            "ftp://s3.example",
        ] {
            assert_eq!(key(bad), Err("evidence.bucket.endpoint"), "{bad}");
        }
        assert_eq!(check(Some("s3://fleet"), None), Ok(()));
        assert_eq!(
            check(None, Some(&BucketConfig::default())).unwrap_err().0,
            "evidence.bucket"
        );
        assert_eq!(
            check(Some("gs://fleet"), None).unwrap_err().0,
            "evidence.archive_to"
        );
    }
}
