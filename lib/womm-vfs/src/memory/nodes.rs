//! The nodes, under one lock.

use super::content::{Content, PART};
use crate::clock::Clock;
use crate::cookie::Cookies;
use crate::error::{Error, Result};
use crate::node::{Attributes, FolderChange, Kind, Name, NodeId, PERMISSIONS, SetAttributes, SetTime};
use crate::rules;
use crate::vfs::{
    Create, Created, Entry, Listing, ListingBound, New, NodeChange, Read, Renamed, Seek, SetXattr, Statfs, Walk,
};
use bytes::Bytes;
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const ROOT: NodeId = NodeId(1);

/// What statfs says of how many nodes there may be.
const NODES: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct Nodes {
    clock: Arc<dyn Clock>,
    cookies: Cookies,
    /// Bytes of content that there may be.
    room: u64,
    used: u64,
    last: u64,
    table: HashMap<NodeId, Node>,
}

#[derive(Debug)]
struct Node {
    body: Body,
    mode: u32,
    links: u32,
    opens: u32,
    change: u64,
    accessed: SystemTime,
    modified: SystemTime,
    changed: SystemTime,
    created: SystemTime,
    verifier: Option<[u8; 8]>,
    xattrs: BTreeMap<Bytes, Bytes>,
}

#[derive(Debug)]
enum Body {
    File(Content),
    Folder(Folder),
    Symlink(Bytes),
}

#[derive(Debug)]
struct Folder {
    parent: NodeId,
    /// The cookie of each name.
    names: HashMap<Name, u64>,
    entries: BTreeMap<u64, (Name, NodeId)>,
}

impl Folder {
    fn new(parent: NodeId) -> Self {
        Self { parent, names: HashMap::new(), entries: BTreeMap::new() }
    }

    fn get(&self, name: &Name) -> Option<NodeId> {
        self.names.get(name).and_then(|cookie| self.entries.get(cookie)).map(|(_, node)| *node)
    }

    fn insert(&mut self, cookies: &Cookies, name: &Name, node: NodeId) {
        let Ok(cookie) =
            cookies.place(name, |cookie| Ok::<_, std::convert::Infallible>(self.entries.contains_key(&cookie)));
        self.names.insert(name.clone(), cookie);
        self.entries.insert(cookie, (name.clone(), node));
    }

    fn remove(&mut self, name: &Name) {
        if let Some(cookie) = self.names.remove(name) {
            self.entries.remove(&cookie);
        }
    }
}

impl Node {
    fn new(body: Body, mode: u32, now: SystemTime) -> Self {
        Self {
            body,
            mode,
            links: 1,
            opens: 0,
            change: nanoseconds(now),
            accessed: now,
            modified: now,
            changed: now,
            created: now,
            verifier: None,
            xattrs: BTreeMap::new(),
        }
    }

    fn kind(&self) -> Kind {
        match self.body {
            Body::File(_) => Kind::File,
            Body::Folder(_) => Kind::Folder,
            Body::Symlink(_) => Kind::Symlink,
        }
    }

    fn attributes(&self, id: NodeId) -> Attributes {
        let (size, used) = match &self.body {
            Body::File(content) => (content.size(), content.used()),
            Body::Folder(_) => (PART, PART),
            Body::Symlink(target) => (target.len() as u64, 0),
        };
        Attributes {
            id,
            kind: self.kind(),
            mode: self.mode,
            links: self.links,
            size,
            used,
            change: self.change,
            accessed: self.accessed,
            modified: self.modified,
            changed: self.changed,
            created: Some(self.created),
        }
    }

    /// Attributes changed.
    fn touch(&mut self, now: SystemTime) {
        self.changed = now;
        self.change = nanoseconds(now).max(self.change + 1);
    }

    /// Content changed.
    fn modify(&mut self, now: SystemTime) {
        self.modified = now;
        self.touch(now);
    }

    /// Content of a folder changed.
    fn modify_folder(&mut self, now: SystemTime) -> FolderChange {
        let before = self.change;
        self.modify(now);
        FolderChange { before, after: self.change, atomic: true }
    }

    fn unchanged(&self) -> FolderChange {
        FolderChange { before: self.change, after: self.change, atomic: true }
    }

    fn content(&self) -> Result<&Content> {
        match &self.body {
            Body::File(content) => Ok(content),
            _ => Err(rules::content(self.kind()).err().unwrap_or(Error::Stale)),
        }
    }

    fn content_mut(&mut self) -> Result<&mut Content> {
        rules::content(self.kind())?;
        match &mut self.body {
            Body::File(content) => Ok(content),
            _ => Err(Error::Stale),
        }
    }

    fn folder(&self) -> Result<&Folder> {
        match &self.body {
            Body::Folder(folder) => Ok(folder),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    fn folder_mut(&mut self) -> Result<&mut Folder> {
        match &mut self.body {
            Body::Folder(folder) => Ok(folder),
            _ => Err(Errno::NOTDIR.into()),
        }
    }
}

impl Nodes {
    pub(super) fn new(clock: Arc<dyn Clock>, room: u64, cookies: Cookies) -> Self {
        let mut root = Node::new(Body::Folder(Folder::new(ROOT)), 0o755, clock.now());
        root.links = 2;
        Self { clock, cookies, room, used: 0, last: ROOT.0, table: HashMap::from([(ROOT, root)]) }
    }

    pub(super) fn forget_opens(&mut self) {
        self.table.values_mut().for_each(|node| node.opens = 0);
    }

    pub(super) fn opens(&self, id: NodeId) -> u32 {
        self.table.get(&id).map_or(0, |node| node.opens)
    }

    pub(super) fn count(&self) -> usize {
        self.table.len()
    }

    pub(super) fn statfs(&self) -> Statfs {
        let free = self.room.saturating_sub(self.used);
        Statfs {
            bytes: self.room,
            bytes_free: free,
            bytes_available: free,
            nodes: NODES,
            nodes_free: NODES - self.table.len() as u64,
        }
    }

    pub(super) fn getattr(&self, id: NodeId) -> Result<Attributes> {
        Ok(self.node(id)?.attributes(id))
    }

    pub(super) fn walk(&self, from: NodeId, names: &[Name]) -> Walk {
        if names.is_empty() {
            return Walk { found: vec![], stopped: self.node(from).err() };
        }
        Walk::by(from, names, |at, name| self.step(at, name))
    }

    fn step(&self, from: NodeId, name: &Name) -> Result<Attributes> {
        let node = self.node(from)?;
        if node.kind() == Kind::Symlink {
            return Err(Errno::LOOP.into());
        }
        self.getattr(node.folder()?.get(name).ok_or(Errno::NOENT)?)
    }

    pub(super) fn parent(&self, id: NodeId) -> Result<Attributes> {
        let parent = self.folder(id)?.parent;
        if id == ROOT { Err(Errno::NOENT.into()) } else { self.getattr(parent) }
    }

    pub(super) fn setattr(&mut self, id: NodeId, set: &SetAttributes) -> Result<Attributes> {
        rules::set(self.node(id)?.kind(), set)?;
        let now = self.clock.now();
        if let Some(size) = set.size {
            self.with_content(id, |content| content.resize(size))?;
        }
        let node = self.node_mut(id)?;
        if set.size.is_some() {
            node.modified = now;
        }
        apply(node, set, now);
        node.touch(now);
        self.getattr(id)
    }

    pub(super) fn readdir(&self, id: NodeId, after: u64, most: ListingBound) -> Result<Listing> {
        let mut rest = self.folder(id)?.entries.range(after.saturating_add(1)..).peekable();
        let mut entries = vec![];
        let mut bytes = 0;
        while let Some((cookie, (name, node))) = rest.peek() {
            bytes += name.as_bytes().len();
            if !entries.is_empty() && (entries.len() >= most.entries || bytes > most.name_bytes) {
                break;
            }
            entries.push(Entry { name: name.clone(), cookie: **cookie, attributes: self.getattr(*node)? });
            rest.next();
        }
        Ok(Listing { entries, end: rest.peek().is_none() })
    }

    pub(super) fn readlink(&self, id: NodeId) -> Result<Bytes> {
        match &self.node(id)?.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::INVAL.into()),
        }
    }

    pub(super) fn create(&mut self, folder: NodeId, name: &Name, new: &New) -> Result<Created> {
        let existing = self.folder(folder)?.get(name);
        if let Some(id) = existing {
            return self.found(folder, id, new);
        }
        let now = self.clock.now();
        let id = NodeId(self.last + 1);
        let mut node = match new {
            New::File { .. } => Node::new(Body::File(Content::default()), 0o644, now),
            New::Folder { .. } => Node::new(Body::Folder(Folder::new(folder)), 0o755, now),
            New::Symlink { target } => {
                rules::target(target)?;
                Node::new(Body::Symlink(target.clone()), 0o777, now)
            }
        };
        if let New::File { set, .. } | New::Folder { set } = new {
            rules::set(node.kind(), set)?;
            if let (Some(size), Body::File(content)) = (set.size, &mut node.body) {
                content.resize(size)?;
            }
            apply(&mut node, set, now);
        }
        if let New::File { mode: Create::Exclusive(verifier), .. } = new {
            node.verifier = Some(*verifier);
        }
        let is_folder = node.kind() == Kind::Folder;
        node.links = 1 + u32::from(is_folder);
        self.last = id.0;
        self.table.insert(id, node);
        self.insert(folder, name, id)?;
        let parent = self.node_mut(folder)?;
        parent.links += u32::from(is_folder);
        let change = parent.modify_folder(now);
        Ok(Created { attributes: self.getattr(id)?, new: true, folder: change })
    }

    fn found(&mut self, folder: NodeId, id: NodeId, new: &New) -> Result<Created> {
        let exists = Err(Errno::EXIST.into());
        let node = self.node(id)?;
        match new {
            New::File { mode: Create::Unchecked, set } => {
                rules::open(node.kind())?;
                if set.size.is_some() {
                    self.setattr(id, &SetAttributes { size: set.size, ..SetAttributes::default() })?;
                }
            }
            New::File { mode: Create::Exclusive(verifier), .. } if node.verifier == Some(*verifier) => {}
            _ => return exists,
        }
        Ok(Created { attributes: self.getattr(id)?, new: false, folder: self.node(folder)?.unchanged() })
    }

    pub(super) fn link(&mut self, id: NodeId, folder: NodeId, name: &Name) -> Result<FolderChange> {
        let exists = self.folder(folder)?.get(name).is_some();
        let now = self.clock.now();
        let node = self.node_mut(id)?;
        match (node.kind(), node.links) {
            _ if exists => return Err(Errno::EXIST.into()),
            (Kind::Folder, _) => return Err(Errno::PERM.into()),
            (_, 0) => return Err(Errno::NOENT.into()),
            _ => {}
        }
        node.links += 1;
        node.touch(now);
        self.insert(folder, name, id)?;
        Ok(self.node_mut(folder)?.modify_folder(now))
    }

    pub(super) fn remove(&mut self, folder: NodeId, name: &Name) -> Result<FolderChange> {
        let id = self.folder(folder)?.get(name).ok_or(Errno::NOENT)?;
        self.drop_name(folder, name, id)?;
        let now = self.clock.now();
        Ok(self.node_mut(folder)?.modify_folder(now))
    }

    pub(super) fn rename(&mut self, from: (NodeId, &Name), to: (NodeId, &Name)) -> Result<Renamed> {
        let moved = self.folder(from.0)?.get(from.1);
        let replaced = self.folder(to.0)?.get(to.1);
        let moved = moved.ok_or(Errno::NOENT)?;
        let kind = self.node(moved)?.kind();
        if replaced == Some(moved) {
            return Ok(Renamed { from: self.node(from.0)?.unchanged(), to: self.node(to.0)?.unchanged() });
        }
        if kind == Kind::Folder && self.is_below(to.0, moved)? {
            return Err(Errno::INVAL.into());
        }
        if let Some(replaced) = replaced {
            if self.is_below(from.0, replaced)? {
                return Err(Errno::NOTEMPTY.into());
            }
            rules::replace(kind, self.node(replaced)?.kind())?;
            self.drop_name(to.0, to.1, replaced)?;
        }
        let now = self.clock.now();
        self.node_mut(from.0)?.folder_mut()?.remove(from.1);
        self.insert(to.0, to.1, moved)?;
        self.node_mut(moved)?.touch(now);
        if kind == Kind::Folder {
            self.node_mut(moved)?.folder_mut()?.parent = to.0;
            self.node_mut(from.0)?.links -= 1;
            self.node_mut(to.0)?.links += 1;
        }
        let gone = self.node_mut(from.0)?.modify_folder(now);
        let here = if from.0 == to.0 { gone } else { self.node_mut(to.0)?.modify_folder(now) };
        Ok(Renamed { from: gone, to: here })
    }

    /// Whether a folder is another or below it.
    fn is_below(&self, folder: NodeId, above: NodeId) -> Result<bool> {
        let mut at = folder;
        while at != above && at != ROOT {
            at = self.folder(at)?.parent;
        }
        Ok(at == above)
    }

    fn insert(&mut self, folder: NodeId, name: &Name, id: NodeId) -> Result<()> {
        let cookies = self.cookies.clone();
        self.node_mut(folder)?.folder_mut()?.insert(&cookies, name, id);
        Ok(())
    }

    fn drop_name(&mut self, folder: NodeId, name: &Name, id: NodeId) -> Result<()> {
        let now = self.clock.now();
        let node = self.node_mut(id)?;
        if let Body::Folder(inner) = &node.body {
            if !inner.entries.is_empty() {
                return Err(Errno::NOTEMPTY.into());
            }
            node.links = 0;
            self.node_mut(folder)?.links -= 1;
        } else {
            node.links -= 1;
            node.touch(now);
        }
        self.node_mut(folder)?.folder_mut()?.remove(name);
        self.drop_if_unused(id);
        Ok(())
    }

    fn drop_if_unused(&mut self, id: NodeId) {
        if self.table.get(&id).is_some_and(|node| node.links == 0 && node.opens == 0)
            && let Some(Node { body: Body::File(content), .. }) = self.table.remove(&id)
        {
            self.used -= content.used();
        }
    }

    pub(super) fn open(&mut self, id: NodeId) -> Result<()> {
        let node = self.node_mut(id)?;
        rules::open(node.kind())?;
        node.opens += 1;
        Ok(())
    }

    pub(super) fn reclaimed(&mut self) {
        let ids: Vec<_> = self.table.keys().copied().collect();
        ids.into_iter().for_each(|id| self.drop_if_unused(id));
    }

    pub(super) fn close(&mut self, id: NodeId) {
        if let Ok(node) = self.node_mut(id) {
            node.opens = node.opens.saturating_sub(1);
            self.drop_if_unused(id);
        }
    }

    pub(super) fn read(&self, id: NodeId, offset: u64, count: u32) -> Result<Read> {
        let (data, end) = self.node(id)?.content()?.read(offset, count);
        Ok(Read { data, end })
    }

    pub(super) fn write(&mut self, id: NodeId, offset: u64, data: &[u8]) -> Result<u64> {
        if self.node(id)?.content()?.growth(offset, data.len() as u64)? > self.room.saturating_sub(self.used) {
            return Err(Errno::NOSPC.into());
        }
        self.change_content(id, !data.is_empty(), |content| content.write(offset, data))?;
        Ok(self.node(id)?.change)
    }

    pub(super) fn commit(&self, id: NodeId) -> Result<()> {
        self.node(id)?.content().map(drop)
    }

    pub(super) fn seek(&self, id: NodeId, offset: u64, what: Seek) -> Result<u64> {
        self.node(id)?.content()?.seek(offset, what)
    }

    pub(super) fn allocate(&mut self, id: NodeId, offset: u64, length: u64) -> Result<()> {
        self.node(id)?.content()?;
        positive(length)?;
        self.change_content(id, true, |content| content.grow(offset, length))
    }

    pub(super) fn deallocate(&mut self, id: NodeId, offset: u64, length: u64) -> Result<()> {
        self.node(id)?.content()?;
        positive(length)?;
        self.change_content(id, true, |content| content.punch(offset, length))
    }

    fn change_content(
        &mut self,
        id: NodeId,
        changes: bool,
        how: impl FnOnce(&mut Content) -> Result<()>,
    ) -> Result<()> {
        self.with_content(id, how)?;
        let now = self.clock.now();
        if changes {
            self.node_mut(id)?.modify(now);
        }
        Ok(())
    }

    fn with_content(&mut self, id: NodeId, how: impl FnOnce(&mut Content) -> Result<()>) -> Result<()> {
        let content = self.node_mut(id)?.content_mut()?;
        let before = content.used();
        how(content)?;
        let after = content.used();
        self.used = self.used - before + after;
        Ok(())
    }

    pub(super) fn getxattr(&self, id: NodeId, name: &[u8]) -> Result<Bytes> {
        rules::xattr_name(name)?;
        Ok(self.node(id)?.xattrs.get(name).ok_or(Errno::NODATA)?.clone())
    }

    pub(super) fn setxattr(&mut self, id: NodeId, name: &[u8], value: Bytes, how: SetXattr) -> Result<NodeChange> {
        self.change_xattrs(id, |xattrs| {
            rules::set_xattr(name, &value, how, xattrs.contains_key(name))?;
            xattrs.insert(Bytes::copy_from_slice(name), value);
            Ok(())
        })
    }

    pub(super) fn listxattr(&self, id: NodeId) -> Result<Vec<Bytes>> {
        Ok(self.node(id)?.xattrs.keys().cloned().collect())
    }

    pub(super) fn removexattr(&mut self, id: NodeId, name: &[u8]) -> Result<NodeChange> {
        self.change_xattrs(id, |xattrs| {
            rules::xattr_name(name)?;
            xattrs.remove(name).map(drop).ok_or(Errno::NODATA.into())
        })
    }

    fn change_xattrs(
        &mut self,
        id: NodeId,
        how: impl FnOnce(&mut BTreeMap<Bytes, Bytes>) -> Result<()>,
    ) -> Result<NodeChange> {
        let now = self.clock.now();
        let node = self.node_mut(id)?;
        if node.kind() == Kind::Symlink {
            return Err(Errno::PERM.into());
        }
        let before = node.change;
        how(&mut node.xattrs)?;
        node.touch(now);
        Ok(NodeChange { before, after: node.change })
    }

    fn node(&self, id: NodeId) -> Result<&Node> {
        self.table.get(&id).ok_or(Error::Stale)
    }

    fn node_mut(&mut self, id: NodeId) -> Result<&mut Node> {
        self.table.get_mut(&id).ok_or(Error::Stale)
    }

    fn folder(&self, id: NodeId) -> Result<&Folder> {
        self.node(id)?.folder()
    }
}

/// Mode and times; the size is the content's.
fn apply(node: &mut Node, set: &SetAttributes, now: SystemTime) {
    let time = |set: SetTime| match set {
        SetTime::Now => now,
        SetTime::To(time) => time,
    };
    node.mode = set.mode.map_or(node.mode, |mode| mode & PERMISSIONS);
    node.accessed = set.accessed.map_or(node.accessed, time);
    node.modified = set.modified.map_or(node.modified, time);
}

fn positive(length: u64) -> Result<()> {
    if length == 0 { Err(Errno::INVAL.into()) } else { Ok(()) }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
