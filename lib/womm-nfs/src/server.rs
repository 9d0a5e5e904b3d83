//! The server: state, exports and what they stand on, for all connections.

use crate::appends::Appends;
use crate::budget::Budget;
use crate::connection;
use crate::exports::{BadPath, Exports, Terms};
use crate::fault::caught;
use crate::folder::{FolderError, StateFolder, random};
use crate::limits::{BACKEND_DEADLINE, MOST_CONNECTIONS, TOMBSTONE};
use crate::state::{Effects, Settings, State};
use crate::status::Status;
use crate::wire::ClientId;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use womm_vfs::context::OperationId;
use womm_vfs::{Clock, Context, Vfs};

/// How often is looked at what the time alone changes.
const TICK: Duration = Duration::from_secs(1);
/// Before accept(2) is tried again when there are no descriptors left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// How a server is to be.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a client may be silent.
    pub lease: Duration,
    /// For calls and replies on the way, replies that are kept, and what is known of clients, bytes.
    pub most_memory: usize,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

/// A server; clones are the same one.
#[derive(Debug)]
pub struct Server<V>(Arc<Inner<V>>);

#[derive(Debug)]
struct Inner<V> {
    folder: StateFolder,
    exports: Exports<V>,
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    lease: Duration,
    budget: Budget,
    appends: Appends,
    operations: AtomicU64,
    connections: AtomicU64,
}

impl<V> Clone for Server<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V: Vfs> Server<V> {
    /// With a state folder, and no exports yet.
    ///
    /// # Errors
    /// Of the state folder.
    pub fn open(state_folder: &Path, config: Config) -> Result<Self, FolderError> {
        let mut folder = StateFolder::open(state_folder, config.clock.now())?;
        let no_random = |why| FolderError::Io { what: "get random numbers for", path: state_folder.to_owned(), why };
        let settings = Settings {
            lease: config.lease,
            boot: u32::from_be_bytes(random().map_err(no_random)?),
            secret: random().map_err(no_random)?,
            most_kept: config.most_memory / 4,
            most_states: config.most_memory / 8,
        };
        let records = std::mem::take(&mut folder.records);
        let state = State::new(settings, records, config.clock.elapsed());
        Ok(Self(Arc::new(Inner {
            exports: Exports::new(folder.key.clone(), config.clock.now()),
            folder,
            state: Mutex::new(state),
            clock: config.clock,
            lease: config.lease,
            budget: Budget::new(config.most_memory / 16 * 9),
            appends: Appends::default(),
            operations: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        })))
    }

    /// Exports a file system under a path: before [`Server::serve`] those that clients may have state in, others at any time.
    ///
    /// # Errors
    /// The path is no good.
    pub fn export(&self, path: &str, vfs: V, terms: Terms) -> Result<u64, BadPath> {
        let number = self.0.exports.add(path, vfs, terms)?;
        // The others are told when the grace ends.
        if let Some(since) = self.0.folder.drained.since(number) {
            self.0.exports.drain(number, since);
        }
        if self.with_state(|state, _| state.grace_has_ended())
            && let Some(export) = self.0.exports.now().export(number)
        {
            export.vfs.reclaimed();
        }
        Ok(number)
    }

    /// What is exported.
    pub fn exports(&self) -> &Exports<V> {
        &self.0.exports
    }

    /// Ends an export's task, also for those who come after a restart; see [`Exports::drain`]. Waits for the disk.
    ///
    /// # Errors
    /// Of the state folder: nothing is ended then.
    pub fn drain(&self, export: u64) -> Result<(), FolderError> {
        let now = self.0.clock.now();
        self.0.folder.drained.add(export, now)?;
        self.0.exports.drain(export, now);
        Ok(())
    }

    /// Answers clients until told to stop; then all connections are closed.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        tasks.spawn(self.clone().tick(stop.clone()));
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let Ok((stream, peer)) = accepted else {
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                continue;
            };
            // One too many is closed at once: it is better to be told than to wait.
            let Ok(place) = room.clone().try_acquire_owned() else { continue };
            let (server, stop) = (self.clone(), stop.clone());
            tasks.spawn(async move {
                let _place = place;
                tokio::select! {
                    () = connection::serve(&server, stream, peer) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        drop(listener);
        tasks.close();
        tasks.wait().await;
    }

    async fn tick(self, stop: CancellationToken) {
        loop {
            let changes = async {
                self.with_state(State::tick);
                if let Some(before) = self.0.clock.now().checked_sub(TOMBSTONE) {
                    self.0.exports.remove_drained(before);
                }
            };
            // After a fault it is tried again: a grace without an end would be worse.
            let _fault = caught(pin!(changes)).await;
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Looks at the state or changes it, and does outside what that asks for. The lock is never held while anything waits.
    pub fn with_state<T>(&self, change: impl FnOnce(&mut State, Duration) -> T) -> T {
        let now = self.0.clock.elapsed();
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = change(&mut state, now);
        let effects = state.take_effects();
        drop(state);
        self.apply(effects);
        answer
    }

    fn apply(&self, effects: Effects) {
        if effects == Effects::default() {
            return;
        }
        let tree = self.0.exports.now();
        for file in effects.closed {
            if let Some(export) = tree.export(file.export) {
                export.vfs.close(file.node);
            }
        }
        for record in effects.forgotten {
            self.0.folder.journal.remove(record);
        }
        if effects.grace_ended {
            tree.exports().for_each(|export| export.vfs.reclaimed());
        }
    }

    /// Notes durably that a client has state, if that is not so yet.
    ///
    /// # Errors
    /// STALE_CLIENTID; NOSPC, IO if the disk does not take it.
    pub async fn record(&self, client: ClientId) -> Result<(), Status> {
        let Some(record) = self.with_state(|state, _| state.unrecorded(client))? else { return Ok(()) };
        self.0.folder.journal.add(record.clone()).await.map_err(|error| Status::from(womm_vfs::Error::from(error)))?;
        self.with_state(|state, _| state.recorded(client, record));
        Ok(())
    }

    /// Waits until it is durable who has lost what he had, before another one is told that he has it. A disk that does not take
    /// it, since it is full, stops nobody: it is tried again the next time.
    pub async fn settle(&self) {
        let _ = self.0.folder.journal.settle().await;
    }

    /// For one operation on a file system.
    pub fn context(&self, client: ClientId) -> Context {
        let number = self.0.operations.fetch_add(1, Ordering::Relaxed);
        Context::new(OperationId { client: client.0, number }, BACKEND_DEADLINE)
    }

    /// A number for a connection.
    pub(crate) fn next_connection(&self) -> u64 {
        self.0.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Memory for calls and replies.
    /// What is known of clients that append to one file.
    pub fn appends(&self) -> &Appends {
        &self.0.appends
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// What is kept across restarts.
    pub(crate) fn folder(&self) -> &StateFolder {
        &self.0.folder
    }

    /// How long a client may be silent.
    pub(crate) fn lease(&self) -> Duration {
        self.0.lease
    }
}

/// Where a client is: an address of IPv4 is the same however it came.
pub(crate) fn address(peer: SocketAddr) -> std::net::IpAddr {
    peer.ip().to_canonical()
}
