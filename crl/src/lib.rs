//! The revocation list: entries, heads, freshness and rollback.
