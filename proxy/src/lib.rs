//! The egress gateway: it names, asks, relays and writes down.
//!
//! One connection, in the order in which the rooms of this crate see it:
//!
//! | step | module |
//! |---|---|
//! | it **enters**, in TLS where its listener speaks that, and its first byte tells the protocol | `listener` with `handed` and `places`, `socket_file`, `entry`, `stream`, `tls`, `entrance`, `proxy_header` |
//! | its request is **read once**, strictly | `http1` with `head`, `framing`, `headers` and `request`; `http2`, which hands on to them; `socks5`; what they say besides is in `notes` |
//! | it is **named**, by what it shows and by the way it came | `proof`, [`identity`], [`token_runs`] |
//! | it is put into the **live table**, so that a kill can end it from here on, and held against its plugin's quotas | `live`, [`quota`], and `tarpit` for who is over them |
//! | it is **ruled on** | [`ruling`] |
//! | it is **written down**, before a byte leaves | `attempt` in the words of `facts`, [`recorder`] with its `queue`, `clerk` and `hands`, into a [`sink`], or through `lent` into the log of a successor |
//! | its name is looked up, the answers are held against the floor, one is dialled | `names` with `name_transport` and `turnstile`, `floor`, `dial`, or `parent` |
//! | it is **relayed**, and watched without being held back | `connect`, `tunnel`, `relay` with `scratch` and `splice`; for how long, `lifetime`; plain HTTP in `forward`, `exchange` and `response`; `sniff` with `client_hello` and `inner_http` |
//! | its end is written down, exactly once | `attempt` |
//! | or it is **refused** on the way, answered and written down all the same | `refusal` (what the client is told), `refused` (what the record says), `exhausted` (when it is the gateway that lacks something) |
//!
//! Around it: [`Gateway`] starts, steers and stops everything, from [`settings`] and the places in
//! `listen_address`; `core` is what all connections share, `client` the near end of one; `admin` and
//! `metrics` say how it goes.
//!
//! This crate judges nobody. It asks two questions through traits that it owns, [`Runs`] (whose run
//! is this?) and [`Rulings`] (may it connect?), and writes the answers into the evidence log. It
//! depends on neither `manifests` nor `control`.

mod admin;
mod attempt;
mod clerk;
mod client;
mod client_hello;
mod connect;
mod core;
mod dial;
mod entrance;
mod entry;
mod exchange;
mod exhausted;
mod facts;
mod floor;
mod forward;
mod framing;
mod gateway;
mod handed;
mod hands;
mod head;
mod headers;
mod http1;
mod http2;
pub mod identity;
mod inner_http;
mod lent;
mod lifetime;
mod listen_address;
mod listener;
mod live;
mod metrics;
mod name_transport;
mod names;
mod notes;
mod parent;
mod places;
mod proof;
mod proxy_header;
mod queue;
pub mod quota;
pub mod recorder;
mod refusal;
mod refused;
mod relay;
mod request;
mod response;
pub mod ruling;
mod scratch;
pub mod settings;
pub mod sink;
mod sniff;
mod socket_file;
mod socks5;
mod splice;
mod stream;
mod tarpit;
mod tls;
pub mod token_runs;
mod tunnel;
mod turnstile;

pub use floor::{BelowFloor, Floor};
pub use gateway::{Gateway, KillReceipt, OpenListenerError, OpenSocket, ReloadError, RunPlace, StartError};
pub use handed::{HandedSockets, Purpose};
pub use identity::{Credentials, Identity, IdentityRefusal, Presented, Runs};
pub use lent::{Forwarded, Forwarding};
pub use listen_address::{InvalidListenAddress, ListenAddress};
pub use live::KillScope;
pub use metrics::{Archived, Budgeted, Exported, Witnessed};
pub use parent::{InvalidParentSuffix, Parent, ParentRule, ParentSuffix};
pub use queue::EvidenceBudget;
pub use quota::Quotas;
pub use recorder::{
    Durability, EvidenceSettings, EvidenceUnavailable, Gap, OnFailure, Recorder, RecorderError,
};
pub use ruling::{Ruling, Rulings};
pub use settings::{
    Http2Limits, Limits, OverrideAddress, ResolverSettings, Settings, Timeouts, Unattributed,
};
pub use sink::{EventSink, MemorySink, SinkError, Work};
pub use tls::{ClientAuth, TlsError, TlsSettings, TlsStatus};
pub use token_runs::{Registration, TokenRuns};
