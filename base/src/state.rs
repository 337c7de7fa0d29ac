//! Artifact states: where a build stands on its way through the house.

use crate::text_enum::text_enum;

text_enum! {
    /// Where an artifact stands in the registry.
    pub enum ArtifactState as "artifact state" {
        /// Handed in, not yet reviewed.
        Submitted = "submitted",
        /// Approved by the platform's certifier.
        Certified = "certified",
        /// Passed the load gate; may run.
        Admitted = "admitted",
        /// May run; somebody is looking.
        Watch = "watch",
        /// On the revocation list with action `hold`.
        Quarantined = "quarantined",
        /// A hold was lifted; may run.
        Reinstated = "reinstated",
        /// On the revocation list with action `revoke`; final.
        Revoked = "revoked",
        /// A newer artifact of the same plugin took its place.
        Superseded = "superseded",
        /// Its approval or waiver ran out.
        Expired = "expired",
    }
}

impl ArtifactState {
    /// Whether an artifact in this state may be loaded.
    pub const fn may_run(self) -> bool {
        matches!(
            self,
            Self::Certified | Self::Admitted | Self::Watch | Self::Reinstated
        )
    }
}

#[cfg(test)]
mod tests {
    use super::ArtifactState;

    #[test]
    fn a_held_or_revoked_artifact_may_not_run() {
        assert!(ArtifactState::Admitted.may_run());
        assert!(!ArtifactState::Quarantined.may_run());
        assert!(!ArtifactState::Revoked.may_run());
        assert!(!ArtifactState::Submitted.may_run());
    }
}
