//! `[[gateway.parent]]`: which destinations go out through a proxy of the site's own.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base::{Host, Port, Target};
use proxy::{Parent, ParentRule, ParentSuffix};
use serde::{Deserialize, Serialize};

/// One entry. Of several that hold a destination, the one with the longest suffix decides.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParentConfig {
    /// Names, which hold every name that ends in them; addresses or CIDRs; `"*"` for all destinations.
    pub suffixes: Vec<String>,
    /// `http://host:port` of a proxy that serves CONNECT; without it these destinations go out directly.
    #[serde(default)]
    pub url: Option<String>,
    /// The account at the proxy.
    #[serde(default)]
    pub username: Option<String>,
    /// The file with the account's password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

/// Checks all entries together: what is wrong, and with which key.
///
/// # Errors
/// The key and what is wrong with it.
pub fn check(parents: &[ParentConfig]) -> Result<(), (&'static str, String)> {
    let mut known = BTreeSet::new();
    for entry in parents {
        entry.check()?;
        for text in &entry.suffixes {
            let suffix = parse_suffix(text)?;
            if !known.insert(suffix) {
                return Err((SUFFIXES, format!("{text:?} is named twice; name it once")));
            }
        }
    }
    Ok(())
}

const SUFFIXES: &str = "gateway.parent.suffixes";
const URL: &str = "gateway.parent.url";
const USERNAME: &str = "gateway.parent.username";

fn parse_suffix(text: &str) -> Result<ParentSuffix, (&'static str, String)> {
    text.parse()
        .map_err(|error| (SUFFIXES, format!("{text:?} is {error}")))
}

impl ParentConfig {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.suffixes.is_empty() {
            return Err((
                SUFFIXES,
                "name at least one destination, or \"*\" for all".to_owned(),
            ));
        }
        if let Some(url) = &self.url {
            read_url(url).map_err(|problem| (URL, format!("{problem}; write http://host:port")))?;
        }
        match (&self.url, &self.username, &self.password_file) {
            (None, None, None) | (Some(_), None, None) => Ok(()),
            (None, ..) => Err((
                URL,
                "an entry with an account needs a proxy to show it to".to_owned(),
            )),
            (Some(_), Some(name), Some(_))
                if name.is_empty() || name.contains(|c: char| c == ':' || !c.is_ascii_graphic()) =>
            {
                Err((
                    USERNAME,
                    "a user name is printable ASCII without a colon".to_owned(),
                ))
            }
            (Some(_), Some(_), Some(_)) => Ok(()),
            (Some(_), ..) => Err((USERNAME, "username and password_file belong together".to_owned())),
        }
    }

    /// The entry as the gateway takes it; `resolve` makes a path of the file absolute.
    ///
    /// # Errors
    /// The password cannot be read, or others can read it.
    pub fn rule(&self, resolve: impl Fn(&Path) -> PathBuf) -> anyhow::Result<ParentRule> {
        let suffixes = self.suffixes.iter().map(|text| text.parse());
        let parent = match &self.url {
            None => None,
            Some(url) => {
                let Target { host, port } = read_url(url).map_err(anyhow::Error::msg)?;
                Some(self.with_account(host, port, resolve)?)
            }
        };
        Ok(ParentRule {
            suffixes: suffixes.collect::<Result<_, _>>()?,
            parent,
        })
    }

    fn with_account(
        &self,
        host: Host,
        port: Port,
        resolve: impl Fn(&Path) -> PathBuf,
    ) -> anyhow::Result<Parent> {
        let parent = Parent::new(host, port);
        let (Some(user), Some(file)) = (&self.username, &self.password_file) else {
            return Ok(parent);
        };
        let path = resolve(file);
        let password = read_password(&path)
            .with_context(|| format!("cannot use {} (gateway.parent.password_file)", path.display()))?;
        Ok(parent.with_credentials(user, &password))
    }
}

fn read_password(path: &Path) -> anyhow::Result<String> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    anyhow::ensure!(
        mode & 0o077 == 0,
        "others can read it; protect it with: chmod 600 {}",
        path.display()
    );
    let text = std::fs::read_to_string(path)?;
    let password = text.trim_end_matches(['\n', '\r']);
    anyhow::ensure!(
        !password.is_empty() && !password.contains(char::is_control),
        "a password is one line of text"
    );
    Ok(password.to_owned())
}

/// The proxy that a URL names. The text is not repeated: somebody may have put a password into it.
fn read_url(url: &str) -> Result<Target, &'static str> {
    let rest = url
        .strip_prefix("http://")
        .ok_or("a parent proxy is spoken to in plain HTTP")?;
    if rest.contains('@') {
        return Err("an account belongs into username and password_file");
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    Target::from_authority(authority.as_bytes()).map_err(|_| "the address of the proxy cannot be read")
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn entries(text: &str) -> Vec<ParentConfig> {
        #[derive(Deserialize)]
        struct File {
            parent: Vec<ParentConfig>,
        }
        toml::from_str::<File>(text).unwrap().parent
    }

    #[test]
    fn an_entry_that_cannot_work_is_refused_and_its_key_named() {
        for (text, key) in [
            ("suffixes = []\nurl = \"http://p.example:3128\"", SUFFIXES),
            (
                "suffixes = [\"*.b.example\"]\nurl = \"http://p.example:3128\"",
                SUFFIXES,
            ),
            ("suffixes = [\"b.example\", \"B.example.\"]", SUFFIXES),
            ("suffixes = [\"*\"]\nurl = \"https://p.example:3128\"", URL),
            ("suffixes = [\"*\"]\nurl = \"http://p.example\"", URL),
            (
                "suffixes = [\"*\"]\nurl = \"http://u:hidden@p.example:3128\"",
                URL,
            ),
            ("suffixes = [\"*\"]\nurl = \"http://p.example:3128/path\"", URL),
            ("suffixes = [\"*\"]\nusername = \"u\"\npassword_file = \"p\"", URL),
            (
                "suffixes = [\"*\"]\nurl = \"http://p.example:3128\"\nusername = \"u\"",
                USERNAME,
            ),
            (
                "suffixes = [\"*\"]\nurl = \"http://p.example:3128\"\nusername = \"u:v\"\npassword_file = \"p\"",
                USERNAME,
            ),
        ] {
            let (found, message) = check(&entries(&format!("[[parent]]\n{text}"))).unwrap_err();
            assert_eq!(found, key, "{text}");
            assert!(!message.contains("hidden"), "{message}");
        }
        let good = "[[parent]]\nsuffixes = [\"*\"]\nurl = \"http://p.example:3128/\"\n\
                    [[parent]]\nsuffixes = [\"b.example\", \"10.0.0.0/8\"]\n";
        assert_eq!(check(&entries(good)), Ok(()));
    }

    #[test]
    fn a_password_is_read_from_a_file_that_nobody_else_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let entry = &entries(
            "[[parent]]\nsuffixes = [\"*\"]\nurl = \"http://[::1]:3128\"\nusername = \"gw\"\npassword_file = \"password\"",
        )[0];
        let rule = || entry.rule(|file| folder.path().join(file));
        assert!(rule().is_err(), "there is no file");
        std::fs::write(&path, "secret\n").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(format!("{:#}", rule().unwrap_err()).contains("chmod 600"));
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(rule().unwrap().parent.unwrap().to_string(), "[::1]:3128");
        std::fs::write(&path, "two\nlines\n").unwrap();
        assert!(rule().is_err());
    }
}
