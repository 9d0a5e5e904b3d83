//! Content: the snapshot's until it is written, then a file of the upper folder that is named by the node's number.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, copy_file_range, fdatasync, mkdirat, renameat, unlinkat};
use rustix::io::Errno;
use std::path::Path;
use womm_vfs::{Error, NodeId, Result};
use womm_vfs_disk::seen::Seen;
use womm_vfs_disk::{OpenError, confined, content};

/// Folders that the files are spread over.
const FOLDERS: u64 = 64;

#[derive(Debug)]
pub(crate) struct Contents {
    root: OwnedFd,
}

fn folder(number: u64) -> String {
    format!("{:02x}", number % FOLDERS)
}

fn entry(id: NodeId) -> String {
    format!("{}/{}", folder(id.0), id.0)
}

impl Contents {
    pub(crate) fn open(upper: &Path) -> std::result::Result<Self, OpenError> {
        let path = upper.join("content");
        std::fs::create_dir_all(&path).map_err(OpenError::io("upper folder", &path))?;
        let root = confined::root(&path).map_err(OpenError::io("upper folder", &path))?;
        Ok(Self { root })
    }

    pub(crate) fn get(&self, id: NodeId) -> Result<OwnedFd> {
        confined::open(&self.root, entry(id).as_bytes(), OFlags::RDWR, Mode::empty())
    }

    pub(crate) fn seen(&self, id: NodeId) -> Result<Seen> {
        Seen::at(&self.root, entry(id).as_bytes())
    }

    /// New and empty, whatever a SIGKILL left there.
    pub(crate) fn make(&self, id: NodeId) -> Result<OwnedFd> {
        self.make_at(id, &entry(id))
    }

    fn make_at(&self, id: NodeId, name: &str) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
        let make = || confined::open(&self.root, name.as_bytes(), flags, Mode::RUSR | Mode::WUSR);
        match make() {
            Err(Error::Errno(Errno::NOENT)) => match mkdirat(&self.root, &folder(id.0)[..], Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => make(),
                Err(errno) => Err(errno.into()),
            },
            made => made,
        }
    }

    /// New, with so much of another file, on the disk when it answers.
    pub(crate) fn copy(&self, id: NodeId, from: &OwnedFd, size: u64) -> Result<OwnedFd> {
        let partial = format!("{}.partial", entry(id));
        let file = self.make_at(id, &partial)?;
        let copied = copy_bytes(from, &file, size).and_then(|()| Ok(fdatasync(&file)?));
        let done = copied.and_then(|()| Ok(renameat(&self.root, &partial[..], &self.root, &entry(id)[..])?));
        if let Err(error) = done {
            self.remove(&partial)?;
            return Err(error);
        }
        Ok(file)
    }

    fn remove(&self, name: &str) -> Result<()> {
        match unlinkat(&self.root, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            done => Ok(done?),
        }
    }

    pub(crate) fn drop(&self, id: NodeId) -> Result<()> {
        self.remove(&entry(id))
    }

    /// Removes what no row knows.
    pub(crate) fn sweep(&self, mut is_known: impl FnMut(NodeId) -> bool) -> Result<()> {
        for number in 0..FOLDERS {
            let folder = match confined::anchor(&self.root, folder(number).as_bytes()) {
                Err(Error::Errno(Errno::NOENT)) => continue,
                folder => folder?,
            };
            for found in Dir::new(confined::listable(&folder)?)? {
                let found = found?;
                let name = found.file_name();
                let id = name.to_str().ok().and_then(|name| name.parse().ok()).map(NodeId);
                if !matches!(name.to_bytes(), b"." | b"..") && !id.is_some_and(&mut is_known) {
                    unlinkat(&folder, name, AtFlags::empty())?;
                }
            }
        }
        Ok(())
    }
}

/// By reference where the file system can, in the kernel where it can't.
fn copy_bytes(from: &OwnedFd, to: &OwnedFd, size: u64) -> Result<()> {
    let mut at = 0;
    while at < size {
        let (mut read, mut write) = (at, at);
        let most = usize::try_from(size - at).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(from, Some(&mut read), to, Some(&mut write), most) {
            Ok(0) => break, // the snapshot's file is shorter than it was: what is missing reads as zeros
            Ok(more) => at += more as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return copy_by_hand(from, to, at, size);
            }
            Err(error) => return Err(error.into()),
        }
    }
    content::resize(to, size)
}

fn copy_by_hand(from: &OwnedFd, to: &OwnedFd, mut at: u64, size: u64) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    while at < size {
        let most = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
        let had = match rustix::io::pread(from, &mut buffer[..most], at) {
            Ok(0) => break,
            Err(Errno::INTR) => continue,
            had => had?,
        };
        let mut done = 0;
        while done < had {
            match rustix::io::pwrite(to, &buffer[done..had], at + done as u64) {
                Ok(0) => return Err(Error::Errno(Errno::IO)),
                Err(Errno::INTR) => {}
                more => done += more?,
            }
        }
        at += had as u64;
    }
    content::resize(to, size)
}
