//! What is exported, and the pseudo file system that leads there (RFC 8881, 7.3). Its folders look empty: their paths are
//! found only by those who know them.

use crate::handle::HandleKey;
use crate::verifier::Verifiers;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::SystemTime;
use womm_vfs::{Attributes, Kind, NodeId, Vfs};

/// The number of the pseudo file system among exports.
pub const PSEUDO: u64 = 0;

/// Who owns all that is in an export: the same for all who ask, since Linux keeps a file's attributes once for all users of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// uid.
    pub user: u32,
    /// gid.
    pub group: u32,
}

/// How a file system is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// Whether all that changes it is refused.
    pub read_only: bool,
    /// Who owns it.
    pub owner: Owner,
}

/// A file system under a path.
#[derive(Debug)]
pub struct Export<V> {
    /// In handles and in fsid: made of the path, so it outlives restarts.
    pub number: u64,
    /// The names of its path, from the root.
    pub path: Vec<Bytes>,
    /// What is there.
    pub vfs: V,
    /// How it is exported.
    pub terms: Terms,
    /// When clients must write again.
    pub verifiers: Verifiers,
    drained: RwLock<Option<SystemTime>>,
}

impl<V> Export<V> {
    /// Whether its task is over ([`Exports::drain`]).
    pub fn is_drained(&self) -> bool {
        self.drained.read().is_ok_and(|drained| drained.is_some())
    }
}

impl<V: Vfs> Export<V> {
    /// A file's write verifier.
    pub fn write_verifier(&self, node: NodeId) -> [u8; 8] {
        self.verifiers.of(self.vfs.write_verifier(), node)
    }
}

/// An export's path is no good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It does not begin with a slash, has no name, or one that is `.`, `..` or too long.
    #[error("\"{0}\" is no absolute path of names")]
    Form(String),
    /// It is that of another, or above or below it.
    #[error("\"{0}\" is in or around another export")]
    Taken(String),
}

/// A folder of the pseudo file system.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Its number in handles.
    pub node: NodeId,
    parent: Option<NodeId>,
    children: HashMap<Bytes, NodeId>,
    exports: HashMap<Bytes, u64>,
}

/// What a name in the pseudo file system leads to.
#[derive(Debug)]
pub enum Found<V> {
    /// A folder of it.
    Folder(NodeId),
    /// The root of an export.
    Export(Arc<Export<V>>),
}

/// All exports at one moment.
#[derive(Debug)]
pub struct Tree<V> {
    exports: HashMap<u64, Arc<Export<V>>>,
    folders: HashMap<NodeId, Folder>,
    root: NodeId,
}

/// All exports.
#[derive(Debug)]
pub struct Exports<V> {
    key: HandleKey,
    tree: RwLock<Arc<Tree<V>>>,
    began: SystemTime,
}

impl<V: Vfs> Exports<V> {
    /// None yet.
    pub fn new(key: HandleKey, began: SystemTime) -> Self {
        let tree = Tree::build(&key, HashMap::new());
        Self { key, tree: RwLock::new(Arc::new(tree)), began }
    }

    /// Exports a file system under a path such as `/export` or `/shares/3f6a…`.
    ///
    /// # Errors
    /// The path is no good.
    pub fn add(&self, path: &str, vfs: V, terms: Terms) -> Result<u64, BadPath> {
        let names = names(path).ok_or_else(|| BadPath::Form(path.into()))?;
        let number = self.key.number(path.trim_matches('/').as_bytes()).max(PSEUDO + 1);
        let mut tree = self.tree.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if tree.exports.contains_key(&number) || tree.exports.values().any(|other| overlap(&names, &other.path)) {
            return Err(BadPath::Taken(path.into()));
        }
        let mut exports = tree.exports.clone();
        let export =
            Export { number, path: names, vfs, terms, verifiers: Verifiers::default(), drained: RwLock::new(None) };
        exports.insert(number, Arc::new(export));
        *tree = Arc::new(Tree::build(&self.key, exports));
        Ok(number)
    }

    /// The export's task is over: WRITE, COMMIT and OPEN answer STALE, CLOSE succeeds, so that clients let go of it.
    pub fn drain(&self, number: u64, now: SystemTime) {
        if let Some(export) = self.now().export(number)
            && let Ok(mut drained) = export.drained.write()
        {
            drained.get_or_insert(now);
        }
    }

    /// Takes away those that were drained before this.
    pub fn remove_drained(&self, before: SystemTime) {
        let mut tree = self.tree.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let gone = |export: &Export<V>| export.drained.read().is_ok_and(|since| since.is_some_and(|at| at < before));
        if !tree.exports.values().any(|export| gone(export)) {
            return;
        }
        let mut exports = tree.exports.clone();
        exports.retain(|_, export| !gone(export));
        *tree = Arc::new(Tree::build(&self.key, exports));
    }

    /// As they are now.
    pub fn now(&self) -> Arc<Tree<V>> {
        self.tree.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Attributes of a folder of the pseudo file system.
    pub fn folder_attributes(&self, node: NodeId) -> Attributes {
        Attributes {
            id: node,
            kind: Kind::Folder,
            mode: 0o555,
            links: 2,
            size: 0,
            used: 0,
            change: 1,
            accessed: self.began,
            modified: self.began,
            changed: self.began,
            created: None,
        }
    }
}

/// Looks at paths that are to be exported together, before anything is opened for them.
///
/// # Errors
/// One of them is no good.
pub fn check_paths<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<(), BadPath> {
    let mut seen: Vec<Vec<Bytes>> = Vec::new();
    for path in paths {
        let names = names(path).ok_or_else(|| BadPath::Form(path.into()))?;
        if seen.iter().any(|other| overlap(&names, other)) {
            return Err(BadPath::Taken(path.into()));
        }
        seen.push(names);
    }
    Ok(())
}

/// Whether one is the other, or above it.
fn overlap(one: &[Bytes], other: &[Bytes]) -> bool {
    let shorter = one.len().min(other.len());
    one[..shorter] == other[..shorter]
}

fn names(path: &str) -> Option<Vec<Bytes>> {
    let rest = path.strip_prefix('/')?;
    let names: Option<Vec<_>> = rest.trim_end_matches('/').split('/').map(name).collect();
    names.filter(|names| !names.is_empty())
}

fn name(text: &str) -> Option<Bytes> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    womm_vfs::Name::new(bytes.clone()).ok().map(|_| bytes)
}

impl<V> Tree<V> {
    fn build(key: &HandleKey, exports: HashMap<u64, Arc<Export<V>>>) -> Self {
        // A folder's number is of its path: that of the root is of none.
        let number = |path: &[Bytes]| NodeId(key.number(&[b"folder ", &path.join(&b'/')[..]].concat()));
        let root = number(&[]);
        let folder = |path: &[Bytes], parent| Folder {
            node: number(path),
            parent,
            children: HashMap::new(),
            exports: HashMap::new(),
        };
        let mut folders = HashMap::from([(root, folder(&[], None))]);
        for export in exports.values() {
            let mut at = root;
            let above = export.path.len() - 1;
            for (depth, name) in export.path[..above].iter().enumerate() {
                let path = &export.path[..=depth];
                let child = number(path);
                if let Some(parent) = folders.get_mut(&at) {
                    parent.children.insert(name.clone(), child);
                }
                folders.entry(child).or_insert_with(|| folder(path, Some(at)));
                at = child;
            }
            if let Some(parent) = folders.get_mut(&at) {
                parent.exports.insert(export.path[above].clone(), export.number);
            }
        }
        Self { exports, folders, root }
    }

    /// The root of the pseudo file system.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// All of them.
    pub fn exports(&self) -> impl Iterator<Item = &Arc<Export<V>>> {
        self.exports.values()
    }

    /// One of them.
    pub fn export(&self, number: u64) -> Option<Arc<Export<V>>> {
        self.exports.get(&number).cloned()
    }

    /// Whether there is such a folder.
    pub fn has_folder(&self, node: NodeId) -> bool {
        self.folders.contains_key(&node)
    }

    /// What a name leads to.
    pub fn lookup(&self, folder: NodeId, name: &[u8]) -> Option<Found<V>> {
        let folder = self.folders.get(&folder)?;
        match folder.exports.get(name) {
            Some(number) => self.export(*number).map(Found::Export),
            None => folder.children.get(name).copied().map(Found::Folder),
        }
    }

    /// The folder that a folder is in; none for the root.
    pub fn parent(&self, folder: NodeId) -> Option<NodeId> {
        self.folders.get(&folder)?.parent
    }

    /// The folder that an export is in.
    pub fn above(&self, export: u64) -> Option<NodeId> {
        let is = |folder: &&Folder| folder.exports.values().any(|number| *number == export);
        self.folders.values().find(is).map(|folder| folder.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use womm_vfs::clock::SystemClock;
    use womm_vfs::memory::MemoryVfs;

    fn exports() -> Exports<MemoryVfs> {
        Exports::new(HandleKey::new([1; 16]), SystemTime::now())
    }

    fn memory() -> MemoryVfs {
        MemoryVfs::new(Arc::new(SystemClock))
    }

    #[test]
    fn they_are_found_by_name_and_know_the_way_back() {
        let exports = exports();
        let number = exports.add("/shares/secret/", memory(), Terms::default()).expect("it is good");
        let tree = exports.now();
        let Some(Found::Folder(shares)) = tree.lookup(tree.root(), b"shares") else { panic!("a folder") };
        assert!(matches!(tree.lookup(shares, b"secret"), Some(Found::Export(export)) if export.number == number));
        assert!(tree.lookup(shares, b"other").is_none());
        assert_eq!(tree.above(number), Some(shares));
        assert_eq!((tree.parent(shares), tree.parent(tree.root())), (Some(tree.root()), None));
        let again = self::exports();
        assert_eq!(again.add("/shares/secret", memory(), Terms::default()), Ok(number), "numbers outlive a restart");
    }

    #[test]
    fn bad_paths() {
        let exports = exports();
        for path in ["", "/", "export", "/a//b", "/a/../b", "/."] {
            assert_eq!(exports.add(path, memory(), Terms::default()), Err(BadPath::Form(path.into())));
        }
        exports.add("/a/b", memory(), Terms::default()).expect("it is good");
        for path in ["/a/b", "/a", "/a/b/c"] {
            assert_eq!(exports.add(path, memory(), Terms::default()), Err(BadPath::Taken(path.into())));
        }
        exports.add("/a/c", memory(), Terms::default()).expect("beside it is good");
    }

    #[test]
    fn a_drained_one_stays_for_a_while() {
        let exports = exports();
        let number = exports.add("/a", memory(), Terms::default()).expect("it is good");
        let at = SystemTime::now();
        exports.drain(number, at);
        exports.remove_drained(at);
        assert!(exports.now().export(number).is_some_and(|export| export.is_drained()));
        exports.remove_drained(at + std::time::Duration::from_secs(1));
        assert!(exports.now().export(number).is_none());
    }
}
