//! Content that has lost its names while it was open: linked into a folder that no listing shows, by its number.

use crate::confined;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, linkat, mkdirat, renameat, unlinkat};
use rustix::io::Errno;
use std::sync::{Arc, Mutex, PoisonError};
use womm_vfs::{Name, NodeId, Result};

/// The folder, made when there is something to keep.
#[derive(Debug)]
pub(crate) struct Unlinked {
    name: Name,
    folder: Mutex<Option<Arc<OwnedFd>>>,
}

impl Unlinked {
    /// With a name that belongs to this state folder.
    pub(crate) fn new(key: [u8; 16]) -> Result<Self> {
        let [a, b, c, d, ..] = key;
        let name = format!(".womm-unlinked-{:08x}", u32::from_be_bytes([a, b, c, d]));
        Ok(Self { name: Name::new(name)?, folder: Mutex::default() })
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// The folder; ENOENT if it was never made.
    pub(crate) fn folder(&self, root: &OwnedFd) -> Result<Arc<OwnedFd>> {
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        match &*folder {
            Some(folder) => Ok(Arc::clone(folder)),
            None => {
                let opened = Arc::new(confined::anchor(root, self.name.as_bytes())?);
                *folder = Some(Arc::clone(&opened));
                Ok(opened)
            }
        }
    }

    fn made(&self, root: &OwnedFd) -> Result<Arc<OwnedFd>> {
        match mkdirat(root, self.name.as_bytes(), Mode::RWXU) {
            Ok(()) => *self.folder.lock().unwrap_or_else(PoisonError::into_inner) = None,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        self.folder(root)
    }

    pub(crate) fn entry(id: NodeId) -> String {
        id.0.to_string()
    }

    /// Keeps what has this name, which is about to be taken away. Where there are no hard links, the name goes here and now.
    pub(crate) fn keep(&self, root: &OwnedFd, id: NodeId, from: impl AsFd, name: &Name) -> Result<()> {
        let folder = self.made(root)?;
        let entry = Self::entry(id);
        let link = || linkat(&from, name.as_bytes(), &folder, &entry[..], AtFlags::empty());
        let linked = match link() {
            Err(Errno::EXIST) => {
                unlinkat(&folder, &entry[..], AtFlags::empty())?; // left from a removal that a SIGKILL stopped
                link()
            }
            linked => linked,
        };
        match linked {
            Err(Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP) => {
                Ok(renameat(&from, name.as_bytes(), &folder, &entry[..])?)
            }
            linked => Ok(linked?),
        }
    }

    /// Nobody holds it any more.
    pub(crate) fn drop(&self, root: &OwnedFd, id: NodeId) -> Result<()> {
        let folder = self.folder(root)?;
        match unlinkat(&folder, &Self::entry(id)[..], AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Drops all but these, and the folder if nothing is left.
    pub(crate) fn sweep(&self, root: &OwnedFd, keep: &[NodeId]) -> Result<()> {
        let folder = match self.folder(root) {
            Err(womm_vfs::Error::Errno(Errno::NOENT)) => return Ok(()),
            folder => folder?,
        };
        let keep: Vec<String> = keep.iter().map(|id| Self::entry(*id)).collect();
        for entry in Dir::new(confined::listable(&folder)?)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_kept = keep.iter().any(|keep| keep.as_bytes() == name.to_bytes());
            if !is_kept && !matches!(name.to_bytes(), b"." | b"..") {
                unlinkat(&folder, name, AtFlags::empty())?;
            }
        }
        if keep.is_empty() {
            self.end(root);
        }
        Ok(())
    }

    /// Leaves nothing behind where nothing is kept.
    pub(crate) fn end(&self, root: &OwnedFd) {
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        if unlinkat(root, self.name.as_bytes(), AtFlags::REMOVEDIR).is_ok() {
            *folder = None;
        }
    }
}
