//! The suite on a snapshot, empty, and an upper folder.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use tempfile::TempDir;
use womm_vfs::clock::SystemClock;
use womm_vfs::suite::Backend;
use womm_vfs_tree::TreeVfs;

struct Tree<const COOKIE_BITS: u32> {
    vfs: Option<Arc<TreeVfs>>,
    lower: TempDir,
    upper: TempDir,
}

impl<const COOKIE_BITS: u32> Tree<COOKIE_BITS> {
    fn open(lower: TempDir, upper: TempDir) -> Self {
        // Few descriptors, so that content is opened again all the time.
        let vfs = TreeVfs::with(lower.path(), upper.path(), Arc::new(SystemClock), 4, COOKIE_BITS).unwrap();
        Self { vfs: Some(Arc::new(vfs)), lower, upper }
    }
}

impl<const COOKIE_BITS: u32> Backend for Tree<COOKIE_BITS> {
    type Vfs = TreeVfs;

    fn fresh() -> Self {
        Self::open(tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
    }

    fn vfs(&self) -> &Arc<TreeVfs> {
        self.vfs.as_ref().unwrap()
    }

    fn restart(mut self) -> Self {
        let vfs = Arc::into_inner(self.vfs.take().unwrap()).expect("nobody uses it");
        drop(vfs);
        Self::open(self.lower, self.upper)
    }
}

womm_vfs::suite!(Tree<64>);

/// Names meet all the time.
mod names_that_meet {
    use super::*;

    womm_vfs::suite!(Tree<3>);
}
