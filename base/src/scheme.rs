//! Observed schemes: what the first bytes of a connection turned out to be.

use crate::text_enum::text_enum;

text_enum! {
    /// What was spoken on a connection, as observed from its first bytes.
    pub enum ObservedScheme as "observed scheme" {
        /// Plain HTTP.
        Http = "http",
        /// A TLS ClientHello came first.
        Tls = "tls",
        /// An SSH identification string came first.
        Ssh = "ssh",
        /// Anything else.
        Tcp = "tcp",
    }
}
