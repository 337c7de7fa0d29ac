//! Signed envelopes, keys, fingerprints, run tokens and the trust root; the only crate that names a signature algorithm.
