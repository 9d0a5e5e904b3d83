//! `>>` from several nodes at once loses lines: each client finds the end, then writes there. NFS can't prevent it, but the server can
//! tell: a client writes over bytes that others added since it last asked how long the file is.
//!
//! Only files that several clients have open to write are looked at. What is known is forgotten when it becomes much: then a loss may
//! not be told, or twice.

use crate::state::FileKey;
use crate::wire::ClientId;
use std::collections::HashMap;
use std::io::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files that are known at once.
const MOST_FILES: usize = 1024;
/// Clients of each.
pub const MOST_CLIENTS: usize = 64;

/// Files that grew while others had them open to write.
#[derive(Debug, Default)]
pub struct Appends {
    files: Mutex<HashMap<FileKey, Grown>>,
    /// How many there are: nothing else is looked at while it is 0.
    count: AtomicUsize,
    told: AtomicU64,
}

#[derive(Debug)]
struct Grown {
    /// Who made it longer last.
    by: ClientId,
    /// Clients that don't know, and how long the file is to them.
    unaware: Vec<(ClientId, u64)>,
    is_told: bool,
}

/// A write.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// Whose.
    pub client: ClientId,
    /// Where it begins.
    pub offset: u64,
    /// Where it ends.
    pub end: u64,
    /// How long the file was before it.
    pub size: u64,
}

impl Appends {
    /// A client was told how long a file is.
    pub fn seen(&self, client: ClientId, file: FileKey) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(grown) = self.files().get_mut(&file) {
            grown.unaware.retain(|(other, _)| *other != client);
        }
    }

    /// A client wrote to a file that these others have open to write. If it is the first time that a client wrote over what another had
    /// added, that other.
    pub fn wrote(&self, file: FileKey, written: Written, others: &[ClientId]) -> Option<ClientId> {
        let Written { client, offset, end, size } = written;
        let mut files = self.files();
        let known = files.get_mut(&file);
        let lost = known.filter(|grown| {
            let of_client = grown.unaware.iter().find(|(other, _)| *other == client);
            !grown.is_told && of_client.is_some_and(|(_, known)| offset < size && end > *known && *known < size)
        });
        let lost = lost.map(|grown| {
            grown.is_told = true;
            grown.by
        });
        if end > size {
            if files.len() >= MOST_FILES && !files.contains_key(&file) {
                files.clear();
            }
            let grown = files.entry(file).or_insert(Grown { by: client, unaware: Vec::new(), is_told: false });
            grown.by = client;
            for other in others {
                let is_known = grown.unaware.iter().any(|(known, _)| known == other);
                if !is_known && grown.unaware.len() < MOST_CLIENTS {
                    grown.unaware.push((*other, size));
                }
            }
        }
        self.count.store(files.len(), Ordering::Relaxed);
        lost
    }

    /// Says so, on stderr.
    pub fn tell(&self, path: &str, file: FileKey, who: [Option<IpAddr>; 2]) {
        self.told.fetch_add(1, Ordering::Relaxed);
        // A stderr that is gone is no reason to fail.
        let _ = writeln!(std::io::stderr(), "{}", line(path, file, who));
    }

    /// How often that was said.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    fn files(&self) -> MutexGuard<'_, HashMap<FileKey, Grown>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(path: &str, file: FileKey, who: [Option<IpAddr>; 2]) -> String {
    let [over, added] = who.map(|address| address.map_or_else(|| "a client that has gone".into(), |ip| ip.to_string()));
    let number = file.node.0;
    format!(
        "warning: {over} wrote over what {added} had appended to a file of {path} (find it with \"find -inum {number}\"): \
         lines are lost when several nodes append to one file: let each have its own, or take turns with flock(1)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use womm_vfs::NodeId;

    const FILE: FileKey = FileKey { export: 1, node: NodeId(7) };
    const A: ClientId = ClientId(1);
    const B: ClientId = ClientId(2);

    fn write(client: ClientId, offset: u64, size: u64) -> Written {
        Written { client, offset, end: offset + 10, size }
    }

    #[test]
    fn what_another_added_unseen_is_lost_and_told_once() {
        let appends = Appends::default();
        assert_eq!(appends.wrote(FILE, write(A, 100, 100), &[B]), None);
        assert_eq!(appends.wrote(FILE, write(A, 110, 110), &[B]), None, "its own end");
        assert_eq!(appends.wrote(FILE, write(B, 50, 120), &[A]), None, "what was there before");
        assert_eq!(appends.wrote(FILE, write(B, 100, 120), &[A]), Some(A));
        assert_eq!(appends.wrote(FILE, write(B, 110, 120), &[A]), None, "it was told");
    }

    #[test]
    fn who_knows_the_end_loses_nothing() {
        let appends = Appends::default();
        appends.wrote(FILE, write(A, 100, 100), &[B]);
        appends.seen(B, FILE);
        assert_eq!(appends.wrote(FILE, write(B, 105, 110), &[A]), None, "it is meant");
        // Now it is A that does not know.
        assert_eq!(appends.wrote(FILE, write(A, 110, 115), &[B]), Some(B));
    }

    #[test]
    fn memory_has_a_bound() {
        let appends = Appends::default();
        let others: Vec<_> = (10..200).map(ClientId).collect();
        for node in 0..5 * MOST_FILES as u64 {
            appends.wrote(FileKey { node: NodeId(node), ..FILE }, write(A, 100, 100), &others);
        }
        let files = appends.files();
        assert!(files.len() <= MOST_FILES && files.values().all(|grown| grown.unaware.len() <= MOST_CLIENTS));
    }

    #[test]
    fn the_line_names_who_and_where() {
        let text = line("/export", FILE, [Some(IpAddr::from([10, 0, 0, 1])), None]);
        assert!(text.contains("10.0.0.1 wrote over") && text.contains("/export") && text.contains("-inum 7"), "{text}");
    }
}
