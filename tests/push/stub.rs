//! A server that says what no real one here would: a Docker engine that is too old, a cluster of other machines.

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

/// What it says to a GET of this path, without the query; none is 404, which is JSON too.
type Answer = dyn Fn(&str) -> Option<Value> + Send + Sync;

/// It runs as long as this lives.
pub struct Stub {
    at: At,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

enum At {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Stub {
    /// On a free port.
    #[track_caller]
    pub fn tcp(answer: impl Fn(&str) -> Option<Value> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = At::Tcp(listener.local_addr().unwrap());
        Self::start(at, Arc::new(answer), move || listener.accept().map(|(stream, _)| stream))
    }

    /// At a path.
    #[track_caller]
    pub fn unix(path: &Path, answer: impl Fn(&str) -> Option<Value> + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        Self::start(At::Unix(path.into()), Arc::new(answer), move || listener.accept().map(|(stream, _)| stream))
    }

    fn start<S: Read + Write + Send + 'static>(
        at: At,
        answer: Arc<Answer>,
        accept: impl Fn() -> io::Result<S> + Send + 'static,
    ) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ends = end.clone();
        let thread = spawn(move || {
            while let Ok(stream) = accept() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let answer = answer.clone();
                // A client that goes away is the test's own matter.
                spawn(move || serve(stream, &*answer));
            }
        });
        Self { at, end, thread: Some(thread) }
    }

    /// `http://127.0.0.1:1234`, or `unix:///path`.
    pub fn url(&self) -> String {
        match &self.at {
            At::Tcp(address) => format!("http://{address}"),
            At::Unix(path) => format!("unix://{}", path.display()),
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        // So that it looks.
        match &self.at {
            At::Tcp(address) => drop(TcpStream::connect(address)),
            At::Unix(path) => drop(UnixStream::connect(path)),
        }
        let _ = self.thread.take().map(JoinHandle::join); // if it panicked, that has been printed
    }
}

/// One request, then the end of the connection.
fn serve<S: Read + Write>(stream: S, answer: &Answer) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    while reader.read_line(&mut line)? > 2 {} // as far as an empty line
    let found = answer(target.split('?').next().unwrap_or_default());
    let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
    let text = found.unwrap_or_else(|| json!({"message": "there is no such thing here"})).to_string();
    let head = "Content-Type: application/json\r\nConnection: close";
    write!(reader.into_inner(), "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}
