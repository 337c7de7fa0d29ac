//! Socket files: where Unix listeners lie, and what becomes of the file.
//!
//! A dead process leaves its socket file behind, and the next one must not fail over it. It must not
//! take away anything else either: what lies at the path is replaced only if it is a socket of our
//! own user that nobody answers at, and removed at the end only if it is still the one that was made.
//!
//! Where another process takes the listener over, the file is its own from then on and stays.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Tells the files apart that one process makes.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Our own user and group; clients prove who they are.
    Group,
    /// One user alone.
    User(u32),
}

/// A socket file that goes with its listener.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode: which file it is that lies at the path.
    id: (u64, u64),
    /// The folder that was made for this file alone.
    folder: Option<PathBuf>,
    /// Whether it goes with this listener, and not with another process's.
    is_ours: AtomicBool,
}

impl SocketFile {
    /// The file of a listener that another process opened, and that is still that one's to remove.
    pub(crate) fn of_another(path: &Path, is_of_a_run: bool) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        let folder = path.parent().filter(|_| is_of_a_run).map(Path::to_owned);
        Ok(Self {
            path: path.to_owned(),
            id: (found.dev(), found.ino()),
            folder,
            is_ours: AtomicBool::new(false),
        })
    }

    /// Whether the file goes when its listener does. Of two processes with one listener, one says yes.
    pub(crate) fn set_ours(&self, is_ours: bool) {
        self.is_ours.store(is_ours, Ordering::SeqCst);
    }
}

/// Listens at `path`, with the permissions that `permission` says from the first moment on.
pub(crate) fn bind(path: &Path, permission: Permission) -> io::Result<(UnixListener, SocketFile)> {
    let folder = match permission {
        Permission::Group => None,
        Permission::User(uid) => Some(private_folder(path, uid)?),
    };
    match bind_in(path, permission) {
        Ok((listener, id)) => {
            let path = path.to_owned();
            let file = SocketFile {
                path,
                id,
                folder,
                is_ours: AtomicBool::new(true),
            };
            Ok((listener, file))
        }
        Err(error) => {
            remove_folder(folder.as_deref());
            Err(error)
        }
    }
}

fn bind_in(path: &Path, permission: Permission) -> io::Result<(UnixListener, (u64, u64))> {
    // Made beside its place and moved there, so that nobody finds it with other permissions, and
    // whoever connects meanwhile meets the old one or the new one.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_file_name(format!(".{:x}.{number:x}", std::process::id()));
    let listener = UnixListener::bind(&beside)?;
    let settle = || {
        let made = fs::symlink_metadata(&beside)?;
        let mode = match permission {
            Permission::Group => 0o660,
            Permission::User(uid) => {
                if uid != made.uid() {
                    chown(&beside, Some(uid), None)?;
                }
                0o600
            }
        };
        fs::set_permissions(&beside, fs::Permissions::from_mode(mode))?;
        give_way(path, made.uid(), permission)?;
        fs::rename(&beside, path)?;
        Ok((made.dev(), made.ino()))
    };
    match settle() {
        Ok(id) => Ok((listener, id)),
        Err(error) => {
            // Whatever the cause was, it is what the caller should hear.
            let _ = fs::remove_file(&beside);
            Err(error)
        }
    }
}

/// Whether what lies at `path`, if anything, may be replaced.
fn give_way(path: &Path, ours: u32, permission: Permission) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let refuse = |kind, why: &str| Err(io::Error::new(kind, format!("{} {why}", path.display())));
    if !found.file_type().is_socket() {
        return refuse(io::ErrorKind::AlreadyExists, "is there and is not a socket");
    }
    let known = match permission {
        Permission::Group => found.uid() == ours,
        Permission::User(uid) => found.uid() == ours || found.uid() == uid,
    };
    if !known {
        return refuse(io::ErrorKind::AlreadyExists, "is a socket of another user");
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) => refuse(io::ErrorKind::AddrInUse, "is a socket that somebody listens on"),
        Err(error) => Err(error),
    }
}

/// Makes the folder that `path` lies in, for `uid` alone. One that is there must be such a folder.
fn private_folder(path: &Path, uid: u32) -> io::Result<PathBuf> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let made = match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        made => made.is_ok(),
    };
    let settle = || {
        let found = fs::symlink_metadata(folder)?;
        if !found.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} is there and is not a folder", folder.display()),
            ));
        }
        if made {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        if found.uid() != uid {
            chown(folder, Some(uid), None)?;
        }
        Ok(())
    };
    match settle() {
        Ok(()) => Ok(folder.to_owned()),
        Err(error) => {
            if made {
                remove_folder(Some(folder));
            }
            Err(error)
        }
    }
}

/// An empty folder goes; one with something in it is not ours to empty.
fn remove_folder(folder: Option<&Path>) {
    if let Some(folder) = folder {
        let _ = fs::remove_dir(folder);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !*self.is_ours.get_mut() {
            return;
        }
        let still_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.id && found.file_type().is_socket());
        if still_ours {
            let _ = fs::remove_file(&self.path);
        }
        remove_folder(self.folder.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn own_uid(folder: &Path) -> u32 {
        fs::metadata(folder).unwrap().uid()
    }

    #[test]
    fn a_socket_has_its_mode_and_goes_with_its_listener() {
        let folder = folder();
        let path = folder.path().join("gw.sock");
        let (listener, file) = bind(&path, Permission::Group).unwrap();
        assert_eq!(mode(&path), 0o660);
        UnixStream::connect(&path).unwrap();
        drop((listener, file));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_runs_socket_lies_in_a_folder_of_its_own_that_goes_too() {
        let folder = folder();
        let path = folder.path().join("run/s");
        let (listener, file) = bind(&path, Permission::User(own_uid(folder.path()))).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        drop((listener, file));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_goes_with_the_process_whose_it_is() {
        let folder = folder();
        let path = folder.path().join("run/s");
        let (listener, first) = bind(&path, Permission::User(own_uid(folder.path()))).unwrap();
        let second = SocketFile::of_another(&path, true).unwrap();
        // A successor that gives up leaves it, and so does a process that has one.
        drop(SocketFile::of_another(&path, true).unwrap());
        second.set_ours(true);
        first.set_ours(false);
        drop(first);
        UnixStream::connect(&path).unwrap();
        drop((listener, second));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = folder();
        let path = folder.path().join("gw.sock");
        let (listener, file) = bind(&path, Permission::Group).unwrap();
        let error = bind(&path, Permission::Group).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
        // The process dies: the listener is gone, the file is not.
        drop(listener);
        std::mem::forget(file);
        let (_listener, _file) = bind(&path, Permission::Group).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_our_socket_stays() {
        let folder = folder();
        let path = folder.path().join("gw.sock");
        for make in [
            |path: &Path| fs::write(path, "precious").unwrap(),
            |path: &Path| fs::create_dir(path).unwrap(),
            |path: &Path| std::os::unix::fs::symlink("/dev/null", path).unwrap(),
        ] {
            make(&path);
            let before = fs::symlink_metadata(&path).unwrap().ino();
            let error = bind(&path, Permission::Group).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
            assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), before);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
            if path.is_dir() {
                fs::remove_dir(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
        }
    }

    #[test]
    fn a_file_that_took_the_sockets_place_is_not_removed() {
        let folder = folder();
        let path = folder.path().join("gw.sock");
        let (_listener, file) = bind(&path, Permission::Group).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"another's");
    }

    #[test]
    fn a_path_that_is_too_long_for_a_socket_leaves_nothing_behind() {
        let folder = folder();
        let path = folder.path().join("x".repeat(120)).join("s");
        let error = bind(&path, Permission::User(own_uid(folder.path()))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
