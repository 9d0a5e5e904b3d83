//! One job: its frames on one side, its supervisor and pipes on the other.
//!
//! Output is read only as fast as the workstation takes it: a job whose reader is slow blocks as on a pipe. Input is
//! bounded by [`STDIN_WINDOW`], so what the workstation sends is always read, and its end always noticed.

use crate::offspring::{GRACE, LAST};
use crate::pty::{self, Pty};
use crate::serve::{Agent, Ending, LAST_WORDS};
use crate::spec::{self, Answer};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use womm_stream::frames;
use womm_stream::session::Stream;
use womm_wire::frame::{self, End, HEADER, How, Kind, MOST_DATA, Open, STDIN_WINDOW, Size};

/// Why a job that could run does not, or not to its end.
const POD_ENDS: &str = "it was told to end (deleted, evicted, or its node drained)";

/// How long frames that are being written get to arrive once jobs must end.
const LAST_FRAME: Duration = Duration::from_secs(1);
const _: () = assert!(LAST_FRAME.as_millis() < LAST_WORDS.as_millis(), "time is left to say why");

type Frames = mpsc::Sender<Vec<u8>>;

/// Runs the job that a stream brings, to its end or the stream's.
pub async fn run(agent: &Agent, stream: Stream) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let ends = || *agent.ending().borrow() != Ending::No;
    let Some(open) = take(&mut reader, &mut writer, ends).await else { return };
    let job = match agent.environment.complete(open) {
        Ok(open) => start(agent, open).await,
        Err(why) => Err(why),
    };
    match job {
        Ok(job) => job.relay(agent, reader, writer).await,
        Err(why) => tell(&mut writer, &End::without_output(How::Refused, why)).await,
    }
}

/// Takes the job, or denies it if the pod ends. Says at once that it was taken: yamux opens no more than 256 streams of
/// which the other end has not said a word, and a job may be silent for as long as it likes.
async fn take(reader: &mut ReadHalf<Stream>, writer: &mut WriteHalf<Stream>, ends: impl Fn() -> bool) -> Option<Open> {
    // Given up before it began, or no job at all: dropped, so reset.
    let open = first(reader).await.ok().flatten()?;
    // Only now: a large job may have been on its way for long.
    if ends() {
        tell(writer, &End::without_output(How::Denied, POD_ENDS)).await;
        return None;
    }
    frames::write(writer, Kind::StdinTaken, &frame::taken(0)).await.ok()?;
    Some(open)
}

async fn tell(writer: &mut WriteHalf<Stream>, end: &End) {
    let _ = frames::write(writer, Kind::End, &end.encode()).await;
    let _ = writer.shutdown().await;
}

async fn first(reader: &mut ReadHalf<Stream>) -> io::Result<Option<Open>> {
    let mut frame = Vec::new();
    match frames::read(reader, &mut frame).await? {
        Some(Kind::Open) => Open::decode(&frame[HEADER..]).map(Some).map_err(io::Error::other),
        _ => Ok(None),
    }
}

/// A job that runs.
struct Job {
    supervisor: Child,
    control: UnixStream,
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    stderr: Option<pipe::Receiver>,
    terminal: Option<OwnedFd>,
    oom_kills: Option<u64>,
}

/// Our ends and the job's ends of its descriptors.
struct Ends {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    theirs: spec::Stdio,
}

fn pipes() -> io::Result<Ends> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let ((in_r, in_w), (out_r, out_w), (err_r, err_w)) = (pipe()?, pipe()?, pipe()?);
    Ok(Ends { stdin: in_w, stdout: out_r, stderr: Some(err_r), terminal: None, theirs: [in_r, out_w, err_w] })
}

fn terminal(size: Size) -> io::Result<Ends> {
    let Pty { master, user } = pty::open(size)?;
    Ok(Ends {
        stdin: master.try_clone()?,
        stdout: master.try_clone()?,
        stderr: None,
        terminal: Some(master),
        theirs: [user.try_clone()?, user.try_clone()?, user],
    })
}

async fn start(agent: &Agent, open: Open) -> Result<Job, String> {
    let oom_kills = oom_kills();
    let started = || -> io::Result<Job> {
        let ends = open.terminal.as_ref().map_or_else(pipes, |(_, size)| terminal(*size))?;
        let (ours, theirs) = StdUnixStream::pair()?;
        spec::send_stdio(&ours, [ends.theirs[0].as_fd(), ends.theirs[1].as_fd(), ends.theirs[2].as_fd()])?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("job").arg(agent.descriptors.word()).stdin(Stdio::from(OwnedFd::from(theirs)));
        let supervisor = agent.adopt(|| command.spawn())?;
        drop(command); // and with it our copy of the supervisor's end
        ours.set_nonblocking(true)?;
        Ok(Job {
            supervisor,
            control: UnixStream::from_std(ours)?,
            stdin: sender(ends.stdin)?,
            stdout: receiver(ends.stdout)?,
            stderr: ends.stderr.map(receiver).transpose()?,
            terminal: ends.terminal,
            oom_kills,
        })
    };
    let mut job = started().map_err(|e| format!("start a job in the pod: {e}"))?;
    // A supervisor that died already answers nothing, which says it.
    let _ = job.control.write_all(&spec::encode(&open)).await;
    Ok(job)
}

fn nonblocking(fd: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, true)?)
}

// "unchecked": a terminal's master is no pipe, but polls, reads and writes like one.
fn sender(fd: OwnedFd) -> io::Result<pipe::Sender> {
    nonblocking(&fd)?;
    pipe::Sender::from_owned_fd_unchecked(fd)
}

fn receiver(fd: OwnedFd) -> io::Result<pipe::Receiver> {
    nonblocking(&fd)?;
    pipe::Receiver::from_owned_fd_unchecked(fd)
}

impl Job {
    /// Moves bytes until the job has ended and its output was sent, or the workstation gave it up, or the pod ends.
    async fn relay(self, agent: &Agent, reader: ReadHalf<Stream>, mut writer: WriteHalf<Stream>) {
        let Self { mut supervisor, control, stdin, stdout, stderr, terminal, oom_kills } = self;
        let has_terminal = terminal.is_some();
        let (frames_tx, mut frames_rx) = mpsc::channel::<Vec<u8>>(4);
        let (control_r, control_w) = control.into_split();
        let (stdin_tx, stdin_rx) = mpsc::unbounded_channel(); // bounded by STDIN_WINDOW
        let waiting = Arc::new(AtomicUsize::new(0));
        let feeder = tokio::spawn(feed(stdin, stdin_rx, waiting.clone(), frames_tx.clone()));
        let mut input = tokio::spawn(take_input(reader, stdin_tx, waiting, control_w, terminal));
        let stdout = tokio::spawn(pump(stdout, Kind::Stdout, frames_tx.clone()));
        let stderr = stderr.map(|stderr| tokio::spawn(pump(stderr, Kind::Stderr, frames_tx.clone())));
        drop(frames_tx);
        // What a terminal's last reader keeps open would never hear of its end.
        let pumps: Vec<_> = stderr.iter().chain([&stdout]).map(JoinHandle::abort_handle).collect();

        // Ends once the job has ended, its output has been read to the end, and nothing of it is left.
        let id = supervisor.id();
        let finish = async {
            let answer = answer_of(control_r).await;
            if answer.is_none() {
                agent.end_orphans(id).await; // the job is lost, and its output ends with its last process
            }
            let stdout_bytes = counted(stdout).await;
            let stderr_bytes = match stderr {
                Some(stderr) => counted(stderr).await,
                None => 0,
            };
            (answer, stdout_bytes, stderr_bytes)
        };
        tokio::pin!(finish);
        let pod_ends = || {
            let mut ending = agent.ending();
            async move { _ = ending.wait_for(|ending| *ending == Ending::Now).await }
        };
        let ends_now = pod_ends();
        let frame_is_late = async {
            pod_ends().await;
            tokio::time::sleep(LAST_FRAME).await;
        };
        tokio::pin!(ends_now, frame_is_late);
        let mut output_open = true;
        let stop = loop {
            tokio::select! {
                frame = frames_rx.recv(), if output_open => match frame {
                    Some(frame) => tokio::select! {
                        written = writer.write_all(&frame) => if written.is_err() {
                            break Stop::GivenUp;
                        },
                        // A reader that is slow must not keep the end of the pod from being noticed. In the middle of a
                        // frame there is no way to say it: the stream is dropped, so reset.
                        () = &mut frame_is_late => break Stop::GivenUp,
                        _ = &mut input => break Stop::GivenUp,
                    },
                    None => output_open = false,
                },
                (answer, stdout_bytes, stderr_bytes) = &mut finish => {
                    break Stop::Ended(end_of(answer, stdout_bytes, stderr_bytes, oom_kills));
                }
                () = &mut ends_now => break Stop::PodEnds,
                _ = &mut input => break Stop::GivenUp,
            }
        };
        // The supervisor ends all that is left when its socket closes: `input` holds the write half, `finish` has
        // dropped the read half.
        if !input.is_finished() {
            input.abort();
            let _ = input.await;
        }
        // A terminal says by its hangup that it has ended. A pipe that is cut off must not: what a job has read of its
        // input would look whole until the supervisor ends it, so that waits for `reap`.
        if has_terminal {
            feeder.abort();
        }
        if let Stop::Ended(_) = stop {
            while let Ok(frame) = frames_rx.try_recv() {
                if writer.write_all(&frame).await.is_err() {
                    break;
                }
            }
        }
        drop(frames_rx);
        pumps.iter().for_each(AbortHandle::abort); // those of a job that has ended have, too
        match stop {
            // After the job's last process: what comes next finds the pod without it.
            Stop::Ended(end) => {
                reap(agent, &mut supervisor, id).await;
                tell(&mut writer, &end).await;
            }
            Stop::PodEnds => {
                tell(&mut writer, &End::without_output(How::Lost, POD_ENDS)).await;
                reap(agent, &mut supervisor, id).await;
            }
            Stop::GivenUp => reap(agent, &mut supervisor, id).await,
        }
        feeder.abort();
    }
}

/// Why a job's bytes are moved no longer.
enum Stop {
    Ended(End),
    /// By the workstation, or nothing more can be told to it.
    GivenUp,
    PodEnds,
}

async fn reap(agent: &Agent, supervisor: &mut Child, id: Option<u32>) {
    // It may be stopped, or wait for an NFS server: then it ends nothing.
    let ended = match tokio::time::timeout(MOST_END, supervisor.wait()).await {
        Ok(ended) => ended,
        Err(_) => {
            let _ = supervisor.start_kill(); // it may have ended at this moment
            supervisor.wait().await
        }
    };
    agent.released(id);
    if !ended.is_ok_and(|status| status.success()) {
        agent.end_orphans(id).await;
    }
}

/// A supervisor has given up by then.
const MOST_END: Duration = GRACE.saturating_add(LAST).saturating_add(Duration::from_secs(1));

/// How much of a job's output is read at first, bytes.
const FIRST_READ: usize = 4 << 10;

/// More than any answer, bytes.
const MOST_ANSWER: usize = 64 << 10;

/// What the supervisor says.
async fn answer_of(mut control: tokio::net::unix::OwnedReadHalf) -> Option<Answer> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        if let Some(answer) = Answer::parse(&bytes) {
            return Some(answer);
        }
        match control.read(&mut buffer).await {
            Ok(n) if n > 0 && bytes.len() < MOST_ANSWER => bytes.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    }
}

async fn counted(pump: JoinHandle<u64>) -> u64 {
    pump.await.unwrap_or(0)
}

/// Reads a descriptor to its end, into frames; how many bytes it was.
async fn pump(mut from: impl AsyncRead + Unpin, kind: Kind, frames_tx: Frames) -> u64 {
    let mut count = 0;
    // Most jobs write little. One that fills it gets more.
    let mut buffer = vec![0; FIRST_READ];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return count,
            // EIO: the last process has closed the terminal (pty(7)).
            Err(_) => return count,
            Ok(n) => {
                if frames_tx.send(frame::encode(kind, &buffer[..n])).await.is_err() {
                    return count;
                }
                count += n as u64;
                if n == buffer.len() && n < MOST_DATA {
                    buffer = vec![0; MOST_DATA];
                }
            }
        }
    }
}

/// Reads what the workstation sends, to its end: of which every job that still runs ends.
async fn take_input(
    mut reader: ReadHalf<Stream>,
    stdin_tx: mpsc::UnboundedSender<Option<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
    control: tokio::net::unix::OwnedWriteHalf,
    terminal: Option<OwnedFd>,
) {
    let mut frame = Vec::new();
    let mut open = true;
    while let Ok(Some(kind)) = frames::read(&mut reader, &mut frame).await {
        match kind {
            // Nor empty ones, nor any after the end: each takes room, however short it is.
            Kind::Stdin | Kind::StdinEof if !open => return,
            Kind::Stdin if frame.len() == HEADER => return,
            Kind::Stdin if waiting.fetch_add(frame.len(), Ordering::Relaxed) + frame.len() <= STDIN_WINDOW => {
                let _ = stdin_tx.send(Some(std::mem::take(&mut frame))); // nobody takes it once the job has ended
            }
            Kind::StdinEof => {
                open = false;
                let _ = stdin_tx.send(None); // as above
            }
            Kind::Signal if frame.len() > HEADER => _ = control.try_write(&frame[HEADER..=HEADER]),
            Kind::Resize => {
                if let (Some(terminal), Ok(size)) = (&terminal, Size::decode(&frame[HEADER..])) {
                    pty::resize(terminal, size);
                }
            }
            _ => return, // no workstation of ours
        }
    }
}

/// Writes stdin to the job as fast as it reads, and says how much it took. Input that is cut off has no end for the job:
/// then this has none either.
async fn feed(
    stdin: pipe::Sender,
    mut stdin_rx: mpsc::UnboundedReceiver<Option<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
    frames_tx: Frames,
) {
    let mut stdin = Some(stdin);
    while let Some(piece) = stdin_rx.recv().await {
        match (piece, &mut stdin) {
            (Some(frame), Some(pipe)) => {
                let taken = frame::taken(frame.len());
                let written = pipe.write_all(&frame[HEADER..]).await;
                waiting.fetch_sub(frame.len(), Ordering::Relaxed);
                let said = match written {
                    Ok(()) => frame::encode(Kind::StdinTaken, &taken),
                    Err(_) => {
                        stdin = None;
                        frame::encode(Kind::StdinClosed, b"")
                    }
                };
                if frames_tx.send(said).await.is_err() {
                    return;
                }
            }
            (None, _) => return, // drops, so closes, it
            (Some(frame), None) => _ = waiting.fetch_sub(frame.len(), Ordering::Relaxed),
        }
    }
    std::future::pending::<()>().await;
    drop(stdin);
}

fn end_of(answer: Option<Answer>, stdout_bytes: u64, stderr_bytes: u64, oom_kills_before: Option<u64>) -> End {
    let (how, mut reason) = match answer {
        Some(Answer::Exited(code)) => (How::Exited(code), ""),
        Some(Answer::Signalled(signal)) => (How::Signalled(signal), ""),
        Some(Answer::Refused(why)) => return End::without_output(How::Refused, why),
        None => (How::Lost, "the job's supervisor was killed in the pod"),
    };
    let killed = || oom_kills_before.is_some_and(|before| oom_kills().is_some_and(|now| now > before));
    if how != How::Exited(0) && killed() {
        reason = "the kernel killed a process of this pod: out of memory, use --kube-mem";
    }
    End { how, stdout_bytes, stderr_bytes, reason: reason.into() }
}

/// How many processes of this container the kernel has killed for memory: cgroup v2, then v1 (cgroups(7)).
fn oom_kills() -> Option<u64> {
    let files = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];
    files.iter().find_map(|path| oom_kills_in(&fs::read_to_string(path).ok()?))
}

fn oom_kills_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

const _: () = assert!(STDIN_WINDOW >= 2 * (MOST_DATA + HEADER));

#[cfg(test)]
mod tests {
    use super::*;
    use womm_stream::session::{self, Side};

    #[tokio::test]
    async fn any_number_of_silent_jobs_leaves_room_for_one_more() {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (workstation, _) = session::start(near, Side::Workstation);
        let (_session, mut incoming) = session::start(far, Side::Agent);
        tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Some(stream) = incoming.recv().await {
                let (mut reader, mut writer) = tokio::io::split(stream);
                assert!(take(&mut reader, &mut writer, || false).await.is_some());
                silent.push((reader, writer));
            }
        });
        let job = frame::encode(Kind::Open, &Open::default().encode());
        let all = async {
            let mut streams = Vec::new();
            for _ in 0..600 {
                let mut stream = workstation.open().await.expect("alive");
                stream.write_all(&job).await.expect("alive");
                streams.push(stream);
            }
            let mut frame = Vec::new();
            for stream in &mut streams {
                let kind = frames::read(stream, &mut frame).await.expect("alive");
                assert_eq!((kind, &frame[HEADER..]), (Some(Kind::StdinTaken), &frame::taken(0)[..]));
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), all).await.expect("no job waits for another's word");
    }

    #[test]
    fn kills_for_memory_are_read_from_both_versions_of_cgroups() {
        // v2: as the kernel's Documentation/admin-guide/cgroup-v2.rst has it, since 5.17; before, without the last line.
        let v2 = "low 0\nhigh 0\nmax 14\noom 2\noom_kill 3\noom_group_kill 1\n";
        // v1: from a container here, Linux 6.18.
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n";
        assert_eq!((oom_kills_in(v2), oom_kills_in(v1), oom_kills_in("")), (Some(3), Some(5), None));
    }
}
