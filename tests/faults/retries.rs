//! `--kube-retries`: a job that was lost runs again in another pod, and nothing of it appears twice.

use harness::fault::{Shape, Work};
use harness::{Engine, LONG, joblog, tool, until};
use std::time::Duration;

#[test]
fn a_lost_job_runs_again_elsewhere() {
    let engine = Engine::under_test();
    // A job that has ended when the last one begins would not be lost, on a machine where many tests run.
    let shape = Shape { pods: 3, procs: 2, own_codes: false, held: true, ..Shape::outlasting(Duration::from_secs(2)) };
    let work = Work::start(engine.project(), shape, |cmd| cmd.words("--kube-retries 1"));
    let victim = work.pods().pop().unwrap();
    engine.remove_by_force(&victim);
    let seen = work.finish();
    seen.outcome.succeeds();
    assert_eq!((seen.jobs_lost.len(), seen.whole.len()), (0, 6));
    let again: Vec<_> = seen.lost.iter().filter(|lost| lost.again && lost.pod == victim.name).collect();
    assert!(!seen.pods.contains(&victim.name), "{victim:?} is not where jobs ended: {:?}, {:?}", seen.pods, seen.lost);
    assert_eq!((again.len(), seen.lost.len()), (2, 2), "{:?}", seen.lost);
    seen.told("a pod is deleted, without grace, with `--kube-retries 1`");
}

/// Its own exit code is no loss, whatever it is: it runs once.
#[test]
fn a_job_that_fails_runs_once() {
    let engine = Engine::under_test();
    let project = engine.project();
    let log = project.root().join("joblog");
    let job = "echo ran {}; exit {}";
    let cmd = project.parallel(2).words("--kube-retries 3 -k --joblog").arg(&log).arg("--").arg(job);
    let out = cmd.words("::: 0 1 255").run();
    out.writes("ran 0\nran 1\nran 255\n").exits(2).quiet_task();
    assert_eq!(joblog::codes(&log), [0, 1, 255]);
}

/// More often than it may: then it is lost, and only then.
#[test]
fn a_job_that_is_lost_again_is_lost() {
    let engine = Engine::under_test();
    let project = engine.project();
    let log = project.root().join("joblog");
    let cmd = project.parallel(2).words("--kube-retries 1 -n0 --joblog").arg(&log).arg("--");
    let mut run = cmd.arg("echo piece; touch \"$TMPDIR/begun\"; sleep 1000").words("::: 1").start();
    let task = run.task();
    let mut names = Vec::new();
    for _ in 0..2 {
        let victim =
            until(LONG, "the job in a pod", || engine.pods_where(&task, "test -e \"$WOMM_TMPDIR/begun\"").pop());
        engine.remove_by_force(&victim);
        names.push(victim.name);
    }
    let out = run.finish();
    out.exits(1).task();
    assert_eq!(joblog::codes(&log), [255]);
    assert_ne!(names[0], names[1]);
    // What the last one wrote may be told, once, as for any job that is lost.
    out.holds("nothing appears twice", ["", "piece\n"].contains(&out.text()));
}

/// A folder of one MiB, gone when this is dropped.
struct Small(std::path::PathBuf);

impl Small {
    fn new(folder: std::path::PathBuf) -> Self {
        std::fs::create_dir(&folder).unwrap();
        tool("mount", ["-t", "tmpfs", "-o", "size=1m", "none", folder.to_str().unwrap()]);
        Self(folder)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// No room here for what is held back: said, and counted as any other job that is lost.
#[test]
fn a_job_whose_output_cannot_be_held_is_lost() {
    let engine = Engine::under_test();
    let project = engine.project();
    let log = project.root().join("joblog");
    let small = Small::new(project.root().join("small"));
    // What GNU parallel holds back has its room.
    let cmd = project.parallel(1).words("--kube-retries 1 -k --tmpdir").arg(project.root()).arg("--joblog").arg(&log);
    let cmd = cmd.arg("--").env("TMPDIR", &small.0).arg("head -c {} /dev/zero | tr '\\0' x; exit 7");
    let out = cmd.words("::: 1000 3000000 2000").run();
    out.exits(3).task();
    assert_eq!(joblog::codes(&log), [7, 255, 7]);
    assert_eq!(out.text(), "x".repeat(3000), "all of the others, and nothing of that one");
    out.holds("why, and the remedy", out.stderr.contains("point TMPDIR at a folder with room"));
    out.holds("it is counted", out.stderr.contains("1 job was lost"));
}
