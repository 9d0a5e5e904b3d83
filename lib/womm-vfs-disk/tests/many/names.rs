//! 100,000 names in one folder, for any file system that has them.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use womm_vfs::context::OperationId;
use womm_vfs::vfs::{ListingBound, Vfs};
use womm_vfs::{Context, Name};

const NAMES: usize = 100_000;
/// As womm-nfs asks for them.
const PART: ListingBound = ListingBound { entries: 8192, name_bytes: 1 << 20 };

fn name(at: usize) -> String {
    format!("name-{at:06}")
}

/// A folder with the names, as somebody else makes them: in memory, as some disks are slow to make and remove so many.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
    (0..NAMES).for_each(|at| drop(File::create_new(folder.path().join(name(at))).unwrap()));
    folder
}

/// All parts of a listing of the root; `each` is told what a part has before the next one is asked for.
async fn list(vfs: &impl Vfs, cx: &Context, mut each: impl AsyncFnMut(&Name)) -> usize {
    let (mut cookie, mut count) = (0, 0);
    loop {
        let part = vfs.readdir(cx, vfs.root(), cookie, PART).await.unwrap();
        assert!(part.end || part.entries.len() == PART.entries, "{} in a part", part.entries.len());
        for entry in &part.entries {
            assert!(entry.cookie > cookie, "cookies rise");
            cookie = entry.cookie;
            each(&entry.name).await;
        }
        count += part.entries.len();
        if part.end {
            return count;
        }
    }
}

/// They are listed, each once, also while some of each part are removed before the next one is asked for, as rm(1) does.
pub async fn are_listed_and_removed(vfs: &impl Vfs) {
    let cx = Context::new(OperationId { client: 1, number: 1 }, Duration::from_secs(600));
    let mut missing: HashSet<Name> = (0..NAMES).map(|at| Name::new(name(at)).unwrap()).collect();
    let count =
        list(vfs, &cx, async |name| assert!(missing.remove(name), "{name:?} is there, and not yet listed")).await;
    assert_eq!((count, missing.len()), (NAMES, 0));
    let mut left: HashSet<Name> = HashSet::new();
    let removing = list(vfs, &cx, async |name| {
        if name.as_bytes().ends_with(b"7") {
            vfs.remove(&cx, vfs.root(), name).await.unwrap();
        } else {
            left.insert(name.clone());
        }
    });
    assert_eq!(removing.await, NAMES);
    assert_eq!(left.len(), NAMES / 10 * 9);
    assert_eq!(list(vfs, &cx, async |name| assert!(left.remove(name), "{name:?} is left")).await, NAMES / 10 * 9);
}
