//! Run places: where the listeners of single runs lie.
//!
//! Each Unix socket lies in a folder of its own with a name that cannot be guessed. After a crash
//! those of live runs are opened again where they were, because the runs know no other place, and the
//! rest is swept away.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};

use control::words::ListenerKind;
use proxy::{ListenAddress, RunPlace};

use crate::random;

/// The socket's name in its folder.
const SOCKET: &str = "proxy.sock";
/// Random bytes in the name of a folder.
const NAME_BYTES: usize = 12;

/// What fits a socket's address (`sun_path`) beside its final zero.
pub const LONGEST_SOCKET_PATH: usize = 107;

/// How many bytes the path of a socket under `folder` has.
pub fn longest(folder: &Path) -> usize {
    let name = "0".repeat(2 * NAME_BYTES);
    folder.join(name).join(SOCKET).as_os_str().len()
}

/// The folder in which the runs' folders lie.
#[derive(Clone, Debug)]
pub(super) struct RunPlaces {
    folder: PathBuf,
}

impl RunPlaces {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// A new place that nobody can guess.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(super) fn fresh(&self, kind: ListenerKind, uid: Option<u32>) -> std::io::Result<RunPlace> {
        match kind {
            ListenerKind::Tcp => Ok(RunPlace::Tcp((Ipv4Addr::LOCALHOST, 0).into())),
            ListenerKind::Unix => {
                // Others may pass through to a folder that is theirs, and list nothing.
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o711)
                    .create(&self.folder)?;
                let name = random::bytes::<NAME_BYTES>();
                let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
                Ok(RunPlace::Unix {
                    path: self.folder.join(name).join(SOCKET),
                    uid: uid.unwrap_or_else(own_uid),
                })
            }
        }
    }

    /// The place that a run was given before; `None` for an address that was never one of ours.
    pub(super) fn known(&self, address: &str, uid: Option<u32>) -> Option<RunPlace> {
        match address.parse().ok()? {
            ListenAddress::Tcp(address) => is_loopback(address).then_some(RunPlace::Tcp(address)),
            ListenAddress::Unix(path) => self.is_ours(&path).then(|| RunPlace::Unix {
                path,
                uid: uid.unwrap_or_else(own_uid),
            }),
            _ => None,
        }
    }

    /// Removes the sockets that no run has any more, and nothing else.
    pub(super) fn sweep(&self, kept: &HashSet<PathBuf>) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            // Never made, or not ours to read.
            return;
        };
        for entry in entries.flatten() {
            let socket = entry.path().join(SOCKET);
            let is_dead = self.is_ours(&socket)
                && !kept.contains(&socket)
                && fs::symlink_metadata(&socket).is_ok_and(|found| found.file_type().is_socket());
            if is_dead && fs::remove_file(&socket).is_ok() {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    fn is_ours(&self, path: &Path) -> bool {
        let name = path
            .parent()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        let is_name = name.is_some_and(|name| {
            name.len() == 2 * NAME_BYTES && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        is_name && path == self.folder.join(name.unwrap_or_default()).join(SOCKET)
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().is_loopback()
}

/// The user that this process runs as.
pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn path(place: RunPlace) -> PathBuf {
        match place {
            RunPlace::Unix { path, .. } => path,
            RunPlace::Tcp(address) => panic!("{address}"),
        }
    }

    #[test]
    fn a_place_is_new_each_time_and_known_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let places = RunPlaces::new(folder.path().join("runs"));
        let first = places.fresh(ListenerKind::Unix, Some(7)).unwrap();
        assert_ne!(first, places.fresh(ListenerKind::Unix, Some(7)).unwrap());
        let address = format!("unix:{}", path(first.clone()).display());
        assert_eq!(places.known(&address, Some(7)), Some(first));
        for address in [
            "unix:/etc/passwd",
            "unix:/run/000000000000000000000000/proxy.sock",
            "192.0.2.1:80",
            "x",
        ] {
            assert_eq!(places.known(address, None), None, "{address}");
        }
        let tcp = RunPlace::Tcp("127.0.0.1:4711".parse().unwrap());
        assert_eq!(places.known("127.0.0.1:4711", None), Some(tcp));
    }

    #[test]
    fn only_sockets_that_no_run_has_are_swept_away() {
        let folder = tempfile::tempdir().unwrap();
        let places = RunPlaces::new(folder.path().to_owned());
        let [kept, dead, file] = [0; 3].map(|_| path(places.fresh(ListenerKind::Unix, None).unwrap()));
        for path in [&kept, &dead, &file] {
            fs::create_dir(path.parent().unwrap()).unwrap();
        }
        let _listeners = [&kept, &dead].map(|path| UnixListener::bind(path).unwrap());
        fs::write(&file, "precious").unwrap();
        let foreign = folder.path().join("foreign/proxy.sock");
        fs::create_dir(foreign.parent().unwrap()).unwrap();
        let _foreign = UnixListener::bind(&foreign).unwrap();
        places.sweep(&HashSet::from([kept.clone()]));
        assert!(kept.exists() && file.exists() && foreign.exists());
        assert!(!dead.parent().unwrap().exists());
    }
}
