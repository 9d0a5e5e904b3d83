//! What outlives a restart: which clients have state, in a file of the state folder. A client is in it, on disk, before it
//! gets its first state, so that after a restart it and nobody else may take state back (RFC 8881, 8.4.2.1).

use crate::limits::MOST_OWNER;
use crate::rpc::Principal;
use crate::xdr::{Decoder, Encoder, Malformed};
use bytes::Bytes;
use siphasher::sip::SipHasher24;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use tokio::sync::oneshot;

/// One instance of a client: after its reboot it is another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientRecord {
    /// co_ownerid.
    pub owner: Bytes,
    /// co_verifier.
    pub verifier: [u8; 8],
    /// Who it is to RPC.
    pub principal: Principal,
    /// Where it is.
    pub address: IpAddr,
}

const ADDED: u32 = 1;
const REMOVED: u32 = 2;
/// A line of the journal is at most so long, bytes.
const MOST_ENTRY: usize = MOST_OWNER + 256;

impl ClientRecord {
    fn encode(&self, to: &mut Encoder) {
        to.opaque(&self.owner).fixed_opaque(&self.verifier);
        self.principal.encode(to);
        match self.address {
            IpAddr::V4(address) => to.opaque(&address.octets()),
            IpAddr::V6(address) => to.opaque(&address.octets()),
        };
    }

    fn decode(from: &mut Decoder) -> Result<Self, Malformed> {
        let (owner, verifier) = (from.opaque(MOST_OWNER)?, from.array()?);
        let principal = Principal::decode(from)?;
        let address = from.opaque(16)?;
        let address = match address.len() {
            4 => <[u8; 4]>::try_from(&address[..]).map(IpAddr::from).map_err(|_| Malformed)?,
            16 => <[u8; 16]>::try_from(&address[..]).map(IpAddr::from).map_err(|_| Malformed)?,
            _ => return Err(Malformed),
        };
        Ok(Self { owner, verifier, principal, address })
    }

    #[cfg(test)]
    pub(crate) fn for_tests(owner: &'static [u8], verifier: u8) -> Self {
        Self {
            owner: Bytes::from_static(owner),
            verifier: [verifier; 8],
            principal: Principal::Nobody,
            address: IpAddr::from([127, 0, 0, 1]),
        }
    }
}

enum Command {
    Add(ClientRecord, oneshot::Sender<io::Result<()>>),
    Remove(ClientRecord),
    Settle(oneshot::Sender<io::Result<()>>),
}

/// The open journal. Its thread writes what many ask for at once with one fsync.
#[derive(Debug, Clone)]
pub struct Journal {
    commands: mpsc::Sender<Command>,
    removals: Arc<Removals>,
}

/// How many were asked for, and how many of these are on disk.
#[derive(Debug, Default)]
struct Removals {
    asked: AtomicU64,
    durable: AtomicU64,
}

impl Journal {
    /// Opens it in a folder, or makes it, and reads who had state.
    ///
    /// # Errors
    /// Of the disk. An end that was not wholly written is no error: nobody was told that it was.
    pub fn open(folder: &Path) -> io::Result<(Self, HashSet<ClientRecord>)> {
        let path = folder.join("clients");
        let records = match File::open(&path) {
            Ok(file) => read(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashSet::new(),
            Err(error) => return Err(error),
        };
        let file = rewrite(folder, &path, &records)?;
        let (commands, received) = mpsc::channel();
        let removals = Arc::<Removals>::default();
        let writer = Writer {
            file,
            folder: folder.to_owned(),
            path,
            records: records.clone(),
            written: records.len(),
            removals: removals.clone(),
            removed: 0,
        };
        std::thread::Builder::new().name("journal".into()).spawn(move || writer.run(&received))?;
        Ok((Self { commands, removals }, records))
    }

    /// Notes that a client has state; it is on disk when this answers.
    ///
    /// # Errors
    /// Of the disk; the client must not get state then.
    pub async fn add(&self, record: ClientRecord) -> io::Result<()> {
        self.ask(|done| Command::Add(record, done)).await
    }

    /// Notes that a client has no state and will not take any back. Not waited for: see [`Journal::settle`].
    pub fn remove(&self, record: ClientRecord) {
        self.removals.asked.fetch_add(1, Ordering::SeqCst);
        let _ = self.commands.send(Command::Remove(record));
    }

    /// Whether all removals are on disk.
    pub fn is_settled(&self) -> bool {
        let asked = self.removals.asked.load(Ordering::SeqCst);
        self.removals.durable.load(Ordering::SeqCst) >= asked
    }

    /// Waits until all removals are on disk. What a client has lost may be given to another one only then: after a restart the
    /// first could take it back otherwise (RFC 8881, 8.4.3).
    ///
    /// # Errors
    /// Of the disk.
    pub async fn settle(&self) -> io::Result<()> {
        if self.is_settled() { Ok(()) } else { self.ask(Command::Settle).await }
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Command) -> io::Result<()> {
        let (done_tx, done_rx) = oneshot::channel();
        let gone = || io::Error::other("the journal's thread has ended");
        self.commands.send(command(done_tx)).map_err(|_| gone())?;
        done_rx.await.map_err(|_| gone())?
    }
}

struct Writer {
    file: File,
    folder: PathBuf,
    path: PathBuf,
    records: HashSet<ClientRecord>,
    /// Entries in the file.
    written: usize,
    removals: Arc<Removals>,
    /// Removals that were taken.
    removed: u64,
}

impl Writer {
    fn run(mut self, commands: &mpsc::Receiver<Command>) {
        while let Ok(first) = commands.recv() {
            let mut waiting = Vec::new();
            let mut bytes = Vec::new();
            for command in std::iter::once(first).chain(commands.try_iter()) {
                match command {
                    Command::Add(record, done) => {
                        bytes.extend_from_slice(&entry(ADDED, &record));
                        self.records.insert(record);
                        waiting.push(done);
                    }
                    Command::Remove(record) => {
                        self.removed += 1;
                        if !self.records.remove(&record) {
                            continue;
                        }
                        bytes.extend_from_slice(&entry(REMOVED, &record));
                    }
                    Command::Settle(done) => {
                        waiting.push(done);
                        continue;
                    }
                }
                self.written += 1;
            }
            let result = self.write(&bytes, !waiting.is_empty());
            if result.is_ok() && !waiting.is_empty() {
                self.removals.durable.store(self.removed, Ordering::SeqCst);
            }
            for done in waiting {
                let _ = done.send(copy(&result));
            }
        }
    }

    fn write(&mut self, bytes: &[u8], durable: bool) -> io::Result<()> {
        if self.written > 1024 + 2 * self.records.len() {
            self.file = rewrite(&self.folder, &self.path, &self.records)?;
            self.written = self.records.len();
            return Ok(());
        }
        let result = self.file.write_all(bytes).and_then(|()| if durable { self.file.sync_data() } else { Ok(()) });
        if result.is_err() {
            // Half an entry would hide those after it: begin anew next time.
            self.written = usize::MAX / 2;
        }
        result
    }
}

/// For each who waits: an error can't be cloned.
fn copy(result: &io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

/// {hash, length, entry}: what was half written is known by its hash.
fn entry(kind: u32, record: &ClientRecord) -> Bytes {
    let mut body = Encoder::new();
    body.u32(kind);
    record.encode(&mut body);
    let body = body.into_bytes();
    let mut entry = Encoder::new();
    entry.u64(hash(&body)).opaque(&body);
    entry.into_bytes()
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(bytes);
    hasher.finish()
}

fn read(mut file: File) -> io::Result<HashSet<ClientRecord>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let mut from = Decoder::new(bytes.into());
    let mut records = HashSet::new();
    while let Ok((kind, record)) = next(&mut from) {
        match kind {
            ADDED => records.insert(record),
            _ => records.remove(&record),
        };
    }
    Ok(records)
}

fn next(from: &mut Decoder) -> Result<(u32, ClientRecord), Malformed> {
    let (expected, body) = (from.u64()?, from.opaque(MOST_ENTRY)?);
    if hash(&body) != expected {
        return Err(Malformed);
    }
    let mut body = Decoder::new(body);
    Ok((body.u32()?, ClientRecord::decode(&mut body)?))
}

/// A new file with these records takes the old one's place, or the old one stays.
fn rewrite(folder: &Path, path: &Path, records: &HashSet<ClientRecord>) -> io::Result<File> {
    let new = folder.join("clients.new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
    for record in records {
        file.write_all(&entry(ADDED, record))?;
    }
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(folder: &Path) -> (Journal, HashSet<ClientRecord>) {
        Journal::open(folder).expect("a journal")
    }

    #[tokio::test]
    async fn who_had_state_is_known_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b) = (ClientRecord::for_tests(b"a", 1), ClientRecord::for_tests(b"b", 2));
        let (first, records) = journal(folder.path());
        assert!(records.is_empty());
        first.add(a.clone()).await.expect("written");
        first.remove(a.clone());
        first.add(b.clone()).await.expect("written");
        let (_, records) = journal(folder.path());
        assert_eq!(records, HashSet::from([b]));
    }

    #[tokio::test]
    async fn a_removal_is_waited_for_by_who_must() {
        let folder = tempfile::tempdir().expect("a folder");
        let a = ClientRecord::for_tests(b"a", 1);
        let (first, _) = journal(folder.path());
        assert!(first.is_settled());
        first.add(a.clone()).await.expect("written");
        first.remove(a.clone());
        first.remove(a);
        assert!(!first.is_settled(), "nobody has waited for it");
        first.settle().await.expect("written");
        assert!(first.is_settled());
        assert!(read(File::open(folder.path().join("clients")).expect("a file")).expect("read").is_empty());
    }

    #[tokio::test]
    async fn an_end_that_was_half_written_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b) = (ClientRecord::for_tests(b"a", 1), ClientRecord::for_tests(b"b", 2));
        let whole = [entry(ADDED, &a), entry(ADDED, &b)].concat();
        let path = folder.path().join("clients");
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).expect("written");
            let expected = if length < entry(ADDED, &a).len() { HashSet::new() } else { HashSet::from([a.clone()]) };
            assert_eq!(journal(folder.path()).1, expected, "{length} bytes");
        }
    }

    #[tokio::test]
    async fn it_does_not_grow_with_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let (journal, _) = journal(folder.path());
        for i in 0..3000_u32 {
            let mut record = ClientRecord::for_tests(b"a", 1);
            record.owner = i.to_be_bytes().to_vec().into();
            if i % 100 == 0 {
                journal.add(record.clone()).await.expect("written");
            } else {
                let (done_tx, _) = oneshot::channel();
                journal.commands.send(Command::Add(record.clone(), done_tx)).expect("its thread runs");
            }
            journal.remove(record);
        }
        let last = ClientRecord::for_tests(b"last", 1);
        journal.add(last).await.expect("written");
        let length = std::fs::metadata(folder.path().join("clients")).expect("a file").len();
        assert!(length < 3000 * 64, "{length} bytes");
    }
}
