//! The trait over [`Nodes`].

use crate::changes::{self, Change};
use crate::nodes::{Content, Nodes};
use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::fs::fdatasync;
use rustix::io::Errno;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard, broadcast};
use womm_vfs::clock::{Clock, SystemClock};
use womm_vfs::node::FolderChange;
use womm_vfs::vfs::{
    Created, Listing, ListingBound, New, NodeChange, Read, Renamed, Seek, SetXattr, Stable, Statfs, Walk, Written,
};
use womm_vfs::{Attributes, Context, Event, Name, NodeId, Result, SetAttributes, Vfs};
use womm_vfs_disk::database::random;
use womm_vfs_disk::{OpenError, content, descriptors};

/// Events that one who listens may lag behind. There are none: nobody else changes a snapshot.
const EVENTS: usize = 16;

/// So many nodes may be copied up at the same time.
const COPIES: usize = 64;

/// A snapshot, and what one task wrote over it.
#[derive(Debug)]
pub struct TreeVfs {
    nodes: Arc<Nodes>,
    /// A node is copied up once.
    copies: Vec<Mutex<()>>,
    turns: Arc<content::Turns>,
    verifier: [u8; 8],
    events: broadcast::Sender<Event>,
}

impl TreeVfs {
    /// `lower` is the snapshot; `upper` is made if it is missing, and kept for the task to go on after a restart. All of a
    /// program's file systems together keep half of RLIMIT_NOFILE open.
    ///
    /// # Errors
    /// Those of [`OpenError`].
    pub fn open(lower: &Path, upper: &Path) -> std::result::Result<Self, OpenError> {
        Self::with(lower, upper, Arc::new(SystemClock), descriptors::half_of_the_limit(), u64::BITS)
    }

    /// With a clock, so many file descriptors at most, and names' cookies of so many bits: for tests.
    ///
    /// # Errors
    /// Those of [`OpenError`].
    pub fn with(
        lower: &Path,
        upper: &Path,
        clock: Arc<dyn Clock>,
        descriptors: usize,
        cookie_bits: u32,
    ) -> std::result::Result<Self, OpenError> {
        Ok(Self {
            nodes: Arc::new(Nodes::open(lower, upper, clock, descriptors, cookie_bits)?),
            copies: (0..COPIES).map(|_| Mutex::const_new(())).collect(),
            turns: Arc::default(),
            verifier: random(),
            events: broadcast::Sender::new(EVENTS),
        })
    }

    /// What is not as in the snapshot, by path. Extended attributes are not compared.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn changes(&self) -> Result<Vec<Change>> {
        let nodes = Arc::clone(&self.nodes);
        content::waiting(move || changes::of(&nodes)).await
    }

    /// Brings a folder's names in where that stops nobody.
    async fn ready(&self, folder: NodeId) -> Result<()> {
        if !self.nodes.is_missing(folder) {
            return Ok(());
        }
        let nodes = Arc::clone(&self.nodes);
        content::waiting(move || nodes.ready(folder).map(drop)).await
    }

    /// A file to be written, of which so many bytes are needed.
    async fn up(&self, node: NodeId, most: u64) -> Result<Arc<OwnedFd>> {
        if let Some(file) = self.nodes.content_up(node)? {
            return Ok(file);
        }
        let _alone = self.copying(node).await;
        self.up_alone(node, most).await
    }

    /// Nobody else brings it up meanwhile.
    async fn copying(&self, node: NodeId) -> MutexGuard<'_, ()> {
        self.copies[(node.0 % COPIES as u64) as usize].lock().await
    }

    async fn up_alone(&self, node: NodeId, most: u64) -> Result<Arc<OwnedFd>> {
        if let Some(file) = self.nodes.content_up(node)? {
            return Ok(file);
        }
        let nodes = Arc::clone(&self.nodes);
        content::waiting(move || nodes.bring_up(node, most)).await
    }

    /// Cutting off a file of the snapshot copies what stays; what was never written needs no content, and its row says its size.
    async fn resize_alone(&self, node: NodeId, size: u64) -> Result<()> {
        if size > i64::MAX as u64 {
            return Err(Errno::FBIG.into());
        }
        if let Content::Zeros(_) = self.nodes.content(node)? {
            return Ok(());
        }
        content::resize(self.up_alone(node, size).await?, size)
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

impl Vfs for TreeVfs {
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
        let mut walk = Walk { found: vec![], stopped: None };
        let mut at = from;
        if names.is_empty() {
            walk.stopped = self.nodes.row(from).err();
        }
        for name in names {
            match self.ready(at).await.and_then(|()| self.nodes.lookup(at, name)) {
                Ok(found) => {
                    at = found.id;
                    walk.found.push(found);
                }
                Err(error) => {
                    walk.stopped = Some(error);
                    break;
                }
            }
        }
        walk
    }

    async fn parent(&self, _cx: &Context, folder: NodeId) -> Result<Attributes> {
        self.nodes.parent(folder)
    }

    async fn setattr(&self, cx: &Context, node: NodeId, set: &SetAttributes) -> Result<Attributes> {
        cx.go_on()?;
        womm_vfs::rules::set(self.nodes.row(node)?.kind, set)?;
        let Some(size) = set.size else { return self.nodes.set(node, set) };
        let _alone = self.copying(node).await;
        self.resize_alone(node, size).await?;
        self.nodes.set(node, set)
    }

    async fn readdir(&self, cx: &Context, folder: NodeId, after: u64, most: ListingBound) -> Result<Listing> {
        cx.go_on()?;
        self.ready(folder).await?;
        self.nodes.readdir(folder, after, most)
    }

    async fn readlink(&self, _cx: &Context, node: NodeId) -> Result<Bytes> {
        self.nodes.readlink(node)
    }

    async fn create(&self, cx: &Context, folder: NodeId, name: &Name, new: &New) -> Result<Created> {
        cx.go_on()?;
        self.ready(folder).await?;
        let mut made = self.nodes.create(folder, name, new)?;
        if let New::File { mode: womm_vfs::vfs::Create::Unchecked, set } = new
            && let (false, Some(size)) = (made.new, set.size)
        {
            let only = SetAttributes { size: Some(size), ..SetAttributes::default() };
            made.attributes = self.setattr(cx, made.attributes.id, &only).await?;
        }
        Ok(made)
    }

    async fn link(&self, cx: &Context, node: NodeId, folder: NodeId, name: &Name) -> Result<FolderChange> {
        cx.go_on()?;
        self.ready(folder).await?;
        self.nodes.link(node, folder, name)
    }

    async fn remove(&self, cx: &Context, folder: NodeId, name: &Name) -> Result<FolderChange> {
        cx.go_on()?;
        self.ready(folder).await?;
        self.nodes.remove(folder, name)
    }

    async fn rename(&self, cx: &Context, from: (NodeId, &Name), to: (NodeId, &Name)) -> Result<Renamed> {
        cx.go_on()?;
        self.ready(from.0).await?;
        self.ready(to.0).await?;
        self.nodes.rename(from, to)
    }

    async fn open(&self, _cx: &Context, node: NodeId) -> Result<()> {
        self.nodes.open_file(node)
    }

    fn reopen(&self, node: NodeId) -> Result<()> {
        self.nodes.open_file(node)
    }

    fn reclaimed(&self) {
        // What can't be dropped now is dropped at the next start.
        let _later = self.nodes.reclaimed();
    }

    fn close(&self, node: NodeId) {
        self.nodes.close(node);
    }

    async fn read(&self, _cx: &Context, node: NodeId, offset: u64, count: u32) -> Result<Read> {
        match self.nodes.content(node)? {
            Content::In(file) => content::read(file, offset, count).await,
            Content::Zeros(size) => {
                let had = size.saturating_sub(offset).min(u64::from(count));
                Ok(Read { data: vec![0; had as usize].into(), end: offset.saturating_add(had) >= size })
            }
        }
    }

    async fn write(&self, cx: &Context, node: NodeId, offset: u64, data: Bytes, stable: Stable) -> Result<Written> {
        cx.go_on()?;
        if data.is_empty() {
            self.nodes.content(node)?;
            return Ok(Written { stable, change: self.nodes.getattr(node)?.change });
        }
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > i64::MAX as u64) {
            self.nodes.content(node)?;
            return Err(Errno::FBIG.into());
        }
        let file = self.up(node, u64::MAX).await?;
        content::write(&self.turns, node, Arc::clone(&file), offset, data, stable).await?;
        let change = self.nodes.bump(node, &file)?;
        if stable != Stable::Unstable {
            self.sync_table().await?;
        }
        Ok(Written { stable, change })
    }

    async fn commit(&self, _cx: &Context, node: NodeId) -> Result<()> {
        let Some(file) = self.nodes.content_up(node)? else { return self.sync_table().await };
        let content = content::waiting(move || Ok(fdatasync(&file)?));
        // At the same time, so that the disk's journal is written once.
        let (content, table) = tokio::join!(content, self.sync_table());
        content.and(table)
    }

    async fn seek(&self, _cx: &Context, node: NodeId, offset: u64, what: Seek) -> Result<u64> {
        match (self.nodes.content(node)?, what) {
            (Content::In(file), _) => content::seek(file, offset, what),
            (Content::Zeros(size), Seek::Hole) if offset < size => Ok(offset),
            (Content::Zeros(_), _) => Err(Errno::NXIO.into()),
        }
    }

    async fn allocate(&self, cx: &Context, node: NodeId, offset: u64, length: u64) -> Result<()> {
        cx.go_on()?;
        let file = self.up(node, u64::MAX).await?;
        let nodes = Arc::clone(&self.nodes);
        content::waiting(move || {
            content::allocate(&file, offset, length)?;
            nodes.bump(node, &file).map(drop)
        })
        .await
    }

    async fn deallocate(&self, cx: &Context, node: NodeId, offset: u64, length: u64) -> Result<()> {
        cx.go_on()?;
        let file = self.up(node, u64::MAX).await?;
        let nodes = Arc::clone(&self.nodes);
        content::waiting(move || {
            content::deallocate(&file, offset, length)?;
            nodes.bump(node, &file).map(drop)
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
        cx.go_on()?;
        self.nodes.setxattr(node, name, &value, how)
    }

    async fn listxattr(&self, _cx: &Context, node: NodeId) -> Result<Vec<Bytes>> {
        self.nodes.listxattr(node)
    }

    async fn removexattr(&self, cx: &Context, node: NodeId, name: &[u8]) -> Result<NodeChange> {
        cx.go_on()?;
        self.nodes.removexattr(node, name)
    }
}
