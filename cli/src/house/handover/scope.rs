//! Which connections a kill ends, as it goes over and as the gateway knows it.
//!
//! Apart from the messages, which speak of nothing that is the gateway's alone.

use proxy::KillScope;

use super::message::Scope;

impl From<&KillScope> for Scope {
    fn from(scope: &KillScope) -> Self {
        match scope {
            KillScope::Artifact(digest) => Self::Artifact(*digest),
            KillScope::Plugin(plugin_id) => Self::Plugin(plugin_id.clone()),
            KillScope::Run(run_id) => Self::Run(*run_id),
            KillScope::All => Self::All,
        }
    }
}

impl From<Scope> for KillScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Artifact(digest) => Self::Artifact(digest),
            Scope::Plugin(plugin_id) => Self::Plugin(plugin_id),
            Scope::Run(run_id) => Self::Run(run_id),
            Scope::All => Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{ArtifactDigest, RunId};

    use super::*;

    #[test]
    fn a_scope_comes_over_as_it_was() {
        let run_id = RunId::from_parts(1, [2; 10]);
        for scope in [
            KillScope::All,
            KillScope::Run(run_id),
            KillScope::Plugin("acme.weather".parse().unwrap()),
            KillScope::Artifact(ArtifactDigest::new(base::Sha256Digest::of(b"build"))),
        ] {
            assert_eq!(KillScope::from(Scope::from(&scope)), scope);
        }
    }
}
