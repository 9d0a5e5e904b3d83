//! read, write, commit, seek, allocate, deallocate.
#![allow(missing_docs, reason = "the name of a case says it")]

use super::session::{mode, refused, size};
use super::{Backend, Session};
use crate::error::Error;
use crate::node::NodeId;
use crate::vfs::{Seek, Stable, Vfs};
use bytes::Bytes;
use rustix::io::Errno;

/// A hole is made of whole ones.
const BLOCK: u64 = 4096;

pub async fn what_was_written_is_read<B: Backend>() {
    let session = Session::<B>::fresh();
    let (vfs, cx) = (session.vfs(), session.cx());
    let file = session.file(session.root(), "file").await;
    assert_eq!(session.content(file).await.unwrap(), Bytes::new());
    let data: Vec<u8> = (0..1u32 << 20).map(|at| (at % 251) as u8).collect();
    for stable in [Stable::Unstable, Stable::Data, Stable::File] {
        let written = vfs.write(&cx, file, 10, Bytes::from(data.clone()), stable).await.unwrap();
        assert!(written.stable >= stable);
    }
    vfs.commit(&cx, file).await.unwrap();
    let whole = vfs.read(&cx, file, 10, 1 << 20).await.unwrap();
    assert!(whole.end && whole.data == data);
    let part = vfs.read(&cx, file, 11, 5).await.unwrap();
    assert_eq!((&part.data[..], part.end), (&data[1..6], false));
    let before_end = vfs.read(&cx, file, 9 + (1 << 20), 5).await.unwrap();
    assert_eq!((before_end.data.len(), before_end.end), (1, true));
    for offset in [10 + (1 << 20), 1 << 40, u64::MAX] {
        let beyond = vfs.read(&cx, file, offset, 5).await.unwrap();
        assert!(beyond.data.is_empty() && beyond.end);
    }
    let nothing = vfs.read(&cx, file, 0, 0).await.unwrap();
    assert!(nothing.data.is_empty() && !nothing.end);
    let change = session.change(file).await;
    let written = vfs.write(&cx, file, 1 << 30, Bytes::new(), Stable::Unstable).await.unwrap();
    assert_eq!(written.change, change, "nothing written is no change");
    assert_eq!(session.attributes(file).await.size, 10 + (1 << 20));
}

pub async fn a_hole_reads_as_zeros<B: Backend>() {
    let session = Session::<B>::fresh();
    let file = session.file_of(session.root(), "file", b"ab").await;
    session.write(file, 5, b"c").await.unwrap();
    assert_eq!(session.content(file).await.unwrap(), &b"ab\0\0\0c"[..]);
}

pub async fn a_file_without_write_permission_is_written<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let file = session.file(session.root(), "file").await;
    session.setattr(file, mode(0)).await.unwrap();
    session.write(file, 0, b"git does so").await.unwrap();
    session.restart();
    session.open(file).await;
    assert_eq!(session.content(file).await.unwrap(), &b"git does so"[..]);
    session.write(file, 0, b"GIT").await.unwrap();
    assert_eq!(session.attributes(file).await.mode, 0);
    session.vfs().close(file);
}

pub async fn a_size_is_set<B: Backend>() {
    let session = Session::<B>::fresh();
    let file = session.file_of(session.root(), "file", b"abcdef").await;
    let before = session.attributes(file).await;
    let answer = session.setattr(file, size(3)).await.unwrap();
    assert_eq!(answer.size, 3);
    assert!(answer.modified >= before.modified && answer.change > before.change);
    assert_eq!(session.setattr(file, size(5)).await.unwrap().size, 5);
    assert_eq!(session.content(file).await.unwrap(), &b"abc\0\0"[..]);
    let change = session.change(file).await;
    assert!(session.setattr(file, size(5)).await.unwrap().change > change, "truncate(2) to the same size is one");
}

pub async fn holes_and_data_are_found<B: Backend>() {
    let session = Session::<B>::fresh();
    let (vfs, cx) = (session.vfs(), session.cx());
    let file = session.file(session.root(), "file").await;
    session.write(file, 16 * BLOCK, b"x").await.unwrap();
    let end = 16 * BLOCK + 1;
    assert_eq!(vfs.seek(&cx, file, 0, Seek::Data).await, Ok(16 * BLOCK));
    assert_eq!(vfs.seek(&cx, file, 0, Seek::Hole).await, Ok(0));
    assert_eq!(vfs.seek(&cx, file, 16 * BLOCK, Seek::Data).await, Ok(16 * BLOCK));
    assert_eq!(vfs.seek(&cx, file, 16 * BLOCK, Seek::Hole).await, Ok(end));
    for what in [Seek::Data, Seek::Hole] {
        assert_eq!(vfs.seek(&cx, file, end, what).await, refused(Errno::NXIO));
        assert_eq!(vfs.seek(&cx, file, u64::MAX, what).await, refused(Errno::NXIO));
    }
    let empty = session.file(session.root(), "empty").await;
    assert_eq!(vfs.seek(&cx, empty, 0, Seek::Hole).await, refused(Errno::NXIO));
}

pub async fn room_is_allocated_and_given_back<B: Backend>() {
    let session = Session::<B>::fresh();
    let (vfs, cx) = (session.vfs(), session.cx());
    let file = session.file_of(session.root(), "file", &[7; 4 * BLOCK as usize]).await;
    vfs.allocate(&cx, file, 0, BLOCK).await.unwrap();
    assert_eq!(session.attributes(file).await.size, 4 * BLOCK);
    vfs.allocate(&cx, file, BLOCK, 4 * BLOCK).await.unwrap();
    assert_eq!(session.attributes(file).await.size, 5 * BLOCK);
    let change = session.change(file).await;
    vfs.deallocate(&cx, file, BLOCK, 2 * BLOCK).await.unwrap();
    assert!(session.change(file).await > change);
    vfs.deallocate(&cx, file, 3 * BLOCK + 1, 5).await.unwrap();
    vfs.deallocate(&cx, file, 5 * BLOCK - 1, 9 * BLOCK).await.unwrap();
    let content = session.content(file).await.unwrap();
    let mut expected = vec![7; 4 * BLOCK as usize];
    expected.resize(5 * BLOCK as usize, 0);
    expected[BLOCK as usize..3 * BLOCK as usize].fill(0);
    expected[3 * BLOCK as usize + 1..3 * BLOCK as usize + 6].fill(0);
    assert!(content == expected, "content, and a size that stays");
    assert_eq!(vfs.seek(&cx, file, 0, Seek::Hole).await, Ok(BLOCK));
    assert_eq!(vfs.seek(&cx, file, BLOCK, Seek::Data).await, Ok(3 * BLOCK));
    assert_eq!(vfs.allocate(&cx, file, 0, 0).await, refused(Errno::INVAL));
    assert_eq!(vfs.deallocate(&cx, file, 0, 0).await, refused(Errno::INVAL));
}

pub async fn what_is_no_file_has_no_content<B: Backend>() {
    let session = Session::<B>::fresh();
    let (vfs, cx) = (session.vfs(), session.cx());
    let folder = session.folder(session.root(), "folder").await;
    let symlink = session.symlink(session.root(), "symlink", "file").await;
    for (node, errno) in [(folder, Errno::ISDIR), (symlink, Errno::INVAL)] {
        assert_eq!(vfs.read(&cx, node, 0, 1).await, refused(errno));
        assert_eq!(vfs.write(&cx, node, 0, Bytes::from_static(b"x"), Stable::Unstable).await, refused(errno));
        assert_eq!(vfs.commit(&cx, node).await, refused(errno));
        assert_eq!(vfs.seek(&cx, node, 0, Seek::Data).await, refused(errno));
        assert_eq!(vfs.allocate(&cx, node, 0, 1).await, refused(errno));
        assert_eq!(vfs.deallocate(&cx, node, 0, 1).await, refused(errno));
    }
    assert_eq!(vfs.open(&cx, folder).await, refused(Errno::ISDIR));
    assert_eq!(vfs.open(&cx, symlink).await, refused(Errno::LOOP));
    let none = NodeId(u64::MAX / 2);
    assert_eq!(vfs.open(&cx, none).await, Err(Error::Stale));
    assert_eq!(vfs.read(&cx, none, 0, 1).await, Err(Error::Stale));
    assert_eq!(vfs.reopen(none), Err(Error::Stale));
}

pub async fn beyond_what_a_file_holds_is_refused<B: Backend>() {
    let session = Session::<B>::fresh();
    let (vfs, cx) = (session.vfs(), session.cx());
    let file = session.file_of(session.root(), "file", b"x").await;
    for offset in [i64::MAX as u64, u64::MAX - 1] {
        let data = Bytes::from_static(b"abc");
        assert_eq!(vfs.write(&cx, file, offset, data, Stable::Unstable).await, refused(Errno::FBIG));
        assert_eq!(vfs.allocate(&cx, file, offset, 3).await, refused(Errno::FBIG));
        assert_eq!(vfs.deallocate(&cx, file, offset, 3).await, refused(Errno::FBIG));
    }
    assert_eq!(session.setattr(file, size(u64::MAX)).await, refused(Errno::FBIG));
    assert_eq!(session.content(file).await.unwrap(), &b"x"[..]);
}

pub async fn content_outlives_a_restart<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let verifier = session.vfs().write_verifier();
    let generation = session.vfs().generation();
    let file = session.file_of(session.root(), "file", b"kept").await;
    session.vfs().commit(&session.cx(), file).await.unwrap();
    session.restart();
    assert_eq!(session.content(file).await.unwrap(), &b"kept"[..]);
    assert_ne!(session.vfs().write_verifier(), verifier);
    assert_eq!(session.vfs().generation(), generation);
}
