//! Socket files: where Unix listeners lie, and what becomes of the file.
//!
//! A dead process leaves its socket file behind, and the next one must not fail over it. It must not
//! take away anything else either: what lies at the path is replaced only if it is a socket of our
//! own user that nobody answers at, and removed at the end only if it is still the one that was made.
//!
//! A gateway that runs as root makes sockets for other users. Whoever owns a folder can put a link in a
//! file's place while we change its owner and mode, and would be given what the link leads to. So the
//! folder is ours until everything in it is as it should be.
//!
//! Where another process takes the listener over, the file is its own from then on and stays.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, lchown,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::fs::OFlags;

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
        Permission::User(_) => Some(private_folder(path)?),
    };
    let bound = bind_in(path, permission).and_then(|bound| {
        if let (Some(folder), Permission::User(uid)) = (&folder, permission) {
            give_to(folder, uid)?;
        }
        Ok(bound)
    });
    match bound {
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
                    lchown(&beside, Some(uid), None)?;
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

/// Makes the folder that `path` lies in, for us alone. One that is there, from a process before, is ours
/// again afterwards.
fn private_folder(path: &Path) -> io::Result<PathBuf> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let made = match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        made => made.is_ok(),
    };
    let settle = || {
        // By the folder itself and no link: what is opened is what is changed.
        let open = open_folder(folder)?;
        let ours = rustix::process::geteuid().as_raw();
        if open.metadata()?.uid() != ours {
            fchown(&open, Some(ours), None)?;
        }
        open.set_permissions(fs::Permissions::from_mode(0o700))
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

/// Gives our folder to the one user who may enter it.
fn give_to(folder: &Path, uid: u32) -> io::Result<()> {
    let open = open_folder(folder)?;
    if open.metadata()?.uid() != uid {
        fchown(&open, Some(uid), None)?;
    }
    Ok(())
}

fn open_folder(folder: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let opened = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(folder);
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory => io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} is there and is not a folder", folder.display()),
        ),
        _ => error,
    })
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

    /// A user who owns nothing. Only root can make anything theirs.
    const NOBODY: u32 = 65534;

    #[test]
    fn a_folder_is_ours_until_the_socket_in_it_is_as_it_should_be() {
        let folder = folder();
        let ours = own_uid(folder.path());
        let theirs = if ours == 0 { NOBODY } else { ours };
        let run = folder.path().join("run");
        let path = run.join("s");
        let (listener, file) = bind(&path, Permission::User(theirs)).unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        assert_eq!((owner(&run), owner(&path)), (theirs, theirs));
        // The process dies, and its folder is left to its user, who opens it to everybody.
        drop(listener);
        std::mem::forget(file);
        fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(private_folder(&path).unwrap(), run);
        assert_eq!((owner(&run), mode(&run)), (ours, 0o700));
        let (listener, file) = bind(&path, Permission::User(theirs)).unwrap();
        assert_eq!((owner(&run), mode(&run)), (theirs, 0o700));
        assert_eq!((owner(&path), mode(&path)), (theirs, 0o600));
        drop((listener, file));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_leads_nowhere() {
        let folder = folder();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::set_permissions(elsewhere.path(), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("run")).unwrap();
        let path = folder.path().join("run/s");
        let error = bind(&path, Permission::User(own_uid(folder.path()))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
        assert_eq!(mode(elsewhere.path()), 0o755);
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
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
