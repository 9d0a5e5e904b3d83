//! What is known of a node.

use crate::seen::{Identity, Seen};
use womm_vfs::{Attributes, Kind, Name, NodeId};

/// A mode that differs from the disk's, so that the server may still open what it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    /// What was set.
    pub(crate) told: u32,
    /// What the disk has for it; when it has something else, somebody has changed it.
    pub(crate) disk: u32,
}

impl Mode {
    pub(crate) fn new(kind: Kind, told: u32) -> Self {
        let own = if kind == Kind::Folder { 0o700 } else { 0o600 };
        let told = told & womm_vfs::node::PERMISSIONS;
        Self { told, disk: told | own }
    }
}

/// What is known of a node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) kind: Kind,
    /// Where it was seen last.
    pub(crate) folder: NodeId,
    pub(crate) name: Name,
    pub(crate) mode: Option<Mode>,
    pub(crate) verifier: Option<[u8; 8]>,
    pub(crate) opens: u32,
    /// It has a name in the folder of those without.
    pub(crate) unlinked: bool,
    /// The counter that was told last.
    pub(crate) change: u64,
    /// That is noted: the counter is ahead of the disk's ctime.
    pub(crate) ahead: bool,
}

impl Node {
    /// What is shown of it.
    pub(crate) fn attributes(&mut self, id: NodeId, seen: &Seen) -> Attributes {
        self.change = self.change.max(seen.change());
        let mode = match self.mode {
            Some(mode) if mode.disk == seen.permissions() => mode.told,
            _ => seen.permissions(),
        };
        Attributes {
            id,
            kind: self.kind,
            mode,
            links: seen.links.saturating_sub(u32::from(self.unlinked)),
            size: seen.size,
            used: seen.used,
            change: self.change,
            accessed: seen.accessed,
            modified: seen.modified,
            changed: seen.changed,
            created: seen.created,
        }
    }
}

/// What a new node is noted with.
#[derive(Debug, Default)]
pub(crate) struct Note {
    pub(crate) mode: Option<Mode>,
    pub(crate) verifier: Option<[u8; 8]>,
}
