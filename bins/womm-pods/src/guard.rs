//! `womm-pods guard`: started by `create --while` before anything is made, it deletes the task when the run's life ends
//! and nobody has done so: `womm` was killed, or `create` itself. A session of its own keeps signals to the others off.
//!
//! On stdin it gets what is known of the task, a JSON line each: planned, then where it will be, then that `create` is
//! through. It answers "ready" on stdout, holds nothing of the caller's but stderr, and is quiet: who deletes and tells the user
//! is `womm-pods delete`, and it waits for that one if there is reason to.

use crate::folder::{self, Deleting, Told};
use crate::{cli, runtime};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use womm_cli::life::Life;
use womm_cli::{Failure, signalled};
use womm_engine::{Engine, Error};
use womm_wire::record::{EngineKind, Record};

/// How long the guard may take to say that it is there.
const READY_DEADLINE: Duration = Duration::from_secs(10);
const READY: &[u8] = b"ready\n";
/// How long the run's other helpers get to end, and a caller that lives to call `delete`.
const HELPERS: Duration = Duration::from_secs(5);
/// How long `delete` may be at it.
const DELETE: Duration = Duration::from_secs(90);
/// How long after the first look another one is due, if containers were on their way.
const LATE: Duration = Duration::from_secs(1);
/// How long it is tried against an engine that does not answer. On Docker the containers end by themselves before.
const GIVE_UP: Duration = Duration::from_secs(120);
/// How often it is looked whether it is known where the task is.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two tries.
const RETRY: Duration = Duration::from_secs(2);

/// A guard, as `create` sees it.
pub struct Guarded {
    child: Child,
    records: ChildStdin,
}

impl Guarded {
    /// Starts a guard for this planned task, and returns when it is on guard.
    ///
    /// # Errors
    /// Outside (3) if it can't be started.
    pub fn start(life: &Life, planned: &Record) -> Result<Self, Failure> {
        let failed = |e: io::Error| Failure::outside(format!("start the guard of the run: {e}"));
        let program = std::env::current_exe().map_err(failed)?;
        let life = life.try_clone().map_err(failed)?;
        fcntl_setfd(&life, FdFlags::empty()).map_err(|e| failed(e.into()))?;
        let mut command = Command::new(program);
        command.args(["guard", "--while", &life.as_raw_fd().to_string()]);
        // Process 1 adopts us when the caller has died already; it calls nobody.
        if let Some(caller) = getppid().filter(|pid| !pid.is_init()) {
            command.args(["--caller", &caller.as_raw_nonzero().to_string()]);
        }
        // The caller's folder must not be held for as long as the run lasts: it may be on a file system to unmount.
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (Some(mut records), Some(mut ready)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        let planned = Known { record: planned.clone(), complete: false };
        let greeted = send(&mut records, &planned).and_then(|()| wait_ready(&mut ready));
        if let Err(e) = greeted {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(e));
        }
        Ok(Self { child, records })
    }

    /// Tells the guard where the task will be, before anything is made there.
    pub fn locate(&mut self, record: &Record) {
        // A guard that is gone was ended by somebody who then has to look after the task.
        let _ = send(&mut self.records, &Known { record: record.clone(), complete: false });
    }

    /// Hands over the record as the engine has completed it, and leaves the guard on its own.
    pub fn complete(mut self, record: &Record) {
        let _ = send(&mut self.records, &Known { record: record.clone(), complete: true });
    }

    /// Ends the guard: there is nothing to guard.
    pub fn dismiss(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(pipe: &mut ChildStdin, known: &Known) -> io::Result<()> {
    let mut line = serde_json::to_vec(known)?;
    line.push(b'\n');
    pipe.write_all(&line)
}

fn wait_ready(pipe: &mut (impl io::Read + AsFd)) -> io::Result<()> {
    let deadline = Timespec { tv_sec: READY_DEADLINE.as_secs() as i64, tv_nsec: 0 };
    if poll(&mut [PollFd::new(&*pipe, PollFlags::IN)], Some(&deadline))? == 0 {
        return Err(io::Error::other("it does not answer"));
    }
    let mut answer = [0; READY.len()];
    // What it had to say is on stderr.
    pipe.read_exact(&mut answer).map_err(|_| io::Error::other("it has ended"))
}

/// What is known of the task; a line of the guard's stdin.
#[derive(Clone, Serialize, Deserialize)]
struct Known {
    record: Record,
    /// Whether `create` is through: nothing of the task can appear any more.
    complete: bool,
}

pub fn run(args: &cli::Guard) -> Result<ExitCode, Failure> {
    let life = Life::join(args.life)?;
    // Opened now: a process of this number may be another one later.
    let caller = args.caller.and_then(Pid::from_raw).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let mut records = BufReader::new(io::stdin());
    let planned = read(&mut records).ok_or_else(|| {
        Failure::usage("no record on stdin").help("this is started by `womm-pods create --while`, not by hand")
    })?;
    let folder = PathBuf::from(&planned.record.task()?.run);
    let lock = folder::hold(&folder)?;
    let known = Arc::new(Mutex::new(planned));
    let updated = Arc::clone(&known);
    thread::spawn(move || {
        while let Some(known) = read(&mut records) {
            *updated.lock().unwrap_or_else(PoisonError::into_inner) = known;
        }
    });
    answer().map_err(|e| Failure::outside(format!("tell that the guard is there: {e}")))?;
    runtime()?.block_on(async {
        // A signal that is meant for everybody ends the others, and with them the run: that is the time to act.
        tokio::spawn(async {
            loop {
                signalled().await;
            }
        });
        // Connected as soon as it is known where: the kubeconfig may be another, or none, when the run ends.
        let engine = tokio::select! {
            over = life.over() => over.map(|()| None)?,
            engine = connect(&known) => {
                life.over().await?;
                Some(engine)
            }
        };
        drop(lock);
        wait_for_caller(caller.as_ref(), &folder).await;
        clean(&known, engine.as_ref(), &folder).await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn read(records: &mut impl BufRead) -> Option<Known> {
    let mut line = Vec::new();
    records.read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

/// Says that the guard is there, and lets go of the pipe.
fn answer() -> io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    let mut stdout = io::stdout();
    stdout.write_all(READY)?;
    stdout.flush()?;
    rustix::stdio::dup2_stdout(null)?;
    Ok(())
}

/// The engine on which the task is, once that is known.
async fn connect(known: &Mutex<Known>) -> Engine {
    loop {
        let record = known.lock().unwrap_or_else(PoisonError::into_inner).record.clone();
        if let (true, Some(task)) = (can_be_found(&record), &record.task)
            && let Ok(engine) = Engine::for_task(task).await
        {
            return engine;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A caller that has ended the run and lives is about to call `delete`, which tells the user: it goes first.
async fn wait_for_caller(caller: Option<&OwnedFd>, folder: &Path) {
    let Some(caller) = caller else { return };
    let deadline = Instant::now() + HELPERS;
    while Instant::now() < deadline && !Deleting::has_begun(folder) && folder.exists() {
        let polled = poll(&mut [PollFd::new(caller, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if polled != Ok(0) {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Deletes the task until it is sure that nothing of it is left or can appear.
async fn clean(known: &Mutex<Known>, engine: Option<&Engine>, folder: &Path) -> Result<(), Failure> {
    let give_up = Instant::now() + GIVE_UP;
    let mut looks = 0;
    loop {
        // While somebody else of the run lives, something may still appear: `create` may be at it.
        let alone = folder::alone(folder, HELPERS).await;
        let known = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !can_be_found(&known.record) {
            return folder::remove(folder);
        }
        match look(&known.record, engine, folder).await {
            Ok(()) => looks += 1,
            Err(Trouble { failure, lasting }) if lasting || Instant::now() >= give_up => return Err(failure),
            Err(_) => {
                sleep(RETRY).await;
                continue;
            }
        }
        if (known.complete && (alone.is_some() || !folder.exists())) || looks > 1 {
            return folder::remove(folder);
        }
        sleep(LATE).await;
    }
}

/// Whether the record says where the task is. On a cluster that is known once it has answered, before anything is made.
fn can_be_found(record: &Record) -> bool {
    record.task.as_ref().is_some_and(|task| task.engine == EngineKind::Docker || task.kube.is_some())
}

/// Why a look failed.
struct Trouble {
    failure: Failure,
    /// Whether another try can't end differently.
    lasting: bool,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self { failure, lasting: false }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        use Error::{Forbidden, Invalid, Missing, Unauthorized};
        let lasting = matches!(error, Forbidden { .. } | Invalid { .. } | Missing { .. } | Unauthorized { .. });
        Self { failure: error.into(), lasting }
    }
}

/// Deletes what there is now, unless `delete` is at it, which is waited for.
async fn look(record: &Record, engine: Option<&Engine>, folder: &Path) -> Result<(), Trouble> {
    let task = record.task().map_err(Failure::from)?;
    let mut right = Deleting::wait(folder, DELETE).await?;
    let engine = match engine {
        Some(engine) => engine.clone(),
        None => Engine::for_task(task).await?,
    };
    let found = engine.delete(task).await?;
    if let Some(right) = &mut right
        && found
        && right.told() == Told::Nothing
    {
        right.tell(Told::Not);
    }
    Ok(())
}
