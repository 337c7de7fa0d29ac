//! Connections: what the events of one connection say together.
//!
//! Facts arrive piece by piece (`open` knows the target, `close` knows the scheme and the bytes), and
//! a fact once stated stands.

use std::collections::BTreeSet;
use std::net::IpAddr;

use base::{
    AddressClass, Attribution, Decision, DnsResult, Host, ObservedScheme, Outcome, RefusalReason, RunId,
    SniVisibility, Target, Timestamp, canonical_ip, classify,
};
use evidence::{Event, EventKind};

use crate::crowd::MAX_INNER_NAMES;
use crate::observation::{Destination, InnerName, Named, Observation, Stray, Who};
use crate::tally::{Cited, Share, Tally};

/// What stands in `sni` when TLS was spoken and no name could be read.
const NO_NAME: [&str; 3] = ["absent", UNPARSED, "ech"];
/// What stands where a name was there and could not be read in one way.
const UNPARSED: &str = "unparsed";
const MAX_HOST_HEADERS: usize = 3;

/// One connection, as far as its events were read.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    facts: Facts,
    bytes_before: (u64, u64),
    bytes: (u64, u64),
    first_entry: Cited,
    last_entry: Cited,
    seen: Option<(Timestamp, Timestamp)>,
    /// Something of it was seen before the period.
    before: bool,
}

#[derive(Clone, Debug, Default)]
struct Facts {
    who: Option<Who>,
    target: Option<Target>,
    scheme: Option<ObservedScheme>,
    sni: Option<String>,
    sni_visibility: Option<SniVisibility>,
    /// Of the request for a tunnel, and of the first request inside it.
    host_headers: BTreeSet<String>,
    inner_target: Option<String>,
    forged_headers: BTreeSet<String>,
    run_id: Option<RunId>,
    credential: Option<String>,
    resolved: Vec<IpAddr>,
    dialed: Option<IpAddr>,
    dns: Option<DnsResult>,
    outcome: Option<Outcome>,
    denied: bool,
    refusal: Option<RefusalReason>,
    connected: bool,
}

impl Connection {
    pub(crate) fn new(entry: Cited) -> Self {
        Self {
            facts: Facts::default(),
            bytes_before: (0, 0),
            bytes: (0, 0),
            first_entry: entry,
            last_entry: entry,
            seen: None,
            before: false,
        }
    }

    /// Learns from an event that came before the period.
    pub(crate) fn handle_before(&mut self, entry: Cited, event: &Event) {
        self.learn(entry, event);
        self.bytes_before = self.bytes;
        self.before = true;
    }

    /// Learns from an event of the period.
    pub(crate) fn handle_within(&mut self, entry: Cited, event: &Event) {
        self.learn(entry, event);
        let first = self.seen.map_or(event.time, |(first, _)| first.min(event.time));
        let last = self.seen.map_or(event.time, |(_, last)| last.max(event.time));
        self.seen = Some((first, last));
    }

    /// Notes that the connection was open throughout the period without a word.
    pub(crate) fn outlives(&mut self, from: Timestamp, to: Timestamp) {
        self.seen.get_or_insert((from, to));
    }

    pub(crate) fn first_entry(&self) -> Cited {
        self.first_entry
    }

    pub(crate) fn who(&self) -> Option<&Who> {
        self.facts.who.as_ref()
    }

    fn learn(&mut self, entry: Cited, event: &Event) {
        self.last_entry = entry;
        // Counters rise over the life of a connection; one that fell is not believed.
        self.bytes.0 = self.bytes.0.max(event.bytes_out.unwrap_or(0));
        self.bytes.1 = self.bytes.1.max(event.bytes_in.unwrap_or(0));
        self.facts.learn(event);
    }

    /// What the connection adds to a tally. `None` if it has nothing to do with the period.
    fn share(&self) -> Option<Share> {
        let (first, last) = self.seen?;
        Some(Share {
            established: self.facts.established(self.bytes),
            denied: self.facts.denied,
            failed_lookup: self.facts.failed_lookup(),
            bytes_out: self.bytes.0.saturating_sub(self.bytes_before.0),
            bytes_in: self.bytes.1.saturating_sub(self.bytes_before.1),
            first,
            last,
            cited: [self.first_entry, self.last_entry],
        })
    }

    /// Where the connection belongs: an observation, or the strays.
    pub(crate) fn settle(self, alive: bool) -> Option<Settled> {
        let share = self.share()?;
        let facts = self.facts;
        match (facts.who.clone(), facts.target.clone()) {
            (Some(who), Some(target)) => Some(Settled::Seen {
                who,
                destination: Destination {
                    target,
                    scheme: facts.scheme,
                },
                addition: Addition {
                    facts,
                    share,
                    alive,
                    begun: !self.before,
                },
            }),
            (who, target) => Some(Settled::Stray(
                Stray {
                    who,
                    target,
                    refusal: facts.refusal,
                    // Named by credentials, and not yet by a proof that held.
                    run_id: facts.credential.as_ref().and(facts.run_id),
                    credential: facts.credential,
                },
                share,
            )),
        }
    }
}

/// A connection, ready to be counted.
#[expect(
    clippy::large_enum_variant,
    reason = "a value of this is taken apart where it arrives"
)]
pub(crate) enum Settled {
    /// Somebody went somewhere.
    Seen {
        who: Who,
        destination: Destination,
        addition: Addition,
    },
    /// Who, or where to, is not known.
    Stray(Stray, Share),
}

/// What one connection adds to an observation.
#[derive(Clone)]
pub(crate) struct Addition {
    facts: Facts,
    share: Share,
    alive: bool,
    begun: bool,
}

impl Addition {
    pub(crate) fn share(&self) -> &Share {
        &self.share
    }

    /// Whether the connection was asked for within the period.
    pub(crate) fn begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn add_to(self, observation: &mut Observation) {
        let Self {
            facts, share, alive, ..
        } = self;
        Tally::add(observation.all_mut(), &share);
        observation.alive_at_end += u64::from(alive);
        for mut name in facts.inner_names() {
            let full = observation.inner_names.len() >= MAX_INNER_NAMES;
            if full && !observation.inner_names.contains_key(&name) {
                name = InnerName::Other;
            }
            let tally = observation.inner_names.entry(name);
            tally
                .and_modify(|tally| tally.merge(&Tally::of(&share)))
                .or_insert_with(|| Tally::of(&share));
        }
        if facts.unnamed_tls() {
            Tally::add(&mut observation.unnamed_tls, &share);
        }
        if facts.is_hidden() {
            Named::add(&mut observation.hidden_names, &share, facts.cover_name());
        }
        if facts.inner_target.is_some() {
            Named::add(&mut observation.proxied, &share, &facts.inner_target);
        }
        if !facts.forged_headers.is_empty() {
            Named::add(&mut observation.forged_headers, &share, &facts.forged_headers);
        }
        if facts.below_floor() {
            Tally::add(&mut observation.floor, &share);
        }
        if facts.mixed_answers() {
            Tally::add(&mut observation.mixed_answers, &share);
        }
        if facts.came_too_late() {
            Tally::add(&mut observation.after_revocation, &share);
        }
    }
}

impl Facts {
    fn learn(&mut self, event: &Event) {
        if self.who.is_none() {
            self.who = who(event);
        }
        if let (None, Some(host), Some(port)) = (&self.target, &event.destination_host, event.port) {
            self.target = Some(Target {
                host: host.clone(),
                port,
            });
        }
        // What nobody knew by its first bytes may have been named by the answer since.
        if matches!(self.scheme, None | Some(ObservedScheme::Tcp)) && event.scheme.is_some() {
            self.scheme = event.scheme;
        }
        keep_first(&mut self.sni, event.sni.as_ref());
        keep_first(&mut self.sni_visibility, event.sni_visibility.as_ref());
        if self.host_headers.len() < MAX_HOST_HEADERS {
            self.host_headers.extend(event.host_header.clone());
        }
        keep_first(&mut self.inner_target, event.inner_target.as_ref());
        if self.forged_headers.is_empty() {
            self.forged_headers.extend(event.stripped_headers.iter().cloned());
        }
        keep_first(&mut self.run_id, event.run_id.as_ref());
        keep_first(&mut self.credential, event.credential_fingerprint.as_ref());
        keep_first(&mut self.dialed, event.dialed_ip.as_ref());
        keep_first(&mut self.dns, event.dns_result.as_ref());
        keep_first(&mut self.outcome, event.outcome.as_ref());
        keep_first(&mut self.refusal, event.reason.as_ref());
        if self.resolved.is_empty() {
            self.resolved.clone_from(&event.resolved_ips);
        }
        self.denied |= event.kind == EventKind::Refused || event.decision == Some(Decision::Deny);
        self.connected |= event.kind == EventKind::Connected || event.connect_ms.is_some();
    }

    fn established(&self, bytes: (u64, u64)) -> bool {
        let failed = matches!(
            self.outcome,
            Some(
                Outcome::DnsFailed
                    | Outcome::FloorRefused
                    | Outcome::ConnectFailed
                    | Outcome::ConnectTimeout
                    | Outcome::ParentUnreachable
                    | Outcome::ParentCredentials
                    | Outcome::ParentRefused
                    | Outcome::ParentFailed
                    | Outcome::ParentBadResponse
                    | Outcome::ParentTimeout
            )
        );
        !self.denied && !failed && (self.connected || self.dialed.is_some() || bytes != (0, 0))
    }

    fn failed_lookup(&self) -> bool {
        let failed = match self.dns {
            Some(DnsResult::Ok | DnsResult::NotNeeded | DnsResult::Override | DnsResult::Parent) | None => {
                false
            }
            Some(
                DnsResult::NxDomain
                | DnsResult::NoData
                | DnsResult::ServFail
                | DnsResult::Truncated
                | DnsResult::Timeout
                | DnsResult::Failed,
            ) => true,
        };
        failed || self.outcome == Some(Outcome::DnsFailed)
    }

    fn asked_for_name(&self) -> bool {
        matches!(
            &self.target,
            Some(Target {
                host: Host::Name(_),
                ..
            })
        )
    }

    /// The name in the ClientHello, if there was one that could be read.
    fn sni(&self) -> Option<&String> {
        self.sni.as_ref().filter(|sni| !NO_NAME.contains(&sni.as_str()))
    }

    /// Whether a name may be hidden inside TLS. Many clients offer what hides a name and hide none, so
    /// this is worth knowing only; and the name beside it may be a cover, so it proves nothing either.
    fn is_hidden(&self) -> bool {
        self.sni_visibility == Some(SniVisibility::Ech) && self.asked_for_name()
    }

    /// A name beside a hidden one, where it is another than the host asked for.
    fn cover_name(&self) -> Option<&String> {
        let asked = self
            .target
            .as_ref()
            .map(|target| InnerName::Host(target.host.clone()));
        self.sni().filter(|sni| Some(read_sni(sni)) != asked)
    }

    /// Names inside the connection that differ from the host asked for.
    fn inner_names(&self) -> impl Iterator<Item = InnerName> {
        let sni = self
            .sni()
            .filter(|_| self.sni_visibility != Some(SniVisibility::Ech))
            .map(|sni| read_sni(sni));
        let headers = self
            .host_headers
            .iter()
            .filter(|header| header.as_str() != UNPARSED)
            .map(|header| read_host_header(header));
        let asked = self
            .target
            .as_ref()
            .map(|target| InnerName::Host(target.host.clone()));
        let mut names: BTreeSet<InnerName> = headers.collect();
        names.extend(sni);
        names.into_iter().filter(move |name| asked.as_ref() != Some(name))
    }

    fn unnamed_tls(&self) -> bool {
        // The gateway states `sni` whenever it saw a ClientHello, so silence is not absence.
        let unnamed = self.sni.is_some() && self.sni().is_none() && !self.is_hidden();
        let unnamed_http = self.host_headers.contains(UNPARSED);
        (unnamed_http || self.scheme == Some(ObservedScheme::Tls) && unnamed) && self.asked_for_name()
    }

    fn below_floor(&self) -> bool {
        let refused =
            self.refusal == Some(RefusalReason::Floor) || self.outcome == Some(Outcome::FloorRefused);
        refused && self.asked_for_name()
    }

    fn came_too_late(&self) -> bool {
        matches!(
            self.refusal,
            Some(RefusalReason::Revoked | RefusalReason::Quarantined)
        )
    }

    /// The gateway drops addresses below the floor and dials the rest. What the operator mapped or
    /// allowed is not below it: then the address dialled is itself not public.
    fn mixed_answers(&self) -> bool {
        let public = |ip: IpAddr| classify(canonical_ip(ip)) == AddressClass::Public;
        self.dns == Some(DnsResult::Ok)
            && self.asked_for_name()
            && self.dialed.is_some_and(public)
            && !self.resolved.iter().copied().all(public)
    }
}

/// Who an event speaks of: all three names and a proof, or nobody. Never a guess.
pub(crate) fn who(event: &Event) -> Option<Who> {
    match event.attribution {
        None | Some(Attribution::None) => None,
        Some(Attribution::Token | Attribution::Listener | Attribution::Mtls | Attribution::Source) => {
            Some(Who {
                plugin_id: event.plugin_id.clone()?,
                artifact_digest: event.artifact_digest?,
                run_id: event.run_id?,
            })
        }
    }
}

fn keep_first<T: Clone>(known: &mut Option<T>, stated: Option<&T>) {
    if known.is_none() {
        *known = stated.cloned();
    }
}

fn read_sni(text: &str) -> InnerName {
    text.parse()
        .map_or_else(|_| InnerName::Unreadable(text.to_owned()), InnerName::Host)
}

/// A Host header may carry a port; the name is what matters here, the port was already dialled.
fn read_host_header(text: &str) -> InnerName {
    Target::from_authority_or(text.as_bytes(), base::Port::HTTP).map_or_else(
        |_| InnerName::Unreadable(text.to_owned()),
        |target| InnerName::Host(target.host),
    )
}
