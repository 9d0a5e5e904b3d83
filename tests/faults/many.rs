//! More pods and more jobs at once than anybody's laptop should have to see.

use harness::{Engine, LONG, joblog};
use std::collections::BTreeSet;

/// Ten jobs at once in a pod are two hosts of GNU parallel's, which takes no more than nine on one.
#[test]
#[ignore = "200 pods and 2,000 jobs at once: takes all of a machine of 4 cores and 24 GB, for tests/run soak"]
fn two_hundred_pods_and_two_thousand_jobs_at_once() {
    let engine = Engine::under_test();
    let project = engine.project();
    let log = project.root().join("joblog");
    let count = 2000;
    let cmd = match engine {
        Engine::Kube => project.womm().words("parallel --kube-pods 200 --kube-cpu 5m --kube-mem 96Mi"),
        Engine::Docker => project.womm().words("parallel --kube-pods 200 --kube-cpu 0.1 --kube-mem 96Mi"),
    };
    let cmd = cmd.words("--procs-per-pod 10 -k --joblog").arg(&log).arg("--");
    // All of them run before the first one ends.
    let job = "uname -n; sleep 120; echo {}; exit $(({} % 7))";
    let numbers: Vec<String> = (1..=count).map(|n: u32| n.to_string()).collect();
    let cmd = cmd.arg(job).stdin(numbers.join("\n") + "\n").deadline(LONG * 10);
    let out = cmd.run();
    out.task();
    let codes = joblog::codes(&log);
    let expected: Vec<i32> = (1..=2000).map(|n| n % 7).collect();
    let lost = codes.iter().zip(&expected).filter(|(code, expected)| code != expected).count();
    out.holds(&format!("{lost} codes are not the job's own"), lost == 0);
    let mut lines = out.text().lines();
    let mut pods = BTreeSet::new();
    for number in &numbers {
        pods.insert(lines.next().unwrap_or_default().to_owned());
        out.holds(&format!("job {number} is whole"), lines.next() == Some(number));
    }
    assert_eq!(pods.len(), 200, "every pod had jobs");
    out.exits(101);
}
