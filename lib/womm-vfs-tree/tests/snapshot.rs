//! A snapshot below, and what is written over it.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use womm_vfs::context::OperationId;
use womm_vfs::vfs::{Create, ListingBound, New, SetXattr, Stable, Vfs};
use womm_vfs::{Attributes, Context, Error, Kind, Name, NodeId, Result, SetAttributes};
use womm_vfs_tree::TreeVfs;
use womm_vfs_tree::changes::What;

struct Tree {
    vfs: Arc<TreeVfs>,
    lower: TempDir,
    upper: TempDir,
}

fn cx() -> Context {
    Context::new(OperationId { client: 1, number: 1 }, Duration::from_secs(60))
}

fn named(name: &str) -> Name {
    Name::new(name.as_bytes().to_vec()).unwrap()
}

fn new_file() -> New {
    New::File { mode: Create::Guarded, set: SetAttributes::default() }
}

/// Everything below a folder: kind, mode, mtime and content by path.
fn fingerprint(folder: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is = fs::symlink_metadata(&path).unwrap();
        let content = if is.is_file() { fs::read(&path).unwrap() } else { vec![] };
        found.insert(path.clone(), (is.mode(), is.mtime(), is.mtime_nsec(), content));
        if is.is_dir() {
            found.extend(fingerprint(&path));
        }
    }
    found
}

impl Tree {
    /// Over a snapshot that this makes.
    fn over(make: impl FnOnce(&Path)) -> Self {
        let (lower, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(lower.path());
        let vfs = Arc::new(TreeVfs::open(lower.path(), upper.path()).unwrap());
        Self { vfs, lower, upper }
    }

    fn restart(self) -> Self {
        let Self { vfs, lower, upper } = self;
        drop(Arc::into_inner(vfs).expect("nobody uses it"));
        let vfs = Arc::new(TreeVfs::open(lower.path(), upper.path()).unwrap());
        Self { vfs, lower, upper }
    }

    async fn walk(&self, path: &str) -> Result<Attributes> {
        let names: Vec<_> = path.split('/').filter(|part| !part.is_empty()).map(named).collect();
        let mut walk = self.vfs.walk(&cx(), self.vfs.root(), &names).await;
        match walk.stopped {
            Some(error) => Err(error),
            None => Ok(walk.found.pop().unwrap()),
        }
    }

    /// The folder of a path, and its last name.
    async fn place(&self, path: &str) -> (NodeId, Name) {
        match path.rsplit_once('/') {
            Some((folder, name)) => (self.walk(folder).await.unwrap().id, named(name)),
            None => (self.vfs.root(), named(path)),
        }
    }

    async fn make(&self, path: &str, new: &New) -> NodeId {
        let (folder, name) = self.place(path).await;
        self.vfs.create(&cx(), folder, &name, new).await.unwrap().attributes.id
    }

    async fn remove(&self, path: &str) -> Result<()> {
        let (folder, name) = self.place(path).await;
        self.vfs.remove(&cx(), folder, &name).await.map(drop)
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.place(from).await, self.place(to).await);
        self.vfs.rename(&cx(), (from.0, &from.1), (to.0, &to.1)).await.map(drop)
    }

    async fn write(&self, path: &str, offset: u64, data: &'static [u8]) {
        let node = self.walk(path).await.unwrap().id;
        self.vfs.write(&cx(), node, offset, Bytes::from_static(data), Stable::Unstable).await.unwrap();
    }

    async fn set(&self, path: &str, set: SetAttributes) -> Attributes {
        let node = self.walk(path).await.unwrap().id;
        self.vfs.setattr(&cx(), node, &set).await.unwrap()
    }

    async fn content(&self, path: &str) -> Bytes {
        let node = self.walk(path).await.unwrap().id;
        self.vfs.read(&cx(), node, 0, 1 << 20).await.unwrap().data
    }

    async fn names(&self, path: &str) -> Vec<String> {
        let folder = if path.is_empty() { self.vfs.root() } else { self.walk(path).await.unwrap().id };
        let most = ListingBound { entries: usize::MAX, name_bytes: usize::MAX };
        let listing = self.vfs.readdir(&cx(), folder, 0, most).await.unwrap();
        let names = listing.entries.iter().map(|entry| String::from_utf8_lossy(entry.name.as_bytes()).into_owned());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    async fn changes(&self) -> Vec<(String, What)> {
        let changes = self.vfs.changes().await.unwrap().into_iter();
        let path = |names: &[Name]| {
            let names: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name.as_bytes())).collect();
            names.join("/")
        };
        changes.map(|change| (path(&change.path), change.what)).collect()
    }
}

fn sources(folder: &Path) {
    fs::create_dir_all(folder.join("src/deep")).unwrap();
    fs::write(folder.join("src/main.rs"), "fn main() {}").unwrap();
    fs::write(folder.join("src/deep/file"), "deep").unwrap();
    fs::write(folder.join("run.sh"), "#!/bin/sh").unwrap();
    fs::set_permissions(folder.join("run.sh"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("src/main.rs", folder.join("link")).unwrap();
    fs::write(folder.join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
}

#[tokio::test]
async fn the_snapshot_is_shown_as_it_is_and_never_written() {
    let tree = Tree::over(sources);
    let before = fingerprint(tree.lower.path());
    assert_eq!(tree.names("").await, ["link", "run.sh", "src", "\u{fffd}"]);
    for path in ["src", "src/main.rs", "src/deep/file"] {
        let (shown, is) = (tree.walk(path).await.unwrap(), fs::symlink_metadata(tree.lower.path().join(path)).unwrap());
        assert_eq!((shown.mode, shown.modified), (is.mode() & 0o1777, is.modified().unwrap()), "{path}");
        assert!(shown.kind == Kind::Folder || shown.size == is.len());
    }
    assert_eq!(tree.walk("run.sh").await.unwrap().mode, 0o755);
    assert_eq!(tree.content("src/main.rs").await, "fn main() {}");
    let link = tree.walk("link").await.unwrap().id;
    assert_eq!(tree.vfs.readlink(&cx(), link).await.unwrap(), "src/main.rs");
    assert_eq!(tree.changes().await, []);
    tree.write("src/main.rs", 3, b"MAIN").await;
    tree.set("run.sh", SetAttributes { mode: Some(0o600), ..SetAttributes::default() }).await;
    tree.remove("src/deep/file").await.unwrap();
    tree.rename("src/deep", "elsewhere").await.unwrap();
    tree.make("src/new", &new_file()).await;
    assert_eq!(tree.content("src/main.rs").await, "fn MAIN() {}");
    assert_eq!(fingerprint(tree.lower.path()), before);
}

#[tokio::test]
async fn nodes_keep_their_numbers_when_their_content_is_copied_up() {
    let mut tree = Tree::over(sources);
    let file = tree.walk("src/main.rs").await.unwrap();
    tree.write("src/main.rs", 12, b"\n").await;
    let after = tree.walk("src/main.rs").await.unwrap();
    assert_eq!((after.id, after.size, after.mode), (file.id, 13, file.mode));
    assert!(after.change > file.change && after.modified > file.modified);
    tree = tree.restart();
    assert_eq!(tree.walk("src/main.rs").await.unwrap().id, file.id);
    assert_eq!(tree.content("src/main.rs").await, "fn main() {}\n");
}

#[tokio::test]
async fn a_file_of_the_snapshot_is_cut_off_and_grows() {
    let tree = Tree::over(sources);
    let size = |size| SetAttributes { size: Some(size), ..SetAttributes::default() };
    assert_eq!(tree.set("src/main.rs", size(2)).await.size, 2);
    assert_eq!(tree.content("src/main.rs").await, "fn");
    assert_eq!(tree.set("src/deep/file", size(6)).await.size, 6);
    assert_eq!(tree.content("src/deep/file").await, &b"deep\0\0"[..]);
    let unchecked = New::File { mode: Create::Unchecked, set: size(0) };
    let (folder, name) = tree.place("run.sh").await;
    let made = tree.vfs.create(&cx(), folder, &name, &unchecked).await.unwrap();
    assert_eq!((made.new, made.attributes.size, made.attributes.mode), (false, 0, 0o755));
    assert_eq!(tree.content("run.sh").await, "");
}

#[tokio::test]
async fn a_time_that_is_set_needs_no_copy_and_a_copy_keeps_it() {
    let tree = Tree::over(sources);
    let time = std::time::UNIX_EPOCH + Duration::new(1_000_000_000, 7);
    let set = SetAttributes { modified: Some(womm_vfs::node::SetTime::To(time)), ..SetAttributes::default() };
    assert_eq!(tree.set("src/main.rs", set).await.modified, time);
    assert_eq!(tree.changes().await, [("src/main.rs".to_owned(), What::Attributes)]);
    assert!(!tree.upper.path().join("content").read_dir().unwrap().any(|_| true));
    let node = tree.walk("src/main.rs").await.unwrap().id;
    tree.vfs.allocate(&cx(), node, 0, 1).await.unwrap();
    assert_eq!(tree.content("src/main.rs").await, "fn main() {}");
}

#[tokio::test]
async fn folders_of_the_snapshot_are_full_until_they_are_emptied() {
    let mut tree = Tree::over(sources);
    assert_eq!(tree.remove("src").await, Err(Error::Errno(Errno::NOTEMPTY)));
    tree.make("empty", &New::Folder { set: SetAttributes::default() }).await;
    assert_eq!(tree.rename("empty", "src").await, Err(Error::Errno(Errno::NOTEMPTY)));
    for path in ["src/deep/file", "src/deep", "src/main.rs", "src"] {
        tree.remove(path).await.unwrap();
    }
    tree = tree.restart();
    assert_eq!(tree.names("").await, ["empty", "link", "run.sh", "\u{fffd}"]);
    tree.make("src", &New::Folder { set: SetAttributes::default() }).await;
    assert_eq!(tree.names("src").await, [""; 0], "what was there does not show through");
}

#[tokio::test]
async fn a_folder_of_the_snapshot_moves_with_what_nobody_has_looked_at() {
    let mut tree = Tree::over(sources);
    tree.rename("src", "moved").await.unwrap();
    tree = tree.restart();
    assert_eq!(tree.content("moved/deep/file").await, "deep");
    assert_eq!(tree.walk("src").await, Err(Error::Errno(Errno::NOENT)));
}

#[tokio::test]
async fn hard_links_of_the_snapshot_are_one_file() {
    let tree = Tree::over(|folder| {
        fs::create_dir(folder.join("a")).unwrap();
        fs::write(folder.join("a/file"), "one").unwrap();
        fs::hard_link(folder.join("a/file"), folder.join("second")).unwrap();
        fs::write(folder.join("unrelated"), "").unwrap();
    });
    let first = tree.walk("a/file").await.unwrap().id;
    let second = tree.walk("second").await.unwrap();
    assert_eq!((second.id, second.links), (first, 2));
    assert_eq!(tree.changes().await, []);
    tree.write("second", 0, b"ONE").await;
    assert_eq!(tree.content("a/file").await, "ONE");
    assert_eq!(tree.changes().await, [("a/file".into(), What::Content), ("second".into(), What::Content)]);
    tree.remove("a/file").await.unwrap();
    assert_eq!(tree.content("second").await, "ONE");
    assert_eq!(tree.changes().await, [("a/file".into(), What::Deleted(Kind::File)), ("second".into(), What::Content)]);
}

#[tokio::test]
async fn changes_are_told() {
    let tree = Tree::over(|folder| {
        sources(folder);
        fs::create_dir_all(folder.join("old/inner")).unwrap();
        fs::write(folder.join("old/inner/file"), "x").unwrap();
        fs::write(folder.join("gone"), "x").unwrap();
    });
    tree.write("src/main.rs", 0, b"x").await;
    tree.set("run.sh", SetAttributes { mode: Some(0o600), ..SetAttributes::default() }).await;
    tree.remove("gone").await.unwrap();
    tree.rename("old", "new").await.unwrap();
    tree.make("made", &New::Folder { set: SetAttributes::default() }).await;
    tree.make("made/file", &new_file()).await;
    tree.remove("link").await.unwrap();
    tree.make("link", &new_file()).await;
    tree.make("passing", &new_file()).await;
    tree.remove("passing").await.unwrap();
    let mut expected = vec![
        ("gone", What::Deleted(Kind::File)),
        ("link", What::Replaced(Kind::File)),
        ("made", What::Added(Kind::Folder)),
        ("made/file", What::Added(Kind::File)),
        ("new", What::Added(Kind::Folder)),
        ("new/inner", What::Added(Kind::Folder)),
        ("new/inner/file", What::Added(Kind::File)),
        ("old", What::Deleted(Kind::Folder)),
        ("run.sh", What::Attributes),
        ("src/main.rs", What::Content),
    ];
    expected.sort_by_key(|(path, _)| *path);
    let told = tree.changes().await;
    assert_eq!(told.iter().map(|(path, what)| (path.as_str(), *what)).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn attributes_of_the_snapshot_are_brought_in() {
    let tree = Tree::over(|folder| {
        fs::write(folder.join("file"), "").unwrap();
        rustix::fs::setxattr(folder.join("file"), "user.a", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    });
    let file = tree.walk("file").await.unwrap().id;
    assert_eq!(tree.vfs.getxattr(&cx(), file, b"a").await.unwrap(), "1");
    tree.vfs.setxattr(&cx(), file, b"a", Bytes::from_static(b"2"), SetXattr::Replace).await.unwrap();
    assert_eq!(tree.vfs.getxattr(&cx(), file, b"a").await.unwrap(), "2");
}

#[tokio::test]
async fn two_tasks_on_one_snapshot_do_not_see_each_other() {
    let first = Tree::over(sources);
    let upper = tempfile::tempdir().unwrap();
    let vfs = Arc::new(TreeVfs::open(first.lower.path(), upper.path()).unwrap());
    let second = Tree { vfs, lower: tempfile::tempdir().unwrap(), upper };
    first.write("src/main.rs", 0, b"first!").await;
    first.remove("run.sh").await.unwrap();
    assert_eq!(second.content("src/main.rs").await, "fn main() {}");
    assert_eq!(second.content("run.sh").await, "#!/bin/sh");
    assert_ne!(first.vfs.generation(), second.vfs.generation());
}

#[tokio::test]
async fn a_missing_snapshot_is_named() {
    let upper = tempfile::tempdir().unwrap();
    let error = TreeVfs::open(Path::new("/nowhere"), upper.path()).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "can't use snapshot \"/nowhere\": No such file or directory (os error 2)");
}

#[tokio::test]
async fn many_names_are_brought_in_at_once() {
    let tree = Tree::over(|folder| {
        for at in 0..3000 {
            fs::write(folder.join(format!("{at}")), "").unwrap();
        }
    });
    assert_eq!(tree.names("").await.len(), 3000);
}

#[tokio::test]
async fn one_copy_is_made_however_many_write() {
    let tree = Tree::over(|folder| fs::write(folder.join("file"), vec![b'.'; 100_000]).unwrap());
    let node = tree.walk("file").await.unwrap().id;
    let writers = (0..20u64).map(|writer| {
        let vfs = Arc::clone(&tree.vfs);
        tokio::spawn(async move {
            vfs.write(&cx(), node, writer * 5000, Bytes::from_static(b"x"), Stable::Unstable).await.unwrap();
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let content = tree.content("file").await;
    assert_eq!(content.len(), 100_000);
    assert!(content.iter().enumerate().all(|(at, byte)| *byte == if at % 5000 == 0 { b'x' } else { b'.' }));
}
