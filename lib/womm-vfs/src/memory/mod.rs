//! A file system in memory: what the others are compared with, and what tests of a server stand on.
//!
//! Tests make it fail: [`MemoryVfs::away`], [`MemoryVfs::refuse`], [`MemoryVfs::lose`], [`MemoryVfs::panic`],
//! [`MemoryVfs::restart`], [`MemoryVfs::invalidate`].

mod content;
mod gate;
mod nodes;

use crate::clock::Clock;
use crate::context::Context;
use crate::cookie::Cookies;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::node::{Attributes, FolderChange, Name, NodeId, SetAttributes};
use crate::vfs::{
    Created, Listing, ListingBound, New, NodeChange, Read, Renamed, Seek, SetXattr, Stable, Statfs, Vfs, Walk, Written,
};
use bytes::Bytes;
use gate::Gate;
use nodes::{Nodes, ROOT};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// Events that one who listens may lag behind.
const EVENTS: usize = 1024;

/// A file system in memory.
#[derive(Debug)]
pub struct MemoryVfs {
    nodes: Arc<Mutex<Nodes>>,
    gate: Gate,
    events: broadcast::Sender<Event>,
    /// Of its numbers: no other of this program has it.
    generation: u64,
    /// Counts restarts.
    boot: u64,
}

impl MemoryVfs {
    /// With 1 GiB of room.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_room(clock, 1 << 30)
    }

    /// With room for so many bytes of content; beyond it is ENOSPC.
    pub fn with_room(clock: Arc<dyn Clock>, bytes: u64) -> Self {
        Self::fresh(Nodes::new(clock, bytes, Cookies::new([0; 16])))
    }

    /// With so few cookies that names meet.
    pub fn with_cookie_bits(clock: Arc<dyn Clock>, bits: u32) -> Self {
        Self::fresh(Nodes::new(clock, 1 << 30, Cookies::new([0; 16]).with_bits(bits)))
    }

    fn fresh(nodes: Nodes) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self::over(Arc::new(Mutex::new(nodes)), LAST.fetch_add(1, Ordering::Relaxed) + 1, 0)
    }

    fn over(nodes: Arc<Mutex<Nodes>>, generation: u64, boot: u64) -> Self {
        Self { nodes, gate: Gate::default(), events: broadcast::Sender::new(EVENTS), generation, boot }
    }

    /// The same file system after a restart of its program: all is kept but opens, which wait to be reopened. This one is not to be
    /// used any more.
    #[must_use]
    pub fn restart(&self) -> Self {
        self.lock().forget_opens();
        Self::over(Arc::clone(&self.nodes), self.generation, self.boot + 1)
    }

    /// What is behind it can't be reached: calls wait for [`MemoryVfs::back`] until their deadline, then say [`Error::Away`].
    pub fn away(&self) {
        if self.gate.away(true) {
            self.tell(Event::Away);
        }
    }

    /// It can be reached again.
    pub fn back(&self) {
        if self.gate.away(false) {
            self.tell(Event::Back);
        }
    }

    /// The next so many calls that may wait answer this, and do nothing.
    pub fn refuse(&self, calls: usize, error: Error) {
        self.gate.refuse(calls, error);
    }

    /// The next so many commits, and stable writes when they have written, answer this: a disk that could not keep it.
    pub fn lose(&self, calls: usize, error: Error) {
        self.gate.lose(calls, error);
    }

    /// The next call that may wait panics, as a bug of a file system does.
    pub fn panic(&self) {
        self.gate.panic();
    }

    /// Says that somebody else changed these.
    pub fn invalidate(&self, nodes: Vec<NodeId>) {
        self.tell(Event::Invalid(nodes));
    }

    /// Opens of a node that were not closed.
    pub fn opens(&self, node: NodeId) -> u32 {
        self.lock().opens(node)
    }

    /// Nodes there are, those without a name included.
    pub fn count(&self) -> usize {
        self.lock().count()
    }

    fn tell(&self, event: Event) {
        let _nobody_listens = self.events.send(event);
    }

    fn lock(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vfs for MemoryVfs {
    fn root(&self) -> NodeId {
        ROOT
    }

    fn statfs(&self) -> Statfs {
        self.lock().statfs()
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn write_verifier(&self) -> [u8; 8] {
        self.boot.to_be_bytes()
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    async fn getattr(&self, cx: &Context, nodes: &[NodeId]) -> Vec<Result<Attributes>> {
        let passed = if nodes.iter().all(|node| *node == ROOT) { Ok(()) } else { self.gate.pass(cx).await };
        let table = self.lock();
        nodes
            .iter()
            .map(|node| if *node == ROOT { Ok(()) } else { passed }.and_then(|()| table.getattr(*node)))
            .collect()
    }

    async fn walk(&self, cx: &Context, from: NodeId, names: &[Name]) -> Walk {
        match self.gate.pass(cx).await {
            Ok(()) => self.lock().walk(from, names),
            Err(error) => Walk { found: vec![], stopped: Some(error) },
        }
    }

    async fn parent(&self, cx: &Context, folder: NodeId) -> Result<Attributes> {
        self.gate.pass(cx).await?;
        self.lock().parent(folder)
    }

    async fn setattr(&self, cx: &Context, node: NodeId, set: &SetAttributes) -> Result<Attributes> {
        self.gate.pass(cx).await?;
        self.lock().setattr(node, set)
    }

    async fn readdir(&self, cx: &Context, folder: NodeId, after: u64, most: ListingBound) -> Result<Listing> {
        self.gate.pass(cx).await?;
        self.lock().readdir(folder, after, most)
    }

    async fn readlink(&self, cx: &Context, node: NodeId) -> Result<Bytes> {
        self.gate.pass(cx).await?;
        self.lock().readlink(node)
    }

    async fn create(&self, cx: &Context, folder: NodeId, name: &Name, new: &New) -> Result<Created> {
        self.gate.pass(cx).await?;
        self.lock().create(folder, name, new)
    }

    async fn link(&self, cx: &Context, node: NodeId, folder: NodeId, name: &Name) -> Result<FolderChange> {
        self.gate.pass(cx).await?;
        self.lock().link(node, folder, name)
    }

    async fn remove(&self, cx: &Context, folder: NodeId, name: &Name) -> Result<FolderChange> {
        self.gate.pass(cx).await?;
        self.lock().remove(folder, name)
    }

    async fn rename(&self, cx: &Context, from: (NodeId, &Name), to: (NodeId, &Name)) -> Result<Renamed> {
        self.gate.pass(cx).await?;
        self.lock().rename(from, to)
    }

    async fn open(&self, cx: &Context, node: NodeId) -> Result<()> {
        self.gate.pass(cx).await?;
        self.lock().open(node)
    }

    fn reopen(&self, node: NodeId) -> Result<()> {
        self.lock().open(node)
    }

    fn reclaimed(&self) {
        self.lock().reclaimed();
    }

    fn close(&self, node: NodeId) {
        self.lock().close(node);
    }

    async fn read(&self, cx: &Context, node: NodeId, offset: u64, count: u32) -> Result<Read> {
        self.gate.pass(cx).await?;
        self.lock().read(node, offset, count)
    }

    async fn write(&self, cx: &Context, node: NodeId, offset: u64, data: Bytes, stable: Stable) -> Result<Written> {
        self.gate.pass(cx).await?;
        let change = self.lock().write(node, offset, &data)?;
        if stable != Stable::Unstable {
            self.gate.keep()?;
        }
        Ok(Written { stable, change })
    }

    async fn commit(&self, cx: &Context, node: NodeId) -> Result<()> {
        self.gate.pass(cx).await?;
        self.lock().commit(node)?;
        self.gate.keep()
    }

    async fn seek(&self, cx: &Context, node: NodeId, offset: u64, what: Seek) -> Result<u64> {
        self.gate.pass(cx).await?;
        self.lock().seek(node, offset, what)
    }

    async fn allocate(&self, cx: &Context, node: NodeId, offset: u64, length: u64) -> Result<()> {
        self.gate.pass(cx).await?;
        self.lock().allocate(node, offset, length)
    }

    async fn deallocate(&self, cx: &Context, node: NodeId, offset: u64, length: u64) -> Result<()> {
        self.gate.pass(cx).await?;
        self.lock().deallocate(node, offset, length)
    }

    async fn getxattr(&self, cx: &Context, node: NodeId, name: &[u8]) -> Result<Bytes> {
        self.gate.pass(cx).await?;
        self.lock().getxattr(node, name)
    }

    async fn setxattr(
        &self,
        cx: &Context,
        node: NodeId,
        name: &[u8],
        value: Bytes,
        how: SetXattr,
    ) -> Result<NodeChange> {
        self.gate.pass(cx).await?;
        self.lock().setxattr(node, name, value, how)
    }

    async fn listxattr(&self, cx: &Context, node: NodeId) -> Result<Vec<Bytes>> {
        self.gate.pass(cx).await?;
        self.lock().listxattr(node)
    }

    async fn removexattr(&self, cx: &Context, node: NodeId, name: &[u8]) -> Result<NodeChange> {
        self.gate.pass(cx).await?;
        self.lock().removexattr(node, name)
    }
}
