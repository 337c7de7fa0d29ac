//! Who we are to a bucket: read from a file that others cannot read, or from the environment.
//!
//! The file is read for every request, so that a new key or a new session token counts at once. It has
//! the form that other tools keep theirs in: `aws_access_key_id = …`, `aws_secret_access_key = …` and
//! perhaps `aws_session_token = …`, below `[default]` or below nothing.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use seal::key_file;

use crate::bucket_config::BucketConfig;
use crate::config::Config;

/// Where they are. Never what they are.
#[derive(Debug)]
pub(super) struct Credentials {
    file: Option<PathBuf>,
}

impl Credentials {
    pub(super) fn of(config: &Config, settings: &BucketConfig) -> Self {
        let file = settings.credentials_file.as_ref();
        Self {
            file: file.map(|file| config.resolve(file)),
        }
    }

    /// Reads them now.
    ///
    /// # Errors
    /// They are nowhere, or somebody else can read them.
    pub(super) fn read(&self) -> anyhow::Result<AwsCredential> {
        let Some(file) = &self.file else {
            let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
            let (key_id, secret_key) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
            let (key_id, secret_key) = key_id.zip(secret_key).context(
                "there are no credentials for the bucket: set credentials_file under [evidence.bucket], or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )?;
            return Ok(AwsCredential {
                key_id,
                secret_key,
                token: variable("AWS_SESSION_TOKEN"),
            });
        };
        let text = key_file::read_secret(file).context("credentials_file")?;
        let text = std::str::from_utf8(&text).ok();
        text.and_then(parse).with_context(|| {
            format!(
                "{} has no aws_access_key_id and aws_secret_access_key (credentials_file)",
                file.display()
            )
        })
    }
}

/// Those of the profile `default`, or of none.
fn parse(text: &str) -> Option<AwsCredential> {
    let (mut key_id, mut secret_key, mut token) = (None, None, None);
    let mut is_ours = true;
    for line in text.lines().map(str::trim) {
        if let Some(profile) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_ours = profile.trim() == "default";
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| is_ours) else {
            continue;
        };
        let place = match name.trim() {
            "aws_access_key_id" => &mut key_id,
            "aws_secret_access_key" => &mut secret_key,
            "aws_session_token" => &mut token,
            _ => continue,
        };
        *place = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
    }
    Some(AwsCredential {
        key_id: key_id?,
        secret_key: secret_key?,
        token,
    })
}

#[async_trait]
impl CredentialProvider for Credentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let read = self.read().map_err(|error| object_store::Error::Generic {
            store: "S3",
            source: format!("{error:#}").into(),
        })?;
        Ok(Arc::new(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_other_tools_write_them() {
        let plain = "aws_access_key_id = AK\naws_secret_access_key=s/e+c=\n";
        let found = parse(plain).unwrap();
        assert_eq!(
            (found.key_id.as_str(), found.secret_key.as_str(), found.token),
            ("AK", "s/e+c=", None)
        );
        let profiles = "[other]\naws_access_key_id=O\naws_secret_access_key=o\n\
                        [default]\n# mine\naws_access_key_id=D\naws_secret_access_key=d\naws_session_token=t\n";
        let found = parse(profiles).unwrap();
        assert_eq!((found.key_id.as_str(), found.token.as_deref()), ("D", Some("t")));
        for bad in [
            "",
            "aws_access_key_id = AK",
            "[other]\naws_access_key_id=O\naws_secret_access_key=o",
            "aws_access_key_id=\naws_secret_access_key=x",
        ] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
        let shown = format!("{:?}", parse(plain).unwrap());
        assert!(!shown.contains("s/e+c"), "{shown}");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bucket");
        std::fs::write(&path, "aws_access_key_id=A\naws_secret_access_key=b\n").unwrap();
        let credentials = Credentials {
            file: Some(path.clone()),
        };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = format!("{:#}", credentials.read().unwrap_err());
        assert!(refused.contains("readable by others"), "{refused}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(credentials.read().unwrap().key_id, "A");
    }
}
