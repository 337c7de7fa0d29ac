//! What two processes of one gateway tell each other while one takes over from the other.
//!
//! Each message is a JSON document behind its length ([`super::frame`]). The first message of a successor
//! and the refusal that may answer it are read by every version, so that two which do not understand each
//! other can say so. An event or a policy whose form changes is a new version, and so is a message that one of the
//! two may say unasked: it is said only where the other speaks that version.

use base::{ArtifactDigest, PluginId, Policy, RunId, Sha256Digest, Tier};
use serde::{Deserialize, Serialize};

/// The newest version of this language that this program speaks.
pub const VERSION: u32 = 2;
/// The oldest, which knows no [`FromSuccessor::Facts`].
pub const OLDEST: u32 = 1;
/// From this version on a predecessor is told of changes to policy and tiers.
pub const TELLS_FACTS: u32 = 2;

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
    /// What is ruled by has changed, here or in the trust root, which is read from the data folder; the
    /// answer has the same number. Lists have a message of their own.
    Facts {
        /// Whose answer it is.
        id: u64,
        /// The policy in force.
        policy: Box<Policy>,
        /// The SHA-256 of its file.
        policy_digest: Sha256Digest,
        /// Builds, each with the tier in force for its plugin. The others have the tier they had.
        tiers: Vec<(ArtifactDigest, Tier)>,
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
    /// What was told is in force.
    InForce {
        /// What this answers.
        id: u64,
    },
    /// Its last connection has ended, and all its events are confirmed.
    Finished,
}

/// What a handed socket is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketName {
    /// Its address, as a listen address is written.
    pub address: String,
    /// What it is for ([`proxy::Purpose`]); earlier programs did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
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

/// The newest version that a program which speaks those from `oldest` to `newest` has in common with this
/// one, if there is any.
pub fn common_version(oldest: u32, newest: u32) -> Option<u32> {
    let common = newest.min(VERSION);
    (common >= oldest && common >= OLDEST).then_some(common)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame;
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
    fn of_two_ranges_the_newest_common_version_is_spoken() {
        for (oldest, newest, common) in [
            (OLDEST, VERSION, Some(VERSION)),
            (1, 1, Some(1)),
            (VERSION, 9, Some(VERSION)),
            (VERSION + 1, 9, None),
            (0, OLDEST - 1, None),
            (9, 1, None),
        ] {
            assert_eq!(common_version(oldest, newest), common, "{oldest} to {newest}");
        }
    }

    fn digest() -> impl Strategy<Value = Sha256Digest> {
        any::<[u8; 8]>().prop_map(|bytes| Sha256Digest::of(&bytes))
    }

    fn tier() -> impl Strategy<Value = Tier> {
        prop::sample::select(vec![Tier::High, Tier::Medium, Tier::Low, Tier::Legacy])
    }

    fn policy() -> impl Strategy<Value = Policy> {
        (any::<u64>(), tier(), prop::collection::vec(".*", 0..4)).prop_map(
            |(version, default_tier, allow)| {
                let low = base::TierPolicy {
                    allow,
                    ..base::TierPolicy::default()
                };
                Policy {
                    version,
                    default_tier,
                    tiers: [(Tier::Low, low)].into(),
                    exceptions: Vec::new(),
                }
            },
        )
    }

    fn scope() -> impl Strategy<Value = Scope> {
        prop_oneof![
            Just(Scope::All),
            digest().prop_map(|digest| Scope::Artifact(ArtifactDigest::new(digest))),
            "[a-z0-9]{1,9}".prop_map(|id| Scope::Plugin(id.parse().expect("a plugin id"))),
            any::<[u8; 10]>().prop_map(|bytes| Scope::Run(RunId::from_parts(1, bytes))),
        ]
    }

    fn from_successor() -> impl Strategy<Value = FromSuccessor> {
        let hello = (any::<u32>(), any::<u32>(), ".*", ".*");
        let facts = (
            any::<u64>(),
            policy(),
            digest(),
            prop::collection::vec((digest(), tier()), 0..9),
        );
        prop_oneof![
            hello.prop_map(|(oldest, newest, site, gateway)| FromSuccessor::Hello(Hello {
                oldest,
                newest,
                site,
                gateway
            })),
            Just(FromSuccessor::Release),
            Just(FromSuccessor::List),
            Just(FromSuccessor::Leave),
            ".*".prop_map(|session| FromSuccessor::Serving { session }),
            (any::<u64>(), any::<bool>())
                .prop_map(|(number, is_written)| FromSuccessor::Confirmed { number, is_written }),
            (any::<u64>(), scope()).prop_map(|(id, scope)| FromSuccessor::Cut { id, scope }),
            (any::<u64>(), any::<[u8; 10]>()).prop_map(|(id, bytes)| FromSuccessor::EndRun {
                id,
                run_id: RunId::from_parts(1, bytes)
            }),
            facts.prop_map(|(id, policy, policy_digest, tiers)| FromSuccessor::Facts {
                id,
                policy: Box::new(policy),
                policy_digest,
                tiers: tiers
                    .into_iter()
                    .map(|(digest, tier)| (ArtifactDigest::new(digest), tier))
                    .collect(),
            }),
        ]
    }

    fn from_predecessor() -> impl Strategy<Value = FromPredecessor> {
        let sockets = prop::collection::vec((".*", prop::option::of(".*"), any::<bool>()), 0..9);
        prop_oneof![
            (any::<u32>(), ".*", sockets).prop_map(|(version, session, sockets)| {
                let sockets = sockets.into_iter();
                FromPredecessor::Welcome {
                    version,
                    session,
                    sockets: sockets
                        .map(|(address, purpose, has_file)| SocketName {
                            address,
                            purpose,
                            has_file,
                        })
                        .collect(),
                }
            }),
            ".*".prop_map(|why| FromPredecessor::Refused { why }),
            any::<u64>().prop_map(|entries| FromPredecessor::Released { entries }),
            (any::<u64>(), ".*").prop_map(|(number, entry)| FromPredecessor::Event { number, entry }),
            any::<u64>().prop_map(|connections| FromPredecessor::Live { connections }),
            (any::<u64>(), any::<u64>())
                .prop_map(|(id, connections)| FromPredecessor::Cut { id, connections }),
            any::<u64>().prop_map(|id| FromPredecessor::InForce { id }),
            Just(FromPredecessor::Finished),
        ]
    }

    /// What comes out where `message` went in, and how many bytes that took.
    fn over<M: Serialize + serde::de::DeserializeOwned>(message: &M) -> (M, usize) {
        let bytes = frame::encode(message).expect("a message that fits");
        let (head, body) = bytes.split_at(frame::HEAD);
        let length = frame::length(head.try_into().expect("four bytes")).expect("our own length");
        assert_eq!(length, body.len());
        (frame::decode(body).expect("our own message"), bytes.len())
    }

    proptest! {
        #[test]
        fn every_message_comes_over_as_it_was_said(said in from_successor(), answered in from_predecessor()) {
            prop_assert_eq!(&over(&said).0, &said);
            prop_assert_eq!(&over(&answered).0, &answered);
        }

        #[test]
        fn no_beginning_of_a_message_is_one(said in from_successor(), cut in any::<prop::sample::Index>()) {
            let bytes = frame::encode(&said).expect("a message that fits");
            let body = &bytes[frame::HEAD..];
            prop_assert!(frame::decode::<FromSuccessor>(&body[..cut.index(body.len())]).is_err());
        }
    }
}
