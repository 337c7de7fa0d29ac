//! Run URIs: a run's identity as it stands in a client certificate.
//!
//! ```text
//! bailiwick://SITE/plugin/PLUGIN_ID/artifact/sha256:HEX/run/RUN_ID
//! ```
//!
//! Every part has one spelling, and so has the whole: what does not come out of [`RunUri`] again as
//! it went in is refused. Nothing is percent-encoded, because nothing that may stand here needs it.

use std::fmt;
use std::str::FromStr;

use base::{ArtifactDigest, PluginId, RunId};

const SCHEME: &str = "bailiwick://";

/// Whose run it is, at which site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunUri {
    /// The site that registered the run. Sites are named as plugins are.
    pub site: PluginId,
    /// The plugin that runs.
    pub plugin_id: PluginId,
    /// The artifact that runs.
    pub artifact_digest: ArtifactDigest,
    /// The run.
    pub run_id: RunId,
}

/// A text that is not a run URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not bailiwick://SITE/plugin/PLUGIN_ID/artifact/sha256:HEX/run/RUN_ID")]
pub struct InvalidRunUri;

impl FromStr for RunUri {
    type Err = InvalidRunUri;

    fn from_str(text: &str) -> Result<Self, InvalidRunUri> {
        let uri = read(text).ok_or(InvalidRunUri)?;
        // Whatever the parts' own parsers forgive, this does not.
        if uri.to_string() == text {
            Ok(uri)
        } else {
            Err(InvalidRunUri)
        }
    }
}

impl fmt::Display for RunUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{SCHEME}{}/plugin/{}/artifact/{}/run/{}",
            self.site, self.plugin_id, self.artifact_digest, self.run_id
        )
    }
}

fn read(text: &str) -> Option<RunUri> {
    let mut parts = text.strip_prefix(SCHEME)?.split('/');
    let mut next = || parts.next();
    let site = next()?.parse().ok()?;
    let plugin_id = (next()? == "plugin").then(&mut next)??.parse().ok()?;
    let artifact_digest = (next()? == "artifact").then(&mut next)??.parse().ok()?;
    let run_id = (next()? == "run").then(&mut next)??.parse().ok()?;
    next().is_none().then_some(RunUri {
        site,
        plugin_id,
        artifact_digest,
        run_id,
    })
}

#[cfg(test)]
mod tests {
    use base::Sha256Digest;
    use proptest::prelude::*;

    use super::*;

    fn uri() -> RunUri {
        RunUri {
            site: "acme".parse().unwrap(),
            plugin_id: "acme.weather".parse().unwrap(),
            artifact_digest: ArtifactDigest::new(Sha256Digest::of(b"build")),
            run_id: RunId::from_parts(1_700_000_000_000, [5; 10]),
        }
    }

    #[test]
    fn only_the_one_spelling_is_read() {
        let good = uri().to_string();
        assert_eq!(good.parse(), Ok(uri()));
        for bad in [
            String::new(),
            good.to_uppercase(),
            good.replace("bailiwick:", "BAILIWICK:"),
            good.replace("bailiwick:", "https:"),
            good.replace("bailiwick:", "spiffe:"),
            good.replace("//acme", "//"),
            good.replace("//acme", "//user@acme"),
            good.replace("//acme", "//acme:443"),
            good.replace("/plugin/", "/plugins/"),
            good.replace("/plugin/", "//plugin/"),
            good.replace("/plugin/", "/../plugin/"),
            good.replace("acme.weather", "acme%2eweather"),
            good.replace("sha256:", "sha512:"),
            good.replace("sha256:", ""),
            format!("{good}/"),
            format!("{good}?x=1"),
            format!("{good}#x"),
            format!("{good}\0"),
            format!(" {good}"),
            format!("{good}/run/{}", uri().run_id),
        ] {
            assert_eq!(bad.parse::<RunUri>(), Err(InvalidRunUri), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            site in "[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?",
            plugin in "[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?",
            build in any::<[u8; 8]>(),
            random in any::<[u8; 10]>(),
        ) {
            let uri = RunUri {
                site: site.parse().unwrap(),
                plugin_id: plugin.parse().unwrap(),
                artifact_digest: ArtifactDigest::new(Sha256Digest::of(&build)),
                run_id: RunId::from_parts(1_700_000_000_000, random),
            };
            prop_assert_eq!(uri.to_string().parse(), Ok(uri));
        }

        #[test]
        fn what_is_read_is_written_back(
            at in any::<prop::sample::Index>(),
            letter in any::<char>(),
        ) {
            let mut text: Vec<char> = uri().to_string().chars().collect();
            let at = at.index(text.len());
            text[at] = letter;
            let text: String = text.into_iter().collect();
            if let Ok(read) = text.parse::<RunUri>() {
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }
}
