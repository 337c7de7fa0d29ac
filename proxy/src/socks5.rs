//! SOCKS5 (RFC 1928, RFC 1929): CONNECT with user and password, or without where the way in proves
//! enough: a run's own listener, a client certificate, a registered source address.
//!
//! The messages are read by functions that see bytes only; the conversation around them owns the
//! socket and the clock.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use base::{DnsResult, Host, InvalidTarget, Outcome, Port, RefusalReason, Target, Transport};
use bytes::Buf as _;
use tokio::time::timeout;

use crate::attempt::{Attempt, Ending, refuse_identity, refuse_unread, refuse_unsupported};
use crate::client::Client;
use crate::core::Core;
use crate::identity::{Identity, IdentityRefusal};
use crate::live::CutCause;
use crate::refusal::{Failure, Refusal, RefusalKind};
use crate::request::{BadRequest, MAX_RAW, Notes, Proof};
use crate::tunnel::Tunnel;

const VERSION: u8 = 5;
const AUTH_VERSION: u8 = 1;
const NO_AUTH: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
/// "NO ACCEPTABLE METHODS" (RFC 1928 §3).
const NO_METHOD_LEFT: [u8; 2] = [VERSION, 0xff];
const CONNECT: u8 = 1;
const UDP_ASSOCIATE: u8 = 3;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// What a client may prove itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Greeting {
    no_auth: bool,
    user_and_password: bool,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ask {
    command: u8,
    target: Result<Target, Unreadable>,
    /// The host as it was sent, escaped.
    raw_host: String,
}

/// Why a request names no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unreadable {
    Target(InvalidTarget),
    AddressType,
}

/// Bytes that are no SOCKS5 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// A whole message and how many bytes it had, or `None` while more are needed.
type Message<T> = Result<Option<(T, usize)>, Malformed>;

fn greeting(bytes: &[u8]) -> Message<Greeting> {
    let Some((&version, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if version != VERSION {
        return Err(Malformed);
    }
    let Some(methods) = counted(rest) else {
        return Ok(None);
    };
    let greeting = Greeting {
        no_auth: methods.contains(&NO_AUTH),
        user_and_password: methods.contains(&USER_AND_PASSWORD),
    };
    Ok(Some((greeting, 2 + methods.len())))
}

fn user_and_password(bytes: &[u8]) -> Message<Proof> {
    let Some((&version, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if version != AUTH_VERSION {
        return Err(Malformed);
    }
    let Some(user) = counted(rest) else {
        return Ok(None);
    };
    let Some((password, counted_len)) = password(&rest[1 + user.len()..]) else {
        return Ok(None);
    };
    let proof = Proof::Basic {
        user: user.to_vec(),
        password: password.to_vec(),
    };
    Ok(Some((proof, 2 + user.len() + counted_len)))
}

/// The password and how many bytes it took with its length.
///
/// PySocks, and with it requests and pip, writes a length from 128 on as UTF-8, in two bytes where
/// RFC 1929 has one. Tokens are longer than that. The two forms cannot be taken for each other: the
/// byte after a length is the first of a token, which is ASCII, and the second of a pair never is.
fn password(bytes: &[u8]) -> Option<(&[u8], usize)> {
    if let [lead @ (0xc2 | 0xc3), rest @ ..] = bytes {
        let (second, rest) = rest.split_first()?;
        if second & 0xc0 == 0x80 {
            let length = usize::from(lead & 0x1f) << 6 | usize::from(second & 0x3f);
            return Some((rest.get(..length)?, 2 + length));
        }
    }
    counted(bytes).map(|password| (password, 1 + password.len()))
}

fn ask(bytes: &[u8]) -> Message<Ask> {
    let Some(([version, command, reserved, kind], rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    if *version != VERSION || *reserved != 0 {
        return Err(Malformed);
    }
    let host_len = match *kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => match rest.first() {
            Some(length) => 1 + usize::from(*length),
            None => return Ok(None),
        },
        // How long such an address is, nobody knows; this is as far as the message can be read.
        _ => {
            let ask = Ask {
                command: *command,
                target: Err(Unreadable::AddressType),
                raw_host: String::new(),
            };
            return Ok(Some((ask, bytes.len())));
        }
    };
    let Some((host, rest)) = rest.split_at_checked(host_len) else {
        return Ok(None);
    };
    let Some((port, _)) = rest.split_first_chunk::<2>() else {
        return Ok(None);
    };
    let (target, raw_host) = read_target(*kind, host, u16::from_be_bytes(*port));
    let ask = Ask {
        command: *command,
        target: target.map_err(Unreadable::Target),
        raw_host,
    };
    Ok(Some((ask, 4 + host_len + 2)))
}

/// `kind` decides what `host` is, never its length: a name may be as long as an address.
fn read_target(kind: u8, host: &[u8], port: u16) -> (Result<Target, InvalidTarget>, String) {
    let port = Port::try_from(port).map_err(InvalidTarget::from);
    let ip = match kind {
        IPV4 => <[u8; 4]>::try_from(host).ok().map(IpAddr::from),
        IPV6 => <[u8; 16]>::try_from(host).ok().map(IpAddr::from),
        _ => None,
    };
    match ip {
        Some(ip) => {
            let host = Host::from(ip);
            (port.map(|port| Target { host, port }), ip.to_string())
        }
        None => {
            let name = &host[1..];
            let target = port.and_then(|port| Target::from_name(name, port));
            (target, base::escape_untrusted(name, MAX_RAW))
        }
    }
}

/// A byte that counts, and so many bytes.
fn counted(bytes: &[u8]) -> Option<&[u8]> {
    let (&length, rest) = bytes.split_first()?;
    rest.get(..usize::from(length))
}

/// Serves a client that has begun to speak SOCKS5, until there is a tunnel or nobody.
pub(crate) async fn serve(core: &Arc<Core>, client: Client) -> Option<Box<Tunnel>> {
    let mut talk = Talk { core, client };
    let patience = core.settings.timeouts.head;
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
            self.read(user_and_password).await?
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
        let target = match ask.target {
            Ok(target) => target,
            Err(unreadable) => {
                self.refuse_target(unreadable, ask.raw_host).await;
                return None;
            }
        };
        if ask.command != CONNECT {
            self.refuse_command(identity.as_deref(), ask.command, &target)
                .await;
            return None;
        }
        let core = self.core;
        let live = core.live.enter(identity);
        let canonical = target.host.to_string();
        let notes = Notes {
            raw_target: (ask.raw_host != canonical).then_some(ask.raw_host),
            ..Notes::default()
        };
        let reached = match Attempt::admit(core, &live, &target, notes).await {
            Ok(attempt) => attempt.reach(live.cut()).await,
            Err(refusal) => Err(refusal),
        };
        match reached {
            Ok((attempt, server, _)) => {
                if !self.client.answer(&reply(0)).await {
                    attempt.close(Ending {
                        outcome: Some(Outcome::ClientReset),
                        ..Ending::default()
                    });
                    drop((self.client, server));
                    drop(live);
                    return None;
                }
                Some(Box::new(Tunnel::new(self.client, server, live, attempt)))
            }
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

    async fn refuse_command(self, identity: Option<&Identity>, command: u8, target: &Target) {
        let transport = if command == UDP_ASSOCIATE {
            Transport::Udp
        } else {
            Transport::Tcp
        };
        let why = "only CONNECT is served";
        refuse_unsupported(self.core, identity, Some(target), transport, why).await;
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

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    fn asked(host: &[u8], port: u16) -> Ask {
        let bytes = [
            &[5, 1, 0, 3, u8::try_from(host.len()).unwrap()],
            host,
            &port.to_be_bytes(),
        ]
        .concat();
        let (ask, length) = ask(&bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        ask
    }

    #[test]
    fn a_password_is_read_whichever_way_its_length_was_written() {
        for length in 1..=255usize {
            let secret = vec![b'a'; length];
            let one_byte = vec![u8::try_from(length).unwrap()];
            let as_text = char::from_u32(u32::try_from(length).unwrap())
                .unwrap()
                .to_string()
                .into_bytes();
            for written in [one_byte, as_text] {
                let message = [&[1, 3], &b"run"[..], &written, &secret].concat();
                // Nothing is made of it before it is whole, and nothing is left over after.
                for end in 0..message.len() {
                    assert_eq!(
                        user_and_password(&message[..end]),
                        Ok(None),
                        "{length} cut at {end}"
                    );
                }
                let (proof, used) = user_and_password(&message).unwrap().unwrap();
                assert_eq!(used, message.len());
                let Proof::Basic { user, password } = proof else {
                    panic!("no proof")
                };
                assert_eq!((user.as_slice(), password), (&b"run"[..], secret.clone()));
            }
        }
    }

    #[test]
    fn a_name_is_a_name_and_an_address_is_an_address() {
        assert_eq!(
            asked(b"Example.com", 443).target.unwrap().to_string(),
            "example.com:443"
        );
        // As long as an IPv4 and an IPv6 address, counting the byte before it.
        assert_eq!(asked(b"abc", 443).target.unwrap().to_string(), "abc:443");
        assert_eq!(
            asked(b"a.b.example.com", 443).target.unwrap().to_string(),
            "a.b.example.com:443"
        );
        let v4 = [5, 1, 0, 1, 192, 0, 2, 7, 0, 22];
        assert_eq!(
            ask(&v4).unwrap().unwrap().0.target.unwrap().to_string(),
            "192.0.2.7:22"
        );
        let v6 = [&[5, 1, 0, 4][..], &Ipv6Addr::LOCALHOST.octets(), &[0, 80]].concat();
        assert_eq!(
            ask(&v6).unwrap().unwrap().0.target.unwrap().to_string(),
            "[::1]:80"
        );
    }

    #[test]
    fn targets_that_could_be_read_in_two_ways_are_refused() {
        for host in [
            &b""[..],
            b"evil.com\0.ok.com",
            b"a b",
            b"127.1",
            b"a:443",
            b"::1",
            &[b'a'; 255],
            b"\xff",
        ] {
            assert!(
                matches!(asked(host, 443).target, Err(Unreadable::Target(_))),
                "{host:?}"
            );
        }
        assert!(asked(b"a.example", 0).target.is_err());
        let (unknown, _) = ask(&[5, 1, 0, 9, 1, 2]).unwrap().unwrap();
        assert_eq!(unknown.target, Err(Unreadable::AddressType));
    }

    #[test]
    fn messages_of_other_protocols_are_refused() {
        assert_eq!(greeting(&[4, 1, 0]), Err(Malformed));
        assert_eq!(user_and_password(&[5, 1, b'a', 1, b'b']), Err(Malformed));
        assert_eq!(ask(&[5, 1, 1, 1, 0, 0, 0, 0, 0, 1]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic_and_half_a_message_is_waited_for(raw in proptest::collection::vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>()) {
            let part = &raw[..cut.index(raw.len() + 1)];
            prop_assert!(agrees(greeting(part), greeting(&raw)));
            prop_assert!(agrees(user_and_password(part), user_and_password(&raw)));
            let head = [&[5, 1, 0, 3][..], &raw].concat();
            prop_assert!(agrees(ask(&head[..4 + part.len()]), ask(&head)));
            let _ = ask(&raw);
        }
    }

    /// A prefix of a message needs more, or gives what the whole gives.
    fn agrees<T: PartialEq>(part: Message<T>, whole: Message<T>) -> bool {
        part == Ok(None) || part == whole
    }
}
