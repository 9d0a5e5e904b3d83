//! A wire that a test breaks: a proxy between the programs under test and their engine's API. It knows bytes only, so TLS
//! passes through it as it is.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, connect_unspec, shutdown};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

/// How soon a thread that waits sees that things have changed.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
const PAUSE: Duration = Duration::from_millis(20);

/// Both ends of what passes through.
#[derive(Debug, Clone)]
enum Ends {
    Tcp { listens: SocketAddr, server: SocketAddr },
    Unix { listens: PathBuf, server: PathBuf },
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    refuses: AtomicBool,
    holds: AtomicBool,
    delay_ms: AtomicU64,
    open: Mutex<Vec<Arc<Pair>>>,
    most_open: AtomicUsize,
}

#[derive(Debug)]
struct Pair {
    client: OwnedFd,
    server: OwnedFd,
    is_tcp: bool,
}

impl Pair {
    /// As a firewall that forgot the connection does it: TCP's RST, to both ends.
    fn reset(&self) {
        for end in [&self.client, &self.server] {
            // A disconnected socket sends RST at once (Linux, tcp_disconnect). Either may be closed already.
            let _ = if self.is_tcp { connect_unspec(end) } else { shutdown(end, Shutdown::Both) };
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Vec<Arc<Pair>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, flag: &AtomicBool) -> bool {
        flag.load(Ordering::SeqCst)
    }
}

/// Passes everything on, until it is told otherwise. Ends, with all that is open, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    ends: Ends,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl Proxy {
    /// On a free port of the workstation.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn tcp(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let listens = listener.local_addr().expect("it is bound");
        Self::start(Ends::Tcp { listens, server }, listener.into())
    }

    /// At a path.
    ///
    /// # Panics
    /// If it can't be bound.
    #[track_caller]
    pub fn unix(listens: PathBuf, server: PathBuf) -> Self {
        let listener = UnixListener::bind(&listens).unwrap_or_else(|e| panic!("bind {}: {e}", listens.display()));
        Self::start(Ends::Unix { listens, server }, listener.into())
    }

    fn start(ends: Ends, listener: OwnedFd) -> Self {
        let shared = Arc::new(Shared::default());
        let (at, with) = (ends.clone(), shared.clone());
        let listener = Some(spawn(move || listen(&at, listener, &with)));
        Self { ends, shared, listener }
    }

    /// Where it listens: `127.0.0.1:1234`, or a path.
    pub fn address(&self) -> String {
        match &self.ends {
            Ends::Tcp { listens, .. } => listens.to_string(),
            Ends::Unix { listens, .. } => listens.display().to_string(),
        }
    }

    /// Everything passes again.
    pub fn pass(&self) {
        self.shared.delay_ms.store(0, Ordering::SeqCst);
        self.shared.holds.store(false, Ordering::SeqCst);
        self.shared.refuses.store(false, Ordering::SeqCst);
    }

    /// Nothing passes, and nobody is told: as if the cable were out.
    pub fn hold(&self) {
        self.shared.holds.store(true, Ordering::SeqCst);
    }

    /// New connections are refused, open ones are reset: as if the server had died.
    pub fn refuse(&self) {
        self.shared.refuses.store(true, Ordering::SeqCst);
        self.reset();
    }

    /// Every piece of up to 64 KiB takes so much longer.
    pub fn delay(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).expect("a delay, not an age");
        self.shared.delay_ms.store(by, Ordering::SeqCst);
    }

    /// Resets all that is open; how many connections that were.
    pub fn reset(&self) -> usize {
        let open = std::mem::take(&mut *self.shared.open());
        open.iter().for_each(|pair| pair.reset());
        open.len()
    }

    /// The most connections that were open at once since this was last asked.
    pub fn most_open(&self) -> usize {
        let open = self.shared.open();
        self.shared.most_open.swap(open.len(), Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.reset();
        let _ = self.listener.take().map(JoinHandle::join); // if it panicked, that has been printed
    }
}

fn listen(ends: &Ends, first: OwnedFd, shared: &Arc<Shared>) {
    let mut listener = Some(first);
    while !shared.is(&shared.over) {
        if shared.is(&shared.refuses) {
            // Without a listener the kernel itself refuses.
            listener = None;
            sleep(PAUSE);
            continue;
        }
        let bound = listener.take().or_else(|| bind(ends));
        let Some(bound) = bound else {
            sleep(PAUSE);
            continue;
        };
        // A cable that is out brings no connections either; they wait in the kernel.
        if !shared.is(&shared.holds)
            && poll(&mut [PollFd::new(&bound, PollFlags::IN)], Some(&LOOK)).is_ok_and(|n| n > 0)
        {
            if let Ok(client) = rustix::net::accept(&bound) {
                let shared = shared.clone();
                let ends = ends.clone();
                // Connecting may take long, and others wait.
                spawn(move || connected(&ends, client, &shared));
            }
        } else {
            sleep(PAUSE);
        }
        listener = Some(bound);
    }
    if let Ends::Unix { listens, .. } = ends {
        let _ = std::fs::remove_file(listens); // its folder may be gone
    }
}

fn bind(ends: &Ends) -> Option<OwnedFd> {
    match ends {
        Ends::Tcp { listens, .. } => TcpListener::bind(listens).ok().map(OwnedFd::from),
        Ends::Unix { listens, .. } => {
            let _ = std::fs::remove_file(listens); // it is in the way only if it is there
            UnixListener::bind(listens).ok().map(OwnedFd::from)
        }
    }
}

fn connected(ends: &Ends, client: OwnedFd, shared: &Arc<Shared>) {
    let server = match ends {
        Ends::Tcp { server, .. } => TcpStream::connect(server).map(OwnedFd::from),
        Ends::Unix { server, .. } => UnixStream::connect(server).map(OwnedFd::from),
    };
    let Ok(server) = server else { return }; // dropped, so closed: the client sees what it would see of the server
    let pair = Arc::new(Pair { client, server, is_tcp: matches!(ends, Ends::Tcp { .. }) });
    {
        let mut open = shared.open();
        // It was let in just before `refuse`, which has this lock when it looks for what is to be reset.
        if shared.is(&shared.refuses) {
            pair.reset();
            return;
        }
        open.push(pair.clone());
        shared.most_open.fetch_max(open.len(), Ordering::SeqCst);
    }
    let (back, with) = (pair.clone(), shared.clone());
    let other = spawn(move || pump(&back.server, &back.client, &with));
    pump(&pair.client, &pair.server, shared);
    let _ = other.join();
    shared.open().retain(|open| !Arc::ptr_eq(open, &pair));
}

/// Passes one direction on until it ends.
fn pump(from: &OwnedFd, to: &OwnedFd, shared: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    while !shared.is(&shared.over) {
        if shared.is(&shared.holds) {
            sleep(PAUSE);
            continue;
        }
        if !poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&LOOK)).is_ok_and(|n| n > 0) {
            continue;
        }
        let count = match rustix::io::read(from, &mut buffer) {
            Ok(count) if count > 0 => count,
            _ => break,
        };
        match shared.delay_ms.load(Ordering::SeqCst) {
            0 => {}
            ms => sleep(Duration::from_millis(ms)),
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            // What was taken when the cable came out has not arrived.
            while shared.is(&shared.holds) && !shared.is(&shared.over) {
                sleep(PAUSE);
            }
            // A reader that does not read must not keep this thread from seeing the end.
            match poll(&mut [PollFd::new(to, PollFlags::OUT)], Some(&LOOK)) {
                Ok(0) | Err(rustix::io::Errno::INTR) if !shared.is(&shared.over) => continue,
                Ok(_) => {}
                Err(_) => return,
            }
            match rustix::net::send(to, rest, rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT) {
                Ok(count) => rest = &rest[count..],
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(_) => {
                    let _ = shutdown(from, Shutdown::Both); // the other pump hears of it
                    return;
                }
            }
        }
    }
    let _ = shutdown(to, Shutdown::Write); // it may be reset already
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};

    /// A server that sends back what it gets, for as many connections as come.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        spawn(move || {
            for connection in listener.incoming().flatten() {
                spawn(move || std::io::copy(&mut connection.try_clone().unwrap(), &mut &connection));
            }
        });
        at
    }

    #[test]
    fn whoever_was_let_in_just_before_is_reset_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ends = Ends::Tcp { listens: listener.local_addr().unwrap(), server: echo() };
        let mut wire = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let shared = Arc::new(Shared::default());
        shared.refuses.store(true, Ordering::SeqCst);
        connected(&ends, listener.accept().unwrap().0.into(), &shared);
        let broken = answer(&mut wire, b"one").unwrap_err();
        assert_eq!(broken.kind(), ErrorKind::ConnectionReset, "{broken}");
        assert!(shared.open().is_empty());
    }

    fn answer(connection: &mut TcpStream, word: &[u8]) -> std::io::Result<Vec<u8>> {
        connection.write_all(word)?;
        let mut buffer = vec![0; word.len()];
        connection.read_exact(&mut buffer).map(|()| buffer)
    }

    #[test]
    fn it_passes_holds_resets_and_refuses() {
        let proxy = Proxy::tcp(echo());
        let connect = || TcpStream::connect(proxy.address());
        let mut wire = connect().unwrap();
        assert_eq!(answer(&mut wire, b"one").unwrap(), b"one");

        proxy.hold();
        wire.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let late = answer(&mut wire, b"two").unwrap_err();
        assert!(matches!(late.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{late}");
        proxy.pass();
        wire.set_read_timeout(Some(crate::LONG)).unwrap();
        let mut buffer = [0; 3];
        wire.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"two", "what was held arrives");

        assert_eq!(proxy.reset(), 1);
        assert_eq!(wire.read(&mut buffer).unwrap_err().kind(), ErrorKind::ConnectionReset);
        proxy.refuse();
        crate::until(crate::LONG, "a refusal", || connect().err().filter(|e| e.kind() == ErrorKind::ConnectionRefused));
        proxy.pass();
        assert_eq!(proxy.most_open(), 1);
        let mut wire = crate::until(crate::LONG, "a connection", || connect().ok());
        assert_eq!(answer(&mut wire, b"three").unwrap(), b"three");
        let mut second = connect().unwrap();
        assert_eq!(answer(&mut second, b"four").unwrap(), b"four");
        drop((wire, second));
        crate::until(crate::LONG, "their end", || proxy.shared.open().is_empty().then_some(()));
        assert_eq!([proxy.most_open(), proxy.most_open()], [2, 0]);
    }

    #[test]
    fn a_big_answer_passes_whole_through_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let (server, path) = (dir.path().join("server"), dir.path().join("proxy"));
        let listener = UnixListener::bind(&server).unwrap();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let copy = sent.clone();
        spawn(move || listener.accept().unwrap().0.write_all(&copy));
        let proxy = Proxy::unix(path.clone(), server);
        let mut got = Vec::new();
        UnixStream::connect(path).unwrap().read_to_end(&mut got).unwrap();
        assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
        drop(proxy);
    }
}
