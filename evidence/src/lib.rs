//! Events and the transparency log that keeps them.
