//! Names, attributes, what is where.

use crate::content::Contents;
use crate::lower::{Below, Lower};
use crate::table::{ROOT, Row, Table};
use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use womm_vfs::clock::Clock;
use womm_vfs::node::{FolderChange, PERMISSIONS, SetTime};
use womm_vfs::vfs::{Create, Created, Entry, Listing, ListingBound, New, NodeChange, Renamed, SetXattr, Statfs};
use womm_vfs::{Attributes, Error, Kind, Name, NodeId, Result, SetAttributes, rules};
use womm_vfs_disk::descriptors::Descriptors;
use womm_vfs_disk::seen::{Seen, nanoseconds};
use womm_vfs_disk::{OpenError, confined, content};

/// What statfs says of a folder's size.
const FOLDER_BYTES: u64 = 4096;

/// Names that are brought in by one commit.
const AT_ONCE: usize = 500;

/// Which content a descriptor is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Layer {
    Lower,
    Upper,
}

#[derive(Debug)]
pub(crate) struct Nodes {
    clock: Arc<dyn Clock>,
    lower: Lower,
    contents: Contents,
    table: Mutex<Table>,
    /// Names are brought in by one at a time.
    bringing: Mutex<()>,
    descriptors: Descriptors<(NodeId, Layer)>,
    pub(crate) generation: u64,
    was_killed: bool,
    room: OwnedFd,
}

/// Where a file's content is.
#[derive(Debug)]
pub(crate) enum Content {
    /// In a file.
    In(Arc<OwnedFd>),
    /// Nowhere: so many zeros.
    Zeros(u64),
}

impl Row {
    fn new(kind: Kind, parent: NodeId, mode: u32, now: SystemTime) -> Self {
        Self {
            kind,
            parent,
            mode,
            links: 1,
            size: 0,
            change: nanoseconds(now),
            accessed: now,
            modified: now,
            changed: now,
            created: now,
            target: None,
            lower: None,
            inode: None,
            is_up: kind == Kind::Folder,
            verifier: None,
        }
    }

    fn of_lower(below: &Below, parent: NodeId, path: Vec<u8>) -> Self {
        let seen = &below.seen;
        Self {
            kind: below.kind,
            parent,
            mode: seen.permissions(),
            links: 1,
            size: if below.kind == Kind::File { seen.size } else { 0 },
            change: seen.change(),
            accessed: seen.accessed,
            modified: seen.modified,
            changed: seen.changed,
            created: seen.created.unwrap_or(seen.changed),
            target: below.target.clone(),
            inode: below.inode(),
            lower: Some(path),
            is_up: false,
            verifier: None,
        }
    }

    fn apply(&mut self, set: &SetAttributes, now: SystemTime) {
        let time = |set| match set {
            SetTime::Now => now,
            SetTime::To(time) => time,
        };
        self.mode = set.mode.map_or(self.mode, |mode| mode & PERMISSIONS);
        self.accessed = set.accessed.map_or(self.accessed, time);
        self.modified = set.modified.map_or(self.modified, time);
    }
}

impl Below {
    /// By what its further names are recognized.
    pub(crate) fn inode(&self) -> Option<u64> {
        (self.kind == Kind::File && self.seen.links > 1).then_some(self.seen.identity.inode)
    }
}

/// A path below another.
pub(crate) fn below(folder: &[u8], name: &Name) -> Vec<u8> {
    if folder.is_empty() { name.as_bytes().to_vec() } else { [folder, b"/", name.as_bytes()].concat() }
}

impl Nodes {
    pub(crate) fn open(
        lower: &Path,
        upper: &Path,
        clock: Arc<dyn Clock>,
        descriptors: usize,
        bits: u32,
    ) -> std::result::Result<Self, OpenError> {
        let lower_folder = Lower::open(lower)?;
        let table = Table::open(upper, nanoseconds(clock.now()), bits)?;
        let nodes = Self {
            lower: lower_folder,
            contents: Contents::open(upper)?,
            generation: table.database.generation,
            was_killed: table.database.was_killed,
            table: Mutex::new(table),
            bringing: Mutex::new(()),
            descriptors: Descriptors::new(descriptors),
            room: confined::root(upper).map_err(OpenError::io("upper folder", upper))?,
            clock,
        };
        let failed = |error: Error| OpenError::io("snapshot", lower)(std::io::Error::other(error));
        nodes.put_root().map_err(failed)?;
        Ok(nodes)
    }

    fn put_root(&self) -> Result<()> {
        let mut table = self.table();
        if !table.exists(ROOT) {
            let seen = self.lower.seen()?;
            let mut root = Row::new(Kind::Folder, ROOT, seen.permissions(), self.clock.now());
            (root.modified, root.lower, root.is_up) = (seen.modified, Some(vec![]), false);
            table.commit(|table| table.put(ROOT, root))?;
        }
        Ok(())
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn row(&self, id: NodeId) -> Result<Row> {
        self.table().get(id).cloned()
    }

    /// Whether a folder's names are still to be brought into the table.
    pub(crate) fn is_missing(&self, folder: NodeId) -> bool {
        self.table().get(folder).is_ok_and(|row| row.kind == Kind::Folder && !row.is_up)
    }

    /// The table, with all names of a folder in it.
    pub(crate) fn ready(&self, folder: NodeId) -> Result<MutexGuard<'_, Table>> {
        let mut table = self.table();
        let row = table.get(folder)?;
        match (row.kind, row.is_up) {
            (Kind::Folder, true) => return Ok(table),
            (Kind::Folder, false) => {}
            _ => return Err(Errno::NOTDIR.into()),
        }
        drop(table);
        self.bring_in(folder)?;
        Ok(self.table())
    }

    /// In parts, so that nobody waits for the table as long as a large folder takes. What a SIGKILL leaves half done is gone on with.
    fn bring_in(&self, folder: NodeId) -> Result<()> {
        let _alone = self.bringing.lock().unwrap_or_else(PoisonError::into_inner);
        let row = self.row(folder)?;
        if row.is_up {
            return Ok(());
        }
        let path = row.lower.unwrap_or_default();
        for entries in self.lower.list(&path)?.chunks(AT_ONCE) {
            self.table().commit(|table| bring_in(table, folder, &path, entries))?;
            std::thread::yield_now();
        }
        let mut table = self.table();
        table.commit(|table| {
            let mut row = table.get(folder)?.clone();
            row.is_up = true;
            table.put(folder, row)
        })
    }

    /// Makes sure that the names of all of these are in the table.
    fn ready_all(&self, folders: &[NodeId]) -> Result<MutexGuard<'_, Table>> {
        for folder in folders {
            drop(self.ready(*folder)?);
        }
        Ok(self.table())
    }

    /// A folder that is to go or be replaced must be empty, which is known once its names are in the table.
    fn ready_with(&self, folder: NodeId, name: &Name) -> Result<MutexGuard<'_, Table>> {
        let mut table = self.ready(folder)?;
        if let Some(id) = table.find(folder, name)?
            && table.get(id)?.kind == Kind::Folder
        {
            drop(table);
            drop(self.ready(id)?);
            table = self.table();
        }
        Ok(table)
    }

    pub(crate) fn getattr(&self, id: NodeId) -> Result<Attributes> {
        let row = self.row(id)?;
        self.attributes(id, row)
    }

    fn attributes(&self, id: NodeId, row: Row) -> Result<Attributes> {
        let up = if row.kind == Kind::File && row.is_up { self.seen(id)? } else { None };
        let change = match &up {
            Some(seen) => self.table().tell(id, seen.change())?,
            None => row.change,
        };
        let (size, used) = match (&up, row.kind) {
            (Some(seen), _) => (seen.size, seen.used),
            (None, Kind::File) if row.lower.is_some() => (row.size, row.size),
            (None, Kind::File) => (row.size, 0),
            (None, Kind::Folder) => (FOLDER_BYTES, FOLDER_BYTES),
            (None, Kind::Symlink) => (row.target.map_or(0, |target| target.len() as u64), 0),
        };
        Ok(Attributes {
            id,
            kind: row.kind,
            mode: row.mode,
            links: row.links,
            size,
            used,
            change,
            accessed: row.accessed,
            modified: up.map_or(row.modified, |up| up.modified),
            changed: up.map_or(row.changed, |up| up.changed.max(row.changed)),
            created: Some(row.created),
        })
    }

    /// What the disk says of content that is up. None: a power cut took it before it was committed.
    fn seen(&self, id: NodeId) -> Result<Option<Seen>> {
        let seen = match self.descriptors.get((id, Layer::Upper)) {
            Some(file) => Seen::of(&file),
            None => self.contents.seen(id),
        };
        match seen {
            Err(Error::Errno(Errno::NOENT)) if self.table().exists(id) => Ok(None),
            Err(Error::Errno(Errno::NOENT)) => Err(Error::Stale),
            seen => seen.map(Some),
        }
    }

    pub(crate) fn lookup(&self, folder: NodeId, name: &Name) -> Result<Attributes> {
        if self.table().get(folder)?.kind == Kind::Symlink {
            return Err(Errno::LOOP.into());
        }
        let id = self.ready(folder)?.find(folder, name)?.ok_or(Errno::NOENT)?;
        // It may go between the two, and is then not there.
        self.getattr(id).map_err(|error| if error == Error::Stale { Errno::NOENT.into() } else { error })
    }

    pub(crate) fn parent(&self, id: NodeId) -> Result<Attributes> {
        let row = self.row(id)?;
        match row.kind {
            Kind::Folder if id == ROOT => Err(Errno::NOENT.into()),
            Kind::Folder => self.getattr(row.parent),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    /// All but the size of a file that has content.
    pub(crate) fn set(&self, id: NodeId, set: &SetAttributes) -> Result<Attributes> {
        let now = self.clock.now();
        let row = self.row(id)?;
        rules::set(row.kind, set)?;
        let mut set = set.clone();
        set.modified = set.modified.map(|time| if time == SetTime::Now { SetTime::To(now) } else { time });
        if row.kind == Kind::File && row.is_up && set.modified.is_some() {
            let only = SetAttributes { modified: set.modified, ..SetAttributes::default() };
            confined::set_times(self.upper(id)?, &only)?;
        }
        self.table().commit(|table| {
            table.change(id, now, |row| {
                if set.size.is_some() {
                    row.modified = now;
                }
                row.apply(&set, now);
                if !row.is_up {
                    row.size = set.size.unwrap_or(row.size);
                }
            })
        })?;
        self.getattr(id)
    }

    pub(crate) fn readdir(&self, id: NodeId, after: u64, most: ListingBound) -> Result<Listing> {
        // One more, to know whether it is the last part.
        let names = self.ready(id)?.list(id, after, most.entries.saturating_add(1))?;
        let mut entries = vec![];
        let mut bytes = 0;
        let mut end = true;
        for (cookie, name, node) in names {
            bytes += name.as_bytes().len();
            if !entries.is_empty() && (entries.len() >= most.entries || bytes > most.name_bytes) {
                end = false;
                break;
            }
            match self.getattr(node) {
                Ok(attributes) => entries.push(Entry { name, cookie, attributes }),
                Err(Error::Stale) => bytes -= name.as_bytes().len(), // gone meanwhile
                Err(error) => return Err(error),
            }
        }
        Ok(Listing { entries, end })
    }

    pub(crate) fn readlink(&self, id: NodeId) -> Result<Bytes> {
        Ok(self.row(id)?.target.ok_or(Errno::INVAL)?.into())
    }

    pub(crate) fn create(&self, folder: NodeId, name: &Name, new: &New) -> Result<Created> {
        let mut table = self.ready(folder)?;
        if let Some(id) = table.find(folder, name)? {
            drop(table);
            return self.take(folder, id, new);
        }
        let now = self.clock.now();
        let row = match new {
            New::File { mode, set } => {
                let mut row = Row::new(Kind::File, folder, 0o644, now);
                row.apply(set, now);
                row.size = set.size.unwrap_or(0);
                if row.size > i64::MAX as u64 {
                    return Err(Errno::FBIG.into());
                }
                row.verifier = if let Create::Exclusive(verifier) = mode { Some(*verifier) } else { None };
                row
            }
            New::Folder { set } => {
                rules::set(Kind::Folder, set)?;
                let mut row = Row::new(Kind::Folder, folder, 0o755, now);
                row.apply(set, now);
                row
            }
            New::Symlink { target } => {
                rules::target(target)?;
                let mut row = Row::new(Kind::Symlink, folder, 0o777, now);
                row.target = Some(target.to_vec());
                row
            }
        };
        let (id, change) = table.commit(|table| {
            let id = table.add(row.clone())?;
            table.insert(folder, name, id)?;
            Ok((id, modify(table, folder, now)?))
        })?;
        drop(table);
        Ok(Created { attributes: self.attributes(id, row)?, new: true, folder: change })
    }

    /// There is one already. Its size is set by who called, as that may copy.
    fn take(&self, folder: NodeId, id: NodeId, new: &New) -> Result<Created> {
        let row = self.row(id)?;
        match new {
            New::File { mode: Create::Unchecked, .. } => rules::open(row.kind)?,
            New::File { mode: Create::Exclusive(verifier), .. } if row.verifier == Some(*verifier) => {}
            _ => return Err(Errno::EXIST.into()),
        }
        let folder = unchanged(&mut self.table(), folder)?;
        Ok(Created { attributes: self.attributes(id, row)?, new: false, folder })
    }

    pub(crate) fn link(&self, id: NodeId, folder: NodeId, name: &Name) -> Result<FolderChange> {
        let mut table = self.ready(folder)?;
        let row = table.get(id)?.clone();
        if table.find(folder, name)?.is_some() {
            return Err(Errno::EXIST.into());
        }
        match (row.kind, row.links) {
            (Kind::Folder, _) => return Err(Errno::PERM.into()),
            (_, 0) => return Err(Errno::NOENT.into()),
            _ => {}
        }
        let now = self.clock.now();
        table.commit(|table| {
            table.insert(folder, name, id)?;
            table.change(id, now, |row| row.links += 1)?;
            modify(table, folder, now)
        })
    }

    pub(crate) fn remove(&self, folder: NodeId, name: &Name) -> Result<FolderChange> {
        let mut table = self.ready_with(folder, name)?;
        let id = table.find(folder, name)?.ok_or(Errno::NOENT)?;
        let now = self.clock.now();
        let (gone, change) = table.commit(|table| {
            let gone = unlink(table, folder, name, id, now)?;
            Ok((gone, modify(table, folder, now)?))
        })?;
        drop(table);
        self.drop_content(id, gone);
        Ok(change)
    }

    pub(crate) fn rename(&self, from: (NodeId, &Name), to: (NodeId, &Name)) -> Result<Renamed> {
        drop(self.ready_all(&[from.0, to.0])?);
        let mut table = self.ready_with(to.0, to.1)?;
        let replaced = table.find(to.0, to.1)?;
        let moved = table.find(from.0, from.1)?.ok_or(Errno::NOENT)?;
        if replaced == Some(moved) {
            return Ok(Renamed { from: unchanged(&mut table, from.0)?, to: unchanged(&mut table, to.0)? });
        }
        let kind = table.get(moved)?.kind;
        if kind == Kind::Folder && is_below(&mut table, to.0, moved)? {
            return Err(Errno::INVAL.into());
        }
        if let Some(replaced) = replaced {
            if is_below(&mut table, from.0, replaced)? {
                return Err(Errno::NOTEMPTY.into());
            }
            rules::replace(kind, table.get(replaced)?.kind)?;
        }
        let now = self.clock.now();
        let (gone, renamed) = table.commit(|table| {
            let gone = match replaced {
                Some(replaced) => unlink(table, to.0, to.1, replaced, now)?,
                None => false,
            };
            table.remove(from.0, from.1)?;
            table.insert(to.0, to.1, moved)?;
            table.change(moved, now, |row| row.parent = to.0)?;
            let left = modify(table, from.0, now)?;
            let entered = if from.0 == to.0 { left } else { modify(table, to.0, now)? };
            Ok((gone, Renamed { from: left, to: entered }))
        })?;
        drop(table);
        if let Some(replaced) = replaced {
            self.drop_content(replaced, gone);
        }
        Ok(renamed)
    }

    /// After the row has gone. What a failure leaves is swept at the next start after a SIGKILL, and harms nobody before.
    fn drop_content(&self, id: NodeId, gone: bool) {
        if gone {
            self.descriptors.forget((id, Layer::Lower));
            self.descriptors.forget((id, Layer::Upper));
            let _left_over = self.contents.drop(id);
        }
    }

    pub(crate) fn open_file(&self, id: NodeId) -> Result<()> {
        let mut table = self.table();
        rules::open(table.get(id)?.kind)?;
        table.open_one(id);
        Ok(())
    }

    pub(crate) fn close(&self, id: NodeId) {
        let mut table = self.table();
        table.close_one(id);
        let is_unheld = table.opens(id) == 0 && table.get(id).is_ok_and(|row| row.links == 0);
        if is_unheld {
            // What can't be dropped now is dropped at the next start.
            let gone = table.commit(|table| table.forget(id)).unwrap_or(false);
            drop(table);
            self.drop_content(id, gone);
        }
    }

    pub(crate) fn reclaimed(&self) -> Result<()> {
        let mut table = self.table();
        let unheld = table.unheld()?;
        if !unheld.is_empty() {
            table.commit(|table| unheld.iter().try_for_each(|id| table.forget(*id).map(drop)))?;
        }
        drop(table);
        unheld.into_iter().for_each(|id| self.drop_content(id, true));
        if self.was_killed {
            self.contents.sweep(|id| self.table().get(id).is_ok_and(|row| row.kind == Kind::File && row.is_up))?;
        }
        Ok(())
    }

    /// To be read.
    pub(crate) fn content(&self, id: NodeId) -> Result<Content> {
        let row = self.row(id)?;
        rules::content(row.kind)?;
        if row.is_up {
            return self.upper(id).map(Content::In);
        }
        match &row.lower {
            None => Ok(Content::Zeros(row.size)),
            Some(path) => {
                if let Some(kept) = self.descriptors.get((id, Layer::Lower)) {
                    return Ok(Content::In(kept));
                }
                let file = self.lower.file(path)?;
                Ok(Content::In(self.descriptors.put((id, Layer::Lower), file)))
            }
        }
    }

    fn upper(&self, id: NodeId) -> Result<Arc<OwnedFd>> {
        if let Some(kept) = self.descriptors.get((id, Layer::Upper)) {
            return Ok(kept);
        }
        let opened = self.contents.get(id);
        match opened {
            Err(Error::Errno(Errno::NOENT)) if !self.table().exists(id) => Err(Error::Stale),
            // A power cut took it before it was committed: it is made again.
            Err(Error::Errno(Errno::NOENT)) => self.bring_up(id, u64::MAX),
            opened => Ok(self.descriptors.put((id, Layer::Upper), opened?)),
        }
    }

    /// To be written, if it is up.
    pub(crate) fn content_up(&self, id: NodeId) -> Result<Option<Arc<OwnedFd>>> {
        let row = self.row(id)?;
        rules::content(row.kind)?;
        if row.is_up { self.upper(id).map(Some) } else { Ok(None) }
    }

    /// Brings so much of it up. By one at a time for each node. May take as long as it is large.
    pub(crate) fn bring_up(&self, id: NodeId, most: u64) -> Result<Arc<OwnedFd>> {
        let row = self.row(id)?;
        let size = row.size.min(most);
        let file = match &row.lower {
            Some(path) if size > 0 => self.contents.copy(id, &self.lower.file(path)?, size)?,
            _ => {
                let file = self.contents.make(id)?;
                content::resize(&file, size)?;
                file
            }
        };
        let modified = SetAttributes { modified: Some(SetTime::To(row.modified)), ..SetAttributes::default() };
        confined::set_times(&file, &modified)?;
        let mut table = self.table();
        let noted = table.commit(|table| {
            let mut row = table.get(id)?.clone();
            row.is_up = true;
            table.put(id, row)
        });
        drop(table);
        if let Err(error) = noted {
            self.contents.drop(id)?;
            return Err(error);
        }
        self.descriptors.forget((id, Layer::Lower));
        Ok(self.descriptors.put((id, Layer::Upper), file))
    }

    /// The counter after a write.
    pub(crate) fn bump(&self, id: NodeId, file: &OwnedFd) -> Result<u64> {
        let ctime = Seen::of(file)?.change();
        self.table().bump(id, ctime)
    }

    pub(crate) fn statfs(&self) -> Statfs {
        content::room(&self.room)
    }

    pub(crate) fn getxattr(&self, id: NodeId, name: &[u8]) -> Result<Bytes> {
        rules::xattr_name(name)?;
        let mut table = self.table();
        table.get(id)?;
        Ok(table.xattr(id, name)?.ok_or(Errno::NODATA)?.into())
    }

    pub(crate) fn listxattr(&self, id: NodeId) -> Result<Vec<Bytes>> {
        let mut table = self.table();
        table.get(id)?;
        Ok(table.xattrs(id)?.into_iter().map(Bytes::from).collect())
    }

    pub(crate) fn setxattr(&self, id: NodeId, name: &[u8], value: &[u8], how: SetXattr) -> Result<NodeChange> {
        self.changing_xattrs(id, |table| {
            rules::set_xattr(name, value, how, table.xattr(id, name)?.is_some())?;
            table.set_xattr(id, name, value)
        })
    }

    pub(crate) fn removexattr(&self, id: NodeId, name: &[u8]) -> Result<NodeChange> {
        self.changing_xattrs(id, |table| {
            rules::xattr_name(name)?;
            if table.remove_xattr(id, name)? { Ok(()) } else { Err(Errno::NODATA.into()) }
        })
    }

    fn changing_xattrs(&self, id: NodeId, what: impl FnOnce(&Table) -> Result<()>) -> Result<NodeChange> {
        if self.row(id)?.kind == Kind::Symlink {
            return Err(Errno::PERM.into());
        }
        let before = self.getattr(id)?.change;
        let now = self.clock.now();
        self.table().commit(|table| {
            what(table)?;
            table.change(id, now, |_| {})
        })?;
        Ok(NodeChange { before, after: self.getattr(id)?.change })
    }

    /// Names of a folder and their nodes, for those who walk all.
    pub(crate) fn names(&self, folder: NodeId) -> Result<Vec<(Name, NodeId)>> {
        let names = self.ready(folder)?.list(folder, 0, usize::MAX)?;
        Ok(names.into_iter().map(|(_, name, node)| (name, node)).collect())
    }

    pub(crate) fn lower(&self) -> &Lower {
        &self.lower
    }

    /// How to bring the table's commits to the disk.
    pub(crate) fn log(&self) -> womm_vfs_disk::database::LogSync {
        self.table().database.log()
    }
}

fn bring_in(table: &mut Table, folder: NodeId, path: &[u8], entries: &[Below]) -> Result<()> {
    for entry in entries {
        if table.find(folder, &entry.name)?.is_some() {
            continue;
        }
        let known = match entry.inode() {
            Some(inode) => table.by_inode(inode)?,
            None => None,
        };
        let id = if let Some(known) = known {
            let mut row = table.get(known)?.clone();
            row.links += 1;
            table.put(known, row)?;
            known
        } else {
            let id = table.add(Row::of_lower(entry, folder, below(path, &entry.name)))?;
            entry.xattrs.iter().try_for_each(|(name, value)| table.set_xattr(id, name, value))?;
            id
        };
        table.insert(folder, &entry.name, id)?;
    }
    Ok(())
}

/// The content of a folder changed.
fn modify(table: &mut Table, folder: NodeId, now: SystemTime) -> Result<FolderChange> {
    let before = table.get(folder)?.change;
    let after = table.change(folder, now, |row| row.modified = now)?;
    Ok(FolderChange { before, after, atomic: true })
}

fn unchanged(table: &mut Table, folder: NodeId) -> Result<FolderChange> {
    let change = table.get(folder)?.change;
    Ok(FolderChange { before: change, after: change, atomic: true })
}

/// Takes a name away. Whether the node has gone with it and had content.
fn unlink(table: &mut Table, folder: NodeId, name: &Name, id: NodeId, now: SystemTime) -> Result<bool> {
    let row = table.get(id)?;
    let (kind, links) = (row.kind, row.links);
    if kind == Kind::Folder && !table.is_empty(id)? {
        return Err(Errno::NOTEMPTY.into());
    }
    table.remove(folder, name)?;
    if kind == Kind::Folder || (links <= 1 && table.opens(id) == 0) {
        return table.forget(id);
    }
    table.change(id, now, |row| row.links = links.saturating_sub(1))?;
    Ok(false)
}

/// Whether a folder is another or below it.
fn is_below(table: &mut Table, folder: NodeId, above: NodeId) -> Result<bool> {
    let mut at = folder;
    while at != above && at != ROOT {
        at = table.get(at)?.parent;
    }
    Ok(at == above)
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // Without it, the next one assumes that we were killed, and is right to.
        let _ended = self.table.get_mut().unwrap_or_else(PoisonError::into_inner).end();
    }
}
