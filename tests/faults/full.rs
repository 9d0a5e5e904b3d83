//! Places in a pod that can't be written to: a job that would not work there is refused, with the reason, before it starts.

use harness::fault::tell;
use harness::{Cmd, Engine, Pod, Project, joblog, tool};

/// `womm parallel` in one pod, with something mounted where it says; `{path, kind, readonly}`.
fn mounted(project: &Project, volume: &str, mount: &str) -> Cmd {
    let cmd = project.parallel(1);
    match project.engine() {
        Engine::Docker => cmd,
        Engine::Kube => {
            let container = format!(r#"{{"name": "job", "volumeMounts": [{mount}]}}"#);
            let spec = format!(r#"{{"volumes": [{volume}], "containers": [{container}]}}"#);
            let patch = format!(r#"{{"spec": {{"template": {{"spec": {spec}}}}}}}"#);
            cmd.arg("--kube-patch").arg(project.write("patch.json", patch))
        }
    }
}

/// On docker there is no --kube-patch: the mount is made from outside, by root, once the container is there.
fn mount_from_outside(pod: &Pod, options: &str, at: &str) {
    let pid = tool("docker", ["inspect", "--format", "{{.State.Pid}}", &pod.name]);
    tool("nsenter", ["-t", pid.trim(), "-m", "--", "mount", "-t", "tmpfs", "-o", options, "none", at]);
}

#[test]
fn tmpdir() {
    let engine = Engine::under_test();
    let project = engine.project();
    let log = project.root().join("joblog");
    let volume = r#"{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}"#;
    let cmd = mounted(&project, volume, r#"{"name": "tmp", "mountPath": "/run/womm-tmp"}"#);
    let mut run = cmd.words("-j1 --line-buffer --joblog").arg(&log).arg("--").stdin_held().start();
    let task = run.task();
    run.send("echo first $TMPDIR\n:\n");
    run.send(":\n".repeat(8));
    let text = |run: &harness::Running| String::from_utf8_lossy(&run.stdout()).into_owned();
    let tmpdir = run.until("the first job", |run| {
        text(run).lines().find_map(|line| line.strip_prefix("first ").map(str::to_owned))
    });
    if engine == Engine::Docker {
        mount_from_outside(&engine.pods(&task)[0], "size=4m,mode=1777", &tmpdir);
    }
    // The next jobs begin when it has ended: one at a time.
    run.send("cat /dev/zero >\"$TMPDIR/full\"; echo filled\n");
    run.send("echo never\necho never\n");
    let out = run.finish();
    out.holds("the jobs before are whole", out.text() == format!("first {tmpdir}\nfilled\n"));
    let codes = joblog::codes(&log);
    let failed: Vec<_> = codes.iter().filter(|code| **code != 0).collect();
    out.exits(2).holds("the two after it are refused", failed == [&255, &255] && codes.ends_with(&[255, 255]));
    let said = out.stderr.lines().filter(|line| line.contains("TMPDIR") && line.contains("is full")).count();
    out.holds("each says why", said == 2).task();
    tell(
        &project,
        "a pod's TMPDIR is full",
        &out.other_stderr().replace(&tmpdir, "DIR"),
        "jobs that come to that pod are refused: 255",
    );
}

#[test]
fn tmp_that_is_read_only() {
    let engine = Engine::under_test();
    let project = engine.project();
    let log = project.root().join("joblog");
    let cmd = mounted(
        &project,
        r#"{"name": "read-only", "emptyDir": {}}"#,
        r#"{"name": "read-only", "mountPath": "/tmp", "readOnly": true}"#,
    );
    let mut run = cmd.words("-j1 --line-buffer --joblog").arg(&log).arg("--").stdin_held().start();
    let task = run.task();
    run.send(format!("echo first $TMPDIR\n{}", ":\n".repeat(8)));
    let text = |run: &harness::Running| String::from_utf8_lossy(&run.stdout()).into_owned();
    let tmpdir = run.until("the first job", |run| {
        text(run).lines().find_map(|line| line.strip_prefix("first ").map(str::to_owned))
    });
    if engine == Engine::Docker {
        mount_from_outside(&engine.pods(&task)[0], "ro", "/tmp");
    }
    run.send("touch /tmp/file && echo written; echo second; exit 7\necho third\n");
    let out = run.finish();
    let codes = joblog::codes(&log);
    let (fate, said) = match tmpdir.starts_with("/tmp") {
        // Where it is TMPDIR too, GNU parallel's wrapper would be killed by it, and call that success.
        true => {
            out.writes(format!("first {tmpdir}\n")).exits(2);
            assert!(codes.ends_with(&[255, 255]), "{codes:?}");
            ("jobs that come to that pod are refused: 255", 2)
        }
        false => {
            out.writes(format!("first {tmpdir}\nsecond\nthird\n")).exits(1);
            assert!(codes.ends_with(&[7, 0]), "{codes:?}");
            ("all jobs whole, with their own codes: TMPDIR is elsewhere", 0)
        }
    };
    let refused =
        out.stderr.lines().filter(|line| line.contains("TMPDIR") && line.contains("can't be written")).count();
    out.holds("each refused job says why", refused == said).task();
    tell(&project, "/tmp in a pod is read-only", &out.other_stderr().replace(&tmpdir, "DIR"), fate);
}
