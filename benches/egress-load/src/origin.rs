//! The built-in origin: a plain HTTP/1.1 server whose paths say how much to answer.
//!
//! `/bytes/N` answers N bytes. A request body is read and thrown away: before a small answer, or
//! while a large one is being sent.

use std::io;

use tokio::net::TcpStream;

use crate::http1::{Connection, FILLER, Progress, RequestHead};
use crate::stream::Stream;

/// Answers up to this size leave in one write with their head, after the request's body is in.
pub const SMALL_BYTES: u64 = 16 * 1024;

/// Serves one connection until the client closes it.
pub async fn serve_connection(stream: TcpStream) -> io::Result<()> {
    let mut connection = Connection::new(Stream::Tcp(stream));
    while let Some(request) = connection.read_request_head().await? {
        answer(&mut connection, &request).await?;
        if request.framing.closes {
            break;
        }
    }
    Ok(())
}

async fn answer(connection: &mut Connection, request: &RequestHead) -> io::Result<()> {
    let Some(length) = answer_length(&request.path) else {
        let refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        connection.discard_body(&request.framing).await?;
        return connection.write_all(refusal).await;
    };
    let mut head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\
         Cache-Control: no-store\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    if request.framing.chunked || length <= SMALL_BYTES {
        connection.discard_body(&request.framing).await?;
    }
    if length <= SMALL_BYTES {
        head.extend_from_slice(&FILLER[..length as usize]);
        return connection.write_all(&head).await;
    }
    connection.write_all(&head).await?;
    let incoming = request.framing.content_length.unwrap_or(0);
    connection.exchange(length, incoming, &Progress::default()).await
}

/// The answer's length that a path asks for. An absolute-form path is taken too, so that the
/// origin can stand in for a proxy.
fn answer_length(path: &str) -> Option<u64> {
    let path = match path.strip_prefix("http://") {
        Some(rest) => &rest[rest.find('/')?..],
        None => path,
    };
    path.strip_prefix("/bytes/")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_how_much_to_answer() {
        assert_eq!(answer_length("/bytes/128"), Some(128));
        assert_eq!(answer_length("http://127.0.0.1:80/bytes/7"), Some(7));
        assert_eq!(answer_length("http://127.0.0.1:80"), None);
        assert_eq!(answer_length("/bytes/-1"), None);
        assert_eq!(answer_length("/"), None);
    }
}
