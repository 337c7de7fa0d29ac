//! SOCKS5 (RFC 1928, RFC 1929): CONNECT with user and password, or without where the way in proves
//! enough: a run's own listener, a client certificate, a registered source address.
//!
//! This is the conversation, which owns the socket and the clock; `messages` reads bytes only.

mod messages;

use std::io;
use std::sync::Arc;

use base::{DnsResult, RefusalReason, Target, Transport};
use bytes::Buf as _;
use tokio::time::timeout;

use crate::attempt::Attempt;
use crate::client::Client;
use crate::core::Core;
use crate::identity::{Identity, IdentityRefusal};
use crate::live::CutCause;
use crate::notes::{BadRequest, Notes, presentable};
use crate::proof::Proof;
use crate::refusal::{Failure, Refusal, RefusalKind};
use crate::refused::{refuse_identity, refuse_unread, refuse_unsupported};
use crate::tunnel::Tunnel;

use messages::{
    AUTH_VERSION, Ask, CONNECT, Malformed, Message, NO_AUTH, UDP_ASSOCIATE, USER_AND_PASSWORD, Unreadable,
    VERSION, ask, greeting, user_and_password,
};

/// "NO ACCEPTABLE METHODS" (RFC 1928 §3).
const NO_METHOD_LEFT: [u8; 2] = [VERSION, 0xff];

/// Serves a client that has begun to speak SOCKS5, until there is a tunnel or nobody.
pub(crate) async fn serve(core: &Arc<Core>, client: Client) -> Option<Box<Tunnel>> {
    let mut talk = Talk { core, client };
    let patience = core.settings().timeouts.head;
    match timeout(patience, talk.negotiate()).await {
        Ok(Ok((identity, ask))) => return talk.connect(identity, ask).await,
        Ok(Err(Over::Gone)) => {}
        Ok(Err(Over::Malformed)) => talk.refuse_unread("this is not SOCKS5").await,
        Ok(Err(Over::Answered)) => talk.client.farewell().await,
        Err(_) => {
            talk.refuse_unread("the SOCKS5 request did not arrive in time")
                .await
        }
    }
    None
}

/// Why a conversation ended before a target was asked for.
enum Over {
    Gone,
    Malformed,
    Answered,
}

struct Talk<'a> {
    core: &'a Arc<Core>,
    client: Client,
}

impl Talk<'_> {
    async fn negotiate(&mut self) -> Result<(Option<Arc<Identity>>, Ask), Over> {
        let greeting = self.read(greeting).await?;
        let proof = if greeting.user_and_password {
            self.say(&[VERSION, USER_AND_PASSWORD]).await?;
            let shown = self.read(user_and_password).await?;
            Proof::Basic {
                user: shown.user,
                password: shown.password,
            }
        } else if greeting.no_auth {
            Proof::None
        } else {
            return self
                .turn_away(IdentityRefusal::Missing, &Proof::None, NO_METHOD_LEFT)
                .await;
        };
        let proof = self.without_empty_password(proof);
        let (accepted, refused) = match greeting.user_and_password {
            true => ([AUTH_VERSION, 0], [AUTH_VERSION, 1]),
            // The client brings nothing, so the way it came in must be enough, or the site must not mind.
            false => ([VERSION, NO_AUTH], NO_METHOD_LEFT),
        };
        match self.core.identify(&proof, &self.client.entry) {
            Ok(identity) => {
                self.say(&accepted).await?;
                Ok((identity, self.read(ask).await?))
            }
            Err(refusal) => self.turn_away(refusal, &proof, refused).await,
        }
    }

    /// Some clients offer a user and a password without having any (Java sends the name of the
    /// system's user and nothing). Where the way in proves who they are, that is nothing presented; no
    /// token is empty, so none is passed over.
    fn without_empty_password(&self, proof: Proof) -> Proof {
        let is_empty = matches!(&proof, Proof::Basic { password, .. } if password.is_empty());
        let is_known = || self.core.identify(&Proof::None, &self.client.entry);
        if is_empty && matches!(is_known(), Ok(Some(_))) {
            Proof::None
        } else {
            proof
        }
    }

    async fn turn_away<T>(
        &mut self,
        refusal: IdentityRefusal,
        proof: &Proof,
        answer: [u8; 2],
    ) -> Result<T, Over> {
        refuse_identity(self.core, refusal, proof, None, Notes::default()).await;
        self.say(&answer).await?;
        Err(Over::Answered)
    }

    async fn connect(mut self, identity: Option<Arc<Identity>>, ask: Ask) -> Option<Box<Tunnel>> {
        // First, because who asks for another thing than a connection need not name where to: a client of
        // UDP ASSOCIATE that does not know yet says port 0 (RFC 1928 §7).
        if ask.command != CONNECT {
            let target = ask.target.ok();
            self.refuse_command(identity.as_deref(), ask.command, target.as_ref())
                .await;
            return None;
        }
        let raw_host = presentable(&ask.raw_host);
        let target = match ask.target {
            Ok(target) => target,
            Err(unreadable) => {
                self.refuse_target(unreadable, raw_host).await;
                return None;
            }
        };
        let core = self.core;
        let live = core.live.enter(identity);
        let canonical = target.host.to_string();
        let notes = Notes {
            raw_target: (raw_host != canonical).then_some(raw_host),
            ..Notes::default()
        };
        match Attempt::make(core, &live, &target, notes).await {
            Ok((attempt, server)) => Tunnel::establish(self.client, &reply(0), server, live, attempt).await,
            Err(refusal) if refusal.is_cut() => {
                self.client.answer_at_once(&reply(reply_code(&refusal)));
                drop(self.client);
                drop(live);
                None
            }
            Err(refusal) => {
                drop(live);
                self.answer_and_close(reply_code(&refusal)).await;
                None
            }
        }
    }

    async fn refuse_target(self, unreadable: Unreadable, raw_host: String) {
        let (code, reason, why) = match unreadable {
            Unreadable::Target(error) => (1, RefusalReason::Malformed, error.to_string()),
            Unreadable::AddressType => (
                8,
                RefusalReason::Malformed,
                "SOCKS5 has no such type of address".to_owned(),
            ),
        };
        let bad = BadRequest {
            reason,
            why,
            raw_target: (!raw_host.is_empty()).then_some(raw_host),
        };
        refuse_unread(self.core, bad, None).await;
        self.answer_and_close(code).await;
    }

    async fn refuse_command(self, identity: Option<&Identity>, command: u8, target: Option<&Target>) {
        let transport = if command == UDP_ASSOCIATE {
            Transport::Udp
        } else {
            Transport::Tcp
        };
        let why = "only CONNECT is served";
        refuse_unsupported(self.core, identity, target, transport, why).await;
        self.answer_and_close(7).await;
    }

    /// What is not understood is not answered in SOCKS5 either: there is no answer for it.
    async fn refuse_unread(self, why: &str) {
        let bad = BadRequest {
            reason: RefusalReason::Malformed,
            why: why.to_owned(),
            raw_target: None,
        };
        refuse_unread(self.core, bad, None).await;
        self.answer_and_close(1).await;
    }

    async fn answer_and_close(mut self, code: u8) {
        if self.client.answer(&reply(code)).await {
            self.client.farewell().await;
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), Over> {
        if self.client.answer(bytes).await {
            Ok(())
        } else {
            Err(Over::Gone)
        }
    }

    async fn read<T>(&mut self, message: fn(&[u8]) -> Message<T>) -> Result<T, Over> {
        loop {
            match message(&self.client.buffer) {
                Ok(Some((read, length))) => {
                    self.client.buffer.advance(length);
                    return Ok(read);
                }
                Ok(None) => {}
                Err(Malformed) => return Err(Over::Malformed),
            }
            if !matches!(self.client.fill().await, Ok(1..)) {
                return Err(Over::Gone);
            }
        }
    }
}

/// An answer with an empty bound address: what the gateway's own port is, is nobody's business.
const fn reply(code: u8) -> [u8; 10] {
    [VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

fn reply_code(refusal: &Refusal) -> u8 {
    match refusal.kind {
        RefusalKind::Refused(
            RefusalReason::EvidenceUnavailable | RefusalReason::Draining | RefusalReason::Quota,
        ) => 1,
        RefusalKind::Refused(_) => 2,
        RefusalKind::Failed(failure) => match failure {
            Failure::Cut(CutCause::Shutdown) => 1,
            Failure::Cut(_) | Failure::Floor => 2,
            Failure::Lookup(DnsResult::NxDomain | DnsResult::NoData) => 4,
            Failure::Connect(io::ErrorKind::ConnectionRefused) => 5,
            Failure::Connect(io::ErrorKind::NetworkUnreachable) => 3,
            Failure::Connect(io::ErrorKind::HostUnreachable) | Failure::ConnectTimeout => 4,
            _ => 1,
        },
    }
}
