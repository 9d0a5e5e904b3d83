//! Nodes, their names and attributes.

use crate::error::{Error, Result};
use bytes::Bytes;
use rustix::io::Errno;
use std::fmt;
use std::time::SystemTime;

/// The most bytes of one name, NAME_MAX of Linux.
pub const MOST_NAME: usize = 255;

/// The permission bits that a node may have: without setuid and setgid.
pub const PERMISSIONS: u32 = 0o1777;

/// A node of one file system. Never given to another node, however long the file system lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// What a node is. There are no devices, FIFOs or sockets: a share is of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Folder,
    /// A symbolic link.
    Symlink,
}

/// One part of a path, any bytes but `/` and NUL; neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Bytes);

impl Name {
    /// Looks at it.
    ///
    /// # Errors
    /// ENAMETOOLONG above [`MOST_NAME`] bytes; EINVAL if it is empty, `.`, `..`, or holds `/` or NUL.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self> {
        let bytes = bytes.into();
        if bytes.len() > MOST_NAME {
            return Err(Error::Errno(Errno::NAMETOOLONG));
        }
        let dots = matches!(&bytes[..], b"" | b"." | b"..");
        if dots || bytes.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(Error::Errno(Errno::INVAL));
        }
        Ok(Self(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// What stat(2) says. Who owns a node is not here: to a share, all callers are its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Whose they are.
    pub id: NodeId,
    /// What it is.
    pub kind: Kind,
    /// The twelve permission bits, of which setuid and setgid are never set.
    pub mode: u32,
    /// Names of a file: 0 once all are gone and it is open still. A folder's is what the file system makes of it.
    pub links: u32,
    /// Bytes.
    pub size: u64,
    /// Bytes that it takes of the disk.
    pub used: u64,
    /// Grows with every change of content or attributes: max(ctime in ns, last + 1), and never goes back (RFC 8881, 5.8.1.4).
    pub change: u64,
    /// atime: only what was set is sure; reading need not move it.
    pub accessed: SystemTime,
    /// mtime: when content changed last, or what was set.
    pub modified: SystemTime,
    /// ctime: when content or attributes changed last.
    pub changed: SystemTime,
    /// When it was made, where that is known.
    pub created: Option<SystemTime>,
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The file system's own clock.
    Now,
    /// This one.
    To(SystemTime),
}

/// What chmod(2), truncate(2) and utimensat(2) set; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// Permission bits; setuid and setgid are left out silently. EOPNOTSUPP on a symlink.
    pub mode: Option<u32>,
    /// Bytes.
    pub size: Option<u64>,
    /// atime.
    pub accessed: Option<SetTime>,
    /// mtime.
    pub modified: Option<SetTime>,
}

/// A folder's change counter around an operation (change_info4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderChange {
    /// Before it.
    pub before: u64,
    /// After it.
    pub after: u64,
    /// Whether nothing else changed the folder in between.
    pub atomic: bool,
}
