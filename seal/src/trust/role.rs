//! Roles: what a key may sign.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a key may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Manifests.
    Owner,
    /// Approvals.
    Certifier,
    /// Reports.
    Auditor,
    /// Revocation lists.
    Crl,
    /// Checkpoints of evidence logs.
    Gateway,
    /// Cosignatures on checkpoints.
    Witness,
    /// Run tokens.
    Run,
    /// Console actions.
    Operator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 8] = [
        Self::Owner,
        Self::Certifier,
        Self::Auditor,
        Self::Crl,
        Self::Gateway,
        Self::Witness,
        Self::Run,
        Self::Operator,
    ];

    /// The role's one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Certifier => "certifier",
            Self::Auditor => "auditor",
            Self::Crl => "crl",
            Self::Gateway => "gateway",
            Self::Witness => "witness",
            Self::Run => "run",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(InvalidRole)
    }
}

/// A word that is not a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of owner, certifier, auditor, crl, gateway, witness, run, operator")]
pub struct InvalidRole;
