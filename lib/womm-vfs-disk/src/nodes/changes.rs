//! Changes of names, which one at a time makes.

use super::{Folder, Found, Nodes, Use};
use crate::node::{Mode, Note};
use crate::seen::Seen;
use crate::table::ROOT;
use crate::{confined, content, xattr};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, OFlags, linkat, mkdirat, renameat, symlinkat, unlinkat};
use rustix::io::Errno;
use std::sync::Arc;
use womm_vfs::node::FolderChange;
use womm_vfs::vfs::{Create, Created, New, Renamed};
use womm_vfs::{Attributes, Error, Kind, Name, NodeId, Result, SetAttributes, rules};

impl Nodes {
    /// Around a change of a folder, which nobody else of ours makes meanwhile.
    fn changing<T>(
        &self,
        id: NodeId,
        here: &Folder,
        what: impl FnOnce(&Arc<OwnedFd>) -> Result<T>,
    ) -> Result<(T, FolderChange)> {
        let before = self.change(id, here)?;
        let done = what(&here.at)?;
        let after = self.table().bump(id, &Seen::of(&here.at)?)?;
        Ok((done, FolderChange { before, after, atomic: true }))
    }

    fn change(&self, id: NodeId, here: &Folder) -> Result<u64> {
        Ok(self.table().attributes(id, &here.seen)?.change)
    }

    fn unchanged(&self, id: NodeId, here: &Folder) -> Result<FolderChange> {
        let change = self.change(id, here)?;
        Ok(FolderChange { before: change, after: change, atomic: true })
    }

    /// The name of our own folder is not to be had.
    fn free_name(&self, folder: NodeId, name: &Name) -> Result<()> {
        if folder == ROOT && name == self.unlinked.name() { Err(Errno::PERM.into()) } else { Ok(()) }
    }

    /// What a name is, if it is anything.
    fn find(&self, here: &Folder, folder: NodeId, name: &Name) -> Result<Option<Found>> {
        match self.found(&here.at, folder, name) {
            Err(Error::Errno(Errno::NOENT)) => Ok(None),
            found => found.map(Some),
        }
    }

    pub(crate) fn create(&self, folder: NodeId, name: &Name, new: &New) -> Result<Created> {
        let here = self.folder(folder)?;
        self.free_name(folder, name)?;
        // Mostly there is none, as clients look first. What an exclusive create finds must not be taken for what it has made, should
        // a SIGKILL come in between; folders and symlinks have more that can be wrong with them, but EEXIST is first.
        let is_tried = matches!(new, New::File { mode: Create::Unchecked | Create::Guarded, .. });
        if !is_tried && let Some(found) = self.find(&here, folder, name)? {
            return self.take(folder, name, &here, &found, new);
        }
        let made = self.changing(folder, &here, |at| match new {
            New::File { mode, set } => self.make_file(folder, at, name, *mode, set),
            New::Folder { set } => self.make_folder(folder, at, name, set),
            New::Symlink { target } => self.make_symlink(folder, at, name, target),
        });
        match made {
            Ok((attributes, folder)) => Ok(Created { attributes, new: true, folder }),
            Err(Error::Errno(Errno::EXIST)) if is_tried => match self.find(&here, folder, name)? {
                Some(found) => self.take(folder, name, &here, &found, new),
                None => Err(Errno::EXIST.into()), // of what is not shown
            },
            Err(error) => Err(error),
        }
    }

    /// There is one already.
    fn take(&self, folder: NodeId, name: &Name, here: &Folder, found: &Found, new: &New) -> Result<Created> {
        let mut attributes = self.known(folder, name, found)?;
        match new {
            New::File { mode: Create::Unchecked, set } => {
                rules::open(found.kind)?;
                if set.size.is_some() {
                    let only = SetAttributes { size: set.size, ..SetAttributes::default() };
                    attributes = self.setattr(attributes.id, &only)?;
                }
            }
            New::File { mode: Create::Exclusive(verifier), .. }
                if self.node(attributes.id)?.verifier == Some(*verifier) => {}
            _ => return Err(Errno::EXIST.into()),
        }
        Ok(Created { attributes, new: false, folder: self.unchanged(folder, here)? })
    }

    fn make_file(
        &self,
        folder: NodeId,
        at: &OwnedFd,
        name: &Name,
        how: Create,
        set: &SetAttributes,
    ) -> Result<Attributes> {
        let mode = Mode::new(Kind::File, set.mode.unwrap_or(0o644));
        let verifier = if let Create::Exclusive(verifier) = how { Some(verifier) } else { None };
        if let Some(verifier) = verifier {
            self.table().intend(folder, name, verifier)?;
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let opened = confined::open(at, name.as_bytes(), flags, rustix::fs::Mode::from_raw_mode(mode.disk));
        if opened.is_err() && verifier.is_some() {
            self.table().intended(folder, name)?;
        }
        let file = opened?;
        if let Some(size) = set.size
            && let Err(error) = content::resize(&file, size)
        {
            unlinkat(at, name.as_bytes(), AtFlags::empty())?;
            return Err(error);
        }
        let (id, seen) = self.adopt(folder, name, &file, Kind::File, &Note { mode: Some(mode), verifier }, set)?;
        if verifier.is_some() {
            self.table().intended(folder, name)?;
        }
        self.descriptors.put((id, Use::Content), file);
        self.table().attributes(id, &seen)
    }

    fn make_folder(&self, folder: NodeId, at: &OwnedFd, name: &Name, set: &SetAttributes) -> Result<Attributes> {
        rules::set(Kind::Folder, set)?;
        let mode = Mode::new(Kind::Folder, set.mode.unwrap_or(0o755));
        mkdirat(at, name.as_bytes(), rustix::fs::Mode::from_raw_mode(mode.disk))?;
        let made = confined::anchor(at, name.as_bytes())?;
        let note = Note { mode: Some(mode), verifier: None };
        let (id, seen) = self.adopt(folder, name, &made, Kind::Folder, &note, set)?;
        self.descriptors.put((id, Use::Anchor), made);
        self.table().attributes(id, &seen)
    }

    fn make_symlink(&self, folder: NodeId, at: &OwnedFd, name: &Name, target: &[u8]) -> Result<Attributes> {
        rules::target(target)?;
        symlinkat(target, at, name.as_bytes())?;
        let made = confined::anchor(at, name.as_bytes())?;
        let (id, seen) = self.adopt(folder, name, &made, Kind::Symlink, &Note::default(), &SetAttributes::default())?;
        self.table().attributes(id, &seen)
    }

    /// Gives what was just made its number and attributes. The process's umask may have taken bits from the mode.
    fn adopt(
        &self,
        folder: NodeId,
        name: &Name,
        made: &OwnedFd,
        kind: Kind,
        note: &Note,
        set: &SetAttributes,
    ) -> Result<(NodeId, Seen)> {
        let mut seen = Seen::of(made)?;
        let mode = note.mode.filter(|mode| mode.disk != seen.mode);
        if let Some(mode) = mode {
            confined::chmod(made, mode.disk)?;
        }
        confined::set_times(made, set)?;
        if mode.is_some() || set.accessed.is_some() || set.modified.is_some() {
            seen = Seen::of(made)?;
        }
        let (id, before) = self.table().add_made(self.identity(&seen), kind, folder, name, note)?;
        if let Some(before) = before {
            self.gone(before);
        }
        Ok((id, seen))
    }

    /// Around what gives a node a name, which is noted first, so that a SIGKILL in between leaves a place where it is found. If it is
    /// refused, the name is another's, or nobody's: the node is not to be looked for there.
    fn naming(
        &self,
        id: Option<NodeId>,
        folder: NodeId,
        name: &Name,
        what: impl FnOnce() -> std::result::Result<(), Errno>,
    ) -> Result<()> {
        let Some(id) = id else { return Ok(what()?) };
        self.table().add_name(id, folder, name)?;
        let done = what();
        if done.is_err() {
            let _harmless = self.table().drop_name(id, folder, name); // on a full disk: what is found there is compared
        }
        Ok(done?)
    }

    pub(crate) fn link(&self, id: NodeId, folder: NodeId, name: &Name) -> Result<FolderChange> {
        let here = self.folder(folder)?;
        let node = self.node(id)?;
        let seen = self.seen(id)?;
        self.free_name(folder, name)?;
        if self.find(&here, folder, name)?.is_some() {
            return Err(Errno::EXIST.into());
        }
        if node.kind == Kind::Folder {
            return Err(Errno::PERM.into());
        }
        if seen.links <= u32::from(node.unlinked) {
            return Err(Errno::NOENT.into());
        }
        let ((), change) = self.changing(folder, &here, |at| {
            let way = xattr::way_to(self.anchor(id)?);
            let flags = AtFlags::SYMLINK_FOLLOW; // of the way: what it leads to is opened, be it a symlink
            self.naming(Some(id), folder, name, || linkat(rustix::fs::CWD, &way[..], at, name.as_bytes(), flags))
        })?;
        self.bump(id)?;
        Ok(change)
    }

    pub(crate) fn remove(&self, folder: NodeId, name: &Name) -> Result<FolderChange> {
        let here = self.folder(folder)?;
        let ((), change) = self.changing(folder, &here, |at| {
            let found = self.found(at, folder, name)?;
            let id = self.table().find(found.identity)?;
            let flags = if found.kind == Kind::Folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            self.before_unlink(id, at, name)?;
            match unlinkat(at, name.as_bytes(), flags) {
                Err(Errno::NOENT) => {} // kept where there are no hard links
                done => done?,
            }
            self.after_unlink(id, &found, folder, name)
        })?;
        Ok(change)
    }

    /// Keeps the content of what is open.
    fn before_unlink(&self, id: Option<NodeId>, at: &OwnedFd, name: &Name) -> Result<()> {
        let Some(id) = id else { return Ok(()) };
        let node = self.node(id)?;
        if node.opens > 0 && !node.unlinked {
            self.unlinked.keep(&self.root, id, at, name)?;
            self.table().set_unlinked(id, true)?;
        }
        Ok(())
    }

    fn after_unlink(&self, id: Option<NodeId>, found: &Found, folder: NodeId, name: &Name) -> Result<()> {
        let Some(id) = id else { return Ok(()) };
        let node = self.node(id)?;
        if !node.unlinked && (found.seen.links <= 1 || found.kind == Kind::Folder) {
            self.table().forget_later(id)?;
            self.gone_later(id);
            return Ok(());
        }
        self.table().drop_name(id, folder, name)?;
        if node.folder == folder && node.name == *name {
            self.next_name(id)?;
        }
        let mut table = self.table();
        if node.unlinked && table.get(id)?.opens == 0 {
            return self.drop_unlinked(&mut table, id); // closed meanwhile
        }
        drop(table);
        self.bump(id).map(drop).or_else(|error| if error == Error::Stale { Ok(()) } else { Err(error) })
    }

    /// It has lost the name under which it was looked for.
    fn next_name(&self, id: NodeId) -> Result<()> {
        let mut table = self.table();
        if let Some((folder, name)) = table.names(id)?.pop() {
            table.moved(id, folder, &name)?;
            table.drop_name(id, folder, &name)?;
        }
        Ok(())
    }

    pub(crate) fn rename(&self, from: (NodeId, &Name), to: (NodeId, &Name)) -> Result<Renamed> {
        let (old, new) = (self.folder(from.0)?, self.folder(to.0)?);
        let found = self.found(&old.at, from.0, from.1)?;
        self.free_name(to.0, to.1)?;
        let replaced = self.find(&new, to.0, to.1)?;
        if replaced.as_ref().is_some_and(|replaced| replaced.identity == found.identity) {
            return Ok(Renamed { from: self.unchanged(from.0, &old)?, to: self.unchanged(to.0, &new)? });
        }
        let before = (self.change(from.0, &old)?, self.change(to.0, &new)?);
        let replaced_id = match &replaced {
            Some(replaced) => self.table().find(replaced.identity)?,
            None => None,
        };
        if replaced.as_ref().is_some_and(|replaced| replaced.kind == Kind::File && found.kind != Kind::Folder) {
            self.before_unlink(replaced_id, &new.at, to.1)?;
        }
        let moved = self.table().find(found.identity)?;
        self.naming(moved, to.0, to.1, || renameat(&old.at, from.1.as_bytes(), &new.at, to.1.as_bytes()))?;
        if let Some(moved) = moved {
            self.after_rename(moved, from, to)?;
        }
        if let Some(replaced) = replaced {
            self.after_unlink(replaced_id, &replaced, to.0, to.1)?;
        }
        let mut table = self.table();
        let mut after = |id, here: &Folder| table.bump(id, &Seen::of(&here.at)?);
        let from_after = after(from.0, &old)?;
        let to_after = if from.0 == to.0 { from_after } else { after(to.0, &new)? };
        Ok(Renamed {
            from: FolderChange { before: before.0, after: from_after, atomic: true },
            to: FolderChange { before: before.1, after: to_after, atomic: true },
        })
    }

    fn after_rename(&self, id: NodeId, from: (NodeId, &Name), to: (NodeId, &Name)) -> Result<()> {
        let mut table = self.table();
        table.together(|table| {
            let node = table.get(id)?;
            if (node.folder, &node.name) == from {
                table.moved(id, to.0, to.1)?;
                table.drop_name(id, to.0, to.1)
            } else {
                table.drop_name(id, from.0, from.1)
            }
        })?;
        drop(table);
        self.bump(id).map(drop)
    }
}
