//! readdir.
#![allow(missing_docs, reason = "the name of a case says it")]

use super::session::{mode, refused};
use super::{Backend, Session};
use crate::node::Kind;
use crate::vfs::{Entry, ListingBound, Vfs};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap};

const ALL: ListingBound = ListingBound { entries: usize::MAX, name_bytes: usize::MAX };

fn few(entries: usize) -> ListingBound {
    ListingBound { entries, ..ALL }
}

fn names(entries: &[Entry]) -> BTreeSet<String> {
    let names: BTreeSet<_> =
        entries.iter().map(|entry| String::from_utf8_lossy(entry.name.as_bytes()).into_owned()).collect();
    assert_eq!(names.len(), entries.len(), "a name was seen twice");
    names
}

fn cookies(entries: &[Entry]) -> HashMap<Vec<u8>, u64> {
    entries.iter().map(|entry| (entry.name.as_bytes().to_vec(), entry.cookie)).collect()
}

pub async fn parts_make_a_whole<B: Backend>() {
    let session = Session::<B>::fresh();
    let folder = session.folder(session.root(), "folder").await;
    let mut expected = BTreeSet::new();
    for at in 0..150 {
        let name = format!("file {at}");
        session.file(folder, &name).await;
        expected.insert(name);
    }
    let whole = session.entries(folder, usize::MAX).await;
    assert_eq!(names(&whole), expected);
    assert!(whole.iter().all(|entry| (3..1 << 63).contains(&entry.cookie)));
    assert!(whole.is_sorted_by(|a, b| a.cookie < b.cookie));
    for at_once in [1, 2, 7, 149, 150, 151] {
        assert_eq!(session.entries(folder, at_once).await, whole);
    }
}

pub async fn bounds_are_kept<B: Backend>() {
    let session = Session::<B>::fresh();
    let (vfs, cx, root) = (session.vfs(), session.cx(), session.root());
    let empty = vfs.readdir(&cx, root, 0, few(1)).await.unwrap();
    assert!(empty.end && empty.entries.is_empty());
    for name in ["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"] {
        session.file(root, name).await;
    }
    for (bound, expected) in [(1, 1), (10, 1), (25, 2), (30, 3)] {
        let bound = ListingBound { entries: usize::MAX, name_bytes: bound };
        let part = vfs.readdir(&cx, root, 0, bound).await.unwrap();
        assert_eq!((part.entries.len(), part.end), (expected, expected == 3));
    }
    let part = vfs.readdir(&cx, root, 0, few(3)).await.unwrap();
    assert_eq!((part.entries.len(), part.end), (3, true));
    let beyond = vfs.readdir(&cx, root, part.entries[2].cookie, few(3)).await.unwrap();
    assert!(beyond.end && beyond.entries.is_empty());
    let beyond = vfs.readdir(&cx, root, u64::MAX, few(3)).await.unwrap();
    assert!(beyond.end && beyond.entries.is_empty());
    let file = session.lookup(root, "aaaaaaaaaa").await.unwrap().id;
    assert_eq!(vfs.readdir(&cx, file, 0, ALL).await, refused(Errno::NOTDIR));
}

pub async fn others_are_seen_once_while_names_come_and_go<B: Backend>() {
    let session = Session::<B>::fresh();
    let folder = session.folder(session.root(), "folder").await;
    let other = session.folder(session.root(), "other").await;
    let mut lasting = BTreeSet::new();
    for at in 0..60 {
        let name = format!("lasting {at}");
        session.file(folder, &name).await;
        session.file(folder, &format!("passing {at}")).await;
        lasting.insert(name);
    }
    let kept = cookies(&session.entries(folder, 1000).await);
    let mut seen: Vec<Entry> = vec![];
    for step in 0.. {
        let after = seen.last().map_or(0, |entry| entry.cookie);
        let part = session.vfs().readdir(&session.cx(), folder, after, few(3)).await.unwrap();
        seen.extend(part.entries);
        if part.end {
            break;
        }
        if step < 60 {
            session.remove(folder, &format!("passing {step}")).await.unwrap();
            session.file(folder, &format!("new {step}")).await;
            session.rename((folder, &format!("new {step}")), (other, &format!("{step}"))).await.unwrap();
            session.rename((other, &format!("{step}")), (folder, &format!("back {step}"))).await.unwrap();
        }
    }
    assert!(names(&seen).is_superset(&lasting), "one that stayed was not seen");
    for (name, cookie) in cookies(&session.entries(folder, 1000).await) {
        assert!(kept.get(&name).is_none_or(|before| *before == cookie), "a cookie changed");
    }
}

pub async fn a_listing_goes_on_after_a_restart<B: Backend>() {
    let mut session = Session::<B>::fresh();
    let folder = session.folder(session.root(), "folder").await;
    for at in 0..20 {
        session.file(folder, &format!("{at}")).await;
    }
    let before = session.entries(folder, 1000).await;
    let mut seen: Vec<Entry> = vec![];
    loop {
        let after = seen.last().map_or(0, |entry| entry.cookie);
        let part = session.vfs().readdir(&session.cx(), folder, after, few(6)).await.unwrap();
        seen.extend(part.entries);
        if part.end {
            break;
        }
        session.restart();
    }
    assert_eq!(cookies(&seen), cookies(&before));
}

pub async fn a_cookie_whose_name_is_gone_is_good<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    for name in ["a", "b", "c", "d"] {
        session.file(root, name).await;
    }
    let whole = session.entries(root, 10).await;
    let gone = String::from_utf8(whole[1].name.as_bytes().to_vec()).unwrap();
    session.remove(root, &gone).await.unwrap();
    let rest = session.vfs().readdir(&session.cx(), root, whole[1].cookie, ALL).await.unwrap();
    assert_eq!(rest.entries, whole[2..]);
    let rest = session.vfs().readdir(&session.cx(), root, whole[1].cookie - 1, ALL).await.unwrap();
    assert_eq!(rest.entries, whole[2..]);
}

pub async fn a_listing_shows_attributes<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    let file = session.file_of(root, "file", b"abc").await;
    session.setattr(file, mode(0o400)).await.unwrap();
    session.link(file, root, "second").await.unwrap();
    session.folder(root, "folder").await;
    session.symlink(root, "symlink", "file").await;
    let entries = session.entries(root, 10).await;
    assert_eq!(entries.len(), 4);
    for entry in entries {
        assert_eq!(entry.attributes, session.attributes(entry.attributes.id).await);
        assert_eq!(entry.attributes, session.lookup_name(root, &entry.name).await.unwrap());
        if entry.attributes.kind == Kind::File {
            assert_eq!((entry.attributes.id, entry.attributes.links, entry.attributes.mode), (file, 2, 0o400));
        }
    }
}
