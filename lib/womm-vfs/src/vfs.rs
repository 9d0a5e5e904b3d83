//! The trait.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::node::{Attributes, FolderChange, Name, NodeId, SetAttributes};
use bytes::Bytes;
use std::future::Future;
use tokio::sync::broadcast;

/// A file system. Handle-based: a node is found by [`Vfs::walk`] from [`Vfs::root`], then known by its number, across restarts.
///
/// Every method is one operation: done wholly or not at all, and when it has answered, later calls see it. Folders change
/// durably (a create, remove, link or rename that has answered survives a SIGKILL at once and a power cut after the file system's own
/// commit); content is durable after [`Vfs::commit`] or a stable [`Vfs::write`].
pub trait Vfs: Send + Sync + 'static {
    /// The folder that all else is below. Never waits.
    fn root(&self) -> NodeId;

    /// Of how much room there is, never waiting: what was known last, if it must.
    fn statfs(&self) -> Statfs;

    /// Changes whenever numbers of nodes begin anew, because the table that kept them is lost: part of every file handle.
    fn generation(&self) -> u64;

    /// Changes whenever writes that were not committed may be lost (verifier4), but for what a commit or stable write says with its
    /// error: who serves clients tells them of that. The same for all of a server's boot.
    fn write_verifier(&self) -> [u8; 8];

    /// Listens to what happens unasked.
    fn events(&self) -> broadcast::Receiver<Event>;

    /// Attributes of many nodes; an answer for each, in their order. That of the root never waits.
    fn getattr(&self, cx: &Context, nodes: &[NodeId]) -> impl Future<Output = Vec<Result<Attributes>>> + Send;

    /// From a folder down these names; symlinks are not followed.
    fn walk(&self, cx: &Context, from: NodeId, names: &[Name]) -> impl Future<Output = Walk> + Send;

    /// The folder that a folder is in; the root's is ENOENT.
    fn parent(&self, cx: &Context, folder: NodeId) -> impl Future<Output = Result<Attributes>> + Send;

    /// Sets, and answers what is then. A size on a folder is EISDIR, on a symlink EINVAL.
    fn setattr(
        &self,
        cx: &Context,
        node: NodeId,
        set: &SetAttributes,
    ) -> impl Future<Output = Result<Attributes>> + Send;

    /// A folder's entries after a cookie (0: from the start), with their attributes, without `.` and `..`. Cookies outlive restarts;
    /// entries made or removed meanwhile may be seen or not, all others are seen exactly once.
    fn readdir(
        &self,
        cx: &Context,
        folder: NodeId,
        after: u64,
        most: ListingBound,
    ) -> impl Future<Output = Result<Listing>> + Send;

    /// Where a symlink points; EINVAL for others.
    fn readlink(&self, cx: &Context, node: NodeId) -> impl Future<Output = Result<Bytes>> + Send;

    /// Makes a node.
    fn create(
        &self,
        cx: &Context,
        folder: NodeId,
        name: &Name,
        new: &New,
    ) -> impl Future<Output = Result<Created>> + Send;

    /// A further name for a file or symlink; EPERM for a folder, ENOENT for a file that has lost its last name.
    fn link(
        &self,
        cx: &Context,
        node: NodeId,
        folder: NodeId,
        name: &Name,
    ) -> impl Future<Output = Result<FolderChange>> + Send;

    /// Takes a name away; an empty folder's too, else ENOTEMPTY. The content of a file that is open stays until it is closed.
    fn remove(&self, cx: &Context, folder: NodeId, name: &Name) -> impl Future<Output = Result<FolderChange>> + Send;

    /// rename(2), and its errors: atomic, takes the place of a file or an empty folder, does nothing between two names of one node.
    fn rename(
        &self,
        cx: &Context,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
    ) -> impl Future<Output = Result<Renamed>> + Send;

    /// Keeps a file's content (EISDIR, ELOOP for others) until as many [`Vfs::close`], however many names it loses.
    fn open(&self, cx: &Context, node: NodeId) -> impl Future<Output = Result<()>> + Send;

    /// The same after a restart, for an open from before it: waits for nothing behind the file system.
    fn reopen(&self, node: NodeId) -> Result<()>;

    /// After a restart: all has been reopened that will be; content without a name that nobody holds may go.
    fn reclaimed(&self);

    /// Ends one open.
    fn close(&self, node: NodeId);

    /// At most `count` bytes; fewer only at the end. Here and in all that is about content, a folder is EISDIR and a symlink EINVAL.
    fn read(&self, cx: &Context, node: NodeId, offset: u64, count: u32) -> impl Future<Output = Result<Read>> + Send;

    /// All of the data or an error; EFBIG beyond what a file can hold.
    fn write(
        &self,
        cx: &Context,
        node: NodeId,
        offset: u64,
        data: Bytes,
        stable: Stable,
    ) -> impl Future<Output = Result<Written>> + Send;

    /// Makes all that was written to the file durable.
    fn commit(&self, cx: &Context, node: NodeId) -> impl Future<Output = Result<()>> + Send;

    /// lseek(2) with SEEK_DATA or SEEK_HOLE; ENXIO beyond the end. A file system without holes has one at each file's end.
    fn seek(&self, cx: &Context, node: NodeId, offset: u64, what: Seek) -> impl Future<Output = Result<u64>> + Send;

    /// fallocate(2): room for these bytes, the file grows if they end beyond it. EOPNOTSUPP if there is no such thing.
    fn allocate(&self, cx: &Context, node: NodeId, offset: u64, length: u64)
    -> impl Future<Output = Result<()>> + Send;

    /// fallocate(2) with PUNCH_HOLE and KEEP_SIZE.
    fn deallocate(
        &self,
        cx: &Context,
        node: NodeId,
        offset: u64,
        length: u64,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Extended attribute of the user namespace, its name without `user.`; ENODATA if there is none, and symlinks have none. To set one there is EPERM.
    fn getxattr(&self, cx: &Context, node: NodeId, name: &[u8]) -> impl Future<Output = Result<Bytes>> + Send;

    /// Sets one; ERANGE for a name above 250 bytes, E2BIG for a value above 64 KiB.
    fn setxattr(
        &self,
        cx: &Context,
        node: NodeId,
        name: &[u8],
        value: Bytes,
        how: SetXattr,
    ) -> impl Future<Output = Result<NodeChange>> + Send;

    /// The names, sorted.
    fn listxattr(&self, cx: &Context, node: NodeId) -> impl Future<Output = Result<Vec<Bytes>>> + Send;

    /// Removes one; ENODATA if there is none.
    fn removexattr(&self, cx: &Context, node: NodeId, name: &[u8]) -> impl Future<Output = Result<NodeChange>> + Send;
}

/// Room, in bytes and nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statfs {
    /// In all.
    pub bytes: u64,
    /// Not in use.
    pub bytes_free: u64,
    /// Of the free ones, those that an ordinary user may take.
    pub bytes_available: u64,
    /// Nodes in all.
    pub nodes: u64,
    /// Nodes not in use.
    pub nodes_free: u64,
}

/// How far a walk came: the nodes found, one for each name from the first, and why there are not more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// As far as it came.
    pub found: Vec<Attributes>,
    /// What the next name came to: ENOENT, ENOTDIR below a file, ELOOP below a symlink.
    pub stopped: Option<Error>,
}

impl Walk {
    /// One step after the other, for a file system that does not wait for them.
    pub fn by(from: NodeId, names: &[Name], mut step: impl FnMut(NodeId, &Name) -> Result<Attributes>) -> Self {
        let mut walk = Self { found: vec![], stopped: None };
        let mut at = from;
        for name in names {
            match step(at, name) {
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
}

/// How much of a folder to list at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListingBound {
    /// At least 1.
    pub entries: usize,
    /// Bytes of names, roughly; one entry is answered however long its name is.
    pub name_bytes: usize,
}

/// A part of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// By rising cookie.
    pub entries: Vec<Entry>,
    /// Whether nothing comes after it.
    pub end: bool,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is called.
    pub name: Name,
    /// To go on after it; never 0, 1 or 2 (RFC 8881, 18.23.3), below 2^63, stable across restarts.
    pub cookie: u64,
    /// The node's.
    pub attributes: Attributes,
}

/// What to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum New {
    /// A file. Where one exists and is good, only its size is set.
    File {
        /// What becomes of one that exists. With [`Create::Unchecked`], a folder is EISDIR and a symlink ELOOP.
        mode: Create,
        /// Its first attributes; mode 0644 if there is none.
        set: SetAttributes,
    },
    /// A folder; any that exists is EEXIST.
    Folder {
        /// Its first attributes; mode 0755 if there is none.
        set: SetAttributes,
    },
    /// A symlink; any that exists is EEXIST.
    Symlink {
        /// ENOENT if it is empty, ENAMETOOLONG above 4095 bytes, EINVAL if it holds NUL.
        target: Bytes,
    },
}

/// How a file is made (createmode4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// One that exists is good, and its size is set if that is asked for, nothing else.
    Unchecked,
    /// One that exists is EEXIST.
    Guarded,
    /// One that exists is EEXIST unless it was made with this verifier, which is kept durably: a repeated request succeeds.
    Exclusive([u8; 8]),
}

/// What was made, or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The node's.
    pub attributes: Attributes,
    /// Whether it was not there before.
    pub new: bool,
    /// The folder's counter around it.
    pub folder: FolderChange,
}

/// Both folders' counters; the same twice within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renamed {
    /// Of the folder that lost the name.
    pub from: FolderChange,
    /// Of the one that got it.
    pub to: FolderChange,
}

/// Content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// What is there.
    pub data: Bytes,
    /// Whether it reaches the file's end.
    pub end: bool,
}

/// How durable a write is to be (stable_how4), weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stable {
    /// Not at all, before a commit.
    Unstable,
    /// The data, and what is needed to read it again.
    Data,
    /// Data and all attributes.
    File,
}

/// What a write came to: at least as durable as was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// How durable it is.
    pub stable: Stable,
    /// The file's change counter after it.
    pub change: u64,
}

/// What to look for (data_content4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The next data.
    Data,
    /// The next hole; the end of the file is one.
    Hole,
}

/// Whether an extended attribute may exist already (setxattr_option4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetXattr {
    /// It may.
    Either,
    /// It must not: EEXIST.
    Create,
    /// It must: ENODATA.
    Replace,
}

/// A node's change counter around an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeChange {
    /// Before it.
    pub before: u64,
    /// After it.
    pub after: u64,
}
