//! rename.
#![allow(missing_docs, reason = "the name of a case says it")]

use super::session::{named, refused};
use super::{Backend, Session};
use crate::error::Error;
use crate::vfs::Vfs;
use rustix::io::Errno;

pub async fn a_file_moves<B: Backend>() {
    let session = Session::<B>::fresh();
    let (root, cx) = (session.root(), session.cx());
    let folder = session.folder(root, "folder").await;
    let file = session.file_of(root, "file", b"x").await;
    let before = (session.change(root).await, session.change(folder).await);
    let (old, new) = (named("file"), named("moved"));
    let renamed = session.vfs().rename(&cx, (root, &old), (folder, &new)).await.unwrap();
    let after = (session.change(root).await, session.change(folder).await);
    assert_eq!((renamed.from.before, renamed.to.before), before);
    assert_eq!((renamed.from.after, renamed.to.after), after);
    assert!(after.0 > before.0 && after.1 > before.1);
    assert_eq!(session.names(root).await, ["folder"]);
    assert_eq!(session.lookup(folder, "moved").await.unwrap().id, file);
    assert_eq!(session.content(file).await.unwrap(), &b"x"[..]);
    let renamed = session.vfs().rename(&cx, (folder, &new), (folder, &old)).await.unwrap();
    assert_eq!(renamed.from, renamed.to);
    assert_eq!(session.names(folder).await, ["file"]);
}

pub async fn a_file_takes_the_place_of_another<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let old = session.file_of(root, "old", b"old").await;
    let new = session.file_of(root, "new", b"new").await;
    session.link(old, root, "second").await.unwrap();
    session.rename((root, "new"), (root, "old")).await.unwrap();
    assert_eq!(session.names(root).await, ["old", "second"]);
    assert_eq!(session.lookup(root, "old").await.unwrap().id, new);
    assert_eq!(session.attributes(old).await.links, 1);
    session.rename((root, "old"), (root, "second")).await.unwrap();
    assert_eq!(session.getattr(old).await, Err(Error::Stale));
    let symlink = session.symlink(root, "symlink", "x").await;
    session.rename((root, "symlink"), (root, "second")).await.unwrap();
    assert_eq!(session.getattr(new).await, Err(Error::Stale));
    assert_eq!(session.lookup(root, "second").await.unwrap().id, symlink);
}

pub async fn a_folder_moves_with_all_below<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let a = session.folder(root, "a").await;
    let b = session.folder(a, "b").await;
    let file = session.file_of(b, "file", b"x").await;
    let open = session.file_of(b, "open", b"y").await;
    session.open(open).await;
    let other = session.folder(root, "other").await;
    session.rename((root, "a"), (other, "c")).await.unwrap();
    let walk = session.vfs().walk(&session.cx(), root, &["other", "c", "b", "file"].map(named)).await;
    assert_eq!(walk.found.iter().map(|found| found.id).collect::<Vec<_>>(), [other, a, b, file]);
    assert_eq!(session.content(file).await.unwrap(), &b"x"[..]);
    session.remove(b, "open").await.unwrap();
    session.write(open, 0, b"z").await.unwrap();
    assert_eq!(session.content(open).await.unwrap(), &b"z"[..]);
    session.vfs().close(open);
}

pub async fn a_folder_takes_the_place_of_an_empty_one<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let a = session.folder(root, "a").await;
    session.file(a, "file").await;
    let b = session.folder(root, "b").await;
    session.rename((root, "a"), (root, "b")).await.unwrap();
    assert_eq!(session.getattr(b).await, Err(Error::Stale));
    assert_eq!(session.lookup(root, "b").await.unwrap().id, a);
    assert_eq!(session.names(a).await, ["file"]);
}

pub async fn two_names_of_one_file_both_stay<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let file = session.file(root, "file").await;
    session.link(file, root, "second").await.unwrap();
    let before = session.change(root).await;
    session.rename((root, "file"), (root, "second")).await.unwrap();
    session.rename((root, "file"), (root, "file")).await.unwrap();
    assert_eq!(session.names(root).await, ["file", "second"]);
    assert_eq!(session.change(root).await, before);
}

pub async fn what_linux_refuses_is_refused<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let a = session.folder(root, "a").await;
    let b = session.folder(a, "b").await;
    let c = session.folder(b, "c").await;
    session.file(root, "file").await;
    session.folder(root, "empty").await;
    for (from, to, errno) in [
        ((root, "none"), (root, "x"), Errno::NOENT),
        ((root, "none"), (root, "file"), Errno::NOENT),
        ((root, "a"), (root, "file"), Errno::NOTDIR),
        ((root, "file"), (root, "empty"), Errno::ISDIR),
        ((root, "file"), (root, "a"), Errno::ISDIR),
        ((root, "empty"), (root, "a"), Errno::NOTEMPTY),
        ((root, "a"), (a, "x"), Errno::INVAL),
        ((root, "a"), (c, "x"), Errno::INVAL),
        ((root, "a"), (b, "c"), Errno::INVAL),
        ((b, "c"), (root, "a"), Errno::NOTEMPTY),
        ((a, "b"), (root, "a"), Errno::NOTEMPTY),
    ] {
        assert_eq!(session.rename(from, to).await, refused(errno), "{from:?} to {to:?}");
    }
    assert_eq!(session.names(root).await, ["a", "empty", "file"]);
    assert_eq!(session.names(b).await, ["c"]);
}

/// A backend that looks for a file under its names has not gained one.
pub async fn a_refused_move_is_no_name<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let root = session.root();
    let file = session.file_of(root, "file", b"x").await;
    session.link(file, root, "second").await.unwrap();
    session.folder(root, "taken").await;
    assert_eq!(session.rename((root, "file"), (root, "taken")).await, refused(Errno::ISDIR));
    session.remove(root, "file").await.unwrap();
    session.restart();
    assert_eq!(session.content(file).await.unwrap(), &b"x"[..]);
    session.write(file, 0, b"y").await.unwrap();
    assert_eq!(session.lookup(root, "second").await.unwrap().id, file);
    assert_eq!(session.content(file).await.unwrap(), &b"y"[..]);
}

pub async fn a_refused_move_is_no_name_in_a_folder_that_goes<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let root = session.root();
    let file = session.file_of(root, "file", b"x").await;
    session.link(file, root, "second").await.unwrap();
    let going = session.folder(root, "going").await;
    session.folder(going, "taken").await;
    assert_eq!(session.rename((root, "file"), (going, "taken")).await, refused(Errno::ISDIR));
    session.remove(going, "taken").await.unwrap();
    session.remove(root, "going").await.unwrap();
    session.remove(root, "file").await.unwrap();
    session.restart();
    assert_eq!(session.attributes(file).await.links, 1);
    assert_eq!(session.content(file).await.unwrap(), &b"x"[..]);
}

pub async fn what_is_replaced_while_open_stays<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let root = session.root();
    let old = session.file_of(root, "old", b"old").await;
    session.file_of(root, "new", b"new").await;
    session.open(old).await;
    session.rename((root, "new"), (root, "old")).await.unwrap();
    assert_eq!(session.content(old).await.unwrap(), &b"old"[..]);
    assert_eq!(session.attributes(old).await.links, 0);
    session.restart_with(&[old]);
    assert_eq!(session.content(old).await.unwrap(), &b"old"[..]);
    session.vfs().close(old);
    assert_eq!(session.getattr(old).await, Err(Error::Stale));
}

pub async fn moves_outlive_a_restart<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let root = session.root();
    let a = session.folder(root, "a").await;
    let file = session.file_of(a, "file", b"x").await;
    let replaced = session.file(root, "replaced").await;
    session.rename((root, "a"), (root, "b")).await.unwrap();
    session.rename((a, "file"), (root, "replaced")).await.unwrap();
    session.restart();
    assert_eq!(session.names(root).await, ["b", "replaced"]);
    assert_eq!(session.lookup(root, "b").await.unwrap().id, a);
    assert_eq!(session.content(file).await.unwrap(), &b"x"[..]);
    assert_eq!(session.lookup(root, "replaced").await.unwrap().id, file);
    assert_eq!(session.getattr(replaced).await, Err(Error::Stale));
}
