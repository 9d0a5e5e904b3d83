//! Jobs start on the first pod that is up.

use crate::cluster::{gone, project, says};
use harness::joblog;

#[test]
fn takes_all_jobs_where_the_others_have_no_room() {
    let project = project();
    let log = project.at("log");
    let patch = r#"{"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "node3"}}}}}"#;
    project.write("patch.json", patch);
    // More than half of a node, whatever this machine has: only one of them fits.
    let node = crate::cluster::kubectl("get node node3 -o jsonpath={.status.allocatable.cpu}");
    let cpus = node.parse::<u32>().expect("whole CPUs") / 2 + 1;
    let cmd = project.parallel(4).words("--kube-patch patch.json --kube-mem 64Mi --kube-cpu").arg(cpus.to_string());
    let mut run = cmd.words("--line-buffer --joblog").arg(&log).arg("--").stdin_held().start();
    let task = run.task();
    crate::cluster::job(&mut run, "first");
    says(&mut run, &["1 of 4 pods are up", &format!("no node has room for {cpus} cpus and 64Mi"), "Insufficient cpu"]);
    let words = ["second", "third", "fourth", "fifth"];
    for word in words {
        crate::cluster::job(&mut run, word);
    }
    assert_eq!(project.engine().pods_where(&task, "true").len(), 1, "the others never were up");
    let out = run.finish();
    out.succeeds().writes("first\nsecond\nthird\nfourth\nfifth\n").task();
    assert!(joblog::codes(&log).iter().all(|code| *code == 0));
    gone(&task);
}
