//! The state folder: what the server keeps across restarts. One server at a time has it.

use crate::drained::Drained;
use crate::handle::HandleKey;
use crate::journal::{ClientRecord, Journal};
use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What is in it.
#[derive(Debug)]
pub struct StateFolder {
    /// Signs file handles.
    pub key: HandleKey,
    /// A random UUID of this installation: so_major_id and the server's scope. Linux takes servers with one for one server.
    pub scope: Bytes,
    /// Who had state.
    pub records: HashSet<ClientRecord>,
    /// Where that is noted.
    pub journal: Journal,
    /// Exports whose tasks are over.
    pub drained: Drained,
    _lock: File,
}

/// Why it can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Of the disk.
    #[error("{what} \"{}\": {why}", path.display())]
    Io {
        /// The deed.
        what: &'static str,
        /// Its subject.
        path: PathBuf,
        /// The system's word.
        why: io::Error,
    },
    /// Another server has it.
    #[error("the state folder \"{}\" is held by another server", .0.display())]
    Held(PathBuf),
    /// A file in it is not what we write.
    #[error("the file \"{}\" is broken", .0.display())]
    Broken(PathBuf),
    /// Others may read the key.
    #[error("the key \"{}\" is open to other users", .0.display())]
    Open(PathBuf),
}

pub(crate) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    move |why| FolderError::Io { what, path: path.to_owned(), why }
}

impl StateFolder {
    /// Opens it, or makes it.
    ///
    /// # Errors
    /// Another server has it; it can't be read or written; something in it is broken.
    pub fn open(path: &Path, now: SystemTime) -> Result<Self, FolderError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make the state folder", path))?;
        let lock = lock(path)?;
        let key_path = path.join("key");
        let key = kept(&key_path, || random::<16>().map(|bytes| bytes.to_vec()))?;
        let key: [u8; 16] = key.try_into().map_err(|_| FolderError::Broken(key_path.clone()))?;
        let mode = std::fs::metadata(&key_path).map_err(failed("read", &key_path))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(FolderError::Open(key_path));
        }
        let scope_path = path.join("id");
        let scope = kept(&scope_path, || random().map(|bytes| uuid(bytes).into_bytes()))?;
        if scope.len() != 36 || !scope.is_ascii() {
            return Err(FolderError::Broken(scope_path));
        }
        let (journal, records) = Journal::open(path).map_err(failed("open the journal in", path))?;
        let drained = Drained::open(path, now)?;
        Ok(Self { key: HandleKey::new(key), scope: scope.into(), records, journal, drained, _lock: lock })
    }
}

fn lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join("lock");
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let file = opened.map_err(failed("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(FolderError::Held(folder.to_owned())),
        Err(why) => Err(failed("lock", &path)(why.into())),
    }
}

/// A file's content, made the first time: whole or not at all.
fn kept(path: &Path, make: impl FnOnce() -> io::Result<Vec<u8>>) -> Result<Vec<u8>, FolderError> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read.map_err(failed("read", path)),
    }
    let made = make().and_then(|content| write(path, &content).map(|()| content));
    made.map_err(failed("write", path))
}

/// Gives a file this content, durably: all of it or none.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Random bytes of the system.
///
/// # Errors
/// It has none.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// As RFC 9562 writes a random one, version 4.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::Handle;
    use womm_vfs::NodeId;

    #[test]
    fn key_and_id_are_kept_and_differ_between_installations() {
        let folder = tempfile::tempdir().expect("a folder");
        let handle = Handle { export: 1, node: NodeId(2), generation: 3 };
        let path = folder.path().join("state");
        let first = StateFolder::open(&path, SystemTime::now()).expect("it is made");
        let (sealed, scope) = (first.key.seal(&handle), first.scope.clone());
        assert!(matches!(StateFolder::open(&path, SystemTime::now()), Err(FolderError::Held(held)) if held == path));
        drop(first);
        let again = StateFolder::open(&path, SystemTime::now()).expect("it is there");
        assert_eq!((again.key.open(&sealed), again.scope), (Some(handle), scope.clone()));
        let other = StateFolder::open(&folder.path().join("other"), SystemTime::now()).expect("it is made");
        assert_eq!(other.key.open(&sealed), None);
        assert_ne!(other.scope, scope);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(StateFolder::open(folder.path(), SystemTime::now()).expect("it is made"));
        let key = folder.path().join("key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
        assert!(matches!(StateFolder::open(folder.path(), SystemTime::now()), Err(FolderError::Open(_))));
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
        std::fs::write(&key, b"short").expect("it is ours");
        assert!(matches!(StateFolder::open(folder.path(), SystemTime::now()), Err(FolderError::Broken(_))));
    }
}
