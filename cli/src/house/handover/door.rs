//! The door: where a successor knocks, a Unix socket in the data folder that only our own user may open.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::Mutex;
use proxy::OpenSocket;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::link::{self, PATIENCE};
use super::message::{FromPredecessor, FromSuccessor, Hello, OLDEST, SocketName, VERSION, common_version};
use super::sockets;
use crate::config::Config;
use crate::house::run_places::{LONGEST_SOCKET_PATH, own_uid};

const FOLDER: &str = "handover";
const SOCKET: &str = "socket";

/// The door of a process that serves. Dropped, nobody is let in any more.
pub struct Door {
    requests: mpsc::Receiver<Request>,
    /// Why whoever knocks is sent away, if so.
    closed: Closed,
    doorkeeper: JoinHandle<()>,
    _socket: Socket,
}

/// The socket's file, and which file that is: a successor puts its own in its place.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    id: (u64, u64),
}

/// A reason that is shared with the doorkeeper.
type Closed = Arc<Mutex<Option<&'static str>>>;

/// A successor that asks to take over.
#[derive(Debug)]
pub struct Request {
    pub(super) stream: UnixStream,
    /// Its process, if that has a number here.
    process: Option<u32>,
    /// What is spoken with it.
    version: u32,
}

/// A successor that has looked at the sockets and waits for log and folder.
#[derive(Debug)]
pub struct Welcomed {
    pub(super) stream: UnixStream,
    /// Its process, if that has a number here.
    pub process: Option<u32>,
}

impl Request {
    /// Sends the successor away. Nothing has changed.
    pub async fn refuse(self, why: &str) {
        refuse(self.stream, why).await;
    }

    /// Hands `sockets` to the successor, and waits until it can serve on them. `None` where it cannot, or
    /// is gone: nothing has changed then.
    pub async fn welcome(mut self, session: &str, sockets: Vec<OpenSocket>) -> Option<Welcomed> {
        let name = |socket: &OpenSocket| SocketName {
            address: socket.address.to_string(),
            purpose: socket.purpose.map(|purpose| purpose.as_str().to_owned()),
            has_file: socket.has_file,
        };
        let welcome = FromPredecessor::Welcome {
            version: self.version,
            session: session.to_owned(),
            sockets: sockets.iter().map(name).collect(),
        };
        let sockets: Vec<_> = sockets.into_iter().map(|open| open.socket).collect();
        let agree = async {
            link::send(&mut self.stream, &welcome).await?;
            sockets::send(&self.stream, &sockets).await?;
            link::receive(&mut self.stream).await
        };
        match tokio::time::timeout(PATIENCE, agree).await {
            Ok(Ok(Some(FromSuccessor::Release))) => Some(Welcomed {
                stream: self.stream,
                process: self.process,
            }),
            _ => None,
        }
    }
}

impl Door {
    /// Opens the door of the site in `config`, in the place of one that was there before.
    ///
    /// # Errors
    /// The folder is not ours alone, or the system refuses.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let (listener, socket) =
            bind(&config.data_dir()).context("a successor could not take over from this process")?;
        let (admit, requests) = mpsc::channel(1);
        let closed = Closed::default();
        let (own, why_not) = (config.clone(), Arc::clone(&closed));
        let doorkeeper = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let (own, why_not, admit) = (own.clone(), Arc::clone(&why_not), admit.clone());
                        tokio::spawn(async move { receive(&own, &why_not, &admit, stream).await });
                    }
                    Err(_) => tokio::time::sleep(PATIENCE / 50).await,
                }
            }
        });
        Ok(Self {
            requests,
            closed,
            doorkeeper,
            _socket: socket,
        })
    }

    /// The next successor that may be spoken to.
    pub async fn next(&mut self) -> Request {
        match self.requests.recv().await {
            Some(request) => request,
            // The doorkeeper never lets go of its end while the door stands.
            None => std::future::pending().await,
        }
    }

    /// Lets successors in again once `there_is_time`.
    pub fn open_after(&self, there_is_time: impl Future<Output = ()> + Send + 'static) {
        let closed = Arc::clone(&self.closed);
        tokio::spawn(async move {
            there_is_time.await;
            *closed.lock() = None;
        });
    }

    /// Sends away whoever knocks from now on and tells them why; `None` lets them in.
    pub fn close(&self, why: Option<&'static str>) {
        *self.closed.lock() = why;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.doorkeeper.abort();
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nobody answers there any more, and whoever copies the folder would stumble over it.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Hears who knocks, and sends them away or passes them on.
async fn receive(config: &Config, closed: &Closed, admit: &mpsc::Sender<Request>, mut stream: UnixStream) {
    let Some(Peer { process }) = Peer::of_our_user(&stream) else {
        return tracing::warn!("a process of another user asked to take over, and was not heard");
    };
    let hello = match tokio::time::timeout(PATIENCE, link::receive(&mut stream)).await {
        Ok(Ok(Some(FromSuccessor::Hello(hello)))) => hello,
        _ => return tracing::warn!(process, "whoever asked to take over was not understood"),
    };
    let version = match agree(config, &hello) {
        Ok(version) => version,
        Err(why) => return refuse(stream, &why).await,
    };
    let why_not = *closed.lock();
    if let Some(why) = why_not {
        return refuse(stream, why).await;
    }
    let request = Request {
        stream,
        process,
        version,
    };
    match admit.try_send(request) {
        Ok(()) => {}
        Err(mpsc::error::TrySendError::Full(request) | mpsc::error::TrySendError::Closed(request)) => {
            refuse(request.stream, "another process takes over at this moment").await;
        }
    }
}

/// Tells a successor that nothing comes of it.
pub(super) async fn refuse(mut stream: UnixStream, why: &str) {
    tracing::warn!(
        why,
        "a process asked to take over and was refused; nothing has changed"
    );
    let refused = FromPredecessor::Refused { why: why.to_owned() };
    // It hears of it by the end of the conversation too.
    let _ = link::send(&mut stream, &refused).await;
}

/// The version to speak with whoever says this, or why it cannot take over.
fn agree(config: &Config, hello: &Hello) -> Result<u32, String> {
    let version = common_version(hello.oldest, hello.newest).ok_or_else(|| {
        format!(
            "the running process speaks versions {OLDEST} to {VERSION} of the handover and the new one {} to {}; \
             stop the running process and start the new one",
            hello.oldest, hello.newest
        )
    })?;
    let own = (config.file.site.as_str(), config.file.gateway.name.as_str());
    if (hello.site.as_str(), hello.gateway.as_str()) != own {
        return Err(format!(
            "the running process serves gateway {:?} of site {:?}, and not {:?} of {:?}; a name changes with a \
             restart",
            own.1, own.0, hello.gateway, hello.site
        ));
    }
    Ok(version)
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its number. A process of another namespace has none here (`pid_namespaces(7)`): the kernel says 0.
    process: Option<u32>,
}

impl Peer {
    /// Whoever it is, if it is a process of our own user.
    pub(super) fn of_our_user(stream: &UnixStream) -> Option<Self> {
        let peer = stream.peer_cred().ok()?;
        let process = peer.pid().and_then(|pid| u32::try_from(pid).ok());
        (peer.uid() == own_uid()).then(|| Self {
            process: process.filter(|process| *process != 0),
        })
    }
}

fn bind(data: &Path) -> io::Result<(UnixListener, Socket)> {
    let folder = data.join(FOLDER);
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(&folder)?;
    if !found.is_dir() || found.uid() != own_uid() {
        let what = format!("{} is not a folder of our own; remove it", folder.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
    let path = folder.join(SOCKET);
    let beside = folder.join(format!(".{:x}", std::process::id()));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Moved into its place, so that whoever knocks meets the last process or this one. A process that
    // is gone leaves the file, and nobody answers there.
    let reached = Reached::of(&beside)?;
    let listener = UnixListener::bind(&reached.path)?;
    fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
    let found = fs::symlink_metadata(&beside)?;
    fs::rename(&beside, &path)?;
    let id = (found.dev(), found.ino());
    Ok((listener, Socket { path, id }))
}

/// Knocks at the door of the process that serves the site with this data folder.
///
/// # Errors
/// Nobody is there.
pub(super) async fn knock(data: &Path) -> io::Result<UnixStream> {
    let reached = Reached::of(&data.join(FOLDER).join(SOCKET))?;
    UnixStream::connect(&reached.path).await
}

/// A path short enough for a socket's address (`sun_path`), by way of its open folder if need be.
struct Reached {
    path: PathBuf,
    _folder: Option<fs::File>,
}

impl Reached {
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= LONGEST_SOCKET_PATH {
            return Ok(Self {
                path: path.to_owned(),
                _folder: None,
            });
        }
        let folder = fs::File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            path: Path::new("/proc/self/fd").join(number.to_string()).join(name),
            _folder: Some(folder),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn the_door_is_for_our_own_user_wherever_the_site_lies() {
        let folder = tempfile::tempdir().unwrap();
        for data in ["short".to_owned(), "l".repeat(150)] {
            let data = folder.path().join(data);
            fs::create_dir(&data).unwrap();
            assert!(knock(&data).await.is_err());
            let first = bind(&data).unwrap();
            let (second, socket) = bind(&data).unwrap();
            let door = data.join(FOLDER);
            assert_eq!((mode(&door), mode(&door.join(SOCKET))), (0o700, 0o600));
            // Who was there before takes away only what is its own.
            drop(first);
            assert_eq!(fs::read_dir(&door).unwrap().count(), 1);
            let knocking = knock(&data).await.unwrap();
            let process = Some(std::process::id());
            assert_eq!(Peer::of_our_user(&knocking), Some(Peer { process }));
            second.accept().await.unwrap();
            drop((second, socket));
            assert_eq!(fs::read_dir(&door).unwrap().count(), 0);
            assert_eq!(knock(&data).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[tokio::test]
    async fn a_process_that_was_killed_leaves_a_socket_that_the_next_replaces() {
        let data = tempfile::tempdir().unwrap();
        let (listener, socket) = bind(data.path()).unwrap();
        std::mem::forget(socket);
        drop(listener);
        assert_eq!(
            knock(data.path()).await.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        let (listener, _socket) = bind(data.path()).unwrap();
        let _knocking = knock(data.path()).await.unwrap();
        listener.accept().await.unwrap();
    }

    #[test]
    fn what_lies_where_the_door_should_be_stays() {
        let data = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let place = data.path().join(FOLDER);
        std::os::unix::fs::symlink(elsewhere.path(), &place).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        assert_eq!(
            bind(data.path()).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
