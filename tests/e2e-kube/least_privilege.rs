//! A user with no more rights than docs name: no nodes, no ReplicaSets, nothing outside the namespace.

use crate::cluster::{LITTLE, beside, gone, lives_in, no_pod_comes, open, project, says};
use harness::{Project, Signal, joblog};

fn as_team(project: &Project, pods: u32) -> harness::Cmd {
    project.parallel(pods).env("KUBECONFIG", beside("team.conf"))
}

#[test]
fn a_whole_run() {
    let project = project();
    let log = project.at("log");
    let cmd = as_team(&project, 3).words(LITTLE).words("-k --joblog").arg(&log);
    let out = cmd.words("-- echo").arg("{}").words("::: 1 2 3 4 5 6 7 8 9").run();
    gone(&out.succeeds().writes("1\n2\n3\n4\n5\n6\n7\n8\n9\n").quiet_task());
    assert_eq!(joblog::codes(&log), [0; 9]);
    let (run, task) = open(as_team(&project, 1));
    lives_in(&task, "team");
    run.finish().succeeds().quiet_task();
    gone(&task);
}

#[test]
fn a_shell() {
    let project = project();
    let shell = project.womm().arg("shell").env("KUBECONFIG", beside("team.conf")).stdin("echo hi; exit 3\n").run();
    gone(&shell.exits(3).writes("hi\n").quiet_task());
}

#[test]
fn a_killed_run() {
    let project = project();
    let (run, _) = open(as_team(&project, 2));
    run.signal_group(Signal::KILL);
    run.finish().exits(137);
    crate::cluster::is_clean(&project);
}

/// Who can't read nodes can't know that no node will ever do: the scheduler's words, and the run waits.
#[test]
fn pods_that_no_node_has_room_for() {
    let project = project();
    let mut run = as_team(&project, 1).words("--kube-cpu 64 -- echo ran ::: 1").start();
    run.task();
    says(&mut run, &["0 of 1 pod is up", "64 cpus", "Insufficient cpu"]);
    run.signal(Signal::TERM);
    gone(&run.finish().exits(143).writes("").task());
}

#[test]
fn an_image_that_is_missing() {
    let project = project();
    let image = format!("{}/no-such-image:7", std::env::var("WOMM_TEST_REGISTRY").unwrap());
    let cmd = as_team(&project, 1).args(["--image", &image]).words("-- echo ran ::: 1");
    no_pod_comes(cmd, &[&image, "not found"]);
}
