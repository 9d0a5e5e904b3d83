//! `womm-agent serve`: the command of a pod's container, pid 1 there. Takes connections on its socket, jobs on them,
//! and reaps whatever falls to pid 1.

use crate::descriptors::SoftLimit;
use crate::environment::Environment;
use crate::job;
use crate::{offspring, orphans};
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, getpid, set_child_subreaper, waitid, waitpid};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;
use womm_cli::Failure;
use womm_stream::greeting::{Agent as Greeter, Greeted};
use womm_stream::session::{Incoming, Session};
use womm_wire::names;

/// A connection that greets nobody within this is dropped.
const GREETING: Duration = Duration::from_secs(20);

/// How long jobs may go on once the pod was told to end, and how long those that did not make it get to say so: in all less
/// than the pod's grace period (5 s, DESIGN 6).
const LAST_WORK: Duration = Duration::from_millis(2500);
pub const LAST_WORDS: Duration = Duration::from_millis(1500);

const LOOK_AGAIN: Duration = Duration::from_millis(20);

async fn until(deadline: Instant, mut done: impl FnMut() -> bool) {
    while !done() && Instant::now() < deadline {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What all jobs of this agent share.
pub struct Agent {
    pub environment: Environment,
    /// The container's own limit of descriptors.
    pub descriptors: SoftLimit,
    supervisors: Mutex<HashSet<i32>>,
    greeter: Greeter,
    /// Jobs that run.
    jobs: AtomicUsize,
    ending: watch::Sender<Ending>,
}

/// Whether the pod goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    No,
    /// It was told to end: what runs may go on for a moment, nothing new begins.
    Soon,
    /// Jobs end now.
    Now,
}

impl Agent {
    /// Runs `spawn`, and remembers the child so that nobody else reaps it.
    pub fn adopt<E>(
        &self,
        spawn: impl FnOnce() -> Result<tokio::process::Child, E>,
    ) -> Result<tokio::process::Child, E> {
        let mut supervisors = self.supervisors.lock().unwrap_or_else(PoisonError::into_inner);
        let child = spawn()?;
        supervisors.extend(child.id().map(u32::cast_signed));
        Ok(child)
    }

    /// Ends what is left of the job of a supervisor that has ended.
    pub async fn end_orphans(&self, supervisor: Option<u32>) {
        let has_job = |child: Pid| {
            let supervisors = self.supervisors.lock().unwrap_or_else(PoisonError::into_inner);
            supervisors.contains(&child.as_raw_nonzero().get())
        };
        if let Err(e) = orphans::end(supervisor, has_job).await {
            womm_cli::report("womm-agent", &Failure::outside(format!("end what a job left: {e}")));
        }
    }

    /// The child has been waited for.
    pub fn released(&self, id: Option<u32>) {
        let mut supervisors = self.supervisors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = id {
            supervisors.remove(&id.cast_signed());
        }
    }

    /// Whether the pod goes on, now and later.
    pub fn ending(&self) -> watch::Receiver<Ending> {
        self.ending.subscribe()
    }

    /// Lets jobs end, then makes them, then lets the owner hear of it, over the next wire if this one is cut. As pid 1, our
    /// own end is the kernel's SIGKILL to all the container's processes, those that carry bytes too.
    async fn wind_up(&self) {
        let no_job = || self.jobs.load(Ordering::Relaxed) == 0;
        self.ending.send_replace(Ending::Soon);
        until(Instant::now() + LAST_WORK, no_job).await;
        self.ending.send_replace(Ending::Now);
        let deadline = Instant::now() + LAST_WORDS;
        until(deadline, no_job).await;
        tokio::time::sleep(LOOK_AGAIN).await; // what a job said last is on its way to the stream
        until(deadline, || self.greeter.all_has_arrived()).await;
    }

    /// Orphans whose supervisor was killed, and whatever docker exec or kubectl exec leaves, fall to pid 1.
    fn reap_strangers(&self) {
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if !matches!(waitid(WaitId::All, peek), Ok(Some(_))) {
            return;
        }
        // Looked for without the lock, which jobs that start wait for. Whoever is not known as a supervisor by the time we
        // have it never was one, or has been waited for.
        let ended = offspring::zombies();
        let supervisors = self.supervisors.lock().unwrap_or_else(PoisonError::into_inner);
        for stranger in ended.into_iter().filter(|pid| !supervisors.contains(&pid.as_raw_nonzero().get())) {
            let _ = waitpid(Some(stranger), WaitOptions::NOHANG);
        }
    }
}

pub fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::outside(format!("start: {e}")))?;
    runtime.block_on(serve(Path::new(names::AGENT_SOCKET)))
}

async fn serve(socket: &Path) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::outside(format!("listen at {}: {e}", socket.display()));
    // A container that was restarted in its pod finds the socket of the one before.
    match fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    // As pid 1 it is that anyway; but a pod's containers may share the processes' numbers.
    set_child_subreaper(Some(getpid())).map_err(|e| Failure::outside(format!("adopt orphans: {e}")))?;
    let instance = fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(failed)?.trim().to_owned();
    let agent = Arc::new(Agent {
        environment: Environment::of_this_pod(),
        descriptors: SoftLimit::raise(),
        supervisors: Mutex::default(),
        greeter: Greeter::new(instance),
        jobs: AtomicUsize::new(0),
        ending: watch::Sender::new(Ending::No),
    });
    let system = |e: io::Error| Failure::outside(format!("catch signals: {e}"));
    let mut term = signal(SignalKind::terminate()).map_err(system)?;
    let mut int = signal(SignalKind::interrupt()).map_err(system)?;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let orphan_after = orphan_after();
    let mut alone_since = Instant::now();
    loop {
        tokio::select! {
            connection = listener.accept() => match connection {
                Ok((wire, _)) => _ = tokio::spawn(serve_wire(agent.clone(), wire)),
                // Out of descriptors, most likely: jobs that end make room.
                Err(e) => {
                    womm_cli::report("womm-agent", &failed(e));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            // The pod is being deleted.
            _ = term.recv() => break,
            _ = int.recv() => break,
            // Not at each SIGCHLD: that is the end of a job, mostly, and looking takes longer the more processes there are.
            _ = tick.tick() => {
                agent.reap_strangers();
                if agent.greeter.is_connected() {
                    alone_since = Instant::now();
                } else if orphan_after.is_some_and(|most| alone_since.elapsed() > most) {
                    return Err(Failure::timeout("nobody has connected for long: this pod is an orphan"));
                }
            }
        }
    }
    // Zombies need no reaping any more, but a connection that breaks now may come again.
    let winding_up = agent.wind_up();
    tokio::pin!(winding_up);
    loop {
        tokio::select! {
            () = &mut winding_up => return Ok(()),
            Ok((wire, _)) = listener.accept() => {
                tokio::spawn(serve_wire(agent.clone(), wire));
            }
        }
    }
}

fn orphan_after() -> Option<Duration> {
    let seconds: u64 = std::env::var(names::ENV_ORPHAN_S).ok()?.parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

async fn serve_wire(agent: Arc<Agent>, wire: UnixStream) {
    let attached = match tokio::time::timeout(GREETING, agent.greeter.greet(wire)).await {
        Ok(Ok(Greeted::Owner(session, incoming, attached))) => {
            tokio::spawn(take_jobs(agent.clone(), session, incoming));
            attached
        }
        Ok(Ok(Greeted::Again(attached))) => attached,
        Ok(Ok(Greeted::Refused)) | Err(_) => return,
        Ok(Err(e)) => return womm_cli::report("womm-agent", &Failure::outside(format!("greet the workstation: {e}"))),
    };
    attached.run().await;
}

/// Takes jobs as long as their owner's stream lives, which may be longer than any of its connections.
async fn take_jobs(agent: Arc<Agent>, session: Session, mut incoming: Incoming) {
    while let Some(stream) = incoming.recv().await {
        let agent = agent.clone();
        tokio::spawn(async move {
            agent.jobs.fetch_add(1, Ordering::Relaxed);
            job::run(&agent, stream).await;
            agent.jobs.fetch_sub(1, Ordering::Relaxed);
        });
    }
    drop(session);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn agent() -> Agent {
        Agent {
            environment: Environment::of_this_pod(),
            descriptors: SoftLimit::of_word("none".as_ref()).expect("a word of ours"),
            supervisors: Mutex::default(),
            greeter: Greeter::new("i"),
            jobs: AtomicUsize::new(0),
            ending: watch::Sender::new(Ending::No),
        }
    }

    fn is_zombie(id: u32) -> bool {
        offspring::zombies().iter().any(|pid| pid.as_raw_nonzero().get() == id.cast_signed())
    }

    #[tokio::test]
    async fn strangers_are_reaped_and_supervisors_left_to_whoever_waits() {
        let agent = agent();
        let child = |code: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", code]).stdin(Stdio::null());
            command.spawn().expect("starts")
        };
        // Not tokio's, which would reap it at the first chance.
        let mut ours = child("exit 7");
        agent.supervisors.lock().expect("no panic").insert(ours.id().cast_signed());
        let strangers: Vec<_> = (0..5).map(|_| child("exit 0").id()).collect();
        let begun = Instant::now();
        while !(is_zombie(ours.id()) && strangers.iter().all(|id| is_zombie(*id))) {
            assert!(begun.elapsed() < Duration::from_secs(30), "they do not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        agent.reap_strangers();
        assert!(!strangers.iter().any(|id| is_zombie(*id)));
        assert_eq!(ours.wait().expect("still there").code(), Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_get_their_time_although_the_wire_is_cut() {
        let agent = agent();
        agent.jobs.store(1, Ordering::Relaxed);
        let begun = Instant::now();
        let mut ending = agent.ending();
        let job = async {
            ending.wait_for(|ending| *ending == Ending::Now).await.expect("said");
            assert!(begun.elapsed() >= LAST_WORK);
            tokio::time::sleep(Duration::from_secs(1)).await;
            agent.jobs.store(0, Ordering::Relaxed);
        };
        tokio::join!(agent.wind_up(), job);
        assert!(begun.elapsed() < LAST_WORK + LAST_WORDS);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_last_arrives_over_the_next_wire() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
        use womm_stream::greeting::Workstation;
        let agent = agent();
        let owner = Workstation::new("task", "stream", womm_stream::resumable::Config::default());
        let meet = || async {
            let (near, far) = duplex(64 << 10);
            let (near, far) = tokio::join!(owner.greet(near), agent.greeter.greet(far));
            (near.expect("greeted"), far.expect("greeted"))
        };
        let ((session, _cut), far) = meet().await;
        let (session, Greeted::Owner(_theirs, mut incoming, _cut)) = (session.expect("the first"), far) else {
            panic!("no owner")
        };
        let mut stream = session.open().await.expect("alive");
        stream.write_all(b"job").await.expect("alive");
        let ((_, near), Greeted::Again(far)) = meet().await else { panic!("another owner") };
        let wires = (tokio::spawn(near.run()), tokio::spawn(far.run()));
        let mut served = incoming.recv().await.expect("opened");
        // That wire dies, and the job ends.
        wires.0.abort();
        wires.1.abort();
        served.write_all(b"end").await.expect("room");
        let begun = Instant::now();
        let again = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let ((_, near), Greeted::Again(far)) = meet().await else { panic!("another owner") };
            tokio::spawn(near.run());
            tokio::spawn(far.run());
            let mut got = [0; 3];
            stream.read_exact(&mut got).await.expect("alive");
            got
        };
        let ((), got) = tokio::join!(agent.wind_up(), again);
        assert_eq!((&got, begun.elapsed() <= LAST_WORDS + LOOK_AGAIN), (b"end", true));
    }
}
