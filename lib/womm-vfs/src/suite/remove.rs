//! remove, open, reopen, close.
#![allow(missing_docs, reason = "the name of a case says it")]

use super::session::refused;
use super::{Backend, Session};
use crate::error::Error;
use crate::vfs::Vfs;
use rustix::io::Errno;

pub async fn a_name_goes<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let file = session.file(root, "file").await;
    let symlink = session.symlink(root, "symlink", "file").await;
    let before = session.change(root).await;
    session.remove(root, "file").await.unwrap();
    session.remove(root, "symlink").await.unwrap();
    assert!(session.change(root).await > before);
    for (node, name) in [(file, "file"), (symlink, "symlink")] {
        assert_eq!(session.getattr(node).await, Err(Error::Stale));
        assert_eq!(session.lookup(root, name).await, refused(Errno::NOENT));
        assert_eq!(session.remove(root, name).await, refused(Errno::NOENT));
    }
    assert_eq!(session.names(root).await, [""; 0]);
}

pub async fn a_folder_goes_only_when_empty<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let folder = session.folder(root, "folder").await;
    session.file(folder, "file").await;
    assert_eq!(session.remove(root, "folder").await, refused(Errno::NOTEMPTY));
    session.remove(folder, "file").await.unwrap();
    session.remove(root, "folder").await.unwrap();
    assert_eq!(session.getattr(folder).await, Err(Error::Stale));
}

pub async fn what_is_open_stays_until_closed<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let file = session.file_of(root, "file", b"kept").await;
    session.open(file).await;
    session.open(file).await;
    session.remove(root, "file").await.unwrap();
    assert_eq!(session.names(root).await, [""; 0]);
    assert_eq!(session.attributes(file).await.links, 0);
    let another = session.file(root, "file").await;
    assert_ne!(another, file);
    session.write(file, 4, b"!").await.unwrap();
    session.vfs().close(file);
    assert_eq!(session.content(file).await.unwrap(), &b"kept!"[..]);
    session.vfs().close(file);
    assert_eq!(session.getattr(file).await, Err(Error::Stale));
    session.vfs().close(file);
    let empty = session.folder(root, "folder").await;
    let inner = session.file(empty, "inner").await;
    session.open(inner).await;
    session.remove(empty, "inner").await.unwrap();
    session.remove(root, "folder").await.unwrap();
    session.write(inner, 0, b"its folder is gone too").await.unwrap();
    session.vfs().close(inner);
}

pub async fn what_was_open_outlives_a_restart<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let root = session.root();
    let gone = session.file_of(root, "gone", b"gone").await;
    let there = session.file_of(root, "there", b"there").await;
    for node in [gone, there] {
        session.open(node).await;
    }
    session.remove(root, "gone").await.unwrap();
    for _ in 0..2 {
        session.restart_with(&[gone, there]);
        assert_eq!(session.content(gone).await.unwrap(), &b"gone"[..]);
        assert_eq!(session.names(root).await, ["there"]);
    }
    session.write(gone, 0, b"GONE").await.unwrap();
    assert_eq!(session.content(gone).await.unwrap(), &b"GONE"[..]);
    session.remove(root, "there").await.unwrap();
    assert_eq!(session.content(there).await.unwrap(), &b"there"[..]);
    for node in [gone, there] {
        session.vfs().close(node);
        assert_eq!(session.getattr(node).await, Err(Error::Stale));
    }
}

pub async fn what_nobody_reopens_goes<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let root = session.root();
    let file = session.file_of(root, "file", b"x").await;
    let there = session.file_of(root, "there", b"x").await;
    session.open(file).await;
    session.open(there).await;
    session.remove(root, "file").await.unwrap();
    session.restart();
    assert_eq!(session.getattr(file).await, Err(Error::Stale));
    assert_eq!(session.vfs().reopen(file), Err(Error::Stale));
    assert_eq!(session.content(there).await.unwrap(), &b"x"[..]);
    session.remove(root, "there").await.unwrap();
    assert_eq!(session.getattr(there).await, Err(Error::Stale));
}
