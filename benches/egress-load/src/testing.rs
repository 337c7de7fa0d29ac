//! An origin and a minimal proxy for the tests, both in this process.

use std::net::SocketAddr;
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::dial::{Route, SourceAddresses, Target, Via};
use crate::relay::{Asking, Moving};
use crate::{origin, relay, server, tls};

/// The test proxy refuses CONNECT to this port.
pub const REFUSED_PORT: u16 = 1;

/// A route to a fresh origin, through a fresh proxy if `via` needs one.
pub fn route(via: Via) -> Route {
    let listener = server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let origin = listener.local_addr().unwrap();
    thread::spawn(move || server::accept_forever(listener, origin::serve_connection));
    let first_hop = if via == Via::Direct { origin } else { proxy(via) };
    Route {
        via,
        first_hop,
        target: Target {
            host: origin.ip().to_string(),
            port: origin.port(),
        },
        credentials: None,
        sources: SourceAddresses::default(),
        tls: None,
    }
}

/// A route to a fresh origin through a relay.
pub fn relayed_route(moving: Moving) -> Route {
    let mut route = route(Via::Direct);
    let origin = route.first_hop;
    let listener = server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    route.first_hop = listener.local_addr().unwrap();
    thread::spawn(move || {
        server::accept_forever(listener, move |client| {
            relay::serve_connection(client, origin, Asking::Nothing, moving, None)
        })
    });
    route
}

/// A route to a fresh origin through a relay that asks as SOCKS5 does.
pub fn socks5_route() -> Route {
    let mut route = route(Via::Socks5);
    route.credentials = Some("user:password".parse().unwrap());
    let origin = SocketAddr::from(([127, 0, 0, 1], route.target.port));
    let listener = server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    route.first_hop = listener.local_addr().unwrap();
    thread::spawn(move || {
        server::accept_forever(listener, move |client| {
            relay::serve_connection(client, origin, Asking::Socks5, Moving::Copy, None)
        })
    });
    route
}

/// A route to a fresh origin through a relay that is reached over TLS.
pub fn tls_route() -> Route {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = std::env::temp_dir().join(format!("egress-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, issued.cert.pem()).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    let acceptor = tls::acceptor(&certificate, &key).unwrap();
    let trust = tls::ProxyTls::new(&certificate, "localhost", b"http/1.1").unwrap();
    std::fs::remove_dir_all(&folder).unwrap();

    let mut route = route(Via::Direct);
    let origin = route.first_hop;
    let listener = server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    route.first_hop = listener.local_addr().unwrap();
    route.tls = Some(trust);
    thread::spawn(move || {
        server::accept_forever(listener, move |client| {
            relay::serve_connection(
                client,
                origin,
                Asking::Nothing,
                Moving::Copy,
                Some(acceptor.clone()),
            )
        })
    });
    route
}

/// A route to a server that accepts connections and closes them at once.
pub fn closing_route() -> Route {
    let mut route = route(Via::Direct);
    let listener = server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    route.first_hop = listener.local_addr().unwrap();
    thread::spawn(move || server::accept_forever(listener, async |_| Ok(())));
    route
}

fn proxy(via: Via) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                match via {
                    Via::Connect => drop(tokio::spawn(serve_connect(client))),
                    Via::H2 => drop(tokio::spawn(serve_h2(client))),
                    _ => drop(tokio::spawn(serve_socks(client))),
                }
            }
        });
    });
    address
}

async fn serve_connect(mut client: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let target: Target = head.split(' ').nth(1).unwrap().parse().unwrap();
    if target.port == REFUSED_PORT {
        let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        return client.write_all(refusal).await.unwrap();
    }
    let upstream = TcpStream::connect((target.host.as_str(), target.port))
        .await
        .unwrap();
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    relay(client, upstream).await;
}

/// Answers CONNECT over HTTP/2 and passes bytes on, one direction in a task of its own.
async fn serve_h2(client: TcpStream) {
    let mut connection = h2::server::handshake(client).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let target = request.uri().authority().unwrap().to_string();
        tokio::spawn(async move {
            let upstream = TcpStream::connect(target).await.unwrap();
            let (mut from_server, mut to_server) = upstream.into_split();
            let mut out = respond.send_response(http::Response::new(()), false).unwrap();
            let mut from_client = request.into_body();
            tokio::spawn(async move {
                while let Some(Ok(data)) = from_client.data().await {
                    from_client.flow_control().release_capacity(data.len()).unwrap();
                    to_server.write_all(&data).await.unwrap();
                }
            });
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                let data = bytes::Bytes::copy_from_slice(&buffer[..read]);
                if out.send_data(data, false).is_err() {
                    return; // the client is gone
                }
            }
        });
    }
}

async fn serve_socks(mut client: TcpStream) {
    let mut greeting = [0; 3];
    client.read_exact(&mut greeting).await.unwrap();
    client.write_all(&[5, 0]).await.unwrap();
    let mut request = [0; 10];
    client.read_exact(&mut request).await.unwrap();
    assert_eq!(request[..4], [5, 1, 0, 1]);
    let address = <[u8; 4]>::try_from(&request[4..8]).unwrap();
    let port = u16::from_be_bytes([request[8], request[9]]);
    let upstream = TcpStream::connect((std::net::Ipv4Addr::from(address), port))
        .await
        .unwrap();
    // A domain name as the bound address: the longest way to answer.
    client
        .write_all(&[5, 0, 0, 3, 2, b'a', b'b', 0, 80])
        .await
        .unwrap();
    relay(client, upstream).await;
}

async fn relay(mut client: TcpStream, mut upstream: TcpStream) {
    drop(tokio::io::copy_bidirectional(&mut client, &mut upstream).await);
}
