//! Facts: what events say of one connection, piece by piece.
//!
//! `open` knows the target, `close` knows the scheme and the bytes; a fact once stated stands. Facts are
//! kept in three parts that say nothing about each other: whose the connection was, where it went, and
//! how it went. Few different ones of each are met in many connections, so whoever reads many may keep
//! each part once.

use std::collections::BTreeSet;
use std::net::IpAddr;

use base::{
    AddressClass, Attribution, Decision, DnsResult, Host, ObservedScheme, Outcome, RefusalReason, RunId,
    SniVisibility, Target, canonical_ip, classify,
};
use evidence::{Event, EventKind};

use crate::crowd::MAX_INNER_NAMES;
use crate::observation::{Destination, InnerName, Named, Observation, Stray, Who};
use crate::tally::Tally;

/// What stands in `sni` when TLS was spoken and no name could be read.
const NO_NAME: [&str; 3] = ["absent", UNPARSED, "ech"];
/// What stands where a name was there and could not be read in one way.
const UNPARSED: &str = "unparsed";
const MAX_HOST_HEADERS: usize = 3;

/// What is known of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) identity: Identity,
    pub(crate) target: Option<Target>,
    pub(crate) course: Course,
}

/// Whose the connection was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) who: Option<Who>,
    run_id: Option<RunId>,
    credential: Option<String>,
}

/// How the connection went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Course {
    scheme: Option<ObservedScheme>,
    sni: Option<String>,
    sni_visibility: Option<SniVisibility>,
    /// Of the request for a tunnel, and of the first request inside it.
    host_headers: BTreeSet<String>,
    inner_target: Option<String>,
    forged_headers: BTreeSet<String>,
    /// Whether every address that the lookup gave is public.
    resolved_public: Option<bool>,
    /// Whether the address dialled is.
    dialed_public: Option<bool>,
    dns: Option<DnsResult>,
    outcome: Option<Outcome>,
    denied: bool,
    refusal: Option<RefusalReason>,
    connected: bool,
}

/// Where a connection went and how, whoever made it.
#[derive(Clone, Copy)]
pub(crate) struct Way<'f> {
    pub(crate) target: &'f Option<Target>,
    pub(crate) course: &'f Course,
}

/// Where connections belong.
pub(crate) enum Place {
    /// Somebody went somewhere.
    Seen(Who, Destination),
    /// Who, or where to, is not known.
    Stray(Stray),
}

/// A part of what is known of a connection, to which later events add.
pub(crate) trait Part: Clone {
    /// Adds what a later event says.
    fn learn(&mut self, said: &Self);
}

impl Part for Identity {
    fn learn(&mut self, said: &Self) {
        keep_first(&mut self.who, &said.who);
        keep_first(&mut self.run_id, &said.run_id);
        keep_first(&mut self.credential, &said.credential);
    }
}

impl Part for Option<Target> {
    fn learn(&mut self, said: &Self) {
        keep_first(self, said);
    }
}

impl Part for Course {
    fn learn(&mut self, said: &Self) {
        // What nobody knew by its first bytes may have been named by the answer since.
        if matches!(self.scheme, None | Some(ObservedScheme::Tcp)) && said.scheme.is_some() {
            self.scheme = said.scheme;
        }
        keep_first(&mut self.sni, &said.sni);
        keep_first(&mut self.sni_visibility, &said.sni_visibility);
        if self.host_headers.len() < MAX_HOST_HEADERS {
            self.host_headers.extend(said.host_headers.iter().cloned());
        }
        keep_first(&mut self.inner_target, &said.inner_target);
        if self.forged_headers.is_empty() {
            self.forged_headers.clone_from(&said.forged_headers);
        }
        keep_first(&mut self.dialed_public, &said.dialed_public);
        keep_first(&mut self.resolved_public, &said.resolved_public);
        keep_first(&mut self.dns, &said.dns);
        keep_first(&mut self.outcome, &said.outcome);
        keep_first(&mut self.refusal, &said.refusal);
        self.denied |= said.denied;
        self.connected |= said.connected;
    }
}

impl Facts {
    pub(crate) fn learn(&mut self, event: &Event) {
        self.identity.learn(&Identity::of(event));
        self.target.learn(&target(event));
        self.course.learn(&Course::of(event));
    }

    /// Where connections of which this is known belong.
    pub(crate) fn place(&self) -> Place {
        let Self {
            identity,
            target,
            course,
        } = self;
        match (identity.who.clone(), target.clone()) {
            (Some(who), Some(target)) => Place::Seen(
                who,
                Destination {
                    target,
                    scheme: course.scheme,
                },
            ),
            (who, target) => Place::Stray(Stray {
                who,
                target,
                refusal: course.refusal,
                // Named by credentials, and not yet by a proof that held.
                run_id: identity.credential.as_ref().and(identity.run_id),
                credential: identity.credential.clone(),
            }),
        }
    }

    /// Where it went, and how.
    pub(crate) const fn way(&self) -> Way<'_> {
        Way {
            target: &self.target,
            course: &self.course,
        }
    }
}

impl Way<'_> {
    /// Adds connections of which this is known; so many of them were open when the period ended.
    pub(crate) fn add_to(&self, tally: &Tally, alive: u64, observation: &mut Observation) {
        Tally::merge_into(observation.all_mut(), tally);
        observation.alive_at_end += alive;
        for mut name in self.inner_names() {
            let names = &mut observation.odd_mut().inner_names;
            if names.len() >= MAX_INNER_NAMES && !names.contains_key(&name) {
                name = InnerName::Other;
            }
            names
                .entry(name)
                .and_modify(|known| known.merge(tally))
                .or_insert_with(|| tally.clone());
        }
        let course = self.course;
        if self.unnamed_tls() {
            Tally::merge_beside(&mut observation.odd_mut().unnamed_tls, tally);
        }
        if self.is_hidden() {
            Named::add(&mut observation.odd_mut().hidden_names, tally, self.cover_name());
        }
        if course.inner_target.is_some() {
            Named::add(&mut observation.odd_mut().proxied, tally, &course.inner_target);
        }
        if !course.forged_headers.is_empty() {
            let known = &mut observation.odd_mut().forged_headers;
            Named::add(known, tally, &course.forged_headers);
        }
        if self.below_floor() {
            Tally::merge_beside(&mut observation.odd_mut().floor, tally);
        }
        if self.mixed_answers() {
            Tally::merge_beside(&mut observation.odd_mut().mixed_answers, tally);
        }
        if course.came_too_late() {
            Tally::merge_beside(&mut observation.odd_mut().after_revocation, tally);
        }
    }

    fn asked_for_name(&self) -> bool {
        matches!(
            self.target,
            Some(Target {
                host: Host::Name(_),
                ..
            })
        )
    }

    /// Whether a name may be hidden inside TLS. Many clients offer what hides a name and hide none, so
    /// this is worth knowing only; and the name beside it may be a cover, so it proves nothing either.
    fn is_hidden(&self) -> bool {
        self.course.sni_visibility == Some(SniVisibility::Ech) && self.asked_for_name()
    }

    fn asked(&self) -> Option<InnerName> {
        let target = self.target.as_ref();
        target.map(|target| InnerName::Host(target.host.clone()))
    }

    /// A name beside a hidden one, where it is another than the host asked for.
    fn cover_name(&self) -> Option<&String> {
        let asked = self.asked();
        self.course.sni().filter(|sni| Some(read_sni(sni)) != asked)
    }

    /// Names inside the connection that differ from the host asked for.
    fn inner_names(&self) -> impl Iterator<Item = InnerName> {
        let course = self.course;
        let asked_name = self.target.as_ref().and_then(|target| target.host.name());
        // Nearly always it is the name that was asked for, in the same letters.
        let is_other = |text: &str| asked_name.is_none_or(|name| name.as_str() != text);
        let sni = course
            .sni()
            .filter(|_| course.sni_visibility != Some(SniVisibility::Ech))
            .filter(|sni| is_other(sni))
            .map(|sni| read_sni(sni));
        let headers = course
            .host_headers
            .iter()
            .filter(|header| header.as_str() != UNPARSED && is_other(header))
            .map(|header| read_host_header(header));
        let mut names: BTreeSet<InnerName> = headers.collect();
        names.extend(sni);
        if let Some(asked) = self.asked().filter(|_| !names.is_empty()) {
            names.remove(&asked);
        }
        names.into_iter()
    }

    fn unnamed_tls(&self) -> bool {
        let course = self.course;
        // The gateway states `sni` whenever it saw a ClientHello, so silence is not absence.
        let unnamed = course.sni.is_some() && course.sni().is_none() && !self.is_hidden();
        let unnamed_http = course.host_headers.contains(UNPARSED);
        (unnamed_http || course.scheme == Some(ObservedScheme::Tls) && unnamed) && self.asked_for_name()
    }

    fn below_floor(&self) -> bool {
        let Course { refusal, outcome, .. } = self.course;
        let refused = *refusal == Some(RefusalReason::Floor) || *outcome == Some(Outcome::FloorRefused);
        refused && self.asked_for_name()
    }

    /// The gateway drops addresses below the floor and dials the rest. What the operator mapped or
    /// allowed is not below it: then the address dialled is itself not public.
    fn mixed_answers(&self) -> bool {
        let course = self.course;
        course.dns == Some(DnsResult::Ok)
            && self.asked_for_name()
            && course.dialed_public == Some(true)
            && course.resolved_public == Some(false)
    }
}

impl Identity {
    pub(crate) fn of(event: &Event) -> Self {
        Self {
            who: who(event),
            run_id: event.run_id,
            credential: event.credential_fingerprint.clone(),
        }
    }
}

/// Where an event says that its connection was to go.
pub(crate) fn target(event: &Event) -> Option<Target> {
    let host = event.destination_host.clone()?;
    Some(Target {
        host,
        port: event.port?,
    })
}

/// What one event says of how its connection went, as far as it matters.
pub(crate) struct Said<'s, H> {
    pub(crate) kind: EventKind,
    pub(crate) decision: Option<Decision>,
    pub(crate) scheme: Option<ObservedScheme>,
    pub(crate) sni: Option<&'s str>,
    pub(crate) sni_visibility: Option<SniVisibility>,
    pub(crate) host_header: Option<&'s str>,
    pub(crate) inner_target: Option<&'s str>,
    pub(crate) stripped_headers: H,
    /// Whether every address that the lookup gave is public.
    pub(crate) resolved_public: Option<bool>,
    /// Whether the address dialled is.
    pub(crate) dialed_public: Option<bool>,
    pub(crate) dns: Option<DnsResult>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) reason: Option<RefusalReason>,
    /// How long the upstream took is stated, so it answered.
    pub(crate) answered: bool,
}

impl Course {
    pub(crate) fn of(event: &Event) -> Self {
        let resolved = &event.resolved_ips;
        Self::said(Said {
            kind: event.kind,
            decision: event.decision,
            scheme: event.scheme,
            sni: event.sni.as_deref(),
            sni_visibility: event.sni_visibility,
            host_header: event.host_header.as_deref(),
            inner_target: event.inner_target.as_deref(),
            stripped_headers: event.stripped_headers.iter().map(String::as_str),
            resolved_public: (!resolved.is_empty()).then(|| resolved.iter().copied().all(is_public)),
            dialed_public: event.dialed_ip.map(is_public),
            dns: event.dns_result,
            outcome: event.outcome,
            reason: event.reason,
            answered: event.connect_ms.is_some(),
        })
    }

    pub(crate) fn said<'s>(said: Said<'s, impl Iterator<Item = &'s str>>) -> Self {
        Self {
            scheme: said.scheme,
            sni: said.sni.map(str::to_owned),
            sni_visibility: said.sni_visibility,
            host_headers: said.host_header.into_iter().map(str::to_owned).collect(),
            inner_target: said.inner_target.map(str::to_owned),
            forged_headers: said.stripped_headers.map(str::to_owned).collect(),
            resolved_public: said.resolved_public,
            dialed_public: said.dialed_public,
            dns: said.dns,
            outcome: said.outcome,
            denied: said.kind == EventKind::Refused || said.decision == Some(Decision::Deny),
            refusal: said.reason,
            connected: said.kind == EventKind::Connected || said.answered,
        }
    }

    /// What was spoken; `None` while nobody spoke.
    pub(crate) const fn scheme(&self) -> Option<ObservedScheme> {
        self.scheme
    }

    /// The gateway refused it.
    pub(crate) const fn denied(&self) -> bool {
        self.denied
    }

    /// It reached its destination, having moved so many bytes.
    pub(crate) fn established(&self, bytes: (u64, u64)) -> bool {
        let failed = self.outcome.is_some_and(Outcome::never_stood);
        !self.denied && !failed && (self.connected || self.dialed_public.is_some() || bytes != (0, 0))
    }

    /// Its name could not be resolved.
    pub(crate) fn failed_lookup(&self) -> bool {
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

    /// The name in the ClientHello, if there was one that could be read.
    fn sni(&self) -> Option<&String> {
        self.sni.as_ref().filter(|sni| !NO_NAME.contains(&sni.as_str()))
    }

    const fn came_too_late(&self) -> bool {
        matches!(
            self.refusal,
            Some(RefusalReason::Revoked | RefusalReason::Quarantined)
        )
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

/// Whether an address is one of the public internet.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    classify(canonical_ip(ip)) == AddressClass::Public
}

fn keep_first<T: Clone>(known: &mut Option<T>, stated: &Option<T>) {
    if known.is_none() {
        known.clone_from(stated);
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
