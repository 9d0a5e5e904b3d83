//! create.
#![allow(missing_docs, reason = "the name of a case says it")]

use super::session::{named, new_file, refused};
use super::{Backend, Session};
use crate::error::Error;
use crate::node::{Kind, NodeId, SetAttributes, SetTime};
use crate::vfs::{Create, New, Vfs};
use bytes::Bytes;
use rustix::io::Errno;
use std::collections::HashSet;
use std::time::{Duration, UNIX_EPOCH};

fn of_size(mode: Create, size: u64) -> New {
    New::File { mode, set: SetAttributes { size: Some(size), mode: Some(0o600), ..SetAttributes::default() } }
}

pub async fn the_first_attributes_are_kept<B: Backend>() {
    let session = Session::<B>::fresh();
    let time = UNIX_EPOCH + Duration::new(1_500_000_000, 5);
    let set = SetAttributes {
        mode: Some(0o4751),
        size: Some(100),
        accessed: Some(SetTime::Now),
        modified: Some(SetTime::To(time)),
    };
    for (name, mode) in [("a", Create::Unchecked), ("b", Create::Guarded), ("c", Create::Exclusive([1; 8]))] {
        let made = session.create(session.root(), name, &New::File { mode, set: set.clone() }).await.unwrap();
        assert!(made.new);
        let is = made.attributes;
        assert_eq!((is.kind, is.mode, is.size, is.modified, is.links), (Kind::File, 0o751, 100, time, 1));
        assert_eq!(session.lookup(session.root(), name).await.unwrap(), is);
    }
    let folder = New::Folder { set: SetAttributes { mode: Some(0o2700), ..SetAttributes::default() } };
    let made = session.create(session.root(), "d", &folder).await.unwrap();
    assert_eq!((made.attributes.kind, made.attributes.mode), (Kind::Folder, 0o700));
    let sized = New::Folder { set: SetAttributes { size: Some(1), ..SetAttributes::default() } };
    assert_eq!(session.create(session.root(), "e", &sized).await, refused(Errno::ISDIR));
    assert_eq!(session.lookup(session.root(), "e").await, refused(Errno::NOENT));
}

pub async fn unchecked_takes_what_is_there<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let file = session.file_of(root, "file", b"abc").await;
    session.folder(root, "folder").await;
    session.symlink(root, "symlink", "file").await;
    let before = session.change(root).await;
    let found = session.create(root, "file", &new_file(Create::Unchecked)).await.unwrap();
    assert_eq!((found.new, found.attributes.id, found.attributes.size), (false, file, 3));
    assert_eq!((found.folder.before, found.folder.after), (before, before));
    let cut = session.create(root, "file", &of_size(Create::Unchecked, 0)).await.unwrap();
    assert_eq!((cut.new, cut.attributes.id, cut.attributes.size, cut.attributes.mode), (false, file, 0, 0o644));
    assert_eq!(session.create(root, "folder", &new_file(Create::Unchecked)).await, refused(Errno::ISDIR));
    assert_eq!(session.create(root, "symlink", &new_file(Create::Unchecked)).await, refused(Errno::LOOP));
    assert_eq!(session.change(root).await, before);
}

pub async fn guarded_refuses_what_is_there<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    session.file_of(root, "file", b"abc").await;
    session.folder(root, "folder").await;
    session.symlink(root, "symlink", "nowhere").await;
    for name in ["file", "folder", "symlink"] {
        assert_eq!(session.create(root, name, &of_size(Create::Guarded, 0)).await, refused(Errno::EXIST));
    }
    assert_eq!(session.lookup(root, "file").await.unwrap().size, 3);
}

async fn repeat<B: Backend>(session: &Session<B>, file: NodeId) {
    let root = session.root();
    let again = session.create(root, "file", &new_file(Create::Exclusive([7; 8]))).await.unwrap();
    assert_eq!((again.new, again.attributes.id), (false, file));
    for other in [Create::Exclusive([8; 8]), Create::Guarded] {
        assert_eq!(session.create(root, "file", &new_file(other)).await, refused(Errno::EXIST));
    }
}

pub async fn exclusive_may_be_repeated<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    session.file(root, "guarded").await;
    session.folder(root, "folder").await;
    let made = session.create(root, "file", &new_file(Create::Exclusive([7; 8]))).await.unwrap();
    assert!(made.new);
    repeat(&session, made.attributes.id).await;
    for (name, verifier) in [("guarded", [0; 8]), ("guarded", [7; 8]), ("folder", [0; 8])] {
        assert_eq!(session.create(root, name, &new_file(Create::Exclusive(verifier))).await, refused(Errno::EXIST));
    }
}

pub async fn exclusive_may_be_repeated_after_a_restart<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let made = session.create(session.root(), "file", &new_file(Create::Exclusive([7; 8]))).await.unwrap();
    session.restart();
    repeat(&session, made.attributes.id).await;
}

pub async fn folders_and_symlinks_refuse_what_is_there<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    session.file(root, "file").await;
    session.folder(root, "folder").await;
    session.symlink(root, "symlink", "folder").await;
    for name in ["file", "folder", "symlink"] {
        let folder = New::Folder { set: SetAttributes::default() };
        assert_eq!(session.create(root, name, &folder).await, refused(Errno::EXIST));
        let symlink = New::Symlink { target: Bytes::from_static(b"x") };
        assert_eq!(session.create(root, name, &symlink).await, refused(Errno::EXIST));
    }
}

pub async fn a_symlink_keeps_its_target<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let root = session.root();
    let make = async |session: &Session<B>, name: &str, target: &[u8]| {
        session.create(root, name, &New::Symlink { target: Bytes::copy_from_slice(target) }).await
    };
    let targets: [&[u8]; 5] = [b"/etc/passwd", b"../..", b"\xff\xfe/x", b".", &[b'x'; 4095]];
    let mut made = vec![];
    for (at, target) in targets.iter().enumerate() {
        let is = make(&session, &at.to_string(), target).await.unwrap().attributes;
        assert_eq!((is.kind, is.size, is.mode), (Kind::Symlink, target.len() as u64, 0o777));
        made.push(is.id);
    }
    assert_eq!(make(&session, "none", b"").await, refused(Errno::NOENT));
    assert_eq!(make(&session, "nul", b"a\0b").await, refused(Errno::INVAL));
    assert_eq!(make(&session, "long", &[b'x'; 4096]).await, refused(Errno::NAMETOOLONG));
    let file = session.file(root, "file").await;
    session.restart();
    for (node, target) in made.iter().zip(targets) {
        assert_eq!(session.vfs().readlink(&session.cx(), *node).await.unwrap(), target);
    }
    assert_eq!(session.vfs().readlink(&session.cx(), file).await, refused(Errno::INVAL));
    assert_eq!(session.vfs().readlink(&session.cx(), root).await, refused(Errno::INVAL));
}

pub async fn only_folders_have_entries<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let file = session.file(root, "file").await;
    let symlink = session.symlink(root, "symlink", ".").await;
    for node in [file, symlink] {
        assert_eq!(session.create(node, "x", &new_file(Create::Unchecked)).await, refused(Errno::NOTDIR));
        assert_eq!(session.remove(node, "x").await, refused(Errno::NOTDIR));
        assert_eq!(session.link(file, node, "x").await, refused(Errno::NOTDIR));
        assert_eq!(session.rename((node, "x"), (root, "x")).await, refused(Errno::NOTDIR));
        assert_eq!(session.rename((root, "file"), (node, "x")).await, refused(Errno::NOTDIR));
    }
    assert_eq!(session.lookup(file, "x").await, refused(Errno::NOTDIR));
    assert_eq!(session.lookup(symlink, "x").await, refused(Errno::LOOP));
    let gone = session.folder(root, "gone").await;
    session.remove(root, "gone").await.unwrap();
    assert_eq!(session.create(gone, "x", &new_file(Create::Unchecked)).await, Err(Error::Stale));
    assert_eq!(session.getattr(gone).await, Err(Error::Stale));
}

pub async fn numbers_are_never_given_again<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let root = session.root();
    let mut seen = HashSet::from([root]);
    for round in 0..40 {
        let made = if round % 2 == 0 { session.file(root, "x").await } else { session.folder(root, "x").await };
        assert!(seen.insert(made), "{made:?} was another's");
        session.remove(root, "x").await.unwrap();
        assert_eq!(session.getattr(made).await, Err(Error::Stale));
        if round % 8 == 7 {
            session.restart();
        }
    }
    for node in seen.into_iter().filter(|node| *node != root) {
        assert_eq!(session.getattr(node).await, Err(Error::Stale));
    }
    assert_eq!(session.vfs().walk(&session.cx(), root, &[named("x")]).await.stopped, Some(Errno::NOENT.into()));
}
