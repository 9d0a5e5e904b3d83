//! The two kinds of file system that are exported, as one.

use bytes::Bytes;
use tokio::sync::broadcast;
use womm_vfs::node::FolderChange;
use womm_vfs::vfs::{
    Created, Listing, ListingBound, New, NodeChange, Read, Renamed, Seek, SetXattr, Stable, Statfs, Walk, Written,
};
use womm_vfs::{Attributes, Context, Event, Name, NodeId, Result, SetAttributes, Vfs};
use womm_vfs_disk::DiskVfs;
use womm_vfs_tree::TreeVfs;

/// What is behind an export.
#[derive(Debug)]
pub enum Backend {
    /// A folder in place. Not a tree with the folder as its own upper: that takes what is below it for unchanging, and keeps names and modes
    /// in its table; here others change the folder too, and its files stay what they are.
    Disk(DiskVfs),
    /// A snapshot, and what was written over it.
    Tree(TreeVfs),
}

impl Vfs for Backend {
    fn root(&self) -> NodeId {
        match self {
            Self::Disk(vfs) => vfs.root(),
            Self::Tree(vfs) => vfs.root(),
        }
    }

    fn statfs(&self) -> Statfs {
        match self {
            Self::Disk(vfs) => vfs.statfs(),
            Self::Tree(vfs) => vfs.statfs(),
        }
    }

    fn generation(&self) -> u64 {
        match self {
            Self::Disk(vfs) => vfs.generation(),
            Self::Tree(vfs) => vfs.generation(),
        }
    }

    fn write_verifier(&self) -> [u8; 8] {
        match self {
            Self::Disk(vfs) => vfs.write_verifier(),
            Self::Tree(vfs) => vfs.write_verifier(),
        }
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        match self {
            Self::Disk(vfs) => vfs.events(),
            Self::Tree(vfs) => vfs.events(),
        }
    }

    async fn getattr(&self, cx: &Context, nodes: &[NodeId]) -> Vec<Result<Attributes>> {
        match self {
            Self::Disk(vfs) => vfs.getattr(cx, nodes).await,
            Self::Tree(vfs) => vfs.getattr(cx, nodes).await,
        }
    }

    async fn walk(&self, cx: &Context, from: NodeId, names: &[Name]) -> Walk {
        match self {
            Self::Disk(vfs) => vfs.walk(cx, from, names).await,
            Self::Tree(vfs) => vfs.walk(cx, from, names).await,
        }
    }

    async fn parent(&self, cx: &Context, folder: NodeId) -> Result<Attributes> {
        match self {
            Self::Disk(vfs) => vfs.parent(cx, folder).await,
            Self::Tree(vfs) => vfs.parent(cx, folder).await,
        }
    }

    async fn setattr(&self, cx: &Context, node: NodeId, set: &SetAttributes) -> Result<Attributes> {
        match self {
            Self::Disk(vfs) => vfs.setattr(cx, node, set).await,
            Self::Tree(vfs) => vfs.setattr(cx, node, set).await,
        }
    }

    async fn readdir(&self, cx: &Context, folder: NodeId, after: u64, most: ListingBound) -> Result<Listing> {
        match self {
            Self::Disk(vfs) => vfs.readdir(cx, folder, after, most).await,
            Self::Tree(vfs) => vfs.readdir(cx, folder, after, most).await,
        }
    }

    async fn readlink(&self, cx: &Context, node: NodeId) -> Result<Bytes> {
        match self {
            Self::Disk(vfs) => vfs.readlink(cx, node).await,
            Self::Tree(vfs) => vfs.readlink(cx, node).await,
        }
    }

    async fn create(&self, cx: &Context, folder: NodeId, name: &Name, new: &New) -> Result<Created> {
        match self {
            Self::Disk(vfs) => vfs.create(cx, folder, name, new).await,
            Self::Tree(vfs) => vfs.create(cx, folder, name, new).await,
        }
    }

    async fn link(&self, cx: &Context, node: NodeId, folder: NodeId, name: &Name) -> Result<FolderChange> {
        match self {
            Self::Disk(vfs) => vfs.link(cx, node, folder, name).await,
            Self::Tree(vfs) => vfs.link(cx, node, folder, name).await,
        }
    }

    async fn remove(&self, cx: &Context, folder: NodeId, name: &Name) -> Result<FolderChange> {
        match self {
            Self::Disk(vfs) => vfs.remove(cx, folder, name).await,
            Self::Tree(vfs) => vfs.remove(cx, folder, name).await,
        }
    }

    async fn rename(&self, cx: &Context, from: (NodeId, &Name), to: (NodeId, &Name)) -> Result<Renamed> {
        match self {
            Self::Disk(vfs) => vfs.rename(cx, from, to).await,
            Self::Tree(vfs) => vfs.rename(cx, from, to).await,
        }
    }

    async fn open(&self, cx: &Context, node: NodeId) -> Result<()> {
        match self {
            Self::Disk(vfs) => vfs.open(cx, node).await,
            Self::Tree(vfs) => vfs.open(cx, node).await,
        }
    }

    fn reopen(&self, node: NodeId) -> Result<()> {
        match self {
            Self::Disk(vfs) => vfs.reopen(node),
            Self::Tree(vfs) => vfs.reopen(node),
        }
    }

    fn reclaimed(&self) {
        match self {
            Self::Disk(vfs) => vfs.reclaimed(),
            Self::Tree(vfs) => vfs.reclaimed(),
        }
    }

    fn close(&self, node: NodeId) {
        match self {
            Self::Disk(vfs) => vfs.close(node),
            Self::Tree(vfs) => vfs.close(node),
        }
    }

    async fn read(&self, cx: &Context, node: NodeId, offset: u64, count: u32) -> Result<Read> {
        match self {
            Self::Disk(vfs) => vfs.read(cx, node, offset, count).await,
            Self::Tree(vfs) => vfs.read(cx, node, offset, count).await,
        }
    }

    async fn write(&self, cx: &Context, node: NodeId, offset: u64, data: Bytes, stable: Stable) -> Result<Written> {
        match self {
            Self::Disk(vfs) => vfs.write(cx, node, offset, data, stable).await,
            Self::Tree(vfs) => vfs.write(cx, node, offset, data, stable).await,
        }
    }

    async fn commit(&self, cx: &Context, node: NodeId) -> Result<()> {
        match self {
            Self::Disk(vfs) => vfs.commit(cx, node).await,
            Self::Tree(vfs) => vfs.commit(cx, node).await,
        }
    }

    async fn seek(&self, cx: &Context, node: NodeId, offset: u64, what: Seek) -> Result<u64> {
        match self {
            Self::Disk(vfs) => vfs.seek(cx, node, offset, what).await,
            Self::Tree(vfs) => vfs.seek(cx, node, offset, what).await,
        }
    }

    async fn allocate(&self, cx: &Context, node: NodeId, offset: u64, length: u64) -> Result<()> {
        match self {
            Self::Disk(vfs) => vfs.allocate(cx, node, offset, length).await,
            Self::Tree(vfs) => vfs.allocate(cx, node, offset, length).await,
        }
    }

    async fn deallocate(&self, cx: &Context, node: NodeId, offset: u64, length: u64) -> Result<()> {
        match self {
            Self::Disk(vfs) => vfs.deallocate(cx, node, offset, length).await,
            Self::Tree(vfs) => vfs.deallocate(cx, node, offset, length).await,
        }
    }

    async fn getxattr(&self, cx: &Context, node: NodeId, name: &[u8]) -> Result<Bytes> {
        match self {
            Self::Disk(vfs) => vfs.getxattr(cx, node, name).await,
            Self::Tree(vfs) => vfs.getxattr(cx, node, name).await,
        }
    }

    async fn setxattr(
        &self,
        cx: &Context,
        node: NodeId,
        name: &[u8],
        value: Bytes,
        how: SetXattr,
    ) -> Result<NodeChange> {
        match self {
            Self::Disk(vfs) => vfs.setxattr(cx, node, name, value, how).await,
            Self::Tree(vfs) => vfs.setxattr(cx, node, name, value, how).await,
        }
    }

    async fn listxattr(&self, cx: &Context, node: NodeId) -> Result<Vec<Bytes>> {
        match self {
            Self::Disk(vfs) => vfs.listxattr(cx, node).await,
            Self::Tree(vfs) => vfs.listxattr(cx, node).await,
        }
    }

    async fn removexattr(&self, cx: &Context, node: NodeId, name: &[u8]) -> Result<NodeChange> {
        match self {
            Self::Disk(vfs) => vfs.removexattr(cx, node, name).await,
            Self::Tree(vfs) => vfs.removexattr(cx, node, name).await,
        }
    }
}
