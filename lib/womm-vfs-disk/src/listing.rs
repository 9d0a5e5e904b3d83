//! The names in a folder, kept from one part of a listing to the next.

use crate::confined;
use rustix::fd::OwnedFd;
use rustix::fs::Dir;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use womm_vfs::cookie::Cookies;
use womm_vfs::{Name, NodeId, Result};

/// Names kept of all folders, one large one aside.
const MOST: usize = 1 << 20;

/// A clock of time stamps has moved on surely after so long: ticks are 10 ms at most.
const TICK: Duration = Duration::from_millis(20);

/// The names of a folder by their cookies.
#[derive(Debug)]
pub(crate) struct Names {
    sorted: Vec<(u64, Name)>,
    /// The folder's counter when they were read.
    change: u64,
    /// Whether a later change must show in that counter.
    settled: bool,
}

impl Names {
    pub(crate) fn read(
        folder: &OwnedFd,
        cookies: &Cookies,
        but: Option<&Name>,
        change: u64,
        changed: SystemTime,
    ) -> Result<Self> {
        let settled = SystemTime::now().duration_since(changed).is_ok_and(|since| since > TICK);
        let mut names = vec![];
        for entry in Dir::new(confined::listable(folder)?)? {
            // Names that are too long for us are not shown: some file systems count characters.
            if let Ok(name) = Name::new(entry?.file_name().to_bytes().to_vec())
                && Some(&name) != but
            {
                names.push(name);
            }
        }
        names.sort_unstable(); // so that names with the same hash have the same order each time
        let mut taken = HashSet::with_capacity(names.len());
        let mut sorted = Vec::with_capacity(names.len());
        for name in names {
            let Ok(cookie) = cookies.place(&name, |cookie| Ok::<_, Infallible>(taken.contains(&cookie)));
            taken.insert(cookie);
            sorted.push((cookie, name));
        }
        sorted.sort_unstable_by_key(|(cookie, _)| *cookie);
        Ok(Self { sorted, change, settled })
    }

    pub(crate) fn after(&self, cookie: u64) -> &[(u64, Name)] {
        &self.sorted[self.sorted.partition_point(|(at, _)| *at <= cookie)..]
    }

    /// Whether they are all that is there now.
    pub(crate) fn is_current(&self, change: u64) -> bool {
        self.settled && self.change == change
    }
}

/// Those of many folders.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    kept: Mutex<HashMap<NodeId, Arc<Names>>>,
}

impl Listings {
    pub(crate) fn get(&self, folder: NodeId) -> Option<Arc<Names>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&folder).cloned()
    }

    pub(crate) fn put(&self, folder: NodeId, names: Arc<Names>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.values().map(|names| names.sorted.len()).sum::<usize>() > MOST {
            kept.clear();
        }
        kept.insert(folder, names);
    }

    pub(crate) fn forget(&self, folder: NodeId) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(&folder);
    }
}
