//! Pods that don't come: why is said within 15 s, in words and numbers, and the run ends if none can come.

use crate::cluster::{LITTLE, Namespace, SAID, apply, gone, is_clean, no_pod, no_pod_comes, project, says};
use harness::{LONG, joblog};
use serde_json::json;

#[test]
fn fewer_pods_than_asked_for_by_quota() {
    let project = project();
    let log = project.at("log");
    let cmd = project.parallel(5).words("--namespace quota").words(LITTLE).words("--joblog").arg(&log);
    let cmd = cmd.words("-- sleep").arg("2; echo {}").deadline(LONG / 2);
    let mut run = cmd.words("::: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15").start();
    let task = run.task();
    says(&mut run, &["3 of 5 pods are up", "quota \"pods\" is used up", "pods is 1 a pod, 3 of 3 are used"]);
    let out = run.finish();
    out.succeeds().task();
    let mut numbers: Vec<u32> = out.text().lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=15).collect::<Vec<_>>());
    let mut hosts: Vec<_> = joblog::read(&log).into_values().map(|job| job.host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    out.holds("jobs ran on several hosts", hosts.len() >= 3);
    gone(&task);
}

#[test]
fn a_quota_that_allows_no_such_pod() {
    let project = project();
    let namespace = Namespace::new("memory");
    let name = &namespace.0;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small", "namespace": name},
        "spec": {"hard": {"requests.memory": "32Mi"}}});
    apply(&project, &quota);
    let cmd = project.parallel(2).args(["--namespace", name]).words(LITTLE).words("-- echo ran ::: 1");
    let words = ["quota \"small\" allows no such pod", "requests.memory is 64Mi a pod, of 32Mi in all", "--kube-mem"];
    no_pod(&cmd.deadline(SAID).run(), &words);
}

#[test]
fn more_cpus_than_any_node_has() {
    let project = project();
    let cmd = project.parallel(2).words("--kube-cpu 640 -- echo ran ::: 1");
    no_pod_comes(cmd, &["no node has 640 free cpus: the largest has ", "--kube-cpu"]);
}

#[test]
fn more_memory_than_any_node_has() {
    let project = project();
    let cmd = project.parallel(1).words("--kube-mem 900Ti -- echo ran ::: 1");
    no_pod_comes(cmd, &["no node has 900Ti of free memory: the largest has ", "Gi", "--kube-mem"]);
}

#[test]
fn more_gpus_than_any_node_has() {
    let project = project();
    let cmd = project.parallel(1).words("--kube-gpu 2 -- echo ran ::: 1");
    no_pod_comes(cmd, &["no node has 2 free GPUs: the largest has 0", "--kube-gpu"]);
}

#[test]
fn a_node_that_does_not_exist_is_waited_for_in_the_schedulers_words() {
    let project = project();
    let patch = r#"{"spec": {"template": {"spec": {"nodeSelector": {"no-such": "label"}}}}}"#;
    let patch = project.write("patch.json", patch);
    let cmd = project.parallel(1).arg("--kube-patch").arg(patch).words(LITTLE).words("-- echo ran ::: 1");
    let mut run = cmd.start();
    run.task();
    says(&mut run, &["0 of 1 pod is up", "didn't match Pod's node affinity/selector"]);
    run.signal(harness::Signal::INT);
    gone(&run.finish().exits(130).writes("").task());
}

#[test]
fn an_image_that_is_missing() {
    let project = project();
    let image = format!("{}/no-such-image:7", std::env::var("WOMM_TEST_REGISTRY").unwrap());
    let cmd = project.parallel(2).args(["--image", &image]).words(LITTLE).words("-- echo ran ::: 1");
    no_pod_comes(cmd, &[&image, "can't be pulled", "not found", "womm setup"]);
}

#[test]
fn the_agents_own_image_that_is_missing() {
    let project = project();
    let base = project.engine().reachable(&harness::image::base());
    let prefix = format!("{}/no-such-prefix-", std::env::var("WOMM_TEST_REGISTRY").unwrap());
    project.configure("prefix", prefix.clone());
    let cmd = project.parallel(1).args(["--image", &base]).words(LITTLE).words("-- echo ran ::: 1");
    no_pod_comes(cmd, &[&format!("{prefix}womm-agent:"), "can't be pulled", "not found", "womm-image agent --push"]);
}

#[test]
fn an_image_that_lost_its_agent() {
    let project = project();
    let base = project.engine().reachable(&harness::image::base());
    project.configure("image", base);
    let cmd = project.parallel(1).words(LITTLE).words("-- echo ran ::: 1");
    no_pod_comes(cmd, &["the image has no agent", "womm setup"]);
}

/// A user need not read the same thing four times: how the run stands, if there was time for that, and why it ended.
#[test]
fn why_is_said_once() {
    let project = project();
    let out = project.parallel(2).words("--kube-cpu 640 -- echo ran ::: 1 2 3").run();
    no_pod(&out, &["no node has 640 free cpus"]);
    let said = out.other_stderr();
    let last: Vec<_> = said.lines().filter(|line| !line.contains("pods are up: ")).collect();
    out.holds("one line says why the run ended", last.len() == 1);
}

/// What can't be started comes to the same as what ends at once.
#[test]
fn an_agent_that_ends_at_once_again_and_again() {
    let project = project();
    let container = r#"{"name": "job", "command": ["/bin/false", "serve"]}"#;
    let patch = format!(r#"{{"spec": {{"template": {{"spec": {{"containers": [{container}]}}}}}}}}"#);
    let patch = project.write("patch.json", patch);
    let cmd = project.parallel(1).arg("--kube-patch").arg(patch).words(LITTLE).words("-- echo ran ::: 1");
    let mut run = cmd.deadline(LONG).start();
    run.task();
    says(&mut run, &["its agent ended with exit code 1"]);
    let out = run.finish();
    out.holds("no job ran", out.stdout.is_empty());
    out.holds("it did not succeed", [3, 125].contains(&out.code()));
    gone(&out.task());
    is_clean(&project);
}
