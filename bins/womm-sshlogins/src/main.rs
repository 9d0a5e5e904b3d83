//! `womm-sshlogins`: pod lines in, hosts for GNU parallel out: the sshloginfile, and the socket that `womm-ssh` talks to.

mod brought;
mod dial;
mod dials;
mod files;
mod find;
mod held;
mod jobs;
mod places;
mod words;

use clap::Parser;
use places::{Files, Places};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use womm_cli::life::{self, Life};
use womm_cli::{Failure, run_main};
use womm_engine::Engine;
use womm_stream::resumable::Config;
use womm_wire::pod::Line;
use womm_wire::quantity;
use womm_wire::record::Task;
use words::say;

/// When no pod can come: how long jobs that wait get to be told, before the socket goes.
const FOR_JOBS_TO_END: Duration = Duration::from_millis(300);

/// Reads the lines of `womm-pods watch` on stdin and makes the task's pods hosts of GNU parallel: writes the
/// sshloginfile and carries jobs from womm-ssh to the agents in the pods.
#[derive(Debug, Parser)]
#[command(
    name = "womm-sshlogins",
    version,
    after_help = "Exit codes: 0 the run is over, 2 usage or unreadable input, 3 the outside failed or no pod can come."
)]
struct Options {
    /// Where to write the sshloginfile; it appears once jobs are taken
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Run a lost job again, on another pod if need be, up to so many times. Its output appears when it has ended
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// Jobs of a place that stays empty wait for a pod there, as each pod is to be visited
    #[arg(long)]
    no_guests: bool,
    /// The same, and a job whose files are gone with a pod is lost: GNU parallel brings them for each job, or some once for
    /// all jobs of a place, too
    #[arg(long, value_enum, value_name = "WHEN")]
    files: Option<Bring>,
    /// The most output and input of all jobs of a pod that may be under way, kept until it has arrived: k, m, Ki, Mi
    #[arg(long, value_name = "BYTES", default_value = "1Mi", value_parser = bytes)]
    window: u64,
    /// How often an idle connection to a pod is written to, seconds (default 1, more for more than 100 pods; at most a
    /// third of the deadline)
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    keepalive: Option<Duration>,
    /// A connection on which nothing comes for so long is given up for another one, seconds
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    keepalive_deadline: Duration,
    /// End when this descriptor, the read end of the run's life pipe, has no writers left
    #[arg(long = "while", value_name = "FD")]
    life: Option<i32>,
}

/// When GNU parallel brings files.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Bring {
    /// For each job
    Each,
    /// Once, for all jobs of a place, too
    Once,
}

fn main() -> ExitCode {
    let options = womm_cli::parse::<Options>();
    run_main("womm-sshlogins", || {
        let life = options.life.map(Life::join).transpose()?;
        womm_cli::raise_descriptor_limit();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|e| Failure::outside(format!("start: {e}")))?;
        let result = runtime.block_on(serve(&options, life.as_ref()));
        words::flush();
        // Jobs' tasks that are blocked on something end with the process.
        runtime.shutdown_background();
        result
    })
}

async fn serve(options: &Options, life: Option<&Life>) -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        return Err(Failure::usage("stdin is a terminal, not pod lines").help("womm-pods watch writes them"));
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let record = match read_line(&mut lines).await? {
        Some(Line::Record { record }) => *record,
        Some(_) => return Err(Failure::usage("the first line on stdin is no record")),
        None => {
            return Err(
                Failure::usage("stdin is empty where pod lines are due").help("womm-pods watch failed before this")
            );
        }
    };
    let task = record.task()?;
    if options.retries > 0 && options.files.is_some() {
        return Err(Failure::usage(
            "--retries and --files can't be used together: files would be missing in another pod",
        ));
    }
    let _lock = womm_cli::run::lock(&files::run(task))?;
    let engine = Box::new(Engine::for_task(task).await?);
    let places = Places::new(task, engine, own_id()?, options.stream(task.pods), options.retries, options.files());
    let places = Arc::new(places);
    let listener = files::listen(task)?;
    files::write_sshloginfile(&options.file, task)?;
    tokio::spawn(jobs::take(listener, places.clone()));
    let result = follow(lines, task, &places, life).await;
    places.leave().await;
    result
}

/// What no other process of ours ever was or will be called.
fn own_id() -> Result<String, Failure> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid");
    id.map(|id| id.trim().to_owned()).map_err(|e| Failure::outside(format!("start: {e}")))
}

/// Brings pods to places and takes them away, until the run is over.
async fn follow(
    mut lines: tokio::io::Lines<BufReader<tokio::io::Stdin>>,
    task: &Task,
    places: &Arc<Places>,
    life: Option<&Life>,
) -> Result<(), Failure> {
    let mut term = signal(SignalKind::terminate()).map_err(|e| Failure::outside(format!("catch signals: {e}")))?;
    let mut said = String::new();
    loop {
        tokio::select! {
            over = life::over(life) => return over,
            _ = term.recv() => return Ok(()),
            line = read_line(&mut lines) => match line? {
                Some(Line::Ready(pod)) => places.add(pod),
                Some(Line::Gone { pod, reason }) => places.remove(&pod, reason),
                Some(Line::Waiting { reason }) => {
                    if reason != said {
                        say(&reason);
                        said = reason;
                    }
                }
                Some(Line::Failed { reason }) => {
                    return Err(fail(task, places, reason).await);
                }
                Some(Line::Record { .. }) => {}
                // Without anybody who watches, the pods that are there go on; for how long, the life pipe says.
                None if life.is_some() => {
                    let ended = life::over(life);
                    let late = tokio::time::sleep(Duration::from_secs(1));
                    tokio::select! {
                        over = ended => return over,
                        () = late => say("womm-pods watch has ended: pods that are lost will not be replaced"),
                    }
                    places.unwatched();
                    tokio::select! {
                        over = life::over(life) => return over,
                        _ = term.recv() => return Ok(()),
                        reason = places.deserted() => return Err(fail(task, places, reason).await),
                    }
                }
                None => return Ok(()),
            },
        }
    }
}

/// No pod can come: ends GNU parallel and jobs that wait, without words of their own, as it is said once, by us.
async fn fail(task: &Task, places: &Places, reason: String) -> Failure {
    places.fail(String::new());
    files::failed(task, &reason);
    tokio::time::sleep(FOR_JOBS_TO_END).await;
    Failure::outside(reason)
}

async fn read_line<R: tokio::io::AsyncBufRead + Unpin>(
    lines: &mut tokio::io::Lines<R>,
) -> Result<Option<Line>, Failure> {
    let line = lines.next_line().await.map_err(|e| Failure::usage(format!("read pod lines on stdin: {e}")))?;
    line.map(|line| serde_json::from_str(&line).map_err(|e| Failure::usage(format!("read a pod line on stdin: {e}"))))
        .transpose()
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("\"{text}\" is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).ok().filter(|d| !d.is_zero()).ok_or_else(|| "more than 0 seconds".into())
}

fn bytes(text: &str) -> Result<u64, String> {
    quantity::bytes(text).map_err(|e| e.to_string())
}

impl Options {
    fn files(&self) -> Files {
        match (self.files, self.no_guests) {
            (Some(Bring::Once), _) => Files::BroughtOnce,
            (Some(Bring::Each), _) => Files::Brought,
            (None, true) => Files::Nowhere,
            (None, false) => Files::Elsewhere,
        }
    }

    fn stream(&self, pods: u32) -> Config {
        let window = usize::try_from(self.window).unwrap_or(usize::MAX);
        let interval = self.keepalive.unwrap_or_else(|| places::pace(pods) * 2);
        // Two of them may be late before the wire of a pod that has nothing to say counts as broken.
        let interval = interval.min(self.keepalive_deadline / 3);
        Config { window, interval, deadline: self.keepalive_deadline }.bounded()
    }

    #[cfg(test)]
    fn check() {
        use clap::CommandFactory;
        Self::command().debug_assert();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::check();
    }

    #[test]
    fn an_idle_wire_is_written_to_long_before_it_counts_as_broken() {
        for (words, pods, interval_ms, deadline_ms) in [
            ("", 1, 1000, 20_000),
            ("", 200, 2000, 20_000),
            ("", 2000, 6666, 20_000),
            ("--keepalive 30", 1, 6666, 20_000),
            ("--keepalive 30 --keepalive-deadline 120", 1, 30_000, 120_000),
            ("--keepalive 0.1 --keepalive-deadline 1", 2000, 100, 1000),
            ("--keepalive-deadline 0.001", 1, 10, 50),
        ] {
            let options = Options::parse_from(["x", "--file", "f"].into_iter().chain(words.split_whitespace()));
            let Config { interval, deadline, .. } = options.stream(pods);
            assert_eq!(
                (interval.as_millis(), deadline.as_millis()),
                (interval_ms, deadline_ms),
                "{words}, {pods} pods"
            );
        }
    }
}
