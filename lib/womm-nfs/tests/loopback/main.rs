//! The server over loopback, with a client of our own and a file system in memory.

#![expect(missing_docs, reason = "only tests see it")]

mod client;
mod durability;
mod faults;
mod hostile;
mod identity;
mod leases;
mod many;
mod node;
mod operations;
mod restarts;
mod sessions;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use womm_nfs::exports::{Export, Owner, Terms};
use womm_nfs::{Config, Server};
use womm_vfs::Clock;
use womm_vfs::clock::ManualClock;
use womm_vfs::memory::MemoryVfs;

/// Nothing here takes so long: it is to end a test that hangs.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Who owns what is in `/export`.
pub const OWNER: Owner = Owner { user: 1000, group: 1001 };
pub const LEASE: Duration = Duration::from_secs(60);

/// A server with `/export`.
pub struct Fixture {
    pub server: Server<MemoryVfs>,
    pub address: SocketAddr,
    pub clock: Arc<ManualClock>,
    pub number: u64,
    folder: TempDir,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with_memory(256 << 20).await
    }

    pub async fn with_memory(bytes: usize) -> Self {
        let folder = TempDir::new().expect("a folder");
        let clock = Arc::new(ManualClock::new(SystemTime::now()));
        let memory = MemoryVfs::new(clock.clone());
        Self::start(folder, clock, memory, bytes).await
    }

    async fn start(folder: TempDir, clock: Arc<ManualClock>, memory: MemoryVfs, bytes: usize) -> Self {
        let server = open(folder.path(), clock.clone(), bytes).await;
        let number = server.export("/export", memory, Terms { owner: OWNER, ..Terms::default() }).expect("it is good");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        let (serving, stopped) = (server.clone(), stop.clone());
        let task = tokio::spawn(async move { serving.serve(listener, stopped).await });
        Self { server, address, clock, number, folder, stop, task }
    }

    pub fn export(&self) -> Arc<Export<MemoryVfs>> {
        self.server.exports().now().export(self.number).expect("it is exported")
    }

    /// Everything forgotten that a SIGKILL forgets.
    pub async fn restart(self) -> Self {
        let memory = self.export().vfs.restart();
        self.restart_with(memory).await
    }

    /// The same, and `/export` is another.
    pub async fn restart_with(self, memory: MemoryVfs) -> Self {
        self.stop.cancel();
        self.task.await.expect("it ends");
        drop(self.server);
        Self::start(self.folder, self.clock, memory, 256 << 20).await
    }

    /// Moves the time, and lets the server see it.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.server.with_state(womm_nfs::state::State::tick);
    }
}

/// Calls that were on the way hold the old server for a moment.
async fn open(folder: &Path, clock: Arc<dyn Clock>, bytes: usize) -> Server<MemoryVfs> {
    let config = Config { lease: LEASE, most_memory: bytes, clock };
    for _ in 0..1000 {
        match Server::open(folder, config.clone()) {
            Ok(server) => return server,
            Err(womm_nfs::FolderError::Held(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the state folder is still held")
}
