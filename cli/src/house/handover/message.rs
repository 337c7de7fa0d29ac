//! What two processes of one gateway tell each other while one takes over from the other.
//!
//! Each message is a JSON document behind its length in four bytes, most significant first. The first
//! message of a successor and the refusal that may answer it are read by every version, so that two
//! which do not understand each other can say so. An event whose form changes is a new version.

use base::{ArtifactDigest, PluginId, RunId};
use proxy::KillScope;
use serde::{Deserialize, Serialize};

/// The version of this language that this program speaks.
pub const VERSION: u32 = 1;

/// What a successor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromSuccessor {
    /// First of all: who it is.
    Hello(Hello),
    /// It has looked at the sockets and can serve: the log and the folder may be given up.
    Release,
    /// It serves. From now on events are forwarded to it.
    Serving {
        /// What the ids of its connections begin with.
        session: String,
    },
    /// Everything forwarded up to here is on record, or could not be written.
    Confirmed {
        /// The last event's number.
        number: u64,
        /// Whether it is on record.
        is_written: bool,
    },
    /// There is a new revocation list in the data folder.
    List,
    /// Connections are to be cut, now; the answer has the same number.
    Cut {
        /// Whose answer it is.
        id: u64,
        /// Which.
        scope: Scope,
    },
    /// A run is over; the answer has the same number.
    EndRun {
        /// Whose answer it is.
        id: u64,
        /// The run.
        run_id: RunId,
    },
    /// The successor stops too: whatever still stands is to end.
    Leave,
}

/// The first words of a successor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The oldest version that it speaks.
    pub oldest: u32,
    /// The newest.
    pub newest: u32,
    /// Its site.
    pub site: String,
    /// The gateway's name.
    pub gateway: String,
}

/// What the running process says, which becomes the predecessor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromPredecessor {
    /// It agrees. As many sockets follow, outside the messages.
    Welcome {
        /// The version that both speak.
        version: u32,
        /// What the ids of its connections begin with.
        session: String,
        /// What the sockets are.
        sockets: Vec<SocketName>,
    },
    /// It does not, and goes on as if nothing had happened.
    Refused {
        /// Why, and what to do.
        why: String,
    },
    /// It has given up log and folder.
    Released {
        /// How many entries the log has.
        entries: u64,
    },
    /// Something happened to a connection of its own.
    Event {
        /// Counts up by one.
        number: u64,
        /// The entry, with 0 for its `seq`.
        entry: String,
    },
    /// So many connections still stand.
    Live {
        /// How many.
        connections: u64,
    },
    /// Connections were cut, and their sockets are closed.
    Cut {
        /// What this answers.
        id: u64,
        /// How many.
        connections: u64,
    },
    /// Its last connection has ended, and all its events are confirmed.
    Finished,
}

/// What a handed socket is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketName {
    /// Its address, as a listen address is written.
    pub address: String,
    /// Whether its file goes with it.
    pub has_file: bool,
}

/// Which connections a kill ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Those of one build.
    Artifact(ArtifactDigest),
    /// Those of one plugin.
    Plugin(PluginId),
    /// Those of one run.
    Run(RunId),
    /// Every one.
    All,
}

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
    use super::*;

    #[test]
    fn the_first_words_are_read_by_versions_to_come() {
        let newer = r#"{"say":"hello","oldest":2,"newest":9,"site":"acme","gateway":"gw-1","more":[1]}"#;
        let FromSuccessor::Hello(hello) = serde_json::from_str(newer).unwrap() else {
            panic!("{newer}");
        };
        assert_eq!((hello.oldest, hello.newest), (2, 9));
        let refused = r#"{"say":"refused","why":"no","code":"later"}"#;
        let expected = FromPredecessor::Refused { why: "no".to_owned() };
        assert_eq!(
            serde_json::from_str::<FromPredecessor>(refused).unwrap(),
            expected
        );
    }

    #[test]
    fn a_scope_comes_over_as_it_was() {
        let run_id = RunId::from_parts(1, [2; 10]);
        for scope in [
            KillScope::All,
            KillScope::Run(run_id),
            KillScope::Plugin("acme.weather".parse().unwrap()),
            KillScope::Artifact(ArtifactDigest::new(base::Sha256Digest::of(b"build"))),
        ] {
            let message = FromSuccessor::Cut {
                id: 1,
                scope: Scope::from(&scope),
            };
            let text = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<FromSuccessor>(&text).unwrap(), message);
            assert_eq!(KillScope::from(Scope::from(&scope)), scope);
        }
    }
}
