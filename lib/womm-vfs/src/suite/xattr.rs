//! Extended attributes.
#![allow(missing_docs, reason = "the name of a case says it")]

use super::session::refused;
use super::{Backend, Session};
use crate::rules::{MOST_XATTR_NAME, MOST_XATTR_VALUE};
use crate::vfs::{SetXattr, Vfs};
use bytes::Bytes;
use rustix::io::Errno;

const VALUE: Bytes = Bytes::from_static(b"\0\xff value");

pub async fn attributes_are_set_listed_and_removed<B: Backend>() {
    let session = Session::<B>::fresh();
    let (vfs, cx, root) = (session.vfs(), session.cx(), session.root());
    let file = session.file(root, "file").await;
    let folder = session.folder(root, "folder").await;
    for node in [file, folder] {
        assert_eq!(vfs.listxattr(&cx, node).await.unwrap(), Vec::<Bytes>::new());
        assert_eq!(vfs.getxattr(&cx, node, b"b").await, refused(Errno::NODATA));
        assert_eq!(vfs.removexattr(&cx, node, b"b").await, refused(Errno::NODATA));
        for name in [&b"b"[..], b"a", b"\xff", b"user.x"] {
            let before = session.change(node).await;
            let changed = vfs.setxattr(&cx, node, name, VALUE, SetXattr::Either).await.unwrap();
            assert_eq!((changed.before, changed.after), (before, session.change(node).await));
            assert!(changed.after > before);
        }
        let names = [&b"a"[..], b"b", b"user.x", b"\xff"].map(Bytes::from_static);
        assert_eq!(vfs.listxattr(&cx, node).await.unwrap(), names);
        assert_eq!(vfs.getxattr(&cx, node, b"\xff").await.unwrap(), VALUE);
        vfs.removexattr(&cx, node, b"b").await.unwrap();
        assert_eq!(vfs.getxattr(&cx, node, b"b").await, refused(Errno::NODATA));
        vfs.setxattr(&cx, node, b"a", Bytes::new(), SetXattr::Either).await.unwrap();
        assert_eq!(vfs.getxattr(&cx, node, b"a").await.unwrap(), Bytes::new());
    }
    let symlink = session.symlink(root, "symlink", "file").await;
    assert_eq!(vfs.setxattr(&cx, symlink, b"a", VALUE, SetXattr::Either).await, refused(Errno::PERM));
    assert_eq!(vfs.removexattr(&cx, symlink, b"a").await, refused(Errno::PERM));
    assert_eq!(vfs.listxattr(&cx, symlink).await.unwrap(), Vec::<Bytes>::new());
    assert_eq!(vfs.getxattr(&cx, symlink, b"a").await, refused(Errno::NODATA));
}

pub async fn how_decides<B: Backend>() {
    let session = Session::<B>::fresh();
    let (vfs, cx) = (session.vfs(), session.cx());
    let file = session.file(session.root(), "file").await;
    assert_eq!(vfs.setxattr(&cx, file, b"x", VALUE, SetXattr::Replace).await, refused(Errno::NODATA));
    vfs.setxattr(&cx, file, b"x", VALUE, SetXattr::Create).await.unwrap();
    assert_eq!(vfs.setxattr(&cx, file, b"x", VALUE, SetXattr::Create).await, refused(Errno::EXIST));
    vfs.setxattr(&cx, file, b"x", Bytes::from_static(b"new"), SetXattr::Replace).await.unwrap();
    assert_eq!(vfs.getxattr(&cx, file, b"x").await.unwrap(), &b"new"[..]);
}

pub async fn limits_are_linuxs<B: Backend>() {
    let session = Session::<B>::fresh();
    let (vfs, cx) = (session.vfs(), session.cx());
    let file = session.file(session.root(), "file").await;
    let set = async |name: &[u8], value: Bytes| vfs.setxattr(&cx, file, name, value, SetXattr::Either).await.map(drop);
    assert_eq!(set(&[b'x'; MOST_XATTR_NAME], VALUE).await, Ok(()));
    assert_eq!(set(&[b'x'; MOST_XATTR_NAME + 1], VALUE).await, refused(Errno::RANGE));
    assert_eq!(set(b"", VALUE).await, refused(Errno::INVAL));
    assert_eq!(set(b"a\0b", VALUE).await, refused(Errno::INVAL));
    assert_eq!(set(b"x", Bytes::from(vec![0; MOST_XATTR_VALUE + 1])).await, refused(Errno::TOOBIG));
}

pub async fn attributes_outlive_a_restart<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let file = session.file(session.root(), "file").await;
    session.vfs().setxattr(&session.cx(), file, b"x", VALUE, SetXattr::Either).await.unwrap();
    session.restart();
    assert_eq!(session.vfs().getxattr(&session.cx(), file, b"x").await.unwrap(), VALUE);
}
