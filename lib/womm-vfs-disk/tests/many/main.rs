//! A large folder.

#![allow(clippy::unwrap_used)]

mod names;

use womm_vfs_disk::DiskVfs;

#[tokio::test]
async fn of_a_hundred_thousand_names_none_is_missed() {
    let (folder, state) = (names::folder(), tempfile::tempdir().unwrap());
    names::are_listed_and_removed(&DiskVfs::open(folder.path(), state.path()).unwrap()).await;
}
