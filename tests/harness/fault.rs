//! Jobs whose every byte is known, for runs in which something breaks: afterwards each of them has delivered all of it and
//! its own exit code, or is lost and says so.

use crate::command::{Cmd, Outcome, Running};
use crate::engine::Pod;
use crate::joblog;
use crate::project::Project;
use crate::wait::{self, LONG, until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The exit code of a lost job.
pub const LOST: i32 = 255;

/// Whether this is `tests/run soak`.
pub fn is_soak() -> bool {
    std::env::var("WOMM_SOAK").is_ok_and(|value| value == "1")
}

/// A fault's full length is for a soak; in every day's runs it is shorter.
pub fn full_or(short_s: u64, full_s: u64) -> Duration {
    Duration::from_secs(if is_soak() { full_s } else { short_s })
}

/// A job: it says where it is, writes numbered lines of many lengths, one now and then, and what they add up to; one word
/// on stderr; and has an exit code of its own. ARGV: number, lines, seconds between them, exit code.
const JOB: &str = r#"perl -e '$| = 1; my ($n, $lines, $pause, $code) = @ARGV; my $sum = 0;
sub out { $sum = ($sum * 31 + unpack("%32C*", $_[0])) % 4294967291; print $_[0] }
open my $begun, ">", "$ENV{TMPDIR}/begun.$n"; chomp(my $pod = `uname -n`); print "H $n $pod\n";
for my $i (1 .. $lines) { out("J $n $i " . "x" x (($n * 37 + $i * 101) % 1500) . "\n"); select undef, undef, undef, $pause }
print "S $n $sum\n"; print STDERR "E $n\n"; exit $code'"#;

/// How many jobs of what kind.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Pods.
    pub pods: u32,
    /// Jobs at once in each: as many jobs as that makes run from the start.
    pub procs: u32,
    /// How long each writes.
    pub lasts: Duration,
    /// Their exit codes are 0, 1, 2…; else all are 0.
    pub own_codes: bool,
    /// Nothing is seen of a job before it has ended: that is how lost jobs can be run again.
    pub held: bool,
}

impl Shape {
    /// Twenty jobs in five pods that outlast a fault of this length, and what the test does before it: more where many run.
    pub fn outlasting(fault: Duration) -> Self {
        let lasts = fault + full_or(6, 16);
        Self { pods: 5, procs: 4, lasts, own_codes: true, held: false }
    }

    fn jobs(self) -> u32 {
        self.pods * self.procs
    }

    fn code(self, job: u32) -> i32 {
        if self.own_codes { i32::try_from(job).expect("few jobs") - 1 } else { 0 }
    }

    /// Ten lines a second.
    fn lines(self) -> u64 {
        self.lasts.as_millis() as u64 / 100
    }

    /// What a job writes behind its first line.
    fn body(self, job: u32) -> String {
        let (mut sum, mut text, n) = (0_u64, String::new(), u64::from(job));
        for i in 1..=self.lines() {
            let fill = "x".repeat(usize::try_from((n * 37 + i * 101) % 1500).expect("below 1500"));
            let line = format!("J {job} {i} {fill}\n");
            sum = (sum * 31 + line.bytes().map(u64::from).sum::<u64>()) % 4_294_967_291;
            text.push_str(&line);
        }
        let _ = writeln!(text, "S {job} {sum}");
        text
    }
}

/// What a job has written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Written {
    /// All of it, in this pod.
    Whole(String),
    /// The first bytes of it.
    Piece(Option<String>),
}

/// Compares what a job has written with what it should have.
fn written(shape: Shape, job: u32, bytes: &[u8]) -> Result<Written, String> {
    let head = format!("H {job} ");
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        let is_begin = bytes.starts_with(head.as_bytes()) || head.as_bytes().starts_with(bytes);
        return if is_begin { Ok(Written::Piece(None)) } else { Err("begins with something else".into()) };
    };
    let first = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let pod = first.strip_prefix(&head).ok_or_else(|| format!("begins with {first:?}"))?.to_owned();
    let (body, expected) = (&bytes[end + 1..], shape.body(job).into_bytes());
    let same = body.iter().zip(&expected).take_while(|(a, b)| a == b).count();
    match () {
        () if same < body.len() => {
            Err(format!("differs from byte {same} of {} on ({} were to come)", body.len(), expected.len()))
        }
        () if same == expected.len() => Ok(Written::Whole(pod)),
        () => Ok(Written::Piece(Some(pod))),
    }
}

/// A line of `lost.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    /// The host of GNU parallel that the job was on.
    pub host: String,
    /// The pod.
    pub pod: String,
    /// Why.
    pub reason: String,
    /// It was run again.
    pub again: bool,
}

/// A run of such jobs.
#[derive(Debug)]
pub struct Work {
    project: Project,
    shape: Shape,
    run: Running,
    task: String,
    lost: File,
    results: PathBuf,
    log: PathBuf,
}

impl Work {
    /// Starts a run, and returns when all its jobs write; `options` adds to the command.
    ///
    /// # Panics
    /// If that does not happen.
    #[track_caller]
    pub fn start(project: Project, shape: Shape, options: impl FnOnce(Cmd) -> Cmd) -> Self {
        let (results, log) = (project.root().join("results"), project.root().join("joblog"));
        let mut cmd = options(project.parallel(shape.pods)).args(["--procs-per-pod", &shape.procs.to_string()]);
        // GNU parallel has each job write into files of its own there, from the job's start, and shows nothing of them.
        cmd = cmd.arg("--results").arg(&results).arg("--joblog").arg(&log).words("--colsep :");
        let job = format!("{JOB} {{1}} {} 0.1 {{2}}", shape.lines());
        let mut run = cmd.arg("--").arg(job).stdin_held().deadline(LONG + 2 * shape.lasts).start();
        let task = run.task();
        // Jobs of a place that has no pod yet would be guests elsewhere, and more of them in some pods than in others.
        until(LONG, "a pod of its own for every host", || {
            let name = |place| project.ssh().args([&format!("w{place:03}"), "uname -n"]).run();
            let answers = (1..=shape.pods).map(name).filter(|out| out.code() == 0);
            let names: BTreeSet<String> = answers.map(|out| out.text().to_owned()).collect();
            (names.len() == shape.pods as usize).then_some(())
        });
        run.send((1..=shape.jobs()).map(|job| format!("{job}:{}\n", shape.code(job))).collect::<String>());
        run.end_of_input();
        // Made before anything can be lost: it can be read even after the run has removed its folder.
        let folder = until(LONG, "the run folder", || project.run_folders().pop());
        let file = folder.join("lost.jsonl");
        let lost = File::options().create(true).append(true).read(true).open(&file);
        let lost = lost.unwrap_or_else(|e| panic!("make {}: {e}", file.display()));
        let mut work = Self { project, shape, run, task, lost, results, log };
        work.begun();
        work
    }

    fn begun(&mut self) {
        let (jobs, held) = (self.shape.jobs(), self.shape.held);
        let (engine, task) = (self.project.engine(), self.task.clone());
        let results = self.results.clone();
        self.run.until("all jobs at work", |_| {
            let begun = match held {
                false => (1..=jobs).filter(|job| size(&results, *job) > 0).count(),
                true => {
                    let count = "set -- \"$WOMM_TMPDIR\"/begun.*; [ ! -e \"$1\" ] || echo $#";
                    let counts = engine.pods(&task).into_iter().filter_map(|pod| engine.inside(&pod, count));
                    counts.filter_map(|count| count.trim().parse::<usize>().ok()).sum()
                }
            };
            (begun == jobs as usize).then_some(())
        });
    }

    /// The project.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The run.
    pub fn run(&mut self) -> &mut Running {
        &mut self.run
    }

    /// Waits until all of these words have been said, by whomever.
    ///
    /// # Panics
    /// If that does not happen.
    #[track_caller]
    pub fn says(&mut self, words: &[&str]) {
        let (results, jobs) = (self.results.clone(), self.shape.jobs());
        self.run.until(&format!("a line with {words:?}"), |run| {
            let said = run.stderr() + &stderr(&results, jobs);
            words.iter().all(|word| said.contains(word)).then_some(())
        });
    }

    /// Its task.
    pub fn task(&self) -> &str {
        &self.task
    }

    /// Its pods.
    #[track_caller]
    pub fn pods(&self) -> Vec<Pod> {
        self.project.engine().pods(&self.task)
    }

    /// Whether a job has ended, as far as its output tells.
    fn is_over(&self, job: u32) -> bool {
        let bytes = read(&self.results, job, "stdout");
        let is_lost = || String::from_utf8_lossy(&read(&self.results, job, "stderr")).contains(" lost on ");
        matches!(written(self.shape, job, &bytes), Ok(Written::Whole(_))) || is_lost()
    }

    /// Waits until more has come of every job.
    ///
    /// # Panics
    /// If that does not happen.
    #[track_caller]
    pub fn goes_on(&mut self) {
        let sizes: Vec<u64> = (1..=self.shape.jobs()).map(|job| size(&self.results, job)).collect();
        let mut stuck = Vec::new();
        let all_go_on = wait::by(LONG, || {
            let has_more = |job: u32, before: u64| size(&self.results, job) > before || self.is_over(job);
            stuck = (1..).zip(&sizes).filter(|(job, before)| !has_more(*job, **before)).map(|(job, _)| job).collect();
            stuck.is_empty().then_some(())
        });
        if all_go_on.is_none() {
            self.run.fail(&format!("waited {} s in vain for more of the jobs {stuck:?}", LONG.as_secs()));
        }
    }

    /// Waits until nothing has come of any job for a while: what is broken has been felt.
    ///
    /// # Panics
    /// If that does not happen.
    #[track_caller]
    pub fn stands_still(&self) {
        self.stand_still(&(1..=self.shape.jobs()).collect::<Vec<_>>());
    }

    /// The same for some of the jobs.
    ///
    /// # Panics
    /// If that does not happen.
    #[track_caller]
    pub fn stand_still(&self, jobs: &[u32]) {
        let sizes = || jobs.iter().map(|job| size(&self.results, *job)).collect::<Vec<_>>();
        until(LONG, "output that stops", || {
            let before = sizes();
            std::thread::sleep(Duration::from_millis(700)); // seven lines
            (before == sizes()).then_some(())
        });
        let over: Vec<_> = jobs.iter().filter(|job| self.is_over(**job)).collect();
        assert!(over.is_empty() && !jobs.is_empty(), "they stand still in the middle, not at their end: {over:?}");
    }

    /// The jobs that run in a pod.
    #[track_caller]
    pub fn jobs_in(&self, pod: &Pod) -> Vec<u32> {
        let is_in = |job: &u32| {
            let bytes = read(&self.results, *job, "stdout");
            let head = format!("H {job} {}\n", pod.name);
            bytes.starts_with(head.as_bytes())
        };
        (1..=self.shape.jobs()).filter(is_in).collect()
    }

    /// Waits for the end, and proves that nothing is untrue: see the module's head.
    ///
    /// # Panics
    /// If something is.
    #[track_caller]
    pub fn finish(mut self) -> Seen {
        let outcome = self.run.finish();
        outcome.task();
        let left = self.project.engine().of_task(&self.task);
        outcome.holds(&format!("nothing is left of the task: {left:?}"), left.is_empty());
        let text = {
            let mut text = String::new();
            let read = self.lost.seek(SeekFrom::Start(0)).and_then(|_| self.lost.read_to_string(&mut text));
            read.unwrap_or_else(|e| panic!("read lost.jsonl: {e}"));
            text
        };
        let record = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("lost.jsonl: {e}: {line}"));
            let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            let again = value["again"].as_bool().unwrap_or_else(|| panic!("lost.jsonl: {line}"));
            Lost { host: field("host"), pod: field("pod"), reason: field("reason"), again }
        };
        let mut lost: Vec<Lost> = text.lines().map(record).collect();
        lost.sort_unstable();

        let log = joblog::read(&self.log);
        assert_eq!(log.len(), self.shape.jobs() as usize, "every job stands in the joblog: {log:?}");
        outcome.holds("the jobs' output is in their files alone", outcome.stdout.is_empty());
        let (mut in_log, mut whole, mut pods) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (job, line) in &log {
            let (bytes, stderr) = (read(&self.results, *job, "stdout"), read(&self.results, *job, "stderr"));
            let stderr = String::from_utf8_lossy(&stderr);
            let fail = |why: &str| -> ! { outcome.fail(&format!("job {job} {why}; its stderr:\n{stderr}")) };
            let written = written(self.shape, *job, &bytes).unwrap_or_else(|why| fail(&why));
            let ends = stderr.lines().filter(|word| **word == format!("E {job}")).count();
            if line.exit == LOST {
                if ends > 1 {
                    fail("has more than one word on stderr");
                }
                let pod = match &written {
                    Written::Whole(pod) | Written::Piece(Some(pod)) => Some(pod),
                    Written::Piece(None) => None,
                };
                let here = |lost: &&Lost| lost.host == line.host && pod.is_none_or(|pod| lost.pod == *pod);
                let said = |lost: &Lost| {
                    let has =
                        |line: &str| [&lost.host, &lost.pod, &lost.reason].iter().all(|word| line.contains(*word));
                    stderr.lines().filter(|line| has(line)).count() == 1
                };
                if !lost.iter().filter(here).any(said) {
                    fail(&format!("is lost, and does not say once where and why: {lost:?}"));
                }
                in_log.push(*job);
                continue;
            }
            let code = self.shape.code(*job);
            if line.exit != code {
                fail(&format!("has ended with {}, not {code}", line.exit));
            }
            let Written::Whole(pod) = written else {
                fail(&format!("has ended with {code}, and {} bytes of its output", bytes.len()));
            };
            if ends != 1 {
                fail("has not one word on stderr");
            }
            whole.push(*job);
            pods.insert(pod);
        }
        let hosts = |of: &mut dyn Iterator<Item = &String>| {
            let mut hosts: Vec<_> = of.cloned().collect();
            hosts.sort_unstable();
            hosts
        };
        let said = hosts(&mut lost.iter().filter(|lost| !lost.again).map(|lost| &lost.host));
        let logged = hosts(&mut in_log.iter().map(|job| &log[job].host));
        outcome.holds(&format!("lost.jsonl has the jobs of the joblog: {lost:?}"), said == logged);
        for each in &lost {
            let words = [&each.host, &each.pod, &each.reason];
            outcome.holds(&format!("it says where and why: {each:?}"), words.iter().all(|word| !word.is_empty()));
            let said = outcome.stderr.lines().any(|line| words.iter().all(|word| line.contains(*word)));
            outcome.holds(&format!("that it is run again is said: {each:?}"), said || !each.again);
        }
        let failed = log.values().filter(|line| line.exit != 0).count();
        outcome.exits(i32::try_from(failed).expect("few jobs"));
        let stderr = stderr(&self.results, self.shape.jobs());
        Seen { project: self.project, outcome, stderr, lost, jobs_lost: in_log, whole, pods }
    }
}

fn folder(results: &Path, job: u32) -> PathBuf {
    // --results makes a folder for each input source and value.
    let under = results.join("1").join(job.to_string());
    let second = fs::read_dir(under.join("2")).into_iter().flatten().flatten().next();
    second.map_or(under, |entry| entry.path())
}

fn size(results: &Path, job: u32) -> u64 {
    fs::metadata(folder(results, job).join("stdout")).map_or(0, |file| file.len())
}

/// What a job has written so far.
fn read(results: &Path, job: u32, name: &str) -> Vec<u8> {
    fs::read(folder(results, job).join(name)).unwrap_or_default()
}

/// Of all jobs.
fn stderr(results: &Path, jobs: u32) -> String {
    (1..=jobs).map(|job| String::from_utf8_lossy(&read(results, job, "stderr")).into_owned()).collect()
}

/// How a run ended; nothing in it was untrue.
#[derive(Debug)]
pub struct Seen {
    project: Project,
    /// The run.
    pub outcome: Outcome,
    /// What all jobs have on stderr.
    pub stderr: String,
    /// What is said of lost jobs.
    pub lost: Vec<Lost>,
    /// Which jobs have 255 for it.
    pub jobs_lost: Vec<u32>,
    /// The other jobs.
    pub whole: Vec<u32>,
    /// Where those ran.
    pub pods: BTreeSet<String>,
}

impl Seen {
    /// Asserts that no job was lost.
    ///
    /// # Panics
    /// If one was.
    #[track_caller]
    pub fn none_lost(&self) -> &Self {
        self.outcome
            .holds(&format!("no job is lost: {:?}", self.lost), self.jobs_lost.is_empty() && self.lost.is_empty());
        self
    }

    /// Asserts that these jobs were lost, and no others.
    ///
    /// # Panics
    /// If others were.
    #[track_caller]
    pub fn lost_are(&self, jobs: &[u32]) -> &Self {
        self.outcome.holds(&format!("the lost jobs are {jobs:?}, not {:?}", self.jobs_lost), self.jobs_lost == jobs);
        self
    }

    /// Asserts that the reason of every lost job has all of these words.
    ///
    /// # Panics
    /// If one has not.
    #[track_caller]
    pub fn because(&self, words: &[&str]) -> &Self {
        let all = self.lost.iter().all(|lost| words.iter().all(|word| lost.reason.contains(word)));
        self.outcome.holds(&format!("the reason has {words:?}: {:?}", self.lost), all && !self.lost.is_empty());
        self
    }

    /// The line of docs/faults.md.
    pub fn told(&self, fault: &str) {
        let jobs = |count: usize| format!("{count} {}", if count == 1 { "job" } else { "jobs" });
        let fate = match (self.whole.len(), self.jobs_lost.len()) {
            (whole, 0) => format!("{} whole, with their own codes", jobs(whole)),
            (whole, lost) => format!("{} lost: 255; {} whole, with their own codes", jobs(lost), jobs(whole)),
        };
        tell(&self.project, fault, &(self.stderr.clone() + &self.outcome.other_stderr()), &fate);
    }
}

/// What a job is to begin with so that [`began_once`] knows of it; `{}` is its number. Where no files are shared it does nothing.
pub const NOTES_ITS_BEGIN: &str = "{ echo {} >>ran; } 2>/dev/null";

/// How many jobs began, none of them twice; nobody knows where no files are shared.
///
/// # Panics
/// If one did.
#[track_caller]
pub fn began_once(project: &Project) -> Option<usize> {
    project.engine().shares_files().then(|| {
        let ran = fs::read_to_string(project.at("ran")).expect("jobs have noted it");
        let once: BTreeSet<&str> = ran.lines().collect();
        assert_eq!(ran.lines().count(), once.len(), "a job runs at most once");
        once.len()
    })
}

/// Says what came of a fault, as a line for docs/faults.md: names that are others each time are replaced.
///
/// # Panics
/// If nobody can be told.
pub fn tell(project: &Project, fault: &str, stderr: &str, fate: &str) {
    let mut lines: Vec<String> = Vec::new();
    for line in stderr.lines().map(|line| common(line.trim())) {
        let is_jobs = line.split_once(' ').is_some_and(|(word, rest)| word == "E" && rest.parse::<u32>().is_ok());
        if !is_jobs && !line.is_empty() && !lines.contains(&line) {
            lines.push(line);
        }
    }
    let said = match lines.is_empty() {
        true => "nothing".to_owned(),
        false => lines
            .iter()
            .map(|line| format!("`{}`", line.replace('|', "\\|").replace('`', "'")))
            .collect::<Vec<_>>()
            .join("<br>"),
    };
    let line = format!("FAULT | {fault} | {} | {said} | {fate}\n", project.engine().name());
    // Not eprint!, which the test's runner would keep to itself.
    std::io::stderr().write_all(line.as_bytes()).expect("stderr is there");
}

/// A line without what is another each time: pods, hosts, nodes, ports, addresses.
fn common(line: &str) -> String {
    let word = |word: &str| -> String {
        let name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let begin = word.find(name).unwrap_or(0);
        let end = word.rfind(name).map_or(word.len(), |at| at + 1);
        let (before, core, after) = (&word[..begin], &word[begin..end.max(begin)], &word[end.max(begin)..]);
        let is_id = |text: &str| text.len() >= 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let core = match core {
            core if core.starts_with("womm-task-") && core.matches('-').count() > 2 => "POD",
            core if core.starts_with("womm-task-") => "TASK",
            core if is_id(core) => "ID",
            core if core.strip_prefix('w').is_some_and(|rest| rest.split('-').all(digits)) => "HOST",
            core if core.strip_prefix("node").is_some_and(digits) => "NODE",
            core => core,
        };
        let server = ["https://127.0.0.1:", "127.0.0.1:", "unix:///"].iter().any(|begin| core.starts_with(begin));
        let core = if server { "SERVER" } else { core };
        format!("{before}{core}{after}")
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const SHAPE: Shape = Shape { pods: 1, procs: 2, lasts: Duration::from_millis(300), own_codes: true, held: false };

    #[test]
    fn the_job_writes_what_is_expected_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("{JOB} 2 {} 0 9", SHAPE.lines());
        let out = Command::new("sh").args(["-c", &script]).env("TMPDIR", dir.path()).output().unwrap();
        assert_eq!(out.status.code(), Some(9));
        assert_eq!(out.stderr, b"E 2\n");
        assert!(
            matches!(written(SHAPE, 2, &out.stdout), Ok(Written::Whole(_))),
            "{:?}",
            written(SHAPE, 2, &out.stdout)
        );
        assert!(matches!(written(SHAPE, 2, &out.stdout[..out.stdout.len() - 1]), Ok(Written::Piece(Some(_)))));
        assert_eq!(written(SHAPE, 2, b"H"), Ok(Written::Piece(None)));
        assert!(written(SHAPE, 1, &out.stdout).is_err(), "another job's output");
        let mut doubled = out.stdout.clone();
        doubled.extend_from_slice(b"S 2 0\n");
        assert!(written(SHAPE, 2, &doubled).is_err(), "more than all");
        let mut cut = out.stdout;
        cut.drain(40..60);
        assert!(written(SHAPE, 2, &cut).is_err(), "a gap");
    }

    #[test]
    fn a_told_line_is_the_same_each_time() {
        let line = "womm: job lost on w001-2: pod womm-task-abcdefgh-5d8c-x2: node \"node2\" is lost";
        assert_eq!(common(line), "womm: job lost on HOST: pod POD: node \"NODE\" is lost");
        assert_eq!(common("at (https://127.0.0.1:4711) w.x"), "at (SERVER) w.x");
    }
}
