//! The snapshot folder. It is only read.

use rustix::fd::OwnedFd;
use rustix::fs::{Dir, Mode, OFlags};
use std::path::Path;
use std::sync::Arc;
use womm_vfs::{Kind, Name, Result};
use womm_vfs_disk::seen::Seen;
use womm_vfs_disk::{OpenError, confined, xattr};

/// One openat2(2) takes PATH_MAX of a path, whose parts are 255 at most.
const PARTS: usize = 15;

#[derive(Debug)]
pub(crate) struct Lower {
    root: Arc<OwnedFd>,
}

/// An entry of one of its folders.
#[derive(Debug)]
pub(crate) struct Below {
    pub(crate) name: Name,
    pub(crate) kind: Kind,
    pub(crate) seen: Seen,
    pub(crate) target: Option<Vec<u8>>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Lower {
    pub(crate) fn open(folder: &Path) -> std::result::Result<Self, OpenError> {
        Ok(Self { root: Arc::new(confined::root(folder).map_err(OpenError::io("snapshot", folder))?) })
    }

    pub(crate) fn seen(&self) -> Result<Seen> {
        Seen::of(&self.root)
    }

    /// Opens a path, however long.
    fn open_at(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
        let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
        let mut folder = Arc::clone(&self.root);
        let mut steps = parts.chunks(PARTS).peekable();
        while let Some(step) = steps.next() {
            let flags = if steps.peek().is_some() { OFlags::PATH } else { flags };
            let opened = confined::open(&folder, &step.join(&b'/'), flags, Mode::empty())?;
            folder = Arc::new(opened);
        }
        if parts.is_empty() {
            return confined::open(&folder, b".", flags, Mode::empty());
        }
        Arc::into_inner(folder).ok_or(womm_vfs::Error::Stale)
    }

    pub(crate) fn file(&self, path: &[u8]) -> Result<OwnedFd> {
        self.open_at(path, OFlags::RDONLY)
    }

    /// What is in a folder, but devices, FIFOs and sockets.
    pub(crate) fn list(&self, path: &[u8]) -> Result<Vec<Below>> {
        let folder = self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = vec![];
        for entry in Dir::read_from(&folder)? {
            let Ok(name) = Name::new(entry?.file_name().to_bytes().to_vec()) else { continue };
            let seen = Seen::at(&folder, name.as_bytes())?;
            let Some(kind) = seen.kind else { continue };
            let (mut target, mut xattrs) = (None, vec![]);
            let anchor = confined::anchor(&folder, name.as_bytes())?;
            if kind == Kind::Symlink {
                target = Some(rustix::fs::readlinkat(&anchor, c"", vec![])?.into_bytes());
            }
            for attribute in xattr::list(&anchor, kind)? {
                let value = xattr::get(&anchor, kind, &attribute)?;
                xattrs.push((attribute.to_vec(), value.to_vec()));
            }
            entries.push(Below { name, kind, seen, target, xattrs });
        }
        Ok(entries)
    }
}
