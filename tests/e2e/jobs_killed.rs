//! Jobs that GNU parallel kills: nothing of them goes on in the pod.

use harness::{Engine, LONG, SOON, Terminal, joblog, until};
use std::time::Instant;

/// A job that is hard to end: it ignores what can be ignored, and has left its session and its parents. NUMBER is what
/// its processes sleep, and how they are found.
fn stubborn(number: u32) -> String {
    format!(
        "trap '' TERM INT HUP QUIT; \
         perl -MPOSIX -e 'fork and exit; setsid; fork and exit; close STDIN; close STDOUT; close STDERR; exec qw(sleep {number})'; \
         setsid sleep {number} & \
         echo begun; sleep {number}; sleep {number}"
    )
}

fn is_there(number: u32) -> String {
    format!("cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -qx {number}")
}

/// Waits until nothing of a job goes on in the run's one pod.
#[track_caller]
fn all_ended(engine: Engine, task: &str, number: u32) {
    until(SOON, "the end of all its processes", || engine.pods_where(task, &is_there(number)).is_empty().then_some(()));
    assert_eq!(engine.pods(task).len(), 1, "it was looked into the pod in which the job ran");
}

#[test]
fn a_timeout_ends_all_of_a_stubborn_job() {
    let project = Engine::under_test().project();
    let engine = project.engine();
    let log = project.at("log");
    let words = "--line-buffer --timeout 2 --joblog";
    // The run goes on as long as its stdin, so that one can look.
    let mut run = project.parallel(1).words(words).arg(&log).arg("--").stdin_held().start();
    let task = run.task();
    // In one piece: GNU parallel may wait for one line more before it begins a job.
    run.send(format!("{}\necho after\necho last\n", stubborn(98801)));
    run.until("the job", |run| String::from_utf8_lossy(&run.stdout()).contains("begun").then_some(()));
    run.until("the next job", |run| String::from_utf8_lossy(&run.stdout()).contains("after").then_some(()));
    all_ended(engine, &task, 98801);
    run.finish().exits(1).writes("begun\nafter\nlast\n").task();
    let jobs = joblog::read(&log);
    assert!(jobs[&1].exit != 0 && jobs[&2].exit == 0, "{jobs:?}");
}

#[test]
fn halt_now_ends_the_other_jobs_and_the_run() {
    let project = Engine::under_test().project();
    let log = project.at("log");
    let job = format!("case {{}} in fail) sleep 2; exit 7 ;; esac; {}", stubborn(1000));
    let cmd = project.parallel(3).words("--line-buffer --halt now,fail=1 --joblog").arg(&log).arg("--").arg(job);
    let run = cmd.words("::: a fail b c d").run();
    run.exits(7).task();
    let jobs = joblog::read(&log);
    assert_eq!(jobs[&2].exit, 7, "{jobs:?}");
    assert!(!jobs.contains_key(&5), "no job is begun after the failure: {jobs:?}");
    project.is_clean();
}

#[test]
fn a_job_that_ends_leaves_nothing_behind_that_holds_it_up() {
    let project = Engine::under_test().project();
    let engine = project.engine();
    let mut run = project.parallel(1).words("--line-buffer --").stdin_held().start();
    let task = run.task();
    // As over ssh: a daemon that has let go of its stdout does not keep the job from ending.
    run.send("sleep 98811 >/dev/null 2>&1 </dev/null & echo ended\necho next\necho last\n");
    run.until("the next job", |run| String::from_utf8_lossy(&run.stdout()).contains("next").then_some(()));
    assert!(engine.pods(&task).len() == 1);
    run.finish().succeeds().writes("ended\nnext\nlast\n").task();
}

/// Finds a job's ancestor below the agent, which is the pod's process 1: `$p`.
pub const SUPERVISOR: &str =
    "up() { sed -n 's/^PPid:[^0-9]*//p' /proc/$1/status; }; p=$$; until [ $(up $p) = 1 ]; do p=$(up $p); done";

/// As its pod's memory limit may do it: whatever it came to is not known.
#[test]
fn a_job_whose_supervisor_is_killed_is_lost_and_ends() {
    let project = Engine::under_test().project();
    let engine = project.engine();
    let log = project.at("log");
    let mut run =
        project.parallel(1).words("--line-buffer --joblog").arg(&log).arg("--").stdin_held().deadline(LONG).start();
    let task = run.task();
    // Below the job in a session of its own, below nobody of the job, and in the job.
    let daemon = "setsid sleep 98821 & (setsid sleep 98821 &); sleep 1";
    run.send(format!("{SUPERVISOR}; {daemon}; kill -9 $p; sleep 98821\necho after\necho last\n"));
    run.until("the next job", |run| String::from_utf8_lossy(&run.stdout()).contains("after").then_some(()));
    all_ended(engine, &task, 98821);
    let out = run.finish();
    out.exits(1).writes("after\nlast\n").task();
    out.holds("why is said", out.stderr.contains("supervisor was killed in the pod"));
    assert_eq!(joblog::codes(&log), [255, 0, 0]);
}

/// Its session is one of its own, and no window closes.
#[test]
fn a_terminal_whose_supervisor_is_killed_is_closed() {
    let project = Engine::under_test().project();
    let engine = project.engine();
    let mut run = project.parallel(1).words("-- echo").stdin_held().start();
    let task = run.task();
    run.until("the pod", |_| (project.ssh().words("w001 true").run().code() == 0).then_some(()));
    let script = format!("{SUPERVISOR}; (trap '' HUP TERM; sleep 98831 & sleep 98831) & kill -9 $p; sleep 98831");
    let terminal = Terminal::start(project.ssh().args(["-t", "w001", &script]), 24, 80);
    assert_eq!(terminal.finish().0, 255);
    all_ended(engine, &task, 98831);
    run.finish().succeeds().task();
}

/// A supervisor that waits for a server of files stands still just the same.
#[test]
fn a_timeout_ends_a_job_whose_supervisor_stands_still() {
    let project = Engine::under_test().project();
    let engine = project.engine();
    let mut run = project.parallel(1).words("--line-buffer --timeout 6 --").stdin_held().deadline(LONG).start();
    let task = run.task();
    run.send(format!("{SUPERVISOR}; echo begun; kill -STOP $p; sleep 98841\necho after\necho last\n"));
    run.until("the next job", |run| String::from_utf8_lossy(&run.stdout()).contains("after").then_some(()));
    // The agent gives a supervisor 13 s.
    until(LONG, "its end", || engine.pods_where(&task, &is_there(98841)).is_empty().then_some(()));
    all_ended(engine, &task, 98841);
    run.finish().exits(1).writes("begun\nafter\nlast\n").task();
}

#[test]
fn womm_waits_for_jobs_as_long_as_they_take() {
    let project = Engine::under_test().project();
    let since = Instant::now();
    project.parallel(1).words("-- sleep 6; echo done {} ::: 1").run().succeeds().writes("done 1\n").quiet_task();
    assert!(since.elapsed().as_secs() >= 6 && since.elapsed() < LONG);
}
