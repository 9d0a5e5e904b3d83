//! Bugs of ours outside of the operations: what panics costs its connection at most, and nothing else.

use crate::client::{Connection, Ops, Session};
use crate::{DEADLINE, LEASE};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use womm_nfs::exports::Terms;
use womm_nfs::status::Status;
use womm_nfs::{Config, Server};
use womm_vfs::Clock;
use womm_vfs::clock::SystemClock;
use womm_vfs::memory::MemoryVfs;

/// A clock that panics while it is told to: all that the server does outside of its operations asks it.
#[derive(Debug, Default)]
struct Breaking {
    broken: AtomicBool,
    asked: AtomicUsize,
}

impl Clock for Breaking {
    fn now(&self) -> SystemTime {
        SystemClock.now()
    }

    fn elapsed(&self) -> Duration {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(!self.broken.load(Ordering::Relaxed), "as was ordered");
        SystemClock.elapsed()
    }
}

impl Breaking {
    fn is_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }

    /// Until it is asked again.
    async fn is_asked(&self) {
        let before = self.asked.load(Ordering::Relaxed);
        let asked = async {
            while self.asked.load(Ordering::Relaxed) == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(DEADLINE, asked).await.expect("in time");
    }
}

/// A server with `/export`, for as long as the folder is kept.
async fn start(clock: Arc<Breaking>) -> (SocketAddr, TempDir) {
    let folder = TempDir::new().expect("a folder");
    let config = Config { lease: LEASE, most_memory: 64 << 20, clock };
    let server = Server::open(folder.path(), config).expect("it opens");
    server.export("/export", MemoryVfs::new(Arc::new(SystemClock)), Terms::default()).expect("it is good");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { server.serve(listener, CancellationToken::new()).await });
    (address, folder)
}

#[tokio::test]
async fn a_call_that_can_not_be_answered_ends_its_connection() {
    let clock = Arc::new(Breaking::default());
    let (address, _folder) = start(clock.clone()).await;
    let session = Session::new(address, "a").await;
    let call = |slot| Ops::sequence(session.id, 1, slot, true).at("export").mkdir(b"folder");
    // One by itself, which the connection's own task does, and many, which have their own.
    for calls in [1, 8] {
        let mut connection = Connection::new(address).await;
        clock.is_broken(true);
        for slot in 1..=calls {
            connection.send(call(slot)).await;
        }
        let ended = tokio::time::timeout(DEADLINE, connection.receive_raw()).await.expect("the connection ends");
        assert_eq!(ended, None);
        clock.is_broken(false);
    }
    // Over another connection, they are done.
    let mut connection = Connection::new(address).await;
    for slot in 1..=8 {
        let status = connection.run(call(slot)).await.status;
        assert_eq!(status, if slot == 1 { Status::Ok } else { Status::Exists }, "slot {slot}");
    }
}

#[tokio::test]
async fn what_the_time_changes_is_tried_again() {
    let clock = Arc::new(Breaking::default());
    let (_address, _folder) = start(clock.clone()).await;
    // Nobody else asks the clock.
    clock.is_asked().await;
    clock.is_broken(true);
    clock.is_asked().await;
    clock.is_broken(false);
    clock.is_asked().await;
}
