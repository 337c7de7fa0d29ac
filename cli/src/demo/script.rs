//! The demo's plugins: small text files that say what the plugin does, one step a line.
//!
//! They stand in for a wheel or a script of a real product: the file is the artifact, its digest is
//! signed, and `bailiwick demo-plugin FILE` is its interpreter as `python3` would be a wheel's.

use std::str::FromStr;

use base::{Host, Port, Target};

/// What a plugin does, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One step of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One HTTPS request through the proxy, with the run's credentials.
    Call(Url),
    /// One HTTPS request through the proxy, without credentials.
    CallNamelessly(Url),
    /// Opens a stream and keeps it open until somebody cuts it.
    Hold(Url),
}

/// An `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Where to connect.
    pub target: Target,
    /// What to ask for.
    pub path: String,
}

/// A line that is not a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text:?} is not a step; steps are: call URL, call-namelessly URL, hold URL")]
pub struct InvalidScript {
    line: usize,
    text: String,
}

impl FromStr for Script {
    type Err = InvalidScript;

    fn from_str(text: &str) -> Result<Self, InvalidScript> {
        let mut steps = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let invalid = || InvalidScript {
                line: index + 1,
                text: line.to_owned(),
            };
            let (verb, url) = line.split_once(' ').ok_or_else(invalid)?;
            let url = parse_url(url.trim()).ok_or_else(invalid)?;
            steps.push(match verb {
                "call" => Step::Call(url),
                "call-namelessly" => Step::CallNamelessly(url),
                "hold" => Step::Hold(url),
                _ => return Err(invalid()),
            });
        }
        Ok(Self { steps })
    }
}

fn parse_url(text: &str) -> Option<Url> {
    let rest = text.strip_prefix("https://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let target = Target::from_authority_or(authority.as_bytes(), Port::HTTPS).ok()?;
    let path = if path.is_empty() { "/" } else { path };
    Some(Url {
        target,
        path: path.to_owned(),
    })
}

impl Url {
    /// The host as it goes into SNI and `Host`.
    pub fn host(&self) -> &Host {
        &self.target.host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_line_by_line() {
        let script: Script = "# a plugin\n\ncall https://a.example/x?y\nhold https://b.example:8443\n"
            .parse()
            .unwrap();
        let [Step::Call(call), Step::Hold(hold)] = script.steps.as_slice() else {
            panic!("{script:?}")
        };
        assert_eq!(
            (call.target.to_string().as_str(), call.path.as_str()),
            ("a.example:443", "/x?y")
        );
        assert_eq!(
            (hold.target.to_string().as_str(), hold.path.as_str()),
            ("b.example:8443", "/")
        );
    }

    #[test]
    fn anything_else_is_refused_with_its_line() {
        for bad in [
            "call",
            "call http://a.example/",
            "fetch https://a.example/",
            "call https://127.1/",
        ] {
            let error = format!("# x\n{bad}").parse::<Script>().unwrap_err();
            assert!(error.to_string().starts_with("line 2:"), "{error}");
        }
    }
}
