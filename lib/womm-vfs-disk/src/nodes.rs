//! Names and attributes, as the disk has them.

mod changes;

use crate::descriptors::Descriptors;
use crate::listing::{Listings, Names};
use crate::node::{Mode, Node, Note};
use crate::seen::{Identity, Seen, nanoseconds};
use crate::table::{ROOT, Table};
use crate::unlinked::Unlinked;
use crate::xattr;
use crate::{OpenError, confined, content};
use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, readlinkat};
use rustix::io::Errno;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use womm_vfs::cookie::Cookies;
use womm_vfs::vfs::{Entry, Listing, ListingBound, NodeChange, SetXattr, Statfs, Walk};
use womm_vfs::{Attributes, Error, Kind, Name, NodeId, Result, SetAttributes, rules};

/// What a descriptor is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Use {
    /// O_PATH.
    Anchor,
    /// Reading and writing.
    Content,
}

/// Folders above each other, before a circle is suspected: others may have moved them while we looked.
const MOST_DEEP: usize = 1 << 16;
/// The most folders on a way that are not where they were seen last. A false name, left by a rename that a kill
/// interrupted, may lead in a circle.
const MOST_ASTRAY: usize = 16;

/// What a folder of some thousand names takes on a disk.
const LARGE_FOLDER_BYTES: u64 = 128 << 10;

/// All but what waits.
#[derive(Debug)]
pub(crate) struct Nodes {
    root: Arc<OwnedFd>,
    /// st_dev of the root, which may differ after a reboot and is left out of identities.
    device: u64,
    table: Mutex<Table>,
    descriptors: Descriptors<(NodeId, Use)>,
    /// Of nodes that are gone, to be closed.
    closing: Mutex<Vec<Arc<OwnedFd>>>,
    listings: Listings,
    cookies: Cookies,
    unlinked: Unlinked,
    pub(crate) generation: u64,
}

/// A folder that is there.
struct Folder {
    at: Arc<OwnedFd>,
    seen: Seen,
}

/// A name that was seen on the disk.
struct Found {
    kind: Kind,
    seen: Seen,
    identity: Identity,
}

impl Nodes {
    pub(crate) fn open(
        folder: &Path,
        state: &Path,
        descriptors: usize,
        bits: u32,
    ) -> std::result::Result<Self, OpenError> {
        let at = |error: Error| match error {
            Error::Errno(errno) => OpenError::io("folder", folder)(errno.into()),
            other => OpenError::io("folder", folder)(std::io::Error::other(other)),
        };
        let root = confined::root(folder).map_err(OpenError::io("folder", folder))?;
        let seen = Seen::of(&root).map_err(at)?;
        let table = Table::open(state, nanoseconds(SystemTime::now()))?;
        let key = table.database.key;
        let nodes = Self {
            root: Arc::new(root),
            device: seen.identity.device,
            generation: table.database.generation,
            table: Mutex::new(table),
            descriptors: Descriptors::new(descriptors),
            closing: Mutex::default(),
            listings: Listings::default(),
            cookies: Cookies::new(key).with_bits(bits),
            unlinked: Unlinked::new(key).map_err(at)?,
        };
        let identity = nodes.identity(&seen);
        let name = Name::new("root").map_err(at)?;
        nodes.table().put_root(identity, name).map_err(at)?;
        nodes.finish_intents().map_err(at)?;
        Ok(nodes)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn identity(&self, seen: &Seen) -> Identity {
        let own = seen.identity.device == self.device;
        Identity { device: if own { 0 } else { seen.identity.device }, ..seen.identity }
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        self.table().get(id).cloned()
    }

    /// Exclusive creates of which a SIGKILL left open whether they were made.
    fn finish_intents(&self) -> Result<()> {
        let intents = self.table().intents()?;
        for (folder, name, verifier) in intents {
            let found = self.folder(folder).and_then(|here| self.found(&here.at, folder, &name));
            if let Ok(found) = found
                && found.kind == Kind::File
                && found.seen.size == 0
                && self.table().find(found.identity)?.is_none()
            {
                let note = Note { mode: None, verifier: Some(verifier) };
                self.table().add(found.identity, found.kind, folder, &name, &note)?;
            }
            self.table().intended(folder, &name)?;
        }
        Ok(())
    }

    /// Looks at a name; what is not shown is not there.
    fn found(&self, at: &OwnedFd, folder: NodeId, name: &Name) -> Result<Found> {
        if folder == ROOT && name == self.unlinked.name() {
            return Err(Errno::NOENT.into());
        }
        let seen = Seen::at(at, name.as_bytes())?;
        let kind = seen.kind.ok_or(Errno::NOENT)?;
        Ok(Found { kind, seen, identity: self.identity(&seen) })
    }

    /// A folder to look into or change, and what the disk says of it.
    fn folder(&self, id: NodeId) -> Result<Folder> {
        let at = self.folder_or_what_is_left(id)?;
        let seen = Seen::of(&at)?;
        if seen.links == 0 && id != ROOT {
            self.gone(id);
            return Err(Error::Stale); // somebody else removed it
        }
        Ok(Folder { at, seen })
    }

    /// The same, but somebody else may have removed it: then there is nothing in it.
    fn folder_or_what_is_left(&self, id: NodeId) -> Result<Arc<OwnedFd>> {
        if id != ROOT && self.table().get(id)?.kind != Kind::Folder {
            return Err(Errno::NOTDIR.into());
        }
        self.kept_folder(id)
    }

    /// What stands for a node. Folders above it are opened first, from the top: a path may be longer than the stack.
    fn anchor(&self, id: NodeId) -> Result<Arc<OwnedFd>> {
        self.anchor_past(id, MOST_ASTRAY)
    }

    /// The same past so many folders that are not where they were seen last.
    fn anchor_past(&self, id: NodeId, astray: usize) -> Result<Arc<OwnedFd>> {
        let mut missing = vec![];
        let mut at = id;
        let mut reached = loop {
            if at == ROOT {
                break Arc::clone(&self.root);
            }
            if let Some(kept) = self.descriptors.get((at, Use::Anchor)) {
                break kept;
            }
            missing.push(at);
            let node = match self.node(at) {
                Err(error) if at != id => return self.anchor_elsewhere(id, astray, error),
                node => node?,
            };
            if node.unlinked {
                break Arc::clone(&self.root);
            }
            at = node.folder;
            if missing.len() > MOST_DEEP {
                return Err(Error::Stale);
            }
        };
        for node in missing.into_iter().rev() {
            let descriptor = match self.reach_past(node, OFlags::PATH, astray) {
                Err(error) if node != id => return self.anchor_elsewhere(id, astray, error),
                opened => opened?,
            };
            reached = self.descriptors.put((node, Use::Anchor), descriptor);
        }
        Ok(reached)
    }

    /// A folder above where it was seen last can't be reached: a file may have names in others.
    fn anchor_elsewhere(&self, id: NodeId, astray: usize, error: Error) -> Result<Arc<OwnedFd>> {
        let descriptor = self.reach_elsewhere(id, OFlags::PATH, astray, error)?;
        Ok(self.descriptors.put((id, Use::Anchor), descriptor))
    }

    /// Opens a node wherever it was seen.
    fn reach(&self, id: NodeId, flags: OFlags) -> Result<OwnedFd> {
        self.reach_past(id, flags, MOST_ASTRAY)
    }

    fn reach_past(&self, id: NodeId, flags: OFlags, astray: usize) -> Result<OwnedFd> {
        let node = self.node(id)?;
        if node.unlinked {
            let folder = self.unlinked.folder(&self.root)?;
            return confined::open(folder, Unlinked::entry(id).as_bytes(), flags, rustix::fs::Mode::empty());
        }
        let error = match self.reach_at(node.identity, node.folder, &node.name, flags, astray) {
            Ok(Some(opened)) => return Ok(opened),
            Ok(None) => Error::Stale,
            Err(error) => error,
        };
        self.reach_elsewhere(id, flags, astray, error)
    }

    /// The same by its further names. Where it is at none of them, it is gone, unless there was an error: then it may be there.
    fn reach_elsewhere(&self, id: NodeId, flags: OFlags, astray: usize, mut error: Error) -> Result<OwnedFd> {
        let Some(astray) = astray.checked_sub(1) else { return Err(error) };
        let identity = self.node(id)?.identity;
        let others = self.table().names(id)?;
        for (folder, name) in others {
            match self.reach_at(identity, folder, &name, flags, astray) {
                Ok(Some(opened)) => return Ok(opened),
                Err(other) if error == Error::Stale => error = other,
                Ok(None) | Err(_) => {}
            }
        }
        Err(error)
    }

    /// None: it is not at this name.
    fn reach_at(
        &self,
        identity: Identity,
        folder: NodeId,
        name: &Name,
        flags: OFlags,
        astray: usize,
    ) -> Result<Option<OwnedFd>> {
        let is_not_there = |error| {
            matches!(error, Error::Stale | Error::Errno(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO))
        };
        let at = match self.kept_folder_past(folder, astray) {
            Err(error) if is_not_there(error) => return Ok(None),
            at => at?,
        };
        match confined::open(&at, name.as_bytes(), flags, rustix::fs::Mode::empty()) {
            Ok(opened) => Ok((self.identity(&Seen::of(&opened)?) == identity).then_some(opened)),
            Err(error) if is_not_there(error) => Ok(None),
            // Something else may have the name now, and say it of itself: a folder is not opened for writing.
            Err(error) => match Seen::at(&at, name.as_bytes()) {
                Ok(seen) if self.identity(&seen) != identity => Ok(None),
                Err(now) if is_not_there(now) => Ok(None),
                _ => Err(error),
            },
        }
    }

    fn kept_folder(&self, id: NodeId) -> Result<Arc<OwnedFd>> {
        self.kept_folder_past(id, MOST_ASTRAY)
    }

    fn kept_folder_past(&self, id: NodeId, astray: usize) -> Result<Arc<OwnedFd>> {
        if id == ROOT { Ok(Arc::clone(&self.root)) } else { self.anchor_past(id, astray) }
    }

    /// A file's content. A mode that somebody else made it with may keep us out; as its owner we may change that.
    pub(crate) fn content(&self, id: NodeId) -> Result<Arc<OwnedFd>> {
        if let Some(kept) = self.descriptors.get((id, Use::Content)) {
            return Ok(kept);
        }
        rules::content(self.table().get(id)?.kind)?;
        let opened = match self.reach(id, OFlags::RDWR) {
            Err(Error::Errno(Errno::ACCESS | Errno::PERM)) => {
                self.let_in(id).and_then(|()| self.reach(id, OFlags::RDWR)).or_else(|_| self.reach(id, OFlags::RDONLY))
            }
            Err(Error::Errno(Errno::ROFS | Errno::TXTBSY)) => self.reach(id, OFlags::RDONLY),
            opened => opened,
        }?;
        Ok(self.descriptors.put((id, Use::Content), opened))
    }

    fn let_in(&self, id: NodeId) -> Result<()> {
        let anchor = self.anchor(id)?;
        let seen = Seen::of(&anchor)?;
        let mut table = self.table();
        let told = table.attributes(id, &seen)?;
        let mode = Mode::new(told.kind, told.mode);
        table.set_mode(id, mode)?; // first: a SIGKILL in between leaves a note that the disk does not match, and the disk wins
        drop(table);
        confined::chmod(&anchor, mode.disk)
    }

    /// What the disk says of a node now.
    fn seen(&self, id: NodeId) -> Result<Seen> {
        if id == ROOT {
            return Seen::of(&self.root);
        }
        for with in [Use::Content, Use::Anchor] {
            if let Some(kept) = self.descriptors.get((id, with)) {
                let seen = Seen::of(&kept)?;
                if seen.links == 0 && self.table().get(id)?.opens == 0 {
                    self.gone(id);
                    return Err(Error::Stale);
                }
                return Ok(seen);
            }
        }
        let node = self.node(id)?;
        if node.kind != Kind::Folder && !node.unlinked {
            let at = self.kept_folder(node.folder).and_then(|at| Seen::at(&at, node.name.as_bytes()));
            if let Ok(seen) = at
                && self.identity(&seen) == node.identity
            {
                return Ok(seen);
            }
        }
        Seen::of(self.anchor(id)?)
    }

    /// Lets go of what keeps a node from going.
    fn gone(&self, id: NodeId) {
        self.descriptors.forget((id, Use::Anchor));
        self.descriptors.forget((id, Use::Content));
        self.listings.forget(id);
    }

    /// The same, by [`Nodes::close_gone`]: to close what has no name any more is most of a removal, and others wait for their turn.
    fn gone_later(&self, id: NodeId) {
        let descriptors = [Use::Anchor, Use::Content].map(|what| self.descriptors.take((id, what)));
        self.closing.lock().unwrap_or_else(PoisonError::into_inner).extend(descriptors.into_iter().flatten());
        self.listings.forget(id);
    }

    /// After a change of names, when others may change them.
    pub(crate) fn close_gone(&self) {
        let gone = std::mem::take(&mut *self.closing.lock().unwrap_or_else(PoisonError::into_inner));
        drop(gone);
    }

    pub(crate) fn getattr(&self, id: NodeId) -> Result<Attributes> {
        let seen = self.seen(id)?;
        self.table().attributes(id, &seen)
    }

    pub(crate) fn walk(&self, from: NodeId, names: &[Name]) -> Walk {
        if names.is_empty() {
            return Walk { found: vec![], stopped: self.seen(from).err() };
        }
        Walk::by(from, names, |at, name| self.lookup(at, name))
    }

    fn lookup(&self, folder: NodeId, name: &Name) -> Result<Attributes> {
        if self.table().get(folder)?.kind == Kind::Symlink {
            self.seen(folder)?;
            return Err(Errno::LOOP.into());
        }
        let at = self.folder_or_what_is_left(folder)?;
        let found = self.found(&at, folder, name);
        if found.is_err() {
            self.folder(folder)?;
        }
        self.known(folder, name, &found?)
    }

    /// What was found, under its number.
    fn known(&self, folder: NodeId, name: &Name, found: &Found) -> Result<Attributes> {
        let mut table = self.table();
        let id = table.at(found.identity, found.kind, found.seen.links, folder, name)?;
        table.attributes(id, &found.seen)
    }

    pub(crate) fn parent(&self, id: NodeId) -> Result<Attributes> {
        if id == ROOT {
            return Err(Errno::NOENT.into());
        }
        let above = self.identity(&Seen::at(&self.folder(id)?.at, b"..")?);
        let parent = self.table().find(above)?.ok_or(Error::Stale)?;
        self.getattr(parent)
    }

    pub(crate) fn setattr(&self, id: NodeId, set: &SetAttributes) -> Result<Attributes> {
        rules::set(self.node(id)?.kind, set)?;
        if let Some(size) = set.size {
            content::resize(&self.content(id)?, size)?;
        }
        self.set(id, set)?;
        self.bump(id)
    }

    /// Mode and times.
    fn set(&self, id: NodeId, set: &SetAttributes) -> Result<()> {
        if set.mode.is_none() && set.accessed.is_none() && set.modified.is_none() {
            return Ok(());
        }
        let anchor = self.kept_folder(id)?;
        if let Some(told) = set.mode {
            let mut table = self.table();
            let mode = Mode::new(table.get(id)?.kind, told);
            table.set_mode(id, mode)?;
            drop(table);
            confined::chmod(&anchor, mode.disk)?;
        }
        confined::set_times(&anchor, set)
    }

    /// We changed it.
    pub(crate) fn bump(&self, id: NodeId) -> Result<Attributes> {
        let seen = self.seen(id)?;
        let mut table = self.table();
        table.bump(id, &seen)?;
        table.attributes(id, &seen)
    }

    /// The counter after a write.
    pub(crate) fn bump_content(&self, id: NodeId, file: &OwnedFd) -> Result<u64> {
        let seen = Seen::of(file)?;
        self.table().bump(id, &seen)
    }

    /// Whether reading all its names takes longer than to wake a thread for it.
    pub(crate) fn is_large(&self, id: NodeId) -> bool {
        self.seen(id).is_ok_and(|seen| seen.size > LARGE_FOLDER_BYTES)
    }

    pub(crate) fn readdir(&self, id: NodeId, after: u64, most: ListingBound) -> Result<Listing> {
        let here = self.folder(id)?;
        let names = self.names(id, &here, after)?;
        let mut rest = names.after(after).iter().peekable();
        let mut found = vec![];
        let mut bytes = 0;
        while let Some((cookie, name)) = rest.peek() {
            bytes += name.as_bytes().len();
            if !found.is_empty() && (found.len() >= most.entries || bytes > most.name_bytes) {
                break;
            }
            match self.found(&here.at, id, name) {
                Ok(is) => found.push((*cookie, name, is)),
                Err(Error::Errno(Errno::NOENT)) => bytes -= name.as_bytes().len(), // gone meanwhile, or not shown
                Err(error) => return Err(error),
            }
            rest.next();
        }
        Ok(Listing { entries: self.known_all(id, &found)?, end: rest.peek().is_none() })
    }

    /// The first that is new begins a transaction, which has all that follow.
    fn known_all(&self, folder: NodeId, found: &[(u64, &Name, Found)]) -> Result<Vec<Entry>> {
        let mut table = self.table();
        let mut entries = Vec::with_capacity(found.len());
        let entry = |cookie: u64, name: &Name, attributes| Entry { name: name.clone(), cookie, attributes };
        for (cookie, name, found) in found {
            let Some(attributes) = table.known(folder, name, found.identity, &found.seen) else { break };
            entries.push(entry(*cookie, name, attributes));
        }
        let rest = &found[entries.len()..];
        if !rest.is_empty() {
            table.together(|table| {
                for (cookie, name, found) in rest {
                    let id = table.at(found.identity, found.kind, found.seen.links, folder, name)?;
                    entries.push(entry(*cookie, name, table.attributes(id, &found.seen)?));
                }
                Ok(())
            })?;
        }
        Ok(entries)
    }

    /// All names when a listing begins; when it goes on, those of then will do, as all that is still there is among them.
    fn names(&self, id: NodeId, Folder { at, seen }: &Folder, after: u64) -> Result<Arc<Names>> {
        let change = self.table().attributes(id, seen)?.change;
        if let Some(kept) = self.listings.get(id)
            && (after != 0 || kept.is_current(change))
        {
            return Ok(kept);
        }
        let but = (id == ROOT).then(|| self.unlinked.name());
        let read = || Names::read(at, &self.cookies, but, change, seen.changed);
        let names = match read() {
            Err(Error::Errno(Errno::ACCESS)) if id != ROOT => {
                self.let_in(id)?;
                read()
            }
            names => names,
        };
        let names = Arc::new(names?);
        self.listings.put(id, Arc::clone(&names));
        Ok(names)
    }

    pub(crate) fn readlink(&self, id: NodeId) -> Result<Bytes> {
        if self.table().get(id)?.kind != Kind::Symlink {
            return Err(Errno::INVAL.into());
        }
        let target = readlinkat(self.anchor(id)?, c"", vec![])?;
        Ok(target.into_bytes().into())
    }

    pub(crate) fn open_file(&self, id: NodeId) -> Result<()> {
        rules::open(self.table().get(id)?.kind)?;
        self.seen(id)?;
        self.content(id)?;
        self.table().get(id)?.opens += 1;
        Ok(())
    }

    pub(crate) fn reopen(&self, id: NodeId) -> Result<()> {
        let mut table = self.table();
        let node = table.get(id)?;
        rules::open(node.kind)?;
        node.opens += 1;
        Ok(())
    }

    pub(crate) fn close(&self, id: NodeId) {
        let mut table = self.table();
        let Ok(node) = table.get(id) else { return };
        node.opens = node.opens.saturating_sub(1);
        if node.unlinked && node.opens == 0 {
            // What can't be dropped now is dropped at the next start.
            let _later = self.drop_unlinked(&mut table, id);
        }
    }

    fn drop_unlinked(&self, table: &mut Table, id: NodeId) -> Result<()> {
        let folder = self.unlinked.folder(&self.root)?;
        let seen = Seen::at(&folder, Unlinked::entry(id).as_bytes());
        if seen.is_ok_and(|seen| seen.links > 1) {
            table.set_unlinked(id, false)?;
        } else {
            table.forget(id)?;
            self.gone(id);
        }
        self.unlinked.drop(&self.root, id)
    }

    pub(crate) fn reclaimed(&self) -> Result<()> {
        let mut table = self.table();
        let mut held = vec![];
        for id in table.unlinked()? {
            if table.get(id)?.opens > 0 {
                held.push(id);
            } else {
                self.drop_unlinked(&mut table, id)?;
            }
        }
        self.unlinked.sweep(&self.root, &held)
    }

    pub(crate) fn kind(&self, id: NodeId) -> Result<Kind> {
        Ok(self.table().get(id)?.kind)
    }

    pub(crate) fn statfs(&self) -> Statfs {
        content::room(&self.root)
    }

    pub(crate) fn getxattr(&self, id: NodeId, name: &[u8]) -> Result<Bytes> {
        let kind = self.kind(id)?;
        xattr::get(self.kept_folder(id)?, kind, name)
    }

    pub(crate) fn listxattr(&self, id: NodeId) -> Result<Vec<Bytes>> {
        let kind = self.kind(id)?;
        xattr::list(self.kept_folder(id)?, kind)
    }

    pub(crate) fn setxattr(&self, id: NodeId, name: &[u8], value: &[u8], how: SetXattr) -> Result<NodeChange> {
        self.changing_xattrs(id, |node, kind| xattr::set(node, kind, name, value, how))
    }

    pub(crate) fn removexattr(&self, id: NodeId, name: &[u8]) -> Result<NodeChange> {
        self.changing_xattrs(id, |node, kind| xattr::remove(node, kind, name))
    }

    fn changing_xattrs(&self, id: NodeId, what: impl FnOnce(&OwnedFd, Kind) -> Result<()>) -> Result<NodeChange> {
        let kind = self.kind(id)?;
        let node = self.kept_folder(id)?;
        let before = self.getattr(id)?.change;
        what(&node, kind)?;
        Ok(NodeChange { before, after: self.bump(id)?.change })
    }

    /// How to bring the table's commits to the disk.
    pub(crate) fn log(&self) -> crate::database::LogSync {
        self.table().database.log()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.unlinked.end(&self.root);
        // Without it, the next one assumes that we were killed, and is right to.
        let _ended = self.table.get_mut().unwrap_or_else(PoisonError::into_inner).end();
    }
}
