//! A folder that is exported, and a second look at it.

use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use womm_vfs::context::OperationId;
use womm_vfs::vfs::{Create, ListingBound, New, Stable};
use womm_vfs::{Attributes, Context, Name, NodeId, Result, SetAttributes, Vfs};
use womm_vfs_disk::DiskVfs;

pub struct Export {
    pub vfs: Arc<DiskVfs>,
    pub folder: TempDir,
    pub state: TempDir,
}

pub fn cx() -> Context {
    Context::new(OperationId { client: 1, number: 1 }, Duration::from_secs(60))
}

pub fn named(name: &str) -> Name {
    Name::new(name.as_bytes().to_vec()).unwrap()
}

pub fn new_file() -> New {
    New::File { mode: Create::Guarded, set: SetAttributes::default() }
}

impl Export {
    pub fn fresh() -> Self {
        let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let vfs = Arc::new(DiskVfs::open(folder.path(), state.path()).unwrap());
        Self { vfs, folder, state }
    }

    pub fn restart(self) -> Self {
        let Self { vfs, folder, state } = self;
        drop(Arc::into_inner(vfs).expect("nobody uses it"));
        let vfs = Arc::new(DiskVfs::open(folder.path(), state.path()).unwrap());
        Self { vfs, folder, state }
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub async fn walk(&self, path: &str) -> Result<Attributes> {
        let names: Vec<_> = path.split('/').map(named).collect();
        let mut walk = self.vfs.walk(&cx(), self.vfs.root(), &names).await;
        match walk.stopped {
            Some(error) => Err(error),
            None => Ok(walk.found.pop().unwrap()),
        }
    }

    pub async fn getattr(&self, node: NodeId) -> Result<Attributes> {
        self.vfs.getattr(&cx(), &[node]).await.remove(0)
    }

    pub async fn content(&self, node: NodeId) -> Result<Bytes> {
        Ok(self.vfs.read(&cx(), node, 0, 1 << 20).await?.data)
    }

    pub async fn write(&self, node: NodeId, data: &'static [u8]) -> Result<()> {
        self.vfs.write(&cx(), node, 0, Bytes::from_static(data), Stable::Unstable).await.map(drop)
    }

    pub async fn make(&self, folder: NodeId, name: &str, new: &New) -> Result<NodeId> {
        Ok(self.vfs.create(&cx(), folder, &named(name), new).await?.attributes.id)
    }

    pub async fn names(&self, folder: NodeId) -> Vec<String> {
        let most = ListingBound { entries: usize::MAX, name_bytes: usize::MAX };
        let listing = self.vfs.readdir(&cx(), folder, 0, most).await.unwrap();
        let names = listing.entries.iter().map(|entry| String::from_utf8_lossy(entry.name.as_bytes()).into_owned());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}
