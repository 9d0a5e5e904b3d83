//! Machines of the cluster break in the middle of a run: its nodes, their daemons, its control plane. Each test breaks
//! something that all others need, so they run alone (`--test-threads 1`); what they broke is put right at their end.

// In a test a panic is the failure; clippy does not know the helpers beside the tests for such.
#![allow(clippy::unwrap_used)]

use harness::fault::{Shape, Work, full_or};
use harness::machines::{self, Broken};
use harness::{Cmd, Engine, LONG, Pod, Project, until};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

fn engine() -> Engine {
    let engine = Engine::under_test();
    assert_eq!(engine, Engine::Kube, "these tests want WOMM_TEST_ENGINE=kube");
    engine
}

/// Jobs in five pods on three nodes.
struct Scene {
    work: Work,
    /// The node with the most of them.
    node: String,
    /// The pods there.
    pods: Vec<Pod>,
    /// Their jobs.
    jobs: Vec<u32>,
}

fn at_work(project: Project, length: Duration, options: impl FnOnce(Cmd) -> Cmd) -> Scene {
    machines::well();
    let work = Work::start(project, Shape::outlasting(length), options);
    let mut by_node: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
    for pod in work.pods() {
        by_node.entry(engine().node(&pod)).or_default().push(pod);
    }
    assert!(by_node.len() > 1, "pods are on several nodes: {by_node:?}");
    let (node, pods) = by_node.into_iter().max_by_key(|(_, pods)| pods.len()).unwrap();
    let mut jobs: Vec<u32> = pods.iter().flat_map(|pod| work.jobs_in(pod)).collect();
    jobs.sort_unstable();
    assert_eq!(jobs.len(), pods.len() * 4, "every slot has a job: {jobs:?} are on {node}, in {pods:?}");
    Scene { work, node, pods, jobs }
}

/// Whose jobs stand still while something is broken.
#[derive(Clone, Copy, PartialEq)]
enum Feels {
    /// Those on the node: their streams go by what is broken.
    Node,
    /// All of them.
    All,
}

/// Something breaks for a while, and no pod with it.
fn none_is_lost(fault: &str, length: Duration, feels: Feels, breaks: impl FnOnce(&str) -> Broken) {
    let Scene { mut work, node, jobs, .. } = at_work(engine().project(), length, |cmd| cmd);
    let broken = breaks(&node);
    match feels {
        Feels::Node => work.stand_still(&jobs),
        Feels::All => work.stands_still(),
    }
    std::thread::sleep(length);
    broken.mend();
    machines::well();
    work.goes_on();
    let seen = work.finish();
    seen.none_lost();
    assert_eq!(seen.pods.len(), 5, "all pods stayed: {:?}", seen.pods);
    seen.told(fault);
}

#[test]
fn a_kubelet_is_killed_and_started_again() {
    let fault = "a kubelet is killed (SIGKILL), and started after 4 s";
    none_is_lost(fault, Duration::from_secs(4), Feels::Node, |node| machines::kill(node, "kubelet"));
}

/// Streams of an exec go through containerd's own server.
#[test]
fn containerd_is_killed_and_started_again() {
    let fault = "containerd is killed (SIGKILL), and started after 4 s";
    none_is_lost(fault, Duration::from_secs(4), Feels::Node, |node| machines::kill(node, "containerd"));
}

#[test]
fn the_api_server_is_killed_and_started_again() {
    let fault = "the API server is killed (SIGKILL), and started after 8 s";
    none_is_lost(fault, Duration::from_secs(8), Feels::All, |_| machines::kill("control", "apiserver"));
}

#[test]
fn a_node_is_off_the_network_for_a_moment() {
    none_is_lost("a node is off the network for 5 s", Duration::from_secs(5), Feels::Node, machines::cut);
}

/// Long enough for the cluster to notice, and to mark the node.
#[test]
fn a_node_is_off_the_network_for_a_while() {
    let length = full_or(22, 60);
    none_is_lost(&format!("a node is off the network for {} s", length.as_secs()), length, Feels::Node, |node| {
        let cut = machines::cut(node);
        until(LONG, "a node that is not Ready", || machines::nodes().iter().any(|(_, ready)| !ready).then_some(()));
        cut
    });
}

/// The cluster waits for its node a while, as it may come back; then its jobs are lost, and its pods are replaced on
/// other nodes. The node is not there at the end either.
#[test]
fn a_node_is_gone_for_good() {
    // What WOMM asks of the cluster is 120 s, counted from when the cluster has noticed.
    let waits = full_or(8, 120);
    let noticed = Duration::from_secs(30);
    let project = engine().project();
    let tolerates = |taint: &str| {
        json!({"key": format!("node.kubernetes.io/{taint}"), "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": waits.as_secs()})
    };
    let tolerations = [tolerates("not-ready"), tolerates("unreachable")];
    let patch = json!({"spec": {"template": {"spec": {"tolerations": tolerations}}}});
    let patch = project.write("patch.json", patch.to_string());
    let scene = at_work(project, waits + noticed, |cmd| match waits.as_secs() {
        120 => cmd,
        _ => cmd.arg("--kube-patch").arg(patch),
    });
    let Scene { mut work, node, pods: victims, jobs } = scene;
    let gone = machines::unplug(&node);
    let since = Instant::now();
    work.says(&victims.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>());
    let took = since.elapsed();
    assert!(took < waits + noticed, "it was said after {took:?}");
    until(LONG, "pods in their place on other nodes", || {
        let pods = work.pods();
        (pods.len() == 5 && pods.iter().all(|pod| ![node.as_str(), ""].contains(&engine().node(pod).as_str())))
            .then_some(())
    });
    let seen = work.finish();
    gone.mend();
    seen.lost_are(&jobs).because(&["node", &node, "lost"]);
    seen.told(&format!("a node is gone for good (said {} s after the cluster has noticed)", waits.as_secs()));
}
