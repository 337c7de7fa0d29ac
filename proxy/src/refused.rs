//! Refused requests: how they get on record, whoever refuses them and however little is known.

use std::sync::Arc;

use base::{Attribution, Decision, RefusalReason, Target, Transport};
use evidence::{Event, EventKind, Timeout};

use crate::core::Core;
use crate::entry::Entry;
use crate::facts::{describe_identity, describe_target};
use crate::identity::{Identity, IdentityRefusal};
use crate::notes::{BadRequest, Notes};
use crate::proof::Proof;
use crate::quota::{Excess, Untold};
use crate::refusal::Refusal;

/// Records a request that was refused before it could be understood, and gives the answer.
pub(crate) async fn refuse_unread(core: &Arc<Core>, bad: BadRequest, timeout: Option<Timeout>) -> Refusal {
    let mut event = core.event(EventKind::Refused);
    event.attribution = Some(Attribution::None);
    event.transport = Some(Transport::Tcp);
    event.raw_target = bad.raw_target;
    event.timeout = timeout;
    record_refusal(core, event, bad.reason).await;
    Refusal::new(bad.reason, &bad.why)
}

/// Records a request whose credentials prove nothing, and gives the answer.
pub(crate) async fn refuse_identity(
    core: &Arc<Core>,
    refusal: IdentityRefusal,
    proof: &Proof,
    target: Option<&Target>,
    notes: Notes,
) -> Refusal {
    let mut event = core.event(EventKind::Refused);
    event.attribution = Some(Attribution::None);
    event.transport = Some(Transport::Tcp);
    event.run_id = refusal.run_id();
    event.claims = refusal.claims().to_vec();
    if let Some(target) = target {
        describe_target(&mut event, target, notes);
    }
    if let Proof::Basic { password, .. } = proof {
        event.credential_fingerprint = Some(seal::token::token_fingerprint(password));
    }
    record_refusal(core, event, refusal.reason()).await;
    Refusal::identity(&refusal)
}

/// Records that somebody came in who may not, or not in this way. They are told nothing: whoever
/// speaks for others without being asked to, or opens another user's door, is no client.
pub(crate) async fn refuse_peer(core: &Arc<Core>, entry: &Entry, why: &str) {
    let mut event = core.event(EventKind::Refused);
    event.attribution = Some(Attribution::None);
    event.transport = Some(Transport::Tcp);
    event.source_ip = entry.source.map(|source| source.ip().to_canonical());
    // Whose door it was; that is not who came.
    event.claims = entry.listener.iter().map(|listener| listener.claim()).collect();
    tracing::warn!(source = ?event.source_ip, why, "a peer was not let in");
    record_refusal(core, event, RefusalReason::UntrustedPeer).await;
}

/// Records that a well-formed request asks for something that is not served.
pub(crate) async fn refuse_unsupported(
    core: &Arc<Core>,
    identity: Option<&Identity>,
    target: Option<&Target>,
    transport: Transport,
    why: &str,
) -> Refusal {
    let mut event = core.event(EventKind::Refused);
    describe_identity(&mut event, identity);
    if let Some(target) = target {
        describe_target(&mut event, target, Notes::default());
    }
    event.transport = Some(transport);
    record_refusal(core, event, RefusalReason::Unsupported).await;
    Refusal::new(RefusalReason::Unsupported, why)
}

/// Records refusals over a quota: one event a second, which counts them.
pub(crate) async fn record_excess(core: &Core, mut facts: Box<Event>, excess: Excess) {
    match excess.told {
        Some(count) => {
            facts.count = Some(count);
            record_refusal(core, facts, RefusalReason::Quota).await;
        }
        None => core.metrics.refused(RefusalReason::Quota),
    }
}

/// Records refusals over a quota that nobody was told of in time.
pub(crate) fn record_untold(core: &Core, untold: &Untold) {
    let mut event = core.event(EventKind::Refused);
    describe_identity(&mut event, Some(&untold.identity));
    event.transport = Some(Transport::Tcp);
    event.count = Some(untold.count);
    let event = refused(core, event, RefusalReason::Quota);
    log_refusal(&event, RefusalReason::Quota);
    core.recorder.record(event);
}

/// Waits until the refusal is on record, so that whoever has its answer can look it up there.
pub(crate) fn record_refusal(
    core: &Core,
    facts: Box<Event>,
    reason: RefusalReason,
) -> impl Future<Output = ()> + Send + use<'_> {
    core.metrics.refused(reason);
    let event = refused(core, facts, reason);
    log_refusal(&event, reason);
    let recorded = core.recorder.record_and_wait(&event);
    // Where evidence cannot be written this waits in memory; the client is refused either way.
    async move {
        let _ = recorded.await;
    }
}

/// One line for whoever reads the log of the process; the record is the event.
fn log_refusal(event: &Event, reason: RefusalReason) {
    tracing::info!(
        connection_id = event.connection_id.as_deref(),
        plugin_id = event.plugin_id.as_ref().map(tracing::field::display),
        run_id = event.run_id.as_ref().map(tracing::field::display),
        host = event.destination_host.as_ref().map(tracing::field::display),
        port = event.port.map(tracing::field::display),
        raw_target = event.raw_target.as_deref(),
        count = event.count,
        reason = %reason,
        "connection refused"
    );
}

pub(crate) fn refused(core: &Core, mut facts: Box<Event>, reason: RefusalReason) -> Box<Event> {
    if facts.connection_id.is_none() {
        facts.connection_id = Some(core.connection_ids.next());
    }
    facts.kind = EventKind::Refused;
    facts.decision = Some(Decision::Deny);
    facts.reason = Some(reason);
    facts
}
