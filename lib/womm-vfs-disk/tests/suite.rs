//! The suite on a folder of this machine.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use tempfile::TempDir;
use womm_vfs::suite::Backend;
use womm_vfs_disk::DiskVfs;

struct Disk {
    vfs: Option<Arc<DiskVfs>>,
    folder: TempDir,
    state: TempDir,
}

impl Disk {
    fn open(folder: TempDir, state: TempDir) -> Self {
        // Few descriptors, so that nodes are found again all the time.
        let vfs = DiskVfs::with_descriptors(folder.path(), state.path(), 16).unwrap();
        Self { vfs: Some(Arc::new(vfs)), folder, state }
    }
}

impl Backend for Disk {
    type Vfs = DiskVfs;

    fn fresh() -> Self {
        Self::open(tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
    }

    fn vfs(&self) -> &Arc<DiskVfs> {
        self.vfs.as_ref().unwrap()
    }

    fn restart(mut self) -> Self {
        let vfs = Arc::into_inner(self.vfs.take().unwrap()).expect("nobody uses it");
        drop(vfs);
        Self::open(self.folder, self.state)
    }
}

womm_vfs::suite!(Disk);
