//! A file system under test, and short ways to use it.

use super::Backend;
use crate::context::{Context, OperationId};
use crate::error::{Error, Result};
use crate::node::{Attributes, Name, NodeId, SetAttributes};
use crate::vfs::{Create, Created, Entry, ListingBound, New, Stable, Vfs};
use bytes::Bytes;
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// No call takes longer.
const WITHIN: Duration = Duration::from_secs(60);

/// A file system under test.
#[derive(Debug)]
pub struct Session<B> {
    backend: Option<B>,
    operations: AtomicU64,
}

impl<B: Backend> Session<B> {
    /// On an empty one.
    pub fn fresh() -> Self {
        Self::over(B::fresh())
    }

    /// On this one.
    pub fn over(backend: B) -> Self {
        Self { backend: Some(backend), operations: AtomicU64::new(0) }
    }

    /// The file system.
    pub fn vfs(&self) -> &Arc<B::Vfs> {
        self.backend.as_ref().expect("restart puts it back").vfs()
    }

    /// After a restart, with all reclaimed.
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// After a restart, with these reopened, then all reclaimed.
    pub fn restart_with(&mut self, opens: &[NodeId]) {
        self.backend = self.backend.take().map(B::restart);
        for node in opens {
            self.vfs().reopen(*node).expect("reopen");
        }
        self.vfs().reclaimed();
    }

    /// A call's.
    pub fn cx(&self) -> Context {
        let number = self.operations.fetch_add(1, Ordering::Relaxed);
        Context::new(OperationId { client: 1, number }, WITHIN)
    }

    /// The root.
    pub fn root(&self) -> NodeId {
        self.vfs().root()
    }

    /// Makes an empty file.
    pub async fn file(&self, folder: NodeId, name: &str) -> NodeId {
        self.create(folder, name, &new_file(Create::Guarded)).await.expect("a file is made").attributes.id
    }

    /// Makes a file with content.
    pub async fn file_of(&self, folder: NodeId, name: &str, data: &[u8]) -> NodeId {
        let node = self.file(folder, name).await;
        self.write(node, 0, data).await.expect("it is written");
        node
    }

    /// Makes a folder.
    pub async fn folder(&self, folder: NodeId, name: &str) -> NodeId {
        let new = New::Folder { set: SetAttributes::default() };
        self.create(folder, name, &new).await.expect("a folder is made").attributes.id
    }

    /// Makes a symlink.
    pub async fn symlink(&self, folder: NodeId, name: &str, target: &'static str) -> NodeId {
        let new = New::Symlink { target: Bytes::from_static(target.as_bytes()) };
        self.create(folder, name, &new).await.expect("a symlink is made").attributes.id
    }

    /// Makes anything.
    pub async fn create(&self, folder: NodeId, name: &str, new: &New) -> Result<Created> {
        self.vfs().create(&self.cx(), folder, &named(name), new).await
    }

    /// Takes a name away.
    pub async fn remove(&self, folder: NodeId, name: &str) -> Result<()> {
        self.vfs().remove(&self.cx(), folder, &named(name)).await.map(drop)
    }

    /// Gives a further name.
    pub async fn link(&self, node: NodeId, folder: NodeId, name: &str) -> Result<()> {
        self.vfs().link(&self.cx(), node, folder, &named(name)).await.map(drop)
    }

    /// Moves.
    pub async fn rename(&self, from: (NodeId, &str), to: (NodeId, &str)) -> Result<()> {
        let (old, new) = (named(from.1), named(to.1));
        self.vfs().rename(&self.cx(), (from.0, &old), (to.0, &new)).await.map(drop)
    }

    /// Opens.
    pub async fn open(&self, node: NodeId) {
        self.vfs().open(&self.cx(), node).await.expect("it opens");
    }

    /// Attributes of one.
    pub async fn getattr(&self, node: NodeId) -> Result<Attributes> {
        let mut answers = self.vfs().getattr(&self.cx(), &[node]).await;
        assert_eq!(answers.len(), 1, "an answer for each");
        answers.remove(0)
    }

    /// Attributes of one that is there.
    pub async fn attributes(&self, node: NodeId) -> Attributes {
        self.getattr(node).await.expect("it is there")
    }

    /// Its change counter.
    pub async fn change(&self, node: NodeId) -> u64 {
        self.attributes(node).await.change
    }

    /// Sets.
    pub async fn setattr(&self, node: NodeId, set: SetAttributes) -> Result<Attributes> {
        self.vfs().setattr(&self.cx(), node, &set).await
    }

    /// Finds.
    pub async fn lookup(&self, folder: NodeId, name: &str) -> Result<Attributes> {
        self.lookup_name(folder, &named(name)).await
    }

    /// Finds.
    pub async fn lookup_name(&self, folder: NodeId, name: &Name) -> Result<Attributes> {
        let mut walk = self.vfs().walk(&self.cx(), folder, std::slice::from_ref(name)).await;
        match walk.stopped {
            Some(error) => Err(error),
            None => Ok(walk.found.pop().expect("found or stopped")),
        }
    }

    /// Writes.
    pub async fn write(&self, node: NodeId, offset: u64, data: &[u8]) -> Result<()> {
        let data = Bytes::copy_from_slice(data);
        self.vfs().write(&self.cx(), node, offset, data, Stable::Unstable).await.map(drop)
    }

    /// All that is in a file.
    pub async fn content(&self, node: NodeId) -> Result<Bytes> {
        let read = self.vfs().read(&self.cx(), node, 0, 1 << 20).await?;
        assert!(read.end, "the file is short");
        Ok(read.data)
    }

    /// All entries, so many at once.
    pub async fn entries(&self, folder: NodeId, at_once: usize) -> Vec<Entry> {
        let most = ListingBound { entries: at_once, name_bytes: usize::MAX };
        let mut entries: Vec<Entry> = vec![];
        loop {
            let after = entries.last().map_or(0, |entry| entry.cookie);
            let part = self.vfs().readdir(&self.cx(), folder, after, most).await.expect("it is listed");
            assert!(part.end || !part.entries.is_empty(), "no end and nothing more");
            for entry in part.entries {
                assert!(entries.last().is_none_or(|last| last.cookie < entry.cookie), "cookies do not rise");
                entries.push(entry);
            }
            if part.end {
                return entries;
            }
        }
    }

    /// All names, sorted.
    pub async fn names(&self, folder: NodeId) -> Vec<String> {
        let entries = self.entries(folder, 100).await;
        let mut names: Vec<_> =
            entries.iter().map(|entry| String::from_utf8_lossy(entry.name.as_bytes()).into_owned()).collect();
        names.sort();
        names
    }
}

/// A name.
pub(super) fn named(name: &str) -> Name {
    Name::new(name.as_bytes().to_vec()).expect("a good name")
}

/// A file with nothing set.
pub(super) fn new_file(mode: Create) -> New {
    New::File { mode, set: SetAttributes::default() }
}

/// A size to set.
pub(super) fn size(size: u64) -> SetAttributes {
    SetAttributes { size: Some(size), ..SetAttributes::default() }
}

/// A mode to set.
pub(super) fn mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..SetAttributes::default() }
}

/// What a refusal looks like.
pub(super) fn refused<T>(errno: Errno) -> Result<T> {
    Err(Error::Errno(errno))
}
