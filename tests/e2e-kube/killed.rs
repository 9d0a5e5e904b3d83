//! The user's side is killed: within 15 s there is no pod, no Deployment, no Lease; tests/e2e/killed.rs sees to the rest.

use crate::cluster::{LITTLE, is_clean, left, open, project};
use harness::{Running, Signal};
use std::time::{Duration, Instant};

fn killed(code: i32, how: impl FnOnce(&Running)) {
    let project = project();
    let (mut run, _) = open(project.parallel(2));
    run.send("sleep 1000\n");
    assert!(left(&project).len() >= 5, "a Lease, a Deployment, a ReplicaSet, two pods: {:?}", left(&project));
    how(&run);
    // Its end may take as long as the cleaning does, both together no longer than that.
    let since = Instant::now();
    let out = run.finish();
    is_clean(&project);
    assert!(since.elapsed() < harness::SOON, "it took {:?}", since.elapsed());
    out.exits(code);
}

#[test]
fn sigint() {
    killed(130, |run| run.signal(Signal::INT));
}

#[test]
fn sigterm() {
    killed(143, |run| run.signal(Signal::TERM));
}

#[test]
fn sighup() {
    killed(129, |run| run.signal(Signal::HUP));
}

#[test]
fn sigkill() {
    killed(137, |run| run.signal(Signal::KILL));
}

#[test]
fn sigkill_to_the_group() {
    killed(137, |run| run.signal_group(Signal::KILL));
}

#[test]
fn while_it_starts() {
    let project = project();
    for (signal, group) in [(Signal::KILL, false), (Signal::KILL, true), (Signal::TERM, false)] {
        for delay_ms in [20, 80, 160, 300, 600, 1000] {
            let run = project.parallel(2).words(LITTLE).words("-- sleep ::: 1000").start();
            std::thread::sleep(Duration::from_millis(delay_ms));
            if group {
                run.signal_group(signal)
            } else {
                run.signal(signal)
            }
            let out = run.finish();
            out.holds("it did not succeed", out.code() != 0);
            is_clean(&project);
        }
    }
}

/// On a cluster with room for one pod: a port of a node's own is taken until the pod that has it is gone.
#[test]
fn the_next_run_starts_at_once_on_a_full_cluster() {
    let project = project();
    let container = r#"{"name": "job", "ports": [{"containerPort": 9, "hostPort": 31009}]}"#;
    let node = r#""nodeSelector": {"kubernetes.io/hostname": "node1"}"#;
    let patch = format!(r#"{{"spec": {{"template": {{"spec": {{{node}, "containers": [{container}]}}}}}}}}"#);
    let patch = project.write("patch.json", patch);
    let cmd = || project.parallel(1).arg("--kube-patch").arg(&patch);
    for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
        let (mut run, _) = open(cmd());
        match signal {
            Some(signal) => {
                run.send("trap '' TERM; sleep 1000\n");
                run.signal(signal);
                run.finish();
            }
            None => drop(run.finish().succeeds()),
        }
        let since = Instant::now();
        let (run, _) = open(cmd());
        let took = since.elapsed();
        assert!(took < harness::SOON, "the next run's first output took {took:?} after {signal:?}");
        run.finish().succeeds();
    }
}
