//! getattr, setattr, statfs, change counters.
#![allow(missing_docs, reason = "the name of a case says it")]

use super::session::{mode, refused, size};
use super::{Backend, Session};
use crate::error::Error;
use crate::node::{Kind, NodeId, SetAttributes, SetTime};
use crate::vfs::{SetXattr, Stable, Vfs};
use bytes::Bytes;
use rustix::io::Errno;
use std::time::{Duration, UNIX_EPOCH};

pub async fn a_mode_is_kept_without_setuid<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let file = session.file(session.root(), "file").await;
    let folder = session.folder(session.root(), "folder").await;
    assert_eq!(session.attributes(file).await.mode, 0o644);
    assert_eq!(session.attributes(folder).await.mode, 0o755);
    for bits in [0o400, 0, 0o777, 0o1755, 0o444] {
        for node in [file, folder] {
            assert_eq!(session.setattr(node, mode(bits)).await.unwrap().mode, bits);
            assert_eq!(session.attributes(node).await.mode, bits);
        }
    }
    assert_eq!(session.setattr(file, mode(0o6750)).await.unwrap().mode, 0o750);
    session.setattr(folder, mode(0)).await.unwrap();
    session.restart();
    assert_eq!(session.attributes(file).await.mode, 0o750);
    assert_eq!(session.attributes(folder).await.mode, 0);
    session.file(folder, "a folder that its owner may not enter is still the server's").await;
    assert_eq!(session.names(folder).await.len(), 1);
}

pub async fn times_are_kept_to_the_nanosecond<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let accessed = UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    let modified = UNIX_EPOCH + Duration::new(2_000_000_000, 987_654_321);
    let file = session.file(session.root(), "file").await;
    let folder = session.folder(session.root(), "folder").await;
    let symlink = session.symlink(session.root(), "symlink", "file").await;
    for node in [file, folder, symlink] {
        let both = SetAttributes {
            accessed: Some(SetTime::To(accessed)),
            modified: Some(SetTime::To(modified)),
            ..SetAttributes::default()
        };
        let answer = session.setattr(node, both).await.unwrap();
        assert_eq!((answer.accessed, answer.modified), (accessed, modified));
        assert_ne!(answer.changed, modified);
    }
    session.restart();
    for node in [file, folder, symlink] {
        let now = session.attributes(node).await;
        assert_eq!((now.accessed, now.modified), (accessed, modified));
        let only = SetAttributes { modified: Some(SetTime::Now), ..SetAttributes::default() };
        let answer = session.setattr(node, only).await.unwrap();
        assert_eq!(answer.accessed, accessed, "what is not set stays");
        assert_ne!(answer.modified, modified);
    }
    session.write(file, 0, b"x").await.unwrap();
    assert_ne!(session.attributes(file).await.modified, modified);
}

pub async fn what_cannot_be_set_is_refused<B: Backend>() {
    let session = Session::<B>::fresh();
    let folder = session.folder(session.root(), "folder").await;
    let symlink = session.symlink(session.root(), "symlink", "file").await;
    assert_eq!(session.setattr(folder, size(0)).await, refused(Errno::ISDIR));
    assert_eq!(session.setattr(symlink, size(0)).await, refused(Errno::INVAL));
    assert_eq!(session.setattr(symlink, mode(0o600)).await, refused(Errno::OPNOTSUPP));
    assert_eq!(session.setattr(NodeId(u64::MAX / 2), mode(0o600)).await, Err(Error::Stale));
    assert_eq!(session.attributes(symlink).await.mode, 0o777);
}

pub async fn every_change_counts<B: Backend>() {
    let session = Session::<B>::fresh();
    let (root, cx) = (session.root(), session.cx());
    let file = session.file(root, "file").await;
    let vfs = session.vfs();
    let mut last = session.change(file).await;
    for step in 0..9 {
        let answered = match step {
            0 => vfs.write(&cx, file, 0, Bytes::from_static(b"x"), Stable::Unstable).await.map(|w| Some(w.change)),
            1 => vfs.write(&cx, file, 0, Bytes::from_static(b"x"), Stable::File).await.map(|w| Some(w.change)),
            2 => session.setattr(file, mode(0o600)).await.map(|now| Some(now.change)),
            3 => session.setattr(file, size(5)).await.map(|now| Some(now.change)),
            4 => session.link(file, root, "second").await.map(|()| None),
            5 => session.remove(root, "second").await.map(|()| None),
            6 => session.rename((root, "file"), (root, "moved")).await.map(|()| None),
            7 => vfs.setxattr(&cx, file, b"x", Bytes::from_static(b"y"), SetXattr::Either).await.map(|c| Some(c.after)),
            _ => vfs.removexattr(&cx, file, b"x").await.map(|c| Some(c.after)),
        };
        let now = session.change(file).await;
        assert!(now > last, "step {step}: {last}, then {now}");
        assert_eq!(answered.unwrap().unwrap_or(now), now, "step {step}");
        last = now;
    }
    let before = session.change(root).await;
    let made = session.create(root, "another", &super::session::new_file(crate::vfs::Create::Guarded)).await.unwrap();
    let after = session.change(root).await;
    assert_eq!((made.folder.before, made.folder.after, made.folder.atomic), (before, after, true));
    assert!(after > before);
}

pub async fn a_change_counter_never_goes_back<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let root = session.root();
    let folder = session.folder(root, "folder").await;
    let file = session.file(folder, "file").await;
    let mut last = (session.change(folder).await, session.change(file).await);
    for round in 0..10 {
        // More changes than a coarse clock has ticks for.
        for step in 0..50 {
            session.write(file, step, b"x").await.unwrap();
            session.file(folder, &format!("{round} {step}")).await;
        }
        session.open(file).await;
        let before = (session.change(folder).await, session.change(file).await);
        assert!(before.0 > last.0 && before.1 > last.1);
        session.restart();
        last = (session.change(folder).await, session.change(file).await);
        assert!(last.0 >= before.0 && last.1 >= before.1, "{before:?}, then {last:?}");
    }
}

pub async fn many_nodes_are_asked_for_at_once<B: Backend>() {
    let session = Session::<B>::fresh();
    let file = session.file_of(session.root(), "file", b"abc").await;
    let asked = [file, NodeId(u64::MAX / 2), session.root(), file];
    let answers = session.vfs().getattr(&session.cx(), &asked).await;
    assert_eq!(answers.len(), 4);
    assert_eq!(answers[0].as_ref().unwrap().size, 3);
    assert_eq!(answers[1], Err(Error::Stale));
    assert_eq!(answers[2].as_ref().unwrap().kind, Kind::Folder);
    assert_eq!(answers[3], answers[0]);
}

pub async fn the_root_answers<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.attributes(session.root()).await;
    assert_eq!((root.id, root.kind), (session.root(), Kind::Folder));
    let cx = session.cx();
    cx.cancelled.cancel();
    assert!(session.vfs().getattr(&cx, &[session.root()]).await[0].is_ok(), "the root waits for nothing");
}

pub async fn there_is_room<B: Backend>() {
    let session = Session::<B>::fresh();
    let room = session.vfs().statfs();
    assert!(room.bytes > 0 && room.bytes_free <= room.bytes && room.bytes_available <= room.bytes_free);
    assert!(room.nodes_free <= room.nodes);
}
