//! Moves a job's bytes between our stdio and the run's socket, and ends as the job ended.

use crate::options::Request;
use crate::{FAILED, closing, run, say, wrapper};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::termios::isatty;
use signal_hook::consts::SIGWINCH;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use womm_tty::{Raw, size};
use womm_wire::frame::{Decoder, End, HEADER, How, Kind, MOST_DATA, Open, STDIN_WINDOW, encode, taken_of};

/// Runs the job; our exit code.
pub fn run(socket: UnixStream, request: &Request) -> Result<u8, String> {
    let terminal = request.terminal.unwrap_or(request.command.is_none()) && isatty(io::stdin());
    let open = open_of(request, terminal);
    // GNU parallel has it run before a job, with the job's stdin: what it read there would be missing in the job.
    let no_stdin = request.no_stdin || open.of_run && is_before_job(&open);
    let payload = open.encode();
    if payload.len() > womm_wire::frame::MOST_OPEN {
        return Err(format!("the command is too long: {} bytes", payload.len()));
    }
    let resized = if terminal { Some(resized().map_err(|e| format!("watch the terminal's size: {e}"))?) } else { None };
    socket.set_nonblocking(true).map_err(|e| format!("talk to the run: {e}"))?;
    let _raw = terminal.then(|| Raw::enter(io::stdin()));
    let mut relay = Relay {
        socket,
        to_send: encode(Kind::Open, &payload),
        sent: 0,
        stdin: if no_stdin { Stdin::Ended } else { Stdin::Open },
        stdin_ended: no_stdin,
        fed: false,
        under_way: 0,
        stdout_bytes: 0,
        stderr_bytes: 0,
        reader_gone: false,
    };
    if no_stdin {
        relay.to_send.extend_from_slice(&encode(Kind::StdinEof, b""));
    }
    let end = relay.run(resized.as_ref())?;
    relay.take_leavings();
    // The terminal is as it was before anything is said.
    drop(_raw);
    Ok(relay.code(&end))
}

fn open_of(request: &Request, terminal: bool) -> Open {
    let term = || std::env::var_os("TERM").unwrap_or_else(|| "dumb".into()).into_vec();
    let (command, subsystem) = match request.subsystem {
        true => (None, request.command.clone()),
        false => (request.command.clone().map(wrapper::trimmed), None),
    };
    Open {
        host: run::host(request).to_vec(),
        command,
        cwd: std::env::current_dir().ok().map(|cwd| cwd.as_os_str().as_bytes().to_vec()),
        env: Vec::new(),
        terminal: terminal.then(|| (term(), size(io::stdin()))),
        subsystem,
        of_run: run::is_ours(),
        attempt: run::attempt().unwrap_or_default().into_bytes(),
    }
}

/// Whether it makes the folder for files that are about to be brought, by the letter of GNU parallel 20221122 and later.
fn is_before_job(open: &Open) -> bool {
    open.command.as_ref().is_some_and(|command| command.starts_with(b"exec mkdir -p "))
}

fn resized() -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGWINCH, writer)?;
    Ok(reader)
}

/// How long after its end a job's feeder is listened to at most.
const LEAVINGS: Duration = Duration::from_secs(2);

#[derive(PartialEq, Eq)]
enum Stdin {
    Open,
    Ended,
}

struct Relay {
    socket: UnixStream,
    to_send: Vec<u8>,
    sent: usize,
    stdin: Stdin,
    /// Whether stdin itself has ended, not just the job's interest in it.
    stdin_ended: bool,
    /// Whether somebody has written into our stdin.
    fed: bool,
    under_way: usize,
    stdout_bytes: u64,
    stderr_bytes: u64,
    reader_gone: bool,
}

impl Relay {
    /// Until the job's end. Single-threaded: reads stdin only when what was read before is sent, writes stdout
    /// blocking, so a slow reader of ours slows the job as a pipe would.
    fn run(&mut self, resized: Option<&UnixStream>) -> Result<End, String> {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; MOST_DATA + HEADER];
        // GNU parallel has closed stdin of most jobs by now: the job and that leave in one piece, which wakes everybody
        // on the way once.
        if self.stdin == Stdin::Open && readable_now(io::stdin().as_fd()) {
            self.read_stdin(&mut buffer)?;
        }
        loop {
            let sending = self.sent < self.to_send.len();
            let reading = !sending && self.stdin == Stdin::Open && self.under_way + HEADER < STDIN_WINDOW;
            let stdin = io::stdin();
            let socket_events = PollFlags::IN | if sending { PollFlags::OUT } else { PollFlags::empty() };
            let mut fds = vec![PollFd::new(&self.socket, socket_events)];
            fds.extend(reading.then(|| PollFd::new(&stdin, PollFlags::IN)));
            fds.extend(resized.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(format!("wait for the job: {e}")),
            }
            let socket_ready = fds[0].revents();
            let stdin_ready = reading && !fds[1].revents().is_empty();
            let size_changed = resized.is_some() && fds.last().is_some_and(|fd| !fd.revents().is_empty());
            if sending && socket_ready.contains(PollFlags::OUT) {
                self.send()?;
            }
            if socket_ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                match (&self.socket).read(&mut buffer) {
                    Ok(0) => return Err("the run has ended before the job".into()),
                    Ok(n) => {
                        decoder.feed(&buffer[..n]);
                        if let Some(end) = self.take(&mut decoder)? {
                            return Ok(end);
                        }
                    }
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                    Err(e) => return Err(format!("the run has ended before the job: {e}")),
                }
            }
            if stdin_ready {
                self.read_stdin(&mut buffer)?;
            }
            if let (true, Some(mut pipe)) = (size_changed, resized) {
                let _ = pipe.read(&mut buffer);
                self.to_send.extend_from_slice(&encode(Kind::Resize, &size(io::stdin()).encode()));
            }
        }
    }

    fn send(&mut self) -> Result<(), String> {
        match (&self.socket).write(&self.to_send[self.sent..]) {
            Ok(n) => self.sent += n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                self.sent = self.to_send.len(); // reading says why
            }
            Err(e) => return Err(format!("talk to the run: {e}")),
        }
        if self.sent == self.to_send.len() {
            self.to_send.clear();
            self.sent = 0;
        }
        Ok(())
    }

    fn read_stdin(&mut self, buffer: &mut [u8]) -> Result<(), String> {
        let room = (STDIN_WINDOW - self.under_way - HEADER).min(MOST_DATA);
        match rustix::io::read(io::stdin().as_fd(), &mut buffer[..room]) {
            Ok(0) => self.end_of_stdin(),
            Ok(n) => {
                self.fed = true;
                self.under_way += n + HEADER;
                self.to_send.extend_from_slice(&encode(Kind::Stdin, &buffer[..n]));
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            // What nohup(1) makes of a terminal, or the terminal, which a background process must not read.
            Err(e) if e == Errno::BADF || e == Errno::IO && isatty(io::stdin()) => self.end_of_stdin(),
            // No end: the job would take what it has for all, where a local one would hear of the error.
            Err(e) => return Err(format!("read the job's stdin: {e}: the job was ended")),
        }
        Ok(())
    }

    fn end_of_stdin(&mut self) {
        (self.stdin, self.stdin_ended) = (Stdin::Ended, true);
        self.to_send.extend_from_slice(&encode(Kind::StdinEof, b""));
    }

    /// Takes what has come; the job's end, if that is among it.
    fn take(&mut self, decoder: &mut Decoder) -> Result<Option<End>, String> {
        let broken = |e: womm_wire::frame::Malformed| format!("understand the run: {e}");
        while let Some((kind, payload)) = decoder.next_frame().map_err(broken)? {
            match kind {
                Kind::Stdout => {
                    let written = write_all(io::stdout().as_fd(), payload, &mut self.reader_gone);
                    written.map_err(|e| format!("write the job's stdout: {e}"))?;
                    self.stdout_bytes += payload.len() as u64;
                }
                Kind::Stderr => {
                    // One that nobody reads is no reason to end the job; one that is cut short (a full disk) is.
                    let written = write_all(io::stderr().as_fd(), payload, &mut false);
                    written.map_err(|e| format!("write the job's stderr: {e}"))?;
                    self.stderr_bytes += payload.len() as u64;
                }
                Kind::StdinTaken => {
                    let taken = taken_of(payload).map_err(broken)?;
                    self.under_way = self.under_way.saturating_sub(taken);
                }
                Kind::StdinClosed => self.stdin = Stdin::Ended,
                Kind::Note => say(&String::from_utf8_lossy(payload)),
                Kind::End => return End::decode(payload).map(Some).map_err(broken),
                Kind::Open | Kind::Stdin | Kind::StdinEof | Kind::Resize | Kind::Signal => {
                    return Err(format!("understand the run: a {kind:?} frame"));
                }
            }
            if self.reader_gone {
                // As a program that writes into a closed pipe: the job ends with us.
                return Ok(Some(End::without_output(How::Signalled(13), "")));
            }
        }
        Ok(None)
    }

    /// Reads what a feeder of our stdin is about to write and the job did not want, up to what would have been under
    /// way had the job lasted longer: else it depends on who is faster whether GNU parallel's feeder dies of SIGPIPE.
    /// Only of a pipe, and only what comes soon: a feeder that pauses must not keep us, nor one that never ends. One that
    /// has begun gets its turn on a busy machine, too.
    fn take_leavings(&mut self) {
        let stdin = io::stdin();
        let is_pipe = is_a(FileType::Fifo, &stdin);
        let mut room = STDIN_WINDOW.saturating_sub(self.under_way);
        let mut buffer = vec![0; MOST_DATA];
        let begun = Instant::now();
        while is_pipe && !self.stdin_ended && room > 0 && begun.elapsed() < LEAVINGS {
            let soon = Timespec { tv_sec: 0, tv_nsec: if self.fed { 500_000_000 } else { 20_000_000 } };
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&soon)) {
                Ok(1) => {}
                _ => return,
            }
            match rustix::io::read(stdin.as_fd(), &mut buffer) {
                Ok(n) if n > 0 => (self.fed, room) = (true, room.saturating_sub(n)),
                _ => return,
            }
        }
    }

    /// Some file systems say only now that what they took has no room.
    fn has_arrived(&self) -> bool {
        let arrived = |name: &str, bytes: u64, fd: BorrowedFd<'_>| {
            let checked = if bytes == 0 { Ok(()) } else { closing::check(fd) };
            checked.inspect_err(|e| say(&format!("write the job's {name}: {e}"))).is_ok()
        };
        arrived("stdout", self.stdout_bytes, io::stdout().as_fd())
            && arrived("stderr", self.stderr_bytes, io::stderr().as_fd())
    }

    fn code(&self, end: &End) -> u8 {
        if !end.reason.is_empty() {
            say(&end.reason);
        }
        let counts_match = self.stdout_bytes == end.stdout_bytes && self.stderr_bytes == end.stderr_bytes;
        match end.how {
            How::Lost | How::Refused | How::Denied => FAILED,
            _ if self.reader_gone => 128 + 13,
            _ if !counts_match => {
                say(&format!(
                    "output was lost on the way: {} of {} bytes of stdout, {} of {} of stderr",
                    self.stdout_bytes, end.stdout_bytes, self.stderr_bytes, end.stderr_bytes
                ));
                FAILED
            }
            _ if !self.has_arrived() => FAILED,
            How::Exited(code) => code,
            How::Signalled(signal) => 128 + signal,
        }
    }
}

pub fn is_a(kind: FileType, fd: impl AsFd) -> bool {
    fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
}

/// Whether a read would not wait: for bytes, an end, or an error.
fn readable_now(fd: BorrowedFd<'_>) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&at_once)), Ok(1))
}

/// Writes to stdout or stderr past the standard library's buffers. They may be non-blocking: another process's doing.
fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8], gone: &mut bool) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None);
            }
            Err(Errno::PIPE) => {
                *gone = true;
                return Ok(());
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
