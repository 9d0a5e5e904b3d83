//! A large folder of the snapshot.

#![allow(clippy::unwrap_used)]

#[path = "../../womm-vfs-disk/tests/many/names.rs"]
mod names;

use womm_vfs_tree::TreeVfs;

#[tokio::test]
async fn of_a_hundred_thousand_names_none_is_missed() {
    let (lower, upper) = (names::folder(), tempfile::tempdir().unwrap());
    names::are_listed_and_removed(&TreeVfs::open(lower.path(), upper.path()).unwrap()).await;
}
