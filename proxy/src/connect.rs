//! CONNECT: a request that becomes a tunnel.

use std::sync::Arc;

use base::Outcome;

use crate::attempt::{Attempt, Ending, refuse_identity};
use crate::core::Core;
use crate::http1::Session;
use crate::request::Request;
use crate::sniff::Sniffer;
use crate::tunnel::Tunnel;

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Serves a CONNECT request. The session comes back where it can take another one.
pub(crate) async fn serve(core: &Arc<Core>, session: Session, request: Request) -> Option<Session> {
    let identity = match core.identify(&request.proof, session.client.source) {
        Ok(identity) => identity,
        Err(refusal) => {
            let notes = request.notes.clone();
            let refusal = refuse_identity(core, refusal, &request.proof, Some(&request.target), notes).await;
            return session.refuse(&refusal, &request).await;
        }
    };
    let live = core.live.enter(identity.clone());
    let admitted = Attempt::admit(core, identity.as_deref(), &request.target, request.notes.clone()).await;
    let reached = match admitted {
        Ok(attempt) => attempt.reach(live.cut()).await,
        Err(refusal) => Err(refusal),
    };
    match reached {
        Ok((attempt, server, _)) => {
            drop(request);
            drop(session.kept);
            let mut client = session.client;
            if !client.answer(ESTABLISHED).await {
                attempt.close(Ending {
                    outcome: Some(Outcome::ClientReset),
                    ..Ending::default()
                });
                // Both sockets before the place in the live table.
                drop((client, server));
                drop(live);
                return None;
            }
            let tunnel = Tunnel {
                // What the client sent without waiting for the answer belongs into the tunnel.
                from_client: client.buffer.to_vec(),
                from_server: Vec::new(),
                bytes_before: (0, 0),
                client: client.io,
                server,
                live,
                attempt,
                sniffer: Sniffer::default(),
            };
            Box::pin(tunnel.run(core)).await;
            None
        }
        Err(refusal) if refusal.is_cut() => {
            session.client.answer_at_once(&refusal.to_http(false, false));
            drop(session);
            drop(live);
            None
        }
        Err(refusal) => {
            drop(live);
            session.refuse(&refusal, &request).await
        }
    }
}
