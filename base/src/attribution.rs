//! Attribution: how the gateway knew whose connection it was.

use crate::text_enum::text_enum;

text_enum! {
    /// The method by which a connection was tied to a run. Never a guess: `None` says that nobody
    /// proved anything.
    pub enum Attribution as "attribution" {
        /// A signed run token presented as proxy credentials.
        Token = "token",
        /// A listener that exists for this run alone.
        Listener = "listener",
        /// A client certificate whose SAN URI names the run.
        Mtls = "mtls",
        /// A registered source address.
        Source = "source",
        /// No identity was proved.
        None = "none",
    }
}
