//! The covenant: what a plugin's owner declares and signs, and the gate that reads it before anything
//! is loaded.
//!
//! [`egress`] is the grammar of one promised destination, [`Manifest`] the whole promise, and
//! [`Manifest::coverage`] the question that every audit asks. [`sign`] binds a manifest to an
//! artifact, [`approve`] adds the platform's own signature, and [`gate::admit`] decides whether the
//! artifact may be loaded. [`lint`] and [`diff`] are for the people who write and review manifests.
//!
//! Nothing here opens a file except [`artifact`], which is the edge.

pub mod approval;
pub mod artifact;
mod by_tier;
mod coverage;
mod declaration;
mod declarations;
pub mod diff;
pub mod egress;
pub mod gate;
mod index;
pub mod inside;
pub mod lint;
mod manifest;
mod nearest;
mod signed;
pub mod suggest;

pub use approval::{Approval, ApprovalError, Grant, approve};
pub use by_tier::ByTier;
pub use coverage::Coverage;
pub use declaration::{Declaration, InvalidMethod, Method};
pub use declarations::Declarations;
pub use manifest::{
    BoundDocument, ByteSize, Cpu, DataClass, Duration, InvalidValue, Limits, Manifest, ManifestError, Owner,
    Permissions, Requirement, VersionRange,
};
pub use signed::{OpenError, SignError, SignedManifest, sign};
