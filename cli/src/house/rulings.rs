//! Rulings: the gateway's question "may it connect?", answered from memory.
//!
//! The gateway asks on every connection and must not wait for a database, so everything that decides
//! is kept here as one value that is replaced whole: the revocation list, the policy, and what the
//! registry knows of each artifact.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base::{ArtifactDigest, Mode, Policy, RefusalReason, Sha256Digest, Target, Tier, Timestamp};
use control::gateways::{ArtifactFacts, Facts};
use control::policy::PolicyInForce;
use crl::{KillSwitch, Question, RevocationSet, Standing};
use manifests::ByTier;
use manifests::egress::Entry;
use parking_lot::Mutex;
use proxy::{Identity, Ruling, Rulings};
use tokio::sync::mpsc;

use crate::clock;

/// Everything that rulings are made of, at one moment.
#[derive(Clone)]
struct Known {
    revocations: Arc<RevocationSet>,
    ground: Arc<Ground>,
}

/// What was told besides the list.
struct Ground {
    facts: Arc<Facts>,
    /// The operators' list of the low tier, parsed.
    operators_list: Vec<Entry>,
}

/// The answers. Until both list and facts were told, every connection is refused.
#[derive(Default)]
pub struct HouseRulings {
    list: ArcSwapOption<RevocationSet>,
    ground: ArcSwapOption<Ground>,
    watcher: ArcSwapOption<Watcher>,
}

/// Somebody who wants to know of the first undeclared destination of each build.
struct Watcher {
    sights: mpsc::Sender<Sight>,
    /// When each build was last told of: once a day is enough.
    told: Mutex<HashMap<ArtifactDigest, Timestamp>>,
}

/// A run asked for something that its manifest does not declare.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Whose run.
    pub identity: Identity,
    /// What it asked for.
    pub target: Target,
    /// Relayed or refused.
    pub decision: base::Decision,
    /// When.
    pub at: Timestamp,
}

/// Sights that may wait to be told of.
const SIGHTS: usize = 256;
/// A build is told of once within this time.
const SIGHT_EVERY_S: i64 = 24 * 3600;

impl Watcher {
    /// Tells of the sight unless its build was told of today. A sight that finds no room is told of
    /// with the next one; nothing waits for it here.
    fn see(&self, identity: &Identity, target: &Target, ruling: &Ruling, at: Timestamp) {
        let mut told = self.told.lock();
        let is_new = told
            .get(&identity.artifact_digest)
            .is_none_or(|last| last.plus_seconds(SIGHT_EVERY_S) <= at);
        let sight = || Sight {
            identity: identity.clone(),
            target: target.clone(),
            decision: ruling.decision,
            at,
        };
        if is_new && self.sights.try_send(sight()).is_ok() {
            told.insert(identity.artifact_digest, at);
        }
    }
}

impl HouseRulings {
    /// Enforces `list` from now on.
    pub fn tell_list(&self, list: &crl::List) {
        self.list.store(Some(Arc::new(RevocationSet::from(list))));
    }

    /// Knows `facts` from now on. An entry of the operators' list that cannot be read lists nothing.
    pub fn tell_facts(&self, facts: Arc<Facts>) {
        let low = facts.policy.policy.tiers.get(&Tier::Low);
        let entries = low.into_iter().flat_map(|tier| &tier.allow).filter_map(|text| {
            text.parse()
                .inspect_err(
                    |error| tracing::error!(%error, "policy: tiers.low.allow: this entry lists nothing"),
                )
                .ok()
        });
        let operators_list = entries.collect();
        self.ground.store(Some(Arc::new(Ground {
            facts,
            operators_list,
        })));
    }

    /// The facts in force, once there are any.
    pub fn facts(&self) -> Option<Arc<Facts>> {
        Some(Arc::clone(&self.ground.load().as_ref()?.facts))
    }

    /// Rules by another policy and other tiers from now on; everything else stays as it was told. Builds
    /// that are unknown here stay unknown.
    pub fn amend(&self, policy: Policy, digest: Sha256Digest, tiers: &[(ArtifactDigest, Tier)]) {
        let Some(known) = self.facts() else {
            return;
        };
        let mut facts = Facts::clone(&known);
        facts.policy = PolicyInForce {
            policy,
            digest,
            // Whoever tells has verified it.
            signed_by: None,
            signature: None,
            exceptions: Vec::new(),
        };
        for (artifact, tier) in tiers {
            if let Some(known) = facts.artifacts.get_mut(artifact) {
                known.tier = *tier;
            }
        }
        self.tell_facts(Arc::new(facts));
    }

    /// From now on the first undeclared destination of each build, once a day, goes to whoever holds the
    /// other end; nobody else is told any more.
    pub fn watch(&self) -> mpsc::Receiver<Sight> {
        let (sights, receiver) = mpsc::channel(SIGHTS);
        let told = Mutex::default();
        self.watcher.store(Some(Arc::new(Watcher { sights, told })));
        receiver
    }

    /// Whether the list in force stops whatever this identity does.
    pub fn stops(&self, identity: &Identity) -> bool {
        self.known()
            .is_some_and(|known| refusal(&known.standing(identity)).is_some())
    }

    /// The number of the list in force; 0 before the first.
    pub fn crl_number(&self) -> u64 {
        self.list.load().as_ref().map_or(0, |list| list.crl_number())
    }

    fn known(&self) -> Option<Known> {
        Some(Known {
            revocations: self.list.load_full()?,
            ground: self.ground.load_full()?,
        })
    }
}

impl Rulings for HouseRulings {
    fn rule(&self, identity: Option<&Identity>, target: &Target) -> Ruling {
        match self.known() {
            Some(known) => {
                let now = clock::now();
                let ruling = known.rule(identity, target, now);
                if let Some(identity) = identity
                    && known.is_first_breach(identity, &ruling)
                    && let Some(watcher) = &*self.watcher.load()
                {
                    watcher.see(identity, target, &ruling, now);
                }
                ruling
            }
            None => Ruling::deny(
                Mode::Enforce,
                RefusalReason::Draining,
                "the gateway is starting; try again in a moment",
            ),
        }
    }
}

impl Known {
    /// The ruling on one connection at the moment `now`.
    fn rule(&self, identity: Option<&Identity>, target: &Target, now: Timestamp) -> Ruling {
        let Some(identity) = identity else {
            return self.dated(self.rule_nameless(), now);
        };
        let artifact = self.ground.facts.artifacts.get(&identity.artifact_digest);
        let standing = self.standing(identity);
        let by_tier = self.rule_by_tier(artifact, target, now);
        let ruling = match refusal(&standing) {
            Some(refused) => Ruling {
                would_deny: by_tier.would_deny,
                ..refused
            },
            None => by_tier,
        };
        self.dated(ruling, now)
    }

    /// What the list says about a build of which all is known that the registry knows.
    fn standing(&self, identity: &Identity) -> Standing {
        let artifact = self.ground.facts.artifacts.get(&identity.artifact_digest);
        self.revocations.standing(&Question {
            artifact: identity.artifact_digest,
            manifest: artifact.map(|known| known.manifest_digest),
            signer: artifact.map(|known| known.signer),
            plugin: &identity.plugin_id,
        })
    }

    /// Whether the ruling is about something undeclared that a build which may run asked for. What a
    /// stopped build still tries is for the night's report; so is what operators list and owners forget
    /// to declare.
    fn is_first_breach(&self, identity: &Identity, ruling: &Ruling) -> bool {
        ruling.matched_entry.is_none()
            && matches!(ruling.mode, Mode::Observe | Mode::Enforce)
            && self
                .ground
                .facts
                .artifacts
                .contains_key(&identity.artifact_digest)
    }

    /// A connection that proved no identity, where the site lets such go on: only the switch that
    /// stops everything can stop it.
    fn rule_nameless(&self) -> Ruling {
        match self.revocations.kill_switch() {
            KillSwitch::Everything => kill_switch("everything"),
            _ => Ruling::allow(),
        }
    }

    fn rule_by_tier(&self, artifact: Option<&ArtifactFacts>, target: &Target, now: Timestamp) -> Ruling {
        let tier = artifact.map_or(self.ground.facts.policy.policy.default_tier, |known| known.tier);
        let manifest = artifact.map(|known| known.manifest.as_ref());
        let asked = ByTier::ask(manifest, &self.ground.operators_list, target, now);
        let would_deny = asked.would_deny();
        let ruling = match asked.denial(tier) {
            Some(why) => {
                let advice = format!("{why}; {}", self.contact(tier));
                Ruling::deny(Mode::Enforce, RefusalReason::Tier, advice)
            }
            None if tier == Tier::Low => Ruling {
                mode: Mode::Enforce,
                ..Ruling::allow()
            },
            None => Ruling {
                would_deny: Some(would_deny),
                ..Ruling::allow()
            },
        };
        let operators_entry = asked.listed.filter(|_| tier == Tier::Low);
        Ruling {
            matched_entry: operators_entry.or(asked.matched),
            ..ruling
        }
    }

    fn contact(&self, tier: Tier) -> String {
        let contact = self
            .ground
            .facts
            .policy
            .policy
            .tiers
            .get(&tier)
            .and_then(|own| own.contact.as_deref());
        format!("ask {}", contact.unwrap_or("the site's operators"))
    }

    /// The same ruling with the documents it rests on.
    fn dated(&self, ruling: Ruling, now: Timestamp) -> Ruling {
        Ruling {
            crl_number: Some(self.revocations.crl_number()),
            crl_stale: !self.revocations.freshness(now).is_fresh(),
            policy_version: Some(self.ground.facts.policy.policy.version),
            ..ruling
        }
    }
}

fn refusal(standing: &Standing) -> Option<Ruling> {
    let listed = |what: &str, listing: &crl::Listing| {
        format!(
            "{what} ({}) since {}, list {}; ask the plugin's owner",
            listing.reason, listing.since, listing.crl_number
        )
    };
    match standing {
        Standing::Silent => None,
        Standing::Held(listing) => Some(Ruling::deny(
            Mode::Quarantined,
            RefusalReason::Quarantined,
            listed("on hold", listing),
        )),
        Standing::Revoked(listing) => Some(Ruling::deny(
            Mode::Revoked,
            RefusalReason::Revoked,
            listed("revoked", listing),
        )),
        Standing::Killed { everything, .. } => Some(kill_switch(if *everything {
            "everything"
        } else {
            "this plugin"
        })),
    }
}

fn kill_switch(scope: &str) -> Ruling {
    let advice = format!("the kill switch stops {scope}; ask the site's operators");
    Ruling::deny(Mode::Quarantined, RefusalReason::KillSwitch, advice)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use base::{Attribution, Decision, RunId, TierPolicy};
    use crl::{Action, Change, Listed, Terms};
    use seal::SigningKey;
    use seal::trust::TrustRoot;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_us(1_795_000_000_000_000);

    fn key() -> SigningKey {
        SigningKey::ed25519_from_seed(&[9; 32])
    }

    fn artifact() -> ArtifactDigest {
        ArtifactDigest::new(Sha256Digest::of(b"build"))
    }

    fn known(tier: Tier, changes: &[Change]) -> Known {
        let manifest = serde_json::json!({
            "plugin_id": "acme.weather", "artifact_digest": artifact(), "allowed_egress": ["*.weather.example"],
            "data_classes": [], "sdk_allowlist": [], "built_by": "ci", "built_at": "2026-11-01T00:00:00Z",
        });
        let low = TierPolicy {
            allow: vec!["api.weather.example".to_owned(), "listed.example".to_owned()],
            contact: Some("netops@acme.example".to_owned()),
            ..TierPolicy::default()
        };
        let policy = Policy {
            version: 7,
            default_tier: Tier::Low,
            tiers: [(Tier::Low, low)].into(),
            exceptions: Vec::new(),
        };
        let facts = Facts {
            policy: PolicyInForce {
                policy,
                digest: Sha256Digest::of(b"policy"),
                signed_by: None,
                signature: None,
                exceptions: Vec::new(),
            },
            trust: TrustRoot::first(vec![key().public()], 1, NOW),
            artifacts: HashMap::from([(
                artifact(),
                ArtifactFacts {
                    plugin_id: "acme.weather".parse().unwrap(),
                    tier,
                    manifest: Arc::new(manifests::Manifest::from_value(&manifest).unwrap()),
                    manifest_digest: Sha256Digest::of(b"manifest"),
                    signer: key().public().fingerprint(),
                },
            )]),
            ended_runs: BTreeSet::new(),
            registered_runs: Vec::new(),
        };
        let rulings = HouseRulings::default();
        assert_eq!(
            rulings.rule(None, &"a.example:443".parse_target()).decision,
            Decision::Deny
        );
        rulings.tell_facts(Arc::new(facts));
        let terms = Terms {
            issuer: "acme",
            root_version: 1,
            now: NOW,
            validity: std::time::Duration::from_secs(3600),
        };
        rulings.tell_list(crl::publish(None, changes, &terms, &key()).unwrap().list());
        rulings.known().unwrap()
    }

    trait ParseTarget {
        fn parse_target(&self) -> Target;
    }

    impl ParseTarget for str {
        fn parse_target(&self) -> Target {
            Target::from_authority(self.as_bytes()).unwrap()
        }
    }

    fn rule(known: &Known, target: &str) -> Ruling {
        let identity = Identity {
            plugin_id: "acme.weather".parse().unwrap(),
            artifact_digest: artifact(),
            run_id: RunId::from_parts(1, [1; 10]),
            attribution: Attribution::Token,
        };
        known.rule(Some(&identity), &target.parse_target(), NOW)
    }

    #[test]
    fn the_trusting_tiers_allow_everything_and_say_what_low_would_have_done() {
        for tier in [Tier::High, Tier::Medium] {
            let known = known(tier, &[]);
            let covered = rule(&known, "api.weather.example:443");
            assert_eq!(
                (covered.decision, covered.would_deny),
                (Decision::Allow, Some(false))
            );
            assert_eq!(covered.matched_entry.as_deref(), Some("*.weather.example"));
            let breach = rule(&known, "paste.example:443");
            assert_eq!(
                (breach.decision, breach.would_deny),
                (Decision::Allow, Some(true))
            );
            assert_eq!((breach.policy_version, breach.crl_number), (Some(7), Some(1)));
        }
    }

    #[test]
    fn the_low_tier_allows_what_both_lists_cover_and_names_whom_to_ask() {
        let known = known(Tier::Low, &[]);
        assert_eq!(rule(&known, "api.weather.example:443").decision, Decision::Allow);
        for target in [
            "maps.weather.example:443",
            "listed.example:443",
            "api.weather.example:22",
            "x.example:443",
        ] {
            let denied = rule(&known, target);
            assert_eq!(
                (denied.decision, denied.reason),
                (Decision::Deny, Some(RefusalReason::Tier)),
                "{target}"
            );
            assert!(denied.advice.contains("netops@acme.example"), "{}", denied.advice);
        }
    }

    #[test]
    fn the_legacy_tier_denies_everything() {
        let known = known(Tier::Legacy, &[]);
        assert_eq!(rule(&known, "api.weather.example:443").decision, Decision::Deny);
    }

    #[test]
    fn an_amended_tier_or_policy_rules_from_then_on_and_leaves_the_rest() {
        let rulings = HouseRulings::default();
        let known = known(Tier::High, &[]);
        let ask = |target: &str| {
            let known = rulings.known().unwrap();
            rule(&known, target)
        };
        let policy = known.ground.facts.policy.policy.clone();
        rulings.amend(policy.clone(), Sha256Digest::of(b"policy"), &[]);
        assert!(rulings.facts().is_none(), "nothing is amended before it was told");
        rulings.ground.store(Some(Arc::clone(&known.ground)));
        rulings.list.store(Some(Arc::clone(&known.revocations)));
        assert_eq!(ask("paste.example:443").decision, Decision::Allow);
        let other = ArtifactDigest::new(Sha256Digest::of(b"unknown"));
        let low = [(artifact(), Tier::Low), (other, Tier::High)];
        rulings.amend(policy.clone(), Sha256Digest::of(b"policy"), &low);
        assert_eq!(ask("paste.example:443").reason, Some(RefusalReason::Tier));
        assert_eq!(ask("api.weather.example:443").decision, Decision::Allow);
        let stricter = Policy {
            version: 8,
            tiers: [(Tier::Low, TierPolicy::default())].into(),
            ..policy
        };
        rulings.amend(stricter, Sha256Digest::of(b"another"), &[]);
        let denied = ask("api.weather.example:443");
        assert_eq!(
            (denied.decision, denied.policy_version),
            (Decision::Deny, Some(8))
        );
        let facts = rulings.facts().unwrap();
        assert_eq!(
            (facts.artifacts.len(), facts.artifacts[&artifact()].tier),
            (1, Tier::Low)
        );
    }

    #[test]
    fn a_list_goes_before_every_tier() {
        let entry = |action, listed, reason| Change::Entry {
            action,
            listed,
            reason,
        };
        let hold = entry(
            Action::Hold,
            Listed::Artifact(artifact()),
            base::Reason::UndeclaredHost,
        );
        let held = rule(&known(Tier::High, &[hold]), "api.weather.example:443");
        assert_eq!((held.decision, held.mode), (Decision::Deny, Mode::Quarantined));
        assert_eq!((held.would_deny, held.matched_entry), (Some(false), None));
        let signer = Listed::Signer(key().public().fingerprint());
        let revoke = entry(Action::Revoke, signer, base::Reason::KeyCompromise);
        let revoked = rule(&known(Tier::High, &[revoke]), "api.weather.example:443");
        assert_eq!(
            (revoked.reason, revoked.mode),
            (Some(RefusalReason::Revoked), Mode::Revoked)
        );
    }

    #[test]
    fn a_stale_list_is_enforced_and_said_to_be_stale() {
        let known = known(Tier::High, &[]);
        let later = NOW.plus_seconds(7200);
        let ruling = known.rule(None, &"a.example:443".parse_target(), later);
        assert!(ruling.crl_stale && ruling.decision == Decision::Allow);
    }
}
