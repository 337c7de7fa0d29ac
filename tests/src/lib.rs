//! The harness of the end-to-end tests: a whole site in a temporary folder.
//!
//! [`World`] makes a site with the real binary, starts the real `bailiwick serve` and puts origins
//! and a mail server beside it. The product knows nothing of tests: names lead to the origins through
//! the gateway's own `[gateway.resolver.hosts]`, and clients find the test authority through the
//! variables that each of them reads anyway.
//!
//! Nothing here sleeps and hopes. [`wait_until`] asks again until the answer is yes or an overall
//! deadline has passed; child processes are ended by their id and always reaped.

mod authority;
mod binary;
mod bucket;
mod files;
mod forge;
mod frames;
mod mail;
mod name_server;
mod origin;
mod peer;
mod plugin;
mod postfix;
mod process;
mod raw;
mod raw_server;
mod server;
pub mod tables;
mod tamper;
mod tls_client;
mod tls_front;
mod trial;
mod wait;
mod witness;
mod world;

pub use authority::Authority;
pub use binary::{bailiwick, workspace};
pub use bucket::{BucketServer, Manner};
pub use files::copy_folder;
pub use forge::{forge, forge_statement, statement};
pub use frames::{Frame, FrameClient, header_block};
pub use mail::{Mail, MailSink};
pub use name_server::{NameServer, Reply};
pub use origin::{Origin, Seen};
pub use peer::{MissingPeer, Peer};
pub use plugin::{Plugin, PluginBuilder};
pub use postfix::Postfix;
pub use process::{Run, run};
pub use raw::{Answer, ProxyCredentials, RawClient};
pub use raw_server::RawServer;
pub use server::Server;
pub use tamper::{CORPUS, Expected, LogFolder, Material, Tampering};
pub use tls_client::{TlsClient, TlsManner};
pub use tls_front::TlsFront;
pub use trial::{Scenario, run_scenarios};
pub use wait::{DEADLINE, wait_until, wait_within};
pub use witness::{Litewitness, WitnessServer, witness_vkey};
pub use world::{World, free_port};
