//! A process that is killed while it works.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use womm_vfs::suite::{Backend, killed};
use womm_vfs_disk::DiskVfs;

const KILLS: usize = 30;

struct Disk(Arc<DiskVfs>, std::path::PathBuf);

impl killed::Kept for Disk {
    fn at(folder: &Path) -> Self {
        let export = folder.join("export");
        std::fs::create_dir_all(&export).unwrap();
        Self(Arc::new(DiskVfs::open(&export, &folder.join("state")).unwrap()), folder.to_owned())
    }
}

impl Backend for Disk {
    type Vfs = DiskVfs;

    fn fresh() -> Self {
        unreachable!("it is opened by its folder")
    }

    fn vfs(&self) -> &Arc<DiskVfs> {
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
    killed::is_survived::<Disk>("all_that_was_answered_is_there", KILLS, folder).await;
}
