//! Places in a pod that can't be written to: a job that would not work there is refused, with the reason, before it starts.

use harness::fault::{Shape, Work, tell};
use harness::{Cmd, Engine, LONG, Pod, Project, Running, joblog, tool, until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A patch that makes pods different.
fn patch(project: &Project, pod: &Value) -> PathBuf {
    project.write("patch.json", json!({"spec": {"template": {"spec": pod}}}).to_string())
}

/// `womm parallel` with such pods.
fn patched(cmd: Cmd, engine: Engine, patch: PathBuf) -> Cmd {
    match engine {
        Engine::Docker => cmd,
        Engine::Kube => cmd.arg("--kube-patch").arg(patch),
    }
}

/// Pods whose TMPDIR is 4 MiB of memory.
fn small_tmpdir() -> Value {
    json!({"volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}]})
}

/// On docker there is no --kube-patch: the mount is made from outside, by root, once the container is there. The project is
/// below /tmp, and shared: it stays where it is.
fn mount_from_outside(project: &Project, pod: &Pod, options: &str, then: &str) {
    let pid = tool("docker", ["inspect", "--format", "{{.State.Pid}}", &pod.name]);
    let script = "mount --bind \"$1\" /mnt && mount -t tmpfs -o \"$2\" none /tmp && mkdir -p \"$1\" &&
        mount --bind /mnt \"$1\" && mount -o \"remount,$3\" /tmp";
    let folder = project.folder();
    let words = ["-t", pid.trim(), "-m", "--", "sh", "-c", script, "sh", folder.to_str().unwrap(), options, then];
    tool("nsenter", words);
}

/// A run whose one pod has such a place, ready to take jobs; with its TMPDIR.
fn at_work(cmd: Cmd, project: &Project, log: &Path, options: &str, then: &str) -> (Running, String) {
    let mut run = cmd.words("-k --joblog").arg(log).arg("--").stdin_held().start();
    let task = run.task();
    let tmpdir = until(LONG, "a pod that answers", || {
        let out = project.ssh().arg("w001").arg("echo \"$TMPDIR\"").run();
        (out.code() == 0).then(|| out.text().trim().to_owned())
    });
    if project.engine() == Engine::Docker {
        assert_eq!(tmpdir, "/tmp");
        mount_from_outside(project, &project.engine().pods(&task)[0], options, then);
    }
    (run, tmpdir)
}

#[test]
fn tmpdir() {
    let project = Engine::under_test().project();
    let log = project.root().join("joblog");
    let cmd = patched(project.parallel(1), project.engine(), patch(&project, &small_tmpdir()));
    let (mut run, tmpdir) = at_work(cmd, &project, &log, "size=4m,mode=1777", "rw");
    run.send("echo first\ncat /dev/zero >\"$TMPDIR/full\"; echo filled; exit 7\necho never\necho never\n");
    let out = run.finish();
    out.writes("first\nfilled\n").exits(3).task();
    assert_eq!(joblog::codes(&log), [0, 7, 255, 255]);
    let said = out.stderr.lines().filter(|line| line.contains("TMPDIR") && line.contains("is full")).count();
    out.holds("each refused job says why", said == 2);
    let stderr = out.other_stderr().replace(&tmpdir, "DIR");
    tell(
        &project,
        "a pod's TMPDIR is full",
        &stderr,
        "the job that filled it whole, with its own code; later jobs refused: 255",
    );
}

/// Jobs that run want nothing of it, and hear nothing of it.
#[test]
fn tmpdir_while_jobs_run() {
    let engine = Engine::under_test();
    let project = engine.project();
    let patch = patch(&project, &small_tmpdir());
    let mut work = Work::start(project, Shape::outlasting(Duration::from_secs(6)), |cmd| patched(cmd, engine, patch));
    let victim = work.pods().pop().unwrap();
    let jobs = work.jobs_in(&victim);
    assert_eq!(jobs.len(), 4, "every slot of {victim:?} has a job");
    if engine == Engine::Docker {
        mount_from_outside(work.project(), &victim, "size=4m,mode=1777", "rw");
    }
    let said = engine.inside(&victim, "cat /dev/zero >\"$WOMM_TMPDIR/full\"; ls \"$WOMM_TMPDIR\"").unwrap();
    assert!(said.contains("full"), "{said}");
    // Its host is the one that takes no more jobs.
    let refused: Vec<_> = (1..=5)
        .map(|place| work.project().ssh().args([&format!("w{place:03}"), "uname -n"]).run())
        .filter(|out| out.code() != 0)
        .collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    refused[0]
        .exits(255)
        .writes("")
        .holds("why", refused[0].stderr.contains("TMPDIR") && refused[0].stderr.contains("is full"));
    work.goes_on();
    let seen = work.finish();
    seen.none_lost();
    assert_eq!(seen.pods.len(), 5, "all pods stayed: {:?}", seen.pods);
    seen.told("a pod's TMPDIR is filled while jobs run there");
}

/// Pods whose /tmp is read-only; the project, below it here, is a volume of its own.
fn read_only() -> Value {
    json!({"containers": [{"name": "job", "securityContext": {"readOnlyRootFilesystem": true}}]})
}

/// Jobs that run want nothing of it.
#[test]
fn tmp_that_is_read_only_while_jobs_run() {
    let engine = Engine::under_test();
    let project = engine.project();
    let patch = patch(&project, &read_only());
    let mut work = Work::start(project, Shape::outlasting(Duration::from_secs(4)), |cmd| patched(cmd, engine, patch));
    let victim = work.pods().pop().unwrap();
    assert_eq!(work.jobs_in(&victim).len(), 4, "every slot of {victim:?} has a job");
    if engine == Engine::Docker {
        mount_from_outside(work.project(), &victim, "mode=1777", "ro");
    }
    assert_eq!(engine.inside(&victim, "touch /tmp/file 2>/dev/null || echo refused").as_deref(), Some("refused\n"));
    work.goes_on();
    let seen = work.finish();
    seen.none_lost();
    assert_eq!(seen.pods.len(), 5, "all pods stayed: {:?}", seen.pods);
    seen.told("/tmp in a pod is read-only while jobs run there");
}

#[test]
fn tmp_that_is_read_only() {
    let project = Engine::under_test().project();
    let log = project.root().join("joblog");
    let cmd = patched(project.parallel(1), project.engine(), patch(&project, &read_only()));
    let (mut run, tmpdir) = at_work(cmd, &project, &log, "mode=1777", "ro");
    run.send("touch /tmp/file && echo written; echo first; exit 7\necho second\n");
    let out = run.finish();
    out.task();
    let refused =
        out.stderr.lines().filter(|line| line.contains("TMPDIR") && line.contains("can't be written")).count();
    let fate = if tmpdir == "/tmp" {
        // GNU parallel's wrapper would die of it, and call that success.
        out.writes("").exits(2).holds("each refused job says why", refused == 2);
        assert_eq!(joblog::codes(&log), [255, 255]);
        "jobs that come to that pod refused: 255"
    } else {
        out.writes("first\nsecond\n").exits(1).holds("none is refused", refused == 0);
        assert_eq!(joblog::codes(&log), [7, 0]);
        "all jobs whole, with their own codes: TMPDIR is elsewhere"
    };
    tell(&project, "/tmp in a pod is read-only", &out.other_stderr(), fate);
}
