//! The trait over [`Nodes`].

use crate::database::random;
use crate::nodes::Nodes;
use crate::{OpenError, content, descriptors};
use bytes::Bytes;
use rustix::fs::fdatasync;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{Mutex, broadcast};
use womm_vfs::node::FolderChange;
use womm_vfs::vfs::{
    Created, Listing, ListingBound, New, NodeChange, Read, Renamed, Seek, SetXattr, Stable, Statfs, Walk, Written,
};
use womm_vfs::{Attributes, Context, Event, Name, NodeId, Result, SetAttributes, Vfs};

/// Events that one who listens may lag behind. There are none yet: who asks sees what the disk has.
const EVENTS: usize = 16;

/// A folder on this machine.
#[derive(Debug)]
pub struct DiskVfs {
    nodes: Arc<Nodes>,
    /// Names are changed by one at a time.
    names: Mutex<()>,
    turns: Arc<content::Turns>,
    verifier: [u8; 8],
    events: broadcast::Sender<Event>,
}

impl DiskVfs {
    /// Exports a folder in place. `state` must be kept for handles to outlive a restart; it may not be in the folder. All of a
    /// program's file systems together keep half of RLIMIT_NOFILE open.
    ///
    /// # Errors
    /// Those of [`OpenError`].
    pub fn open(folder: &Path, state: &Path) -> std::result::Result<Self, OpenError> {
        Self::with_descriptors(folder, state, descriptors::half_of_the_limit())
    }

    /// With so many file descriptors at most, calls under way aside.
    ///
    /// # Errors
    /// Those of [`OpenError`].
    pub fn with_descriptors(folder: &Path, state: &Path, most: usize) -> std::result::Result<Self, OpenError> {
        Ok(Self::over(Nodes::open(folder, state, most, u64::BITS)?))
    }

    fn over(nodes: Nodes) -> Self {
        Self {
            nodes: Arc::new(nodes),
            names: Mutex::const_new(()),
            turns: Arc::default(),
            verifier: random(),
            events: broadcast::Sender::new(EVENTS),
        }
    }

    /// The table's commits until now are on the disk after it.
    async fn sync_table(&self) -> Result<()> {
        let log = self.nodes.log();
        if log.is_done() {
            return Ok(());
        }
        content::waiting(move || Ok(log.sync()?)).await
    }
}

impl Vfs for DiskVfs {
    fn root(&self) -> NodeId {
        crate::table::ROOT
    }

    fn statfs(&self) -> Statfs {
        self.nodes.statfs()
    }

    fn generation(&self) -> u64 {
        self.nodes.generation
    }

    fn write_verifier(&self) -> [u8; 8] {
        self.verifier
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    async fn getattr(&self, _cx: &Context, nodes: &[NodeId]) -> Vec<Result<Attributes>> {
        nodes.iter().map(|node| self.nodes.getattr(*node)).collect()
    }

    async fn walk(&self, _cx: &Context, from: NodeId, names: &[Name]) -> Walk {
        self.nodes.walk(from, names)
    }

    async fn parent(&self, _cx: &Context, folder: NodeId) -> Result<Attributes> {
        self.nodes.parent(folder)
    }

    async fn setattr(&self, cx: &Context, node: NodeId, set: &SetAttributes) -> Result<Attributes> {
        cx.go_on()?;
        self.nodes.setattr(node, set)
    }

    async fn readdir(&self, cx: &Context, folder: NodeId, after: u64, most: ListingBound) -> Result<Listing> {
        cx.go_on()?;
        if after == 0 && self.nodes.is_large(folder) {
            let nodes = Arc::clone(&self.nodes);
            return content::waiting(move || nodes.readdir(folder, after, most)).await;
        }
        self.nodes.readdir(folder, after, most)
    }

    async fn readlink(&self, _cx: &Context, node: NodeId) -> Result<Bytes> {
        self.nodes.readlink(node)
    }

    async fn create(&self, cx: &Context, folder: NodeId, name: &Name, new: &New) -> Result<Created> {
        let _alone = self.names.lock().await;
        cx.go_on()?;
        self.nodes.create(folder, name, new)
    }

    async fn link(&self, cx: &Context, node: NodeId, folder: NodeId, name: &Name) -> Result<FolderChange> {
        let _alone = self.names.lock().await;
        cx.go_on()?;
        self.nodes.link(node, folder, name)
    }

    async fn remove(&self, cx: &Context, folder: NodeId, name: &Name) -> Result<FolderChange> {
        let alone = self.names.lock().await;
        cx.go_on()?;
        let removed = self.nodes.remove(folder, name);
        drop(alone);
        self.nodes.close_gone();
        removed
    }

    async fn rename(&self, cx: &Context, from: (NodeId, &Name), to: (NodeId, &Name)) -> Result<Renamed> {
        let alone = self.names.lock().await;
        cx.go_on()?;
        let renamed = self.nodes.rename(from, to);
        drop(alone);
        self.nodes.close_gone();
        renamed
    }

    async fn open(&self, cx: &Context, node: NodeId) -> Result<()> {
        let _alone = self.names.lock().await; // who takes its last name away knows whether it is open
        cx.go_on()?;
        self.nodes.open_file(node)
    }

    fn reopen(&self, node: NodeId) -> Result<()> {
        self.nodes.reopen(node)
    }

    fn reclaimed(&self) {
        // What can't be dropped now is dropped at the next start.
        let _later = self.nodes.reclaimed();
    }

    fn close(&self, node: NodeId) {
        self.nodes.close(node);
    }

    async fn read(&self, _cx: &Context, node: NodeId, offset: u64, count: u32) -> Result<Read> {
        content::read(self.nodes.content(node)?, offset, count).await
    }

    async fn write(&self, cx: &Context, node: NodeId, offset: u64, data: Bytes, stable: Stable) -> Result<Written> {
        cx.go_on()?;
        let file = self.nodes.content(node)?;
        if data.is_empty() {
            return Ok(Written { stable, change: self.nodes.getattr(node)?.change });
        }
        content::write(&self.turns, node, Arc::clone(&file), offset, data, stable).await?;
        let change = self.nodes.bump_content(node, &file)?;
        if stable != Stable::Unstable {
            self.sync_table().await?;
        }
        Ok(Written { stable, change })
    }

    async fn commit(&self, _cx: &Context, node: NodeId) -> Result<()> {
        let file = self.nodes.content(node)?;
        let content = content::waiting(move || Ok(fdatasync(&file)?));
        // At the same time, so that the disk's journal is written once.
        let (content, table) = tokio::join!(content, self.sync_table());
        content.and(table)
    }

    async fn seek(&self, _cx: &Context, node: NodeId, offset: u64, what: Seek) -> Result<u64> {
        content::seek(self.nodes.content(node)?, offset, what)
    }

    async fn allocate(&self, cx: &Context, node: NodeId, offset: u64, length: u64) -> Result<()> {
        cx.go_on()?;
        let nodes = Arc::clone(&self.nodes);
        content::waiting(move || {
            let file = nodes.content(node)?;
            content::allocate(&file, offset, length)?;
            nodes.bump_content(node, &file).map(drop)
        })
        .await
    }

    async fn deallocate(&self, cx: &Context, node: NodeId, offset: u64, length: u64) -> Result<()> {
        cx.go_on()?;
        let nodes = Arc::clone(&self.nodes);
        content::waiting(move || {
            let file = nodes.content(node)?;
            content::deallocate(&file, offset, length)?;
            nodes.bump_content(node, &file).map(drop)
        })
        .await
    }

    async fn getxattr(&self, _cx: &Context, node: NodeId, name: &[u8]) -> Result<Bytes> {
        self.nodes.getxattr(node, name)
    }

    async fn setxattr(
        &self,
        cx: &Context,
        node: NodeId,
        name: &[u8],
        value: Bytes,
        how: SetXattr,
    ) -> Result<NodeChange> {
        let _alone = self.names.lock().await;
        cx.go_on()?;
        self.nodes.setxattr(node, name, &value, how)
    }

    async fn listxattr(&self, _cx: &Context, node: NodeId) -> Result<Vec<Bytes>> {
        self.nodes.listxattr(node)
    }

    async fn removexattr(&self, cx: &Context, node: NodeId, name: &[u8]) -> Result<NodeChange> {
        let _alone = self.names.lock().await;
        cx.go_on()?;
        self.nodes.removexattr(node, name)
    }
}
