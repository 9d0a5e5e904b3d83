//! A process that is killed while it works.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use womm_vfs::suite::{Backend, killed};
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
