//! Verdicts: what the observations of one period say about one artifact.

use crate::text_enum::text_enum;

text_enum! {
    /// What the observations of one period say about one artifact or run.
    ///
    /// There is deliberately no `Default`: a verdict is reached, and doubt is one of its cases.
    pub enum Verdict as "verdict" {
        /// Every observation is covered by a declaration, and the evidence is whole.
        Conforming = "conforming",
        /// At least one finding says that the owner did not keep their word.
        NonConforming = "non_conforming",
        /// A gap, a drop or unverifiable evidence: nobody can tell.
        Inconclusive = "inconclusive",
        /// The evidence is whole and holds no connection.
        NoTraffic = "no_traffic",
    }
}
