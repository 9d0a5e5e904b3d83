//! walk, parent, names.
#![allow(missing_docs, reason = "the name of a case says it")]

use super::session::{named, new_file, refused};
use super::{Backend, Session};
use crate::error::Error;
use crate::node::{MOST_NAME, Name, NodeId};
use crate::vfs::{Create, Vfs};
use rustix::io::Errno;

pub async fn any_bytes_make_a_name<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let root = session.root();
    let mut names: Vec<Vec<u8>> =
        (1..=255).filter(|byte| *byte != b'/' && *byte != b'.').map(|byte| vec![byte]).collect();
    names.extend([b"...".to_vec(), b"a\nb".to_vec(), b"\xff\xfe\xfd".to_vec(), "e\u{301}".into(), "\u{e9}".into()]);
    names.extend([b"-rf".to_vec(), b"  ".to_vec(), b"**".to_vec(), b"CON".to_vec(), b"con".to_vec()]);
    let mut made = vec![];
    for name in names {
        let name = Name::new(name).unwrap();
        let node = session.vfs().create(&session.cx(), root, &name, &new_file(Create::Guarded)).await.unwrap();
        made.push((name, node.attributes.id));
    }
    session.restart();
    for (name, node) in &made {
        assert_eq!(session.lookup_name(root, name).await.unwrap().id, *node, "{name:?}");
    }
    let mut listed: Vec<_> =
        session.entries(root, 50).await.into_iter().map(|entry| (entry.name, entry.attributes.id)).collect();
    listed.sort();
    made.sort();
    assert_eq!(listed, made);
}

pub async fn the_longest_name_is_good<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let long = "x".repeat(MOST_NAME);
    let node = session.file(root, &long).await;
    assert_eq!(session.lookup(root, &long).await.unwrap().id, node);
    let folder = session.folder(root, &"y".repeat(MOST_NAME)).await;
    let mut at = folder;
    for _ in 0..20 {
        at = session.folder(at, &long).await; // deeper than PATH_MAX
    }
    let last = session.file_of(at, &long, b"deep").await;
    assert_eq!(session.content(last).await.unwrap(), &b"deep"[..]);
    session.rename((at, &long), (at, "short")).await.unwrap();
    assert_eq!(session.names(at).await, ["short"]);
    assert_eq!(Name::new(vec![b'x'; MOST_NAME + 1]), refused(Errno::NAMETOOLONG));
    for bad in ["", ".", "..", "a/b", "a\0"] {
        assert_eq!(Name::new(bad), refused(Errno::INVAL));
    }
}

pub async fn a_walk_says_how_far_it_came<B: Backend>() {
    let session = Session::<B>::fresh();
    let (vfs, cx, root) = (session.vfs(), session.cx(), session.root());
    let a = session.folder(root, "a").await;
    let b = session.folder(a, "b").await;
    let file = session.file(b, "file").await;
    session.symlink(b, "symlink", "../b").await;
    let walk = async |names: &[&str]| {
        let names: Vec<Name> = names.iter().map(|name| named(name)).collect();
        let walk = vfs.walk(&cx, root, &names).await;
        (walk.found.into_iter().map(|found| found.id).collect::<Vec<_>>(), walk.stopped)
    };
    assert_eq!(walk(&[]).await, (vec![], None));
    assert_eq!(walk(&["a", "b", "file"]).await, (vec![a, b, file], None));
    assert_eq!(walk(&["a", "x", "file"]).await, (vec![a], Some(Errno::NOENT.into())));
    assert_eq!(walk(&["a", "b", "file", "x"]).await, (vec![a, b, file], Some(Errno::NOTDIR.into())));
    let (found, stopped) = walk(&["a", "b", "symlink", "file"]).await;
    assert_eq!((found.len(), stopped), (3, Some(Errno::LOOP.into())));
    let none = vfs.walk(&cx, NodeId(u64::MAX / 2), &[named("a")]).await;
    assert_eq!((none.found, none.stopped), (vec![], Some(Error::Stale)));
    let none = vfs.walk(&cx, NodeId(u64::MAX / 2), &[]).await;
    assert_eq!((none.found, none.stopped), (vec![], Some(Error::Stale)));
}

pub async fn a_folder_knows_its_parent<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let root = session.root();
    let a = session.folder(root, "a").await;
    let b = session.folder(a, "b").await;
    let file = session.file(a, "file").await;
    session.restart();
    let (vfs, cx) = (session.vfs(), session.cx());
    assert_eq!(vfs.parent(&cx, b).await.unwrap().id, a);
    assert_eq!(vfs.parent(&cx, a).await.unwrap().id, root);
    assert_eq!(vfs.parent(&cx, root).await, refused(Errno::NOENT));
    assert_eq!(vfs.parent(&cx, file).await, refused(Errno::NOTDIR));
    session.rename((a, "b"), (root, "c")).await.unwrap();
    assert_eq!(vfs.parent(&cx, b).await.unwrap().id, root);
}

pub async fn nodes_are_the_same_after_a_restart<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let root = session.root();
    let a = session.folder(root, "a").await;
    let file = session.file_of(a, "file", b"x").await;
    let symlink = session.symlink(a, "symlink", "x").await;
    let before = (session.attributes(a).await, session.attributes(file).await, session.attributes(symlink).await);
    session.restart();
    assert_eq!(session.root(), root);
    // By their numbers first, when nothing has been looked up yet.
    assert_eq!(session.content(file).await.unwrap(), &b"x"[..]);
    assert_eq!(session.attributes(symlink).await, before.2);
    let after = (session.attributes(a).await, session.attributes(file).await);
    assert_eq!((after.0.id, after.0.modified), (before.0.id, before.0.modified));
    assert_eq!((after.1.id, after.1.modified, after.1.size), (before.1.id, before.1.modified, before.1.size));
    assert_eq!(session.lookup(root, "a").await.unwrap().id, a);
    assert_eq!(session.lookup(a, "file").await.unwrap().id, file);
}
