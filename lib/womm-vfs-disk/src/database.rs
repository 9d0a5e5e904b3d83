//! The state folder: a lock, and a table that outlives the program.
//!
//! SQLite, because of its record, and because of what a commit costs: in WAL mode with `synchronous=NORMAL` it is a few write(2), no
//! fsync. The kernel has them then, so a SIGKILL loses nothing; a power cut loses the last commits, never the table, and
//! [`LogSync`] bounds that. redb has no such commit: `Durability::None` loses commits at a SIGKILL, the next better one is an
//! fsync each. Built in, SQLite links into a static program too (glibc's, with `-C target-feature=+crt-static`).

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use womm_vfs::{Error, Kind};

/// Commits after which what the log holds is brought into the table.
const COMMITS: u64 = 2000;
/// And the time after which it is, if there were any.
const AT_LEAST: Duration = Duration::from_secs(60);

/// Numbers are taken in advance, so that none is given twice even if the program ends before it has noted the last.
const NUMBERS: i64 = 4096;

/// Why a state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It can't be made, read or written.
    #[error("can't use {what} {path:?}: {error}")]
    Io {
        /// What it is for.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another program has it: a server, or one that looks into the table.
    #[error("state folder {0:?} is in use by another server: stop it, or use another folder")]
    InUse(PathBuf),
    /// SQLite says no.
    #[error("can't use table {path:?}: {error}; if it is broken, move it away: handles begin anew")]
    Table {
        /// Which.
        path: PathBuf,
        /// Why.
        error: rusqlite::Error,
    },
    /// It was made by another version, or for something else.
    #[error("state folder {path:?} is of kind {found:?}, not {wanted:?}: use another folder")]
    Kind {
        /// Which.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What it should say.
        wanted: &'static str,
    },
}

impl OpenError {
    /// Says which folder it was.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { what, path, error }
    }
}

/// A table that is open. Only one program has it at a time.
#[derive(Debug)]
pub struct Database {
    /// To be used by one at a time.
    pub connection: Connection,
    /// Made with the table.
    pub generation: u64,
    /// Made with the table.
    pub key: [u8; 16],
    /// Whether the one before ended without [`Database::end`].
    pub was_killed: bool,
    log: Arc<Log>,
    checkpoints: Checkpoints,
    next: i64,
    reserved: i64,
    /// Given back last.
    _lock: File,
}

/// How much of the table's log is on the disk.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    commits: AtomicU64,
    synced: AtomicU64,
    /// Whether some of it never came there. By one at a time, who syncs for all who wait.
    is_lost: Mutex<bool>,
}

/// A thread that brings the log into the table and waits for its disk, so that no one else has to.
#[derive(Debug)]
struct Checkpoints {
    order_tx: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Brings the log to the disk, as far as it was written, apart from the table's lock.
#[derive(Debug)]
pub struct LogSync {
    log: Arc<Log>,
    commits: u64,
}

impl LogSync {
    /// Whether it is there already.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.log.synced.load(Ordering::Acquire) >= self.commits
    }

    /// fdatasync(2) of the log. What it held before is in the table, which was synced before the log began anew.
    ///
    /// # Errors
    /// What the system calls say. What a failed fdatasync(2) has not brought there, the next one does not know of: all that come after
    /// it fail, until the server starts again.
    pub fn sync(&self) -> io::Result<()> {
        let mut is_lost = self.log.is_lost.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_done() {
            return Ok(());
        }
        if *is_lost {
            return Err(Errno::IO.into());
        }
        let commits = self.log.commits.load(Ordering::Acquire);
        match File::open(&self.log.path) {
            Ok(log) => log.sync_data().inspect_err(|_| *is_lost = true)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // all of it is in the table
            Err(error) => return Err(error),
        }
        self.log.synced.store(commits, Ordering::Release);
        Ok(())
    }
}

impl Database {
    /// Opens or makes it, for a kind of table that `schema` makes.
    ///
    /// # Errors
    /// Those of [`OpenError`].
    pub fn open(state: &Path, kind: &'static str, schema: &str) -> Result<Self, OpenError> {
        fs::create_dir_all(state).map_err(OpenError::io("state folder", state))?;
        let lock = lock(state)?;
        let path = state.join("nodes.sqlite");
        let at = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => OpenError::InUse(state.to_owned()), // by one that does not take our lock
            _ => OpenError::Table { path: path.clone(), error },
        };
        let connection = connect(&path).map_err(at)?;
        prepare(&connection, schema).map_err(at)?;
        let found: String = meta(&connection, "kind", || kind.to_owned()).map_err(at)?;
        if found != kind {
            return Err(OpenError::Kind { path: state.to_owned(), found, wanted: kind });
        }
        let generation: i64 =
            meta(&connection, "generation", || i64::from_be_bytes(random()) & i64::MAX).map_err(at)?;
        let key: [u8; 16] = meta(&connection, "key", random).map_err(at)?;
        let running: i64 = meta(&connection, "running", || 0).map_err(at)?;
        set_meta(&connection, "running", 1).map_err(at)?;
        let next: i64 = meta(&connection, "next", || 2).map_err(at)?;
        let checkpoints = Checkpoints::begin(&path).map_err(at)?;
        let log = Arc::new(Log::new(state.join("nodes.sqlite-wal")));
        Ok(Self {
            connection,
            generation: generation.unsigned_abs(),
            key,
            was_killed: running != 0,
            log,
            checkpoints,
            next,
            reserved: next,
            _lock: lock,
        })
    }

    /// A number that was never given.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn number(&mut self) -> rusqlite::Result<u64> {
        if self.next >= self.reserved {
            set_meta(&self.connection, "next", self.next + NUMBERS)?;
            self.reserved = self.next + NUMBERS;
        }
        self.next += 1;
        Ok(self.next.unsigned_abs() - 1)
    }

    /// Something was committed.
    pub fn committed(&self) {
        let commits = self.log.commits.fetch_add(1, Ordering::Release) + 1;
        if commits.is_multiple_of(COMMITS) {
            self.checkpoints.order();
        }
    }

    /// How to bring the commits until now to the disk.
    pub fn log(&self) -> LogSync {
        LogSync { log: Arc::clone(&self.log), commits: self.log.commits.load(Ordering::Acquire) }
    }

    /// Says that all is as it should be: the next one need not look.
    pub fn end(&self) {
        let ended = set_meta(&self.connection, "running", 0);
        // Without it, the next one looks.
        drop(ended);
    }
}

/// Random bytes.
///
/// # Panics
/// If the kernel has none, which it always has once it has booted.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = getrandom(&mut bytes[..], GetRandomFlags::empty()).expect("the kernel has random bytes");
    assert_eq!(filled, N, "up to 256 bytes come at once");
    bytes
}

fn lock(state: &Path) -> Result<File, OpenError> {
    let path = state.join("lock");
    let lock = File::create(&path).map_err(OpenError::io("lock", &path))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| OpenError::InUse(state.to_owned()))?;
    Ok(lock)
}

/// No other program has it, so SQLite's "unix-excl" will do: locks between this program's connections, without the eight
/// fcntl(2) of each commit, and the index of the log in memory.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags_and_vfs(path, OpenFlags::default(), c"unix-excl")
}

fn prepare(connection: &Connection, schema: &str) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?; // to end at once
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = NORMAL;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -32768;
         CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;",
    )?;
    connection.execute_batch(schema)
}

/// What is kept under a name; what `fresh` says, if nothing is.
fn meta<T: rusqlite::types::FromSql + rusqlite::ToSql>(
    connection: &Connection,
    name: &str,
    fresh: impl FnOnce() -> T,
) -> rusqlite::Result<T> {
    let kept = connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0));
    match kept {
        Err(rusqlite::Error::QueryReturnedNoRows) => {
            let value = fresh();
            set_meta(connection, name, &value)?;
            Ok(value)
        }
        kept => kept,
    }
}

fn set_meta(connection: &Connection, name: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?.execute((name, value)).map(drop)
}

impl Log {
    fn new(path: PathBuf) -> Self {
        Self { path, commits: AtomicU64::new(0), synced: AtomicU64::new(0), is_lost: Mutex::new(false) }
    }
}

impl Checkpoints {
    fn begin(path: &Path) -> rusqlite::Result<Self> {
        let connection = connect(path)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let (order_tx, order_rx) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            while let Ok(()) | Err(RecvTimeoutError::Timeout) = order_rx.recv_timeout(AT_LEAST) {
                // One that fails leaves all in the log, and the next tries again.
                let _later = connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)");
            }
        });
        Ok(Self { order_tx: Some(order_tx), thread: Some(thread) })
    }

    fn order(&self) {
        if let Some(order_tx) = &self.order_tx {
            let _one_is_ordered_already = order_tx.try_send(());
        }
    }
}

impl Drop for Checkpoints {
    /// SQLite's lock is this process's as long as one of its connections is open: no longer than the state folder's own.
    fn drop(&mut self) {
        self.order_tx = None;
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

/// What a caller hears of a statement that failed.
pub fn failed(error: rusqlite::Error) -> Error {
    let full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
    Error::Errno(if full { Errno::NOSPC } else { Errno::IO })
}

/// How tables write what a node is.
pub fn kind_number(kind: Kind) -> i64 {
    match kind {
        Kind::File => 0,
        Kind::Folder => 1,
        Kind::Symlink => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn numbers_are_given_once() {
        let state = tempfile::tempdir().unwrap();
        let mut last = 0;
        for _ in 0..3 {
            let mut database = Database::open(state.path(), "test", "").unwrap();
            for _ in 0..NUMBERS + 3 {
                let number = database.number().unwrap();
                assert!(number > last && number > 1);
                last = number;
            }
        }
    }

    #[test]
    fn one_program_has_it_and_one_kind() {
        let state = tempfile::tempdir().unwrap();
        let database = Database::open(state.path(), "test", "").unwrap();
        let second = Database::open(state.path(), "test", "").map(drop).unwrap_err();
        assert!(second.to_string().contains("in use by another server"), "{second}");
        let generation = database.generation;
        drop(database);
        let other = Database::open(state.path(), "other", "").map(drop).unwrap_err();
        assert!(other.to_string().contains("is of kind \"test\", not \"other\""), "{other}");
        let database = Database::open(state.path(), "test", "").unwrap();
        assert_eq!(database.generation, generation);
        assert!(database.was_killed);
        database.end();
        drop(database);
        assert!(!Database::open(state.path(), "test", "").unwrap().was_killed);
    }

    const STATE: &str = "WOMM_TEST_STATE";

    /// What another process that opens the folder is told.
    fn told_elsewhere(state: &Path) -> String {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "database::tests::another_process_is_refused", "--nocapture"]).env(STATE, state);
        String::from_utf8(child.output().unwrap().stdout).unwrap()
    }

    #[test]
    fn another_process_is_refused() {
        if let Some(state) = std::env::var_os(STATE) {
            let opened = Database::open(Path::new(&state), "test", "").map(drop);
            return println!(
                "\ntold: {opened:?}, {}",
                opened.as_ref().err().map(ToString::to_string).unwrap_or_default()
            );
        }
        let state = tempfile::tempdir().unwrap();
        let in_use = OpenError::InUse(state.path().to_owned()).to_string();
        let database = Database::open(state.path(), "test", "").unwrap();
        let told = told_elsewhere(state.path());
        assert!(told.contains(&in_use), "{told}");
        drop(database);
        // Nothing is held any more.
        let told = told_elsewhere(state.path());
        assert!(told.contains("told: Ok"), "{told}");
        // One that does not take our lock, as the sqlite3 program.
        let foreign = Connection::open(state.path().join("nodes.sqlite")).unwrap();
        foreign.query_row("SELECT COUNT(*) FROM meta", [], |row| row.get::<_, i64>(0)).unwrap();
        let told = told_elsewhere(state.path());
        assert!(told.contains(&in_use), "{told}");
    }

    #[test]
    fn a_sync_that_failed_is_not_made_good_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = Arc::new(Log::new(path.clone()));
        let sync = || {
            let commits = log.commits.fetch_add(1, Ordering::Relaxed) + 1;
            LogSync { log: Arc::clone(&log), commits }
        };
        let (first, second) = (sync(), sync());
        assert!(!first.is_done());
        first.sync().unwrap();
        assert!(second.is_done() && second.sync().is_ok(), "it was synced for");
        // There are no fdatasync's of this one.
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let third = sync();
        third.sync().unwrap_err();
        fs::remove_file(&path).unwrap();
        assert_eq!(third.sync().unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
        sync().sync().unwrap_err();
        first.sync().unwrap();
    }

    const THINGS: &str = "CREATE TABLE IF NOT EXISTS things (thing BLOB)";

    fn things(database: &Database) -> i64 {
        database.connection.query_row("SELECT SUM(LENGTH(thing)) FROM things", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn the_index_of_the_log_is_in_memory() {
        const BYTES: i64 = 100_000;
        let state = tempfile::tempdir().unwrap();
        let at = |name| state.path().join(name);
        let database = Database::open(state.path(), "test", THINGS).unwrap();
        database.connection.execute("INSERT INTO things VALUES (ZEROBLOB(?1))", [BYTES]).unwrap();
        // The other connection's checkpoint finds what this one has committed.
        (0..COMMITS).for_each(|_| database.committed());
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while fs::metadata(at("nodes.sqlite")).unwrap().len() < BYTES.unsigned_abs() {
            assert!(std::time::Instant::now() < deadline, "the log is brought into the table");
            std::thread::sleep(Duration::from_millis(5));
        }
        database.connection.execute("INSERT INTO things VALUES (ZEROBLOB(1))", []).unwrap();
        assert!(!at("nodes.sqlite-shm").exists());
        drop(database);
        // One that an earlier version left counts for nothing.
        fs::write(at("nodes.sqlite-shm"), [0xa5; 32 << 10]).unwrap();
        let database = Database::open(state.path(), "test", THINGS).unwrap();
        assert_eq!(things(&database), BYTES + 1);
        database.connection.execute("INSERT INTO things VALUES (ZEROBLOB(1))", []).unwrap();
        drop(database);
        assert_eq!(things(&Database::open(state.path(), "test", THINGS).unwrap()), BYTES + 2);
    }

    #[test]
    fn a_broken_one_is_named() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("nodes.sqlite"), [7; 10_000]).unwrap();
        let error = Database::open(state.path(), "test", "").map(drop).unwrap_err();
        assert!(error.to_string().contains("nodes.sqlite"), "{error}");
    }
}
