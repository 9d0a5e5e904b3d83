//! What a file system should be, as simply as it can be said.

use crate::error::{Error, Result};
use crate::node::{Kind, Name, PERMISSIONS, SetAttributes};
use crate::rules;
use crate::vfs::{Create, New, SetXattr};
use rustix::io::Errno;
use std::collections::BTreeMap;

/// All nodes that ever were, by when they were made; the root is the first.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) nodes: Vec<Node>,
    /// Those that the last operation changed.
    pub(super) changed: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) entries: BTreeMap<Name, usize>,
    pub(super) parent: usize,
    pub(super) links: u32,
    pub(super) opens: u32,
    pub(super) verifier: Option<[u8; 8]>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Node {
    fn new(kind: Kind, parent: usize) -> Self {
        let mode = match kind {
            Kind::File => 0o644,
            Kind::Folder => 0o755,
            Kind::Symlink => 0o777,
        };
        Self {
            kind,
            mode,
            content: vec![],
            target: vec![],
            entries: BTreeMap::new(),
            parent,
            links: 1,
            opens: 0,
            verifier: None,
            xattrs: BTreeMap::new(),
        }
    }

    fn is_there(&self) -> bool {
        self.links > 0 || self.opens > 0
    }
}

impl Model {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::new(Kind::Folder, 0)], changed: vec![] }
    }

    pub(super) fn there(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].is_there()).collect()
    }

    pub(super) fn node(&self, node: usize) -> Result<&Node> {
        self.nodes.get(node).filter(|node| node.is_there()).ok_or(Error::Stale)
    }

    fn change(&mut self, node: usize) -> Result<&mut Node> {
        self.node(node)?;
        self.changed.push(node);
        Ok(&mut self.nodes[node])
    }

    fn folder(&self, node: usize) -> Result<&Node> {
        let folder = self.node(node)?;
        if folder.kind == Kind::Folder { Ok(folder) } else { Err(Errno::NOTDIR.into()) }
    }

    fn file(&mut self, node: usize) -> Result<&mut Node> {
        rules::content(self.node(node)?.kind)?;
        self.change(node)
    }

    pub(super) fn lookup(&self, folder: usize, name: &Name) -> Result<usize> {
        if self.node(folder)?.kind == Kind::Symlink {
            return Err(Errno::LOOP.into());
        }
        Ok(*self.folder(folder)?.entries.get(name).ok_or(Errno::NOENT)?)
    }

    /// The node, and whether it is new.
    pub(super) fn create(&mut self, folder: usize, name: &Name, new: &New) -> Result<(usize, bool)> {
        if let Some(node) = self.folder(folder)?.entries.get(name).copied() {
            match new {
                New::File { mode: Create::Unchecked, set } => {
                    rules::open(self.nodes[node].kind)?;
                    let set = SetAttributes { size: set.size, ..SetAttributes::default() };
                    if set.size.is_some() {
                        self.setattr(node, &set)?;
                    }
                }
                New::File { mode: Create::Exclusive(verifier), .. } if self.nodes[node].verifier == Some(*verifier) => {
                }
                _ => return Err(Errno::EXIST.into()),
            }
            return Ok((node, false));
        }
        let mut made = match new {
            New::File { .. } => Node::new(Kind::File, folder),
            New::Folder { .. } => Node::new(Kind::Folder, folder),
            New::Symlink { .. } => Node::new(Kind::Symlink, folder),
        };
        match new {
            New::Symlink { target } => made.target = target.to_vec(),
            New::File { mode, set } => {
                made.content.resize(set.size.unwrap_or(0) as usize, 0);
                made.mode = set.mode.map_or(made.mode, |mode| mode & PERMISSIONS);
                if let Create::Exclusive(verifier) = mode {
                    made.verifier = Some(*verifier);
                }
            }
            New::Folder { set } => made.mode = set.mode.map_or(made.mode, |mode| mode & PERMISSIONS),
        }
        let node = self.nodes.len();
        self.nodes.push(made);
        self.change(folder)?.entries.insert(name.clone(), node);
        Ok((node, true))
    }

    pub(super) fn link(&mut self, node: usize, folder: usize, name: &Name) -> Result<()> {
        let taken = self.folder(folder)?.entries.contains_key(name);
        let linked = self.node(node)?;
        if taken {
            return Err(Errno::EXIST.into());
        }
        match (linked.kind, linked.links) {
            (Kind::Folder, _) => return Err(Errno::PERM.into()),
            (_, 0) => return Err(Errno::NOENT.into()),
            _ => {}
        }
        self.change(node)?.links += 1;
        self.change(folder)?.entries.insert(name.clone(), node);
        Ok(())
    }

    pub(super) fn remove(&mut self, folder: usize, name: &Name) -> Result<()> {
        let node = *self.folder(folder)?.entries.get(name).ok_or(Errno::NOENT)?;
        if !self.nodes[node].entries.is_empty() {
            return Err(Errno::NOTEMPTY.into());
        }
        self.change(node)?.links -= 1;
        self.change(folder)?.entries.remove(name);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: (usize, &Name), to: (usize, &Name)) -> Result<()> {
        self.folder(from.0)?;
        let replaced = self.folder(to.0)?.entries.get(to.1).copied();
        let node = *self.folder(from.0)?.entries.get(from.1).ok_or(Errno::NOENT)?;
        if replaced == Some(node) {
            return Ok(());
        }
        if self.is_within(to.0, node) {
            return Err(Errno::INVAL.into());
        }
        if let Some(replaced) = replaced {
            if self.is_within(from.0, replaced) {
                return Err(Errno::NOTEMPTY.into());
            }
            rules::replace(self.nodes[node].kind, self.nodes[replaced].kind)?;
            self.remove(to.0, to.1)?;
        }
        self.change(from.0)?.entries.remove(from.1);
        self.change(to.0)?.entries.insert(to.1.clone(), node);
        self.change(node)?.parent = to.0;
        Ok(())
    }

    fn is_within(&self, node: usize, folder: usize) -> bool {
        node == folder || (node != 0 && self.is_within(self.nodes[node].parent, folder))
    }

    pub(super) fn setattr(&mut self, node: usize, set: &SetAttributes) -> Result<()> {
        rules::set(self.node(node)?.kind, set)?;
        let node = self.change(node)?;
        if let Some(size) = set.size {
            node.content.resize(size as usize, 0);
        }
        node.mode = set.mode.map_or(node.mode, |mode| mode & PERMISSIONS);
        Ok(())
    }

    pub(super) fn open(&mut self, node: usize) -> Result<()> {
        rules::open(self.node(node)?.kind)?;
        self.nodes[node].opens += 1;
        Ok(())
    }

    pub(super) fn close(&mut self, node: usize) {
        self.nodes[node].opens -= 1;
    }

    pub(super) fn read(&self, node: usize, offset: usize, count: usize) -> Result<&[u8]> {
        rules::content(self.node(node)?.kind)?;
        let content = &self.nodes[node].content;
        Ok(&content[offset.min(content.len())..(offset + count).min(content.len())])
    }

    pub(super) fn write(&mut self, node: usize, offset: usize, data: &[u8]) -> Result<()> {
        let content = &mut self.file(node)?.content;
        content.resize(content.len().max(offset + data.len()), 0);
        content[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }

    pub(super) fn allocate(&mut self, node: usize, offset: usize, length: usize) -> Result<()> {
        // An allocation of what is there already changes nothing that one could see.
        rules::content(self.node(node)?.kind)?;
        if offset + length > self.nodes[node].content.len() {
            self.change(node)?.content.resize(offset + length, 0);
        }
        Ok(())
    }

    pub(super) fn deallocate(&mut self, node: usize, offset: usize, length: usize) -> Result<()> {
        rules::content(self.node(node)?.kind)?;
        let content = &mut self.nodes[node].content;
        let (from, to) = (offset.min(content.len()), (offset + length).min(content.len()));
        content[from..to].fill(0);
        Ok(())
    }

    pub(super) fn setxattr(&mut self, node: usize, name: &[u8], value: &[u8], how: SetXattr) -> Result<()> {
        if self.node(node)?.kind == Kind::Symlink {
            return Err(Errno::PERM.into());
        }
        rules::set_xattr(name, value, how, self.nodes[node].xattrs.contains_key(name))?;
        self.change(node)?.xattrs.insert(name.to_vec(), value.to_vec());
        Ok(())
    }

    pub(super) fn removexattr(&mut self, node: usize, name: &[u8]) -> Result<()> {
        if self.node(node)?.kind == Kind::Symlink {
            return Err(Errno::PERM.into());
        }
        if !self.nodes[node].xattrs.contains_key(name) {
            return Err(Errno::NODATA.into());
        }
        self.change(node)?.xattrs.remove(name);
        Ok(())
    }
}
