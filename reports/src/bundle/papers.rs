//! Papers: what is signed in a bundle, and the keys that a reader needs for it.

use seal::PredicateType;
use seal::envelope::Unverified;
use seal::trust::{Role, TrustRoot};

use super::{Contents, NamedKey};

/// One signed document of a bundle.
#[derive(Clone, Copy, Debug)]
pub struct Paper<'c> {
    /// The roles one of which should have signed it.
    pub roles: &'static [Role],
    /// What it should say.
    pub predicate: PredicateType,
    /// Its envelope.
    pub bundle: &'c [u8],
}

fn paper<'c>(roles: &'static [Role], predicate: PredicateType) -> impl Fn(&'c Vec<u8>) -> Paper<'c> {
    move |bundle| Paper {
        roles,
        predicate,
        bundle,
    }
}

impl Contents {
    /// Everything in it that somebody signed in an envelope, but for the reports that are yet to be signed.
    pub fn papers(&self) -> impl Iterator<Item = Paper<'_>> {
        let manifests = self
            .builds
            .iter()
            .flat_map(|build| std::iter::once(&build.manifest).chain(&build.earlier));
        let approvals = self.builds.iter().flat_map(|build| &build.approvals);
        let exceptions = self.exceptions.iter().flat_map(|exception| &exception.signatures);
        manifests
            .map(paper(&[Role::Owner], PredicateType::PluginManifest))
            .chain(approvals.map(paper(&[Role::Certifier], PredicateType::Approval)))
            .chain(
                self.reports
                    .iter()
                    .map(paper(&[Role::Auditor], PredicateType::ConformanceReport)),
            )
            .chain(std::iter::once(&self.crl_head).map(paper(&[Role::Crl], PredicateType::Crl)))
            .chain(
                std::iter::once(&self.policy_signature).map(paper(&[Role::Certifier], PredicateType::Policy)),
            )
            .chain(exceptions.map(paper(&seal::exception::ROLES, PredicateType::PolicyException)))
    }
}

/// The keys that signed these documents, each once, after those in `known`; numbered where a role has
/// several.
pub fn signers<'p>(
    known: Vec<NamedKey>,
    papers: impl Iterator<Item = Paper<'p>>,
    trust: &TrustRoot,
) -> Vec<NamedKey> {
    let mut keys = known;
    for paper in papers {
        let Ok(document) = Unverified::parse(paper.bundle) else {
            continue;
        };
        let held = paper
            .roles
            .iter()
            .flat_map(|&role| trust.keys(role).map(move |key| (role, key)));
        let signer = held
            .into_iter()
            .find(|(_, key)| document.clone().verify([*key], paper.predicate).is_ok());
        let Some((role, key)) = signer else {
            continue;
        };
        let of_role = keys.iter().filter(|known| known.role == role);
        if of_role.clone().any(|known| known.key == *key) {
            continue;
        }
        let name = match of_role.count() {
            0 => role.to_string(),
            others => format!("{role}-{}", others + 1),
        };
        keys.push(NamedKey {
            role,
            name,
            key: key.clone(),
        });
    }
    keys
}
