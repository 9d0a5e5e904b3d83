//! A pod that goes away in the middle of its jobs: these are lost, and no others.

use harness::fault::{Shape, Work, full_or, tell};
use harness::{Engine, Pod, joblog, process};
use serde_json::json;
use std::time::Duration;

/// Jobs in five pods, one of which goes away; what that pod is missing for is in the reason.
fn one_goes(fault: &str, reason: &[&str], how: impl FnOnce(Engine, &Pod)) {
    let engine = Engine::under_test();
    let mut work = Work::start(engine.project(), Shape::outlasting(Duration::from_secs(4)), |cmd| cmd);
    let victim = work.pods().pop().unwrap();
    let jobs = work.jobs_in(&victim);
    assert_eq!(jobs.len(), 4, "every slot of {victim:?} has a job");
    how(engine, &victim);
    work.says(&[&victim.name]);
    let seen = work.finish();
    seen.lost_are(&jobs).because(reason);
    assert!(seen.lost.iter().all(|lost| lost.pod == victim.name), "{:?}", seen.lost);
    seen.told(fault);
}

#[test]
fn removed_by_force() {
    let reason: &[&str] = if Engine::under_test() == Engine::Kube { &["deleted"] } else { &["removed"] };
    one_goes("a pod is deleted, without grace", reason, Engine::remove_by_force);
}

#[test]
fn removed_with_its_grace() {
    // Its agent lets them end for a while, and then says so.
    one_goes("a pod is deleted, with its grace", &["told to end"], Engine::remove);
}

#[test]
fn its_agent_is_killed() {
    // Nobody but the kernel, for memory, does such a thing by itself: so it may have been that.
    let reason: &[&str] = if Engine::under_test() == Engine::Kube { &["killed", "--kube-mem"] } else { &["removed"] };
    one_goes("the agent in a pod is killed (SIGKILL)", reason, Engine::kill_agent);
}

/// Nobody is left who would say that a pod is gone: the connection to it does.
#[test]
fn removed_by_force_while_nobody_watches() {
    let engine = Engine::under_test();
    let mut work = Work::start(engine.project(), Shape::outlasting(Duration::from_secs(4)), |cmd| cmd);
    let victim = work.pods().pop().unwrap();
    let jobs = work.jobs_in(&victim);
    assert_eq!(jobs.len(), 4, "every slot of {victim:?} has a job");
    let all = process::marked(work.project().mark());
    let watchers: Vec<_> = all.into_iter().filter(|p| p.command.contains("/womm-pods watch ")).collect();
    assert_eq!(watchers.len(), 1, "{watchers:?}");
    process::kill(&watchers);
    engine.remove_by_force(&victim);
    work.says(&[&victim.name, " lost on "]);
    let seen = work.finish();
    seen.lost_are(&jobs);
    assert!(seen.lost.iter().all(|lost| lost.pod == victim.name), "{:?}", seen.lost);
    seen.told("`womm-pods watch` is killed (SIGKILL), then a pod is deleted, without grace");
}

/// As the kernel does it when files in memory are the greater part of it: process 1 is the one that has to go.
#[test]
fn its_container_is_killed_for_memory() {
    let engine = Engine::under_test();
    let project = engine.project();
    let patch = {
        // A pod that is guaranteed its resources: else the kubelet has the kernel prefer all its processes alike.
        let cpu = json!({"cpu": "300m"});
        let container = json!({"name": "job", "resources": {"requests": cpu, "limits": cpu}});
        let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        project.write("patch.json", patch.to_string())
    };
    let mut work = Work::start(project, Shape::outlasting(Duration::from_secs(4)), |cmd| {
        let cmd = cmd.words("--kube-mem 96Mi");
        if engine == Engine::Kube { cmd.arg("--kube-patch").arg(patch) } else { cmd }
    });
    let victim = work.pods().pop().unwrap();
    let jobs = work.jobs_in(&victim);
    assert_eq!(jobs.len(), 4, "every slot of {victim:?} has a job");
    // It goes with its pod, so it may have no end that is told.
    let _ =
        engine.inside(&victim, "echo 1000 >/proc/1/oom_score_adj; exec perl -e '$x = \"x\" x (300 << 20); sleep 60'");
    work.says(&[&victim.name, " lost on "]);
    let seen = work.finish();
    seen.lost_are(&jobs).because(&["96Mi", "--kube-mem"]);
    assert!(seen.lost.iter().all(|lost| lost.pod == victim.name), "{:?}", seen.lost);
    seen.told("a pod's container is killed for memory");
}

/// The kernel kills the job that is too large, and nothing else: an exit code like any other.
#[test]
fn a_job_is_killed_for_memory() {
    let engine = Engine::under_test();
    let project = engine.project();
    let log = project.root().join("joblog");
    let job = "echo begun {}; [ {} != 2 ] || exec perl -e '$x = \"x\" x (300 << 20)'; sleep 4; echo ended {}";
    let cmd = project.parallel(1).words("--procs-per-pod 3 --kube-mem 96Mi -k --joblog").arg(&log).arg("--").arg(job);
    let out = cmd.words("::: 1 2 3").run();
    // On cgroup v2 a kubelet has the whole container killed, and then all three are lost.
    let is_v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let codes = joblog::codes(&log);
    let fate = match codes.as_slice() {
        [0, 137, 0] => {
            out.writes("begun 1\nended 1\nbegun 2\nbegun 3\nended 3\n").exits(1);
            "1 job 137; its pod and 2 jobs whole, with their own codes"
        }
        [255, 255, 255] if is_v2 => {
            out.exits(3).holds("it says how much", out.stderr.contains("96Mi"));
            "all jobs of the pod lost: 255 (cgroup v2)"
        }
        _ => out.fail(&format!("codes {codes:?}")),
    };
    out.holds("the remedy is named", out.stderr.contains("--kube-mem")).task();
    tell(&project, "a job is killed for memory", &out.other_stderr(), fate);
}

/// For all that can be seen of it from outside it may be dead; but its processes are there.
#[test]
fn stands_still_and_goes_on() {
    let engine = Engine::under_test();
    let length = full_or(20, 60);
    let mut work = Work::start(engine.project(), Shape::outlasting(length), |cmd| cmd);
    let victim = work.pods().pop().unwrap();
    let jobs = work.jobs_in(&victim);
    engine.freeze(&victim);
    work.stand_still(&jobs);
    std::thread::sleep(length);
    engine.thaw(&victim);
    work.goes_on();
    let seen = work.finish();
    seen.none_lost();
    seen.told(&format!("all processes of a pod stand still for {} s, and go on", length.as_secs()));
}
