//! The link between two processes of one gateway: messages both ways, and the end of them.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::frame;

/// How long the other side may take for its part of a conversation that it began.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Writes one message.
///
/// # Errors
/// The other side is gone.
pub async fn send<M: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &M) -> io::Result<()> {
    let bytes = frame::encode(message)?;
    to.write_all(&bytes).await
}

/// Reads one message, and not a byte more; `None` where the other side ended the conversation.
///
/// # Errors
/// The other side broke off in the middle, or says what this program does not understand.
pub async fn receive<M: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<M>> {
    let mut head = [0; frame::HEAD];
    match from.read_exact(&mut head[..1]).await {
        // Between two messages this is the end of what was to be said.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    from.read_exact(&mut head[1..]).await?;
    // Read as it comes: a length alone costs nobody memory.
    let length = frame::length(head)?;
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    frame::decode(&body).map(Some)
}

/// A conversation: what is said goes out in order and waits for nobody, what comes in waits to be heard.
#[derive(Debug)]
pub struct Link<Out, In> {
    out: mpsc::UnboundedSender<Out>,
    incoming: mpsc::Receiver<In>,
    writer: JoinHandle<()>,
    reader: JoinHandle<()>,
}

/// Messages that wait to be heard; more wait in the kernel.
const UNHEARD: usize = 64;

impl<Out: Serialize + Send + Sync + 'static, In: DeserializeOwned + Send + 'static> Link<Out, In> {
    /// Begins to talk over `stream`, on the current runtime.
    pub fn over(stream: UnixStream) -> Self {
        let (mut from, mut to) = stream.into_split();
        let (out, mut outgoing) = mpsc::unbounded_channel::<Out>();
        let (hear, incoming) = mpsc::channel(UNHEARD);
        let writer = tokio::spawn(async move {
            while let Some(message) = outgoing.recv().await {
                match send(&mut to, &message).await {
                    Ok(()) => {}
                    // Not a byte of it went out, so what follows it is understood.
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        tracing::error!(%error, "the other process of this gateway was not told something");
                    }
                    // The reader finds out as well, and says so.
                    Err(_) => return,
                }
            }
        });
        let reader = tokio::spawn(async move {
            loop {
                match receive(&mut from).await {
                    Ok(Some(message)) => {
                        if hear.send(message).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(error) => {
                        return tracing::warn!(%error, "the other process of this gateway is not understood");
                    }
                }
            }
        });
        Self {
            out,
            incoming,
            writer,
            reader,
        }
    }

    /// Says something. Whether it arrives is told by what comes back.
    pub fn say(&self, message: Out) {
        let _ = self.out.send(message);
    }

    /// Says things from elsewhere.
    pub fn mouth(&self) -> mpsc::UnboundedSender<Out> {
        self.out.clone()
    }

    /// The next message; `None` once the other side is gone.
    pub async fn hear(&mut self) -> Option<In> {
        self.incoming.recv().await
    }

    /// Ends the conversation after everything that was said.
    pub async fn finish(self) {
        drop(self.out);
        let _ = tokio::time::timeout(PATIENCE, self.writer).await;
        self.reader.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::FromPredecessor;
    use super::*;

    #[tokio::test]
    async fn what_is_said_arrives_in_order_and_then_the_end() {
        let (here, there) = UnixStream::pair().unwrap();
        let speaker = Link::<FromPredecessor, FromPredecessor>::over(here);
        let mut listener = Link::<FromPredecessor, FromPredecessor>::over(there);
        let event = |number| FromPredecessor::Event {
            number,
            entry: "\u{1}".repeat(4096),
        };
        (1..=200).for_each(|number| speaker.say(event(number)));
        let (heard, ()) = tokio::join!(
            async {
                let mut heard = Vec::new();
                while let Some(message) = listener.hear().await {
                    heard.push(message);
                }
                heard
            },
            speaker.finish()
        );
        assert_eq!(heard, (1..=200).map(event).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nonsense_ends_a_conversation_and_allocates_nothing() {
        for nonsense in [
            &[0xff; 8][..],
            b"\0\0\0\x02{]",
            b"\0\0\0\x09{}",
            b"\0\0\0\0",
            b"\0\0",
            b"\0\x40\0\0{",
        ] {
            let (mut here, there) = UnixStream::pair().unwrap();
            here.write_all(nonsense).await.unwrap();
            drop(here);
            let mut link = Link::<FromPredecessor, FromPredecessor>::over(there);
            assert_eq!(link.hear().await, None);
        }
    }
}
