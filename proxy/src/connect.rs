//! CONNECT: a request that becomes a tunnel.

use std::sync::Arc;

use crate::attempt::Attempt;
use crate::core::Core;
use crate::http1::{Next, Session};
use crate::request::Request;
use crate::tunnel::Tunnel;

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Serves a CONNECT request.
pub(crate) async fn serve(core: &Arc<Core>, mut session: Session, request: Request) -> Next {
    let identity = match request.identify(core, &session.client.entry).await {
        Ok(identity) => identity,
        Err(refusal) => return session.refuse(&refusal, &request).await,
    };
    let live = core.live.enter(identity);
    match Attempt::make(core, &live, &request.target, request.notes.clone()).await {
        Ok((attempt, server)) => {
            drop(session.kept);
            Tunnel::establish(session.client, ESTABLISHED, server, live, attempt)
                .await
                .map_or(Next::Nothing, Next::Tunnel)
        }
        Err(refusal) if refusal.is_cut() => {
            session.client.answer_at_once(&refusal.to_http(false, false));
            drop(session);
            drop(live);
            Next::Nothing
        }
        Err(refusal) => {
            drop(live);
            session.refuse(&refusal, &request).await
        }
    }
}
