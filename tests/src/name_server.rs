//! A name server that answers by script: each name has its answers, one after the other.
//!
//! Written by hand against RFC 1035, so that no library decides what a resolver may be told.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// What a question is answered with.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These addresses, as far as they are of the family asked for; none of it is to be kept.
    Addresses(Vec<IpAddr>),
    /// `NXDOMAIN`.
    NoSuchName,
    /// `SERVFAIL`.
    ServerFailure,
    /// An answer that was cut off, and nobody to fetch the rest from.
    Truncated,
    /// Nothing at all.
    Silence,
}

impl Reply {
    /// Addresses, as text.
    ///
    /// # Panics
    /// When one of them is none.
    pub fn of(addresses: &[&str]) -> Self {
        let read = |text: &&str| text.parse().expect("an address in a test's script");
        Self::Addresses(addresses.iter().map(read).collect())
    }
}

/// A running name server; dropping it ends it.
pub struct NameServer {
    address: SocketAddr,
    asked: Asked,
    stop: Arc<AtomicBool>,
}

type Asked = Arc<Mutex<Vec<(String, u16)>>>;
type Script = HashMap<String, Vec<Reply>>;

impl NameServer {
    /// Answers the n-th question for a name and a family with the n-th reply, and with the last one
    /// from then on. Names that are not in the script do not exist.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(script: impl IntoIterator<Item = (&'static str, Vec<Reply>)>) -> Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        let server = Self {
            address: socket.local_addr()?,
            asked: Asked::default(),
            stop: Arc::default(),
        };
        let script: Script = script
            .into_iter()
            .map(|(name, replies)| (name.to_owned(), replies))
            .collect();
        let (asked, stop) = (server.asked.clone(), server.stop.clone());
        thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                // What is no question gets no answer.
                if let Some(answer) = answer(&packet[..length], &script, &asked) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often the name was asked for, by the family that was asked for most.
    pub fn asked(&self, name: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |family| asked.iter().filter(|(n, f)| n == name && *f == family).count();
        count(TYPE_A).max(count(TYPE_AAAA))
    }

    /// Waits until the name was asked for.
    ///
    /// # Errors
    /// When it is not asked for in time.
    pub fn wait_for_question(&self, name: &str) -> Result<()> {
        crate::wait_until(&format!("a question for {name}"), || self.asked(name) > 0)
            .context("the resolver asks the name server of its configuration")
    }

    /// Every name that was asked for, once.
    pub fn names(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = asked.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread, which then sees that it is over.
        let wake = |socket: UdpSocket| socket.send_to(&[0], self.address);
        let _ = UdpSocket::bind(("127.0.0.1", 0)).and_then(wake);
    }
}

fn answer(question: &[u8], script: &Script, asked: &Asked) -> Option<Vec<u8>> {
    let (name, end) = read_name(question.get(12..)?)?;
    let family = u16::from_be_bytes([*question.get(12 + end)?, *question.get(13 + end)?]);
    let asked_for = question.get(12..12 + end + 4)?;
    let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    let before = asked.iter().filter(|(n, f)| *n == name && *f == family).count();
    asked.push((name.clone(), family));
    let reply = script
        .get(&name)
        .and_then(|replies| replies.get(before).or(replies.last()))
        .unwrap_or(&Reply::NoSuchName);
    let (truncated, code, addresses) = match reply {
        Reply::Silence => return None,
        Reply::Addresses(all) => (false, 0, all.as_slice()),
        Reply::NoSuchName => (false, 3, &[][..]),
        Reply::ServerFailure => (false, 2, &[][..]),
        Reply::Truncated => (true, 0, &[][..]),
    };
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|ip| match (family, ip) {
            (TYPE_A, IpAddr::V4(v4)) => Some(v4.octets().to_vec()),
            (TYPE_AAAA, IpAddr::V6(v6)) => Some(v6.octets().to_vec()),
            _ => None,
        })
        .collect();
    // QR, and RD as every stub sends it; TC; RA and the code.
    let flags = [0x81 | u8::from(truncated) << 1, 0x80 | code];
    let count = u16::try_from(records.len()).ok()?.to_be_bytes();
    let mut packet = [&question[..2], &flags, &[0, 1], &count, &[0; 4], asked_for].concat();
    for data in records {
        let length = u16::try_from(data.len()).ok()?.to_be_bytes();
        // The name in the question, by pointer; to live no time.
        packet.extend_from_slice(&[0xc0, 12]);
        packet.extend_from_slice(&family.to_be_bytes());
        packet.extend_from_slice(&CLASS_IN.to_be_bytes());
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(&length);
        packet.extend_from_slice(&data);
    }
    Some(packet)
}

/// The name at the beginning of `bytes`, and where it ends.
fn read_name(bytes: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 0);
    loop {
        let length = usize::from(*bytes.get(at)?);
        let label = bytes.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
    }
}
