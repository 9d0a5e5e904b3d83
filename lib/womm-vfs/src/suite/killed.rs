//! What a SIGKILL must leave: all that was answered, with the numbers it was answered with, and counters that have not gone back.
//!
//! A process does the random operations and notes each answer; it is killed at a random moment; then the same operations are done to a
//! memory file system, as many as were noted, and what is on the disk is compared. Of the one that may have been under way, nothing is
//! expected: what it touches is left out.

use super::model::Model;
use super::random::Run;
use super::{Backend, Session};
use crate::clock::SystemClock;
use crate::memory::MemoryVfs;
use crate::node::NodeId;
use crate::vfs::Vfs;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// In the process that is to be killed: where it works.
const FOLDER: &str = "WOMM_VFS_KILLED";
/// And what it does.
const SEED: &str = "WOMM_VFS_KILLED_SEED";
/// Answers, in the folder.
const ANSWERS: &str = "answers";
/// Bytes of one: the number of the node that was made or 0, a node of the model that was changed or the highest, its counter.
const ANSWER: usize = 24;
/// No process works longer.
const WITHIN: Duration = Duration::from_secs(120);
/// Operations before the kill.
pub const OPERATIONS: usize = 250;

/// A backend whose state is in a folder.
pub trait Kept: Backend {
    /// Opens or makes it.
    fn at(folder: &Path) -> Self;
}

/// Kills as many processes. `test` is the name of the test that calls it, which the process runs too.
///
/// # Panics
/// If something is missing.
pub async fn is_survived<B: Kept>(test: &str, kills: usize, folder: impl Fn() -> PathBuf) {
    let checked = async |folder: &Path, seed| check::<B>(folder, seed).await;
    of(test, kills, folder, |_| {}, work::<B>, checked).await;
}

/// The same for any work, on a folder that is made ready first. The work notes its answers with [`note_answer`], at most
/// [`OPERATIONS`] of which are waited for.
///
/// # Panics
/// If something is missing.
pub async fn of(
    test: &str,
    kills: usize,
    folder: impl Fn() -> PathBuf,
    ready: impl Fn(&Path),
    work: impl AsyncFn(&Path, u64),
    check: impl AsyncFn(&Path, u64),
) {
    if let (Ok(folder), Ok(seed)) = (std::env::var(FOLDER), std::env::var(SEED)) {
        return work(Path::new(&folder), seed.parse().expect("a seed is a number")).await;
    }
    for _ in 0..kills {
        let folder = folder();
        let (seed, most) = (fastrand::u64(..), fastrand::usize(1..OPERATIONS));
        eprintln!("seed {seed}, killed after {most}");
        fs::create_dir_all(&folder).expect("a folder is made");
        ready(&folder);
        kill(spawn(test, &folder, seed), &folder.join(ANSWERS), most);
        check(&folder, seed).await;
        fs::remove_dir_all(&folder).expect("the folder is removed");
    }
}

/// Notes an answer, all of it or nothing.
///
/// # Panics
/// If it can't.
pub fn note_answer(folder: &Path, answer: [u64; 3]) {
    let mut answers = File::options().create(true).append(true).open(folder.join(ANSWERS)).expect("answers are noted");
    answers.write_all(&answer.map(u64::to_be_bytes).concat()).expect("an answer is noted");
}

/// Those that were noted.
///
/// # Panics
/// If they can't be read.
#[must_use]
pub fn answers(folder: &Path) -> Vec<[u64; 3]> {
    let noted = fs::read(folder.join(ANSWERS)).expect("answers are there");
    let number = |answer: &[u8; ANSWER], at: usize| {
        let bytes = answer[at..].first_chunk().expect("there are 24");
        u64::from_be_bytes(*bytes)
    };
    let (answers, _) = noted.as_chunks::<ANSWER>();
    answers.iter().map(|answer| [0, 8, 16].map(|at| number(answer, at))).collect()
}

/// Works until it is killed.
async fn work<B: Kept>(folder: &Path, seed: u64) {
    let mut run = Run::new(Session::over(B::at(folder)), seed);
    let began = Instant::now();
    while began.elapsed() < WITHIN {
        let known = run.ids.len();
        run.step().await;
        let made = run.ids.get(known).map_or(0, |id| id.0);
        let changed = run.changed.iter().next().copied();
        let change = changed.map_or(0, |node| run.changes[node]);
        let node = changed.map_or(u64::MAX, |node| node as u64);
        note_answer(folder, [made, node, change]);
    }
}

fn spawn(test: &str, folder: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().expect("a test is a file"))
        .args(["--exact", test])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

fn kill(mut child: Child, answers: &Path, most: usize) {
    let began = Instant::now();
    let noted = || fs::metadata(answers).map_or(0, |answers| answers.len());
    while noted() < (most * ANSWER) as u64 {
        let status = child.try_wait().expect("it can be asked for");
        assert!(status.is_none() && began.elapsed() < WITHIN, "it ended: {status:?}");
        std::thread::sleep(Duration::from_micros(fastrand::u64(1..2000)));
    }
    child.kill().expect("it is killed");
    child.wait().expect("it is waited for");
}

struct Memory(Arc<MemoryVfs>);

impl Backend for Memory {
    type Vfs = MemoryVfs;

    fn fresh() -> Self {
        Self(Arc::new(MemoryVfs::new(Arc::new(SystemClock))))
    }

    fn vfs(&self) -> &Arc<MemoryVfs> {
        &self.0
    }

    fn restart(self) -> Self {
        Self(Arc::new(self.0.restart()))
    }
}

async fn check<B: Kept>(folder: &Path, seed: u64) {
    let mut replay = Run::new(Session::<Memory>::fresh(), seed);
    let mut run = Run::new(Session::over(B::at(folder)), seed);
    for answer in answers(folder) {
        replay.step().await;
        note(&mut run, answer);
    }
    run.model = replay.model.clone();
    replay.step().await;
    let doubtful = in_doubt(&run.model, &replay.model, &replay.changed);
    for node in run.model.there() {
        for _ in 0..run.model.nodes[node].opens {
            let reopened = run.session.vfs().reopen(run.ids[node]);
            assert!(reopened.is_ok() || doubtful.contains(&node), "{node} is not reopened: {reopened:?}");
        }
    }
    run.session.vfs().reclaimed();
    run.compare_but(&doubtful).await;
    compare_entries(&run, &replay.model, &doubtful).await;
}

fn note<B: Backend>(run: &mut Run<B>, [made, node, change]: [u64; 3]) {
    if made != 0 {
        run.ids.push(NodeId(made));
        run.changes.push(0);
    }
    if let Some(last) = run.changes.get_mut(usize::try_from(node).unwrap_or(usize::MAX)) {
        *last = change;
    }
}

/// Nodes of which it is not known whether the next operation has reached them.
fn in_doubt(before: &Model, after: &Model, changed: &HashSet<usize>) -> HashSet<usize> {
    let differs = |node: &usize| {
        let (before, after) = (before.node(*node), after.node(*node));
        before.is_ok() != after.is_ok()
            || before.is_ok_and(|before| after.is_ok_and(|after| before.content != after.content))
    };
    (0..before.nodes.len()).filter(|node| changed.contains(node) || differs(node)).collect()
}

/// Even in a folder that was being changed, what was not touched is there.
async fn compare_entries<B: Backend>(run: &Run<B>, after: &Model, doubtful: &HashSet<usize>) {
    for folder in doubtful.iter().copied() {
        let (Ok(before), Ok(after)) = (run.model.node(folder), after.node(folder)) else { continue };
        for (name, node) in &before.entries {
            if after.entries.get(name) == Some(node) {
                let found = run.session.lookup_name(run.ids[folder], name).await;
                let found = found.map(|found| found.id);
                assert_eq!(found, Ok(run.ids[*node]), "{name:?} in {folder}");
            }
        }
    }
}
