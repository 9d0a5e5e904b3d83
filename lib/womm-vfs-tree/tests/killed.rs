//! A process that is killed while it works.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use womm_vfs::context::OperationId;
use womm_vfs::suite::{Backend, killed};
use womm_vfs::vfs::{Stable, Vfs};
use womm_vfs::{Context, Name};
use womm_vfs_tree::TreeVfs;

const KILLS: usize = 50;

struct Tree(Arc<TreeVfs>, std::path::PathBuf);

impl killed::Kept for Tree {
    fn at(folder: &Path) -> Self {
        let lower = folder.join("lower");
        std::fs::create_dir_all(&lower).unwrap();
        Self(Arc::new(TreeVfs::open(&lower, &folder.join("upper")).unwrap()), folder.to_owned())
    }
}

impl Backend for Tree {
    type Vfs = TreeVfs;

    fn fresh() -> Self {
        unreachable!("it is opened by its folder")
    }

    fn vfs(&self) -> &Arc<TreeVfs> {
        &self.0
    }

    fn restart(self) -> Self {
        let Self(vfs, folder) = self;
        drop(vfs);
        <Self as killed::Kept>::at(&folder)
    }
}

#[tokio::test]
async fn all_that_was_answered_is_there() {
    let all = tempfile::tempdir().unwrap();
    let folder = || all.path().join("one");
    killed::is_survived::<Tree>("all_that_was_answered_is_there", KILLS, folder).await;
}

const BYTES: usize = 40_000;

fn name(at: usize) -> String {
    format!("{at:04}")
}

fn cx() -> Context {
    Context::new(OperationId { client: 1, number: 1 }, Duration::from_secs(60))
}

/// Writes at the end of one file of the snapshot after the other.
async fn append(folder: &Path, _seed: u64) {
    let vfs = TreeVfs::open(&folder.join("lower"), &folder.join("upper")).unwrap();
    for at in 0..=killed::OPERATIONS {
        let walk = vfs.walk(&cx(), vfs.root(), &[Name::new(name(at)).unwrap()]).await;
        let node = walk.found[0].id;
        vfs.write(&cx(), node, BYTES as u64, Bytes::from_static(b"!"), Stable::Unstable).await.unwrap();
        killed::note_answer(folder, [node.0, 0, 0]);
    }
    std::thread::sleep(Duration::from_secs(120)); // to be killed
}

async fn is_whole(folder: &Path, _seed: u64) {
    let vfs = TreeVfs::open(&folder.join("lower"), &folder.join("upper")).unwrap();
    vfs.reclaimed();
    let answers = killed::answers(folder);
    for at in 0..=killed::OPERATIONS {
        let walk = vfs.walk(&cx(), vfs.root(), &[Name::new(name(at)).unwrap()]).await;
        let node = walk.found[0].id;
        let content = vfs.read(&cx(), node, 0, 1 << 20).await.unwrap().data;
        assert!(content[..BYTES].iter().all(|byte| *byte == at as u8), "{at}: content of the snapshot is lost");
        if let Some([answered, ..]) = answers.get(at) {
            assert_eq!((node.0, &content[BYTES..]), (*answered, &b"!"[..]), "{at}: what was answered is lost");
        }
    }
    assert_eq!(fs::read(folder.join("lower").join(name(0))).unwrap(), [0; BYTES]);
}

#[tokio::test]
async fn what_is_copied_up_is_whole() {
    let all = tempfile::tempdir().unwrap();
    let snapshot = |folder: &Path| {
        fs::create_dir(folder.join("lower")).unwrap();
        for at in 0..=killed::OPERATIONS {
            fs::write(folder.join("lower").join(name(at)), [at as u8; BYTES]).unwrap();
        }
    };
    let folder = || all.path().join("one");
    killed::of("what_is_copied_up_is_whole", 4, folder, snapshot, append, is_whole).await;
}
