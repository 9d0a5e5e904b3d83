//! Many calls at the same time.
#![allow(missing_docs, reason = "the name of a case says it")]

use super::session::{named, new_file};
use super::{Backend, Session};
use crate::error::{Error, Result};
use crate::node::NodeId;
use crate::vfs::{Create, ListingBound, Stable, Vfs};
use bytes::Bytes;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

/// Runs so many at the same time.
async fn all<T: Send + 'static, F: Future<Output = T> + Send + 'static>(many: Vec<F>) -> Vec<T> {
    let tasks: Vec<_> = many.into_iter().map(tokio::spawn).collect();
    let mut answers = vec![];
    for task in tasks {
        answers.push(task.await.expect("a call does not panic"));
    }
    answers
}

pub async fn one_of_many_makes_it<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    for round in 0..20 {
        let name = named(&format!("{round}"));
        let calls = (0..8u8).map(|caller| {
            let (vfs, cx, name) = (Arc::clone(session.vfs()), session.cx(), name.clone());
            let mode = if caller % 2 == 0 { Create::Guarded } else { Create::Exclusive([caller; 8]) };
            async move { vfs.create(&cx, root, &name, &new_file(mode)).await.map(|made| made.new) }
        });
        let answers = all(calls.collect()).await;
        assert_eq!(answers.iter().filter(|answer| **answer == Ok(true)).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|answer| matches!(answer, Ok(true) | Err(Error::Errno(Errno::EXIST)))));
        let calls = (0..8).map(|_| {
            let (vfs, cx, name) = (Arc::clone(session.vfs()), session.cx(), name.clone());
            async move { vfs.remove(&cx, root, &name).await.map(drop) }
        });
        let answers = all(calls.collect()).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    }
}

pub async fn folders_that_swap_make_no_circle<B: Backend>() {
    let session = Session::<B>::fresh();
    let root = session.root();
    for round in 0..20 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let folders = (session.folder(root, &a).await, session.folder(root, &b).await);
        let swap = |from: String, into: NodeId| {
            let (vfs, cx) = (Arc::clone(session.vfs()), session.cx());
            async move { vfs.rename(&cx, (root, &named(&from)), (into, &named("inner"))).await.map(drop) }
        };
        let answers: Vec<Result<()>> = all(vec![swap(a, folders.1), swap(b, folders.0)]).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
        assert_eq!(session.names(root).await.len(), round + 1);
    }
}

pub async fn writers_and_listers_do_not_disturb_each_other<B: Backend>() {
    const WRITERS: u64 = 4;
    const FILES: u64 = 40;
    let session = Session::<B>::fresh();
    let root = session.root();
    let shared = session.file(root, "shared").await;
    let writers = (0..WRITERS).map(|writer| {
        let vfs = Arc::clone(session.vfs());
        let calls: Vec<_> = (0..FILES).map(|_| (session.cx(), session.cx())).collect();
        async move {
            for (file, (cx, other)) in calls.into_iter().enumerate() {
                let name = named(&format!("{writer} {file}"));
                let made = vfs.create(&cx, root, &name, &new_file(Create::Guarded)).await.unwrap();
                let data = Bytes::from(vec![b'a' + writer as u8; 100]);
                vfs.write(&cx, made.attributes.id, 0, data.clone(), Stable::Unstable).await.unwrap();
                let offset = (writer * FILES + file as u64) * 100;
                vfs.write(&other, shared, offset, data, Stable::Unstable).await.unwrap();
                let most = ListingBound { entries: 1000, name_bytes: usize::MAX };
                let listing = vfs.readdir(&other, root, 0, most).await.unwrap();
                assert!(listing.entries.iter().any(|entry| entry.name == name), "it does not see its own");
            }
        }
    });
    all(writers.collect()).await;
    let names: BTreeSet<_> = session.names(root).await.into_iter().collect();
    assert_eq!(names.len() as u64, WRITERS * FILES + 1);
    let content = session.content(shared).await.unwrap();
    assert_eq!(content.len() as u64, WRITERS * FILES * 100);
    for (at, part) in content.chunks((FILES * 100) as usize).enumerate() {
        assert!(part.iter().all(|byte| *byte == b'a' + at as u8));
    }
}
