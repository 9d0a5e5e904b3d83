//! What the task changed: the walk of the upper folder that a sync-back is made from.

use crate::nodes::{Nodes, below};
use crate::table::{ROOT, Row};
use std::collections::HashMap;
use womm_vfs::{Kind, Name, NodeId, Result};
use womm_vfs_disk::seen::Seen;

/// One path that is not as in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// From the root.
    pub path: Vec<Name>,
    /// What is there; the snapshot's node has none if it is deleted.
    pub node: Option<NodeId>,
    /// How it differs.
    pub what: What,
}

/// How a path differs from the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Nothing was there. What is in a new folder is new too, and follows it.
    Added(Kind),
    /// Something else was there.
    Replaced(Kind),
    /// A file was written.
    Content,
    /// A mode or mtime was set, nothing was written.
    Attributes,
    /// It is gone, with all that was in it.
    Deleted(Kind),
}

/// All changes; a folder before what is in it, names in order. Folders of the snapshot that nobody looked into cost nothing.
pub(crate) fn of(nodes: &Nodes) -> Result<Vec<Change>> {
    let mut changes = vec![];
    // Not by recursion: folders may be deeper than the stack.
    let mut folders = vec![(ROOT, vec![], vec![])];
    while let Some((folder, names, path)) = folders.pop() {
        let row = nodes.row(folder)?;
        let is_same = row.lower.as_deref() == Some(&path);
        if is_same && !row.is_up {
            continue;
        }
        look(nodes, folder, is_same, &names, &path, &mut changes, &mut folders)?;
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(changes)
}

fn look(
    nodes: &Nodes,
    folder: NodeId,
    is_same: bool,
    names: &[Name],
    path: &[u8],
    changes: &mut Vec<Change>,
    folders: &mut Vec<(NodeId, Vec<Name>, Vec<u8>)>,
) -> Result<()> {
    let before = if is_same { nodes.lower().list(path)? } else { vec![] };
    let mut before: HashMap<Name, _> = before.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
    for (name, node) in nodes.names(folder)? {
        let row = nodes.row(node)?;
        let here = below(path, &name);
        let mut names = names.to_vec();
        names.push(name.clone());
        let was = before.remove(&name);
        let what = match &was {
            None => Some(What::Added(row.kind)),
            Some(was) if row.lower.as_ref() == Some(&here) || (row.inode.is_some() && row.inode == was.inode()) => {
                differs(&row, &was.seen)
            }
            Some(_) => Some(What::Replaced(row.kind)),
        };
        if let Some(what) = what {
            changes.push(Change { path: names.clone(), node: Some(node), what });
        }
        if row.kind == Kind::Folder {
            folders.push((node, names, here));
        }
    }
    for (name, was) in before {
        let mut path = names.to_vec();
        path.push(name);
        changes.push(Change { path, node: None, what: What::Deleted(was.kind) });
    }
    Ok(())
}

fn differs(row: &Row, was: &Seen) -> Option<What> {
    let is_written = row.kind == Kind::File && row.is_up;
    // A folder's mtime changes with its names, which are told one by one.
    let is_set = row.mode != was.permissions() || (row.kind != Kind::Folder && row.modified != was.modified);
    match (is_written, is_set) {
        (true, _) => Some(What::Content),
        (false, true) => Some(What::Attributes),
        (false, false) => None,
    }
}
