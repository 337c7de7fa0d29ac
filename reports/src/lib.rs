//! Conformance reports, evidence bundles, their rendering, and the words of the mails.
