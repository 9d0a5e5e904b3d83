//! link.
#![allow(missing_docs, reason = "the name of a case says it")]

use super::session::refused;
use super::{Backend, Session};
use crate::error::Error;
use crate::node::NodeId;
use crate::vfs::Vfs;
use rustix::io::Errno;

pub async fn names_of_one_file_are_alike<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let folder = session.folder(root, "folder").await;
    let file = session.file_of(root, "file", b"one").await;
    session.link(file, folder, "second").await.unwrap();
    session.link(file, root, "third").await.unwrap();
    assert_eq!(session.lookup(folder, "second").await.unwrap().id, file);
    assert_eq!(session.attributes(file).await.links, 3);
    session.remove(root, "file").await.unwrap();
    assert_eq!(session.content(file).await.unwrap(), &b"one"[..]);
    session.write(file, 0, b"two").await.unwrap();
    session.remove(root, "third").await.unwrap();
    let last = session.lookup(folder, "second").await.unwrap();
    assert_eq!((last.id, last.links), (file, 1));
    let symlink = session.symlink(root, "symlink", "file").await;
    session.link(symlink, folder, "symlink").await.unwrap();
    assert_eq!(session.lookup(folder, "symlink").await.unwrap().links, 2);
    session.remove(folder, "second").await.unwrap();
    assert_eq!(session.getattr(file).await, Err(Error::Stale));
}

pub async fn links_are_refused_where_linux_does<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let folder = session.folder(root, "folder").await;
    let file = session.file(root, "file").await;
    assert_eq!(session.link(folder, root, "x").await, refused(Errno::PERM));
    assert_eq!(session.link(file, root, "folder").await, refused(Errno::EXIST));
    assert_eq!(session.link(file, root, "file").await, refused(Errno::EXIST));
    assert_eq!(session.link(NodeId(u64::MAX / 2), root, "x").await, Err(Error::Stale));
    session.open(file).await;
    session.remove(root, "file").await.unwrap();
    assert_eq!(session.link(file, root, "x").await, refused(Errno::NOENT));
    session.vfs().close(file);
    assert_eq!(session.names(root).await, ["folder"]);
}

pub async fn links_outlive_a_restart<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let root = session.root();
    let file = session.file_of(root, "file", b"x").await;
    session.link(file, root, "second").await.unwrap();
    session.remove(root, "file").await.unwrap();
    session.restart();
    assert_eq!(session.content(file).await.unwrap(), &b"x"[..]);
    assert_eq!(session.lookup(root, "second").await.unwrap().id, file);
    assert_eq!(session.attributes(file).await.links, 1);
}
