//! Bugs of ours: what panics costs its call, at most its connection, and nothing else.

use crate::client::{Connection, Ops, Session};
use crate::{DEADLINE, LEASE};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
struct Breaking(AtomicBool);

impl Clock for Breaking {
    fn now(&self) -> SystemTime {
        SystemClock.now()
    }

    fn elapsed(&self) -> Duration {
        assert!(!self.0.load(Ordering::Relaxed), "as was ordered");
        SystemClock.elapsed()
    }
}

#[tokio::test]
async fn a_call_that_can_not_be_answered_ends_its_connection() {
    let folder = TempDir::new().expect("a folder");
    let clock = Arc::new(Breaking::default());
    let config = Config { lease: LEASE, most_memory: 64 << 20, clock: clock.clone() };
    let server = Server::open(folder.path(), config).expect("it opens");
    server.export("/export", MemoryVfs::new(Arc::new(SystemClock)), Terms::default()).expect("it is good");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let stop = CancellationToken::new();
    let (serving, stopped) = (server.clone(), stop.clone());
    let task = tokio::spawn(async move { serving.serve(listener, stopped).await });
    let session = Session::new(address, "a").await;
    let call = |slot| Ops::sequence(session.id, 1, slot, true).at("export").mkdir(b"folder");
    // One by itself, and several at once.
    for calls in [1, 8] {
        let mut connection = Connection::new(address).await;
        clock.0.store(true, Ordering::Relaxed);
        for slot in 1..=calls {
            connection.send(call(slot)).await;
        }
        let ended = tokio::time::timeout(DEADLINE, connection.receive_raw()).await.expect("the connection ends");
        assert_eq!(ended, None);
        clock.0.store(false, Ordering::Relaxed);
    }
    // Over another connection, the calls are done.
    let mut connection = Connection::new(address).await;
    for slot in 1..=8 {
        let status = connection.run(call(slot)).await.status;
        assert_eq!(status, if slot == 1 { Status::Ok } else { Status::Exists }, "slot {slot}");
    }
    stop.cancel();
    tokio::time::timeout(DEADLINE, task).await.expect("it ends").expect("without a panic");
}
