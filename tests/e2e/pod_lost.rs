//! A pod that goes away: only its own jobs are lost, said with the reason; its slot is filled again and used.

use harness::{Engine, LONG, Pod, Project, Running, joblog, until};
use std::collections::BTreeSet;
use std::path::Path;

/// A run of two pods whose jobs are the lines that it is sent; two jobs run already, the first of which never ends.
fn two_at_work(project: &Project, options: &str, log: &Path) -> (Running, String, Pod) {
    let words = format!("--line-buffer {options} --joblog");
    let mut run = project.parallel(2).words(&words).arg(log).arg("--").stdin_held().start();
    let task = run.task();
    // In one piece: GNU parallel starts jobs once there is one for every slot, and may wait for one line more.
    let jobs = "touch /tmp/victim; sleep 1000; echo never\n\
        until [ -e /tmp/go-on ]; do sleep 0.1; done; echo went on\n\
        echo third\n";
    run.send(jobs);
    let engine = project.engine();
    let victim = until(LONG, "the first job", || engine.pods_where(&task, "test -e /tmp/victim").pop());
    (run, task, victim)
}

#[test]
fn a_pod_removed_by_force_loses_its_own_jobs_alone() {
    let project = Engine::under_test().project();
    let engine = project.engine();
    let log = project.at("log");
    let (mut run, task, victim) = two_at_work(&project, "", &log);
    let others: Vec<Pod> = engine.pods(&task).into_iter().filter(|pod| *pod != victim).collect();
    assert_eq!(others.len(), 1, "{others:?}");
    engine.remove_by_force(&victim);

    run.until("a line that names the lost pod", |run| run.stderr().contains(&victim.name).then_some(()));
    let fresh = until(LONG, "another pod at its place", || {
        let mut pods = engine.pods(&task);
        pods.retain(|pod| *pod != victim && *pod != others[0]);
        pods.pop()
    });
    // The other job is still at it, so these can only run at the place of the pod that was lost.
    run.send((0..4).map(|number| format!("echo job {number} $(uname -n)\n")).collect::<String>());
    let on_fresh = format!(" {}\n", fresh.name);
    run.until("jobs on the new pod", |run| String::from_utf8_lossy(&run.stdout()).contains(&on_fresh).then_some(()));
    assert!(engine.inside(&others[0], "touch /tmp/go-on").is_some(), "the other pod is there");
    run.send("echo last\n");

    let outcome = run.finish();
    outcome.exits(1).task();
    let text = outcome.text();
    let mut expected: BTreeSet<String> = ["went on", "third", "last"].map(str::to_owned).into();
    expected.extend((0..4).map(|number| format!("job {number}")));
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let line = line.split(" womm-task-").next().unwrap_or_default().to_owned();
        outcome.holds(&format!("{line:?} is written once"), seen.insert(line));
    }
    assert_eq!(seen, expected, "each other job's output, and nothing of the lost one");
    let jobs = joblog::read(&log);
    assert_eq!(jobs.len(), 8);
    let failed: Vec<_> = jobs.iter().filter(|(_, job)| job.exit != 0).map(|(seq, job)| (*seq, job.exit)).collect();
    assert_eq!(failed, [(1, 255)]);
    let lost = &jobs[&1].host;
    assert!(jobs.iter().any(|(seq, job)| *seq > 1 && job.host == *lost), "its slot is used again: {jobs:?}");
    let said: Vec<_> = outcome.stderr.lines().filter(|line| line.contains(&victim.name)).collect();
    outcome.holds("one line names the pod", said.len() == 1);
    outcome.holds("and the job's host", said[0].contains(lost.as_str()) && said[0].starts_with("womm: "));
}

/// At every moment some of their output is on its way, so also when they must end.
#[test]
fn jobs_that_write_without_a_pause_say_that_their_pod_was_told_to_end() {
    let project = Engine::under_test().project();
    let engine = project.engine();
    let cmd = project.parallel(1).words("--procs-per-pod 8 --ungroup --").arg("touch /tmp/begun.{}; exec yes {}");
    let mut run = cmd.words("::: 1 2 3 4 5 6 7 8").by("sh", &["-c", "exec \"$@\" >/dev/null", "sh"]).start();
    let task = run.task();
    let pod = until(LONG, "all jobs at work", || engine.pods_where(&task, "set -- /tmp/begun.*; test $# = 8").pop());
    engine.remove(&pod);
    let outcome = run.finish();
    outcome.exits(8).task();
    let said: Vec<_> = outcome.stderr.lines().filter(|line| line.contains(" lost on ")).collect();
    outcome.holds("each job says why", said.len() == 8 && said.iter().all(|line| line.contains("told to end")));
}

#[test]
fn a_lost_job_can_be_retried() {
    let project = Engine::under_test().project();
    let engine = project.engine();
    let log = project.at("log");
    let (mut run, task, victim) = two_at_work(&project, "--retries 2", &log);
    run.end_of_input();
    engine.remove_by_force(&victim);
    // It begins again, in whatever pod; what the first try wrote, GNU parallel does not show.
    let again = until(LONG, "the job on another pod", || {
        let mut pods = engine.pods_where(&task, "test -e /tmp/victim");
        pods.retain(|pod| *pod != victim);
        for pod in engine.pods(&task) {
            engine.inside(&pod, "touch /tmp/go-on");
        }
        pods.pop()
    });
    let end = "for p in /proc/[0-9]*; do grep -qx sleep $p/comm && kill ${p#/proc/}; done; true";
    assert!(engine.inside(&again, end).is_some());
    let outcome = run.finish();
    let lines: Vec<_> = outcome.text().lines().filter(|line| *line == "never").collect();
    outcome.succeeds().holds("its output came once", lines.len() == 1);
    assert!(joblog::codes(&log).iter().all(|code| *code == 0));
}

#[test]
fn all_pods_removed_at_once() {
    let project = Engine::under_test().project();
    let engine = project.engine();
    let log = project.at("log");
    let mut run = project.parallel(3).words("--line-buffer --joblog").arg(&log).arg("--").stdin_held().start();
    let task = run.task();
    run.send("touch /tmp/begun; exec sleep 1000\n".repeat(4));
    let pods = until(LONG, "a job in every pod", || {
        Some(engine.pods_where(&task, "test -e /tmp/begun")).filter(|pods| pods.len() == 3)
    });
    for pod in &pods {
        engine.remove_by_force(pod);
    }
    // The fourth comes to a new pod; so do these.
    let fourth = until(LONG, "the job that waited", || engine.pods_where(&task, "test -e /tmp/begun").pop());
    run.send("echo good\n".repeat(3));
    let end = "for p in /proc/[0-9]*; do grep -qx sleep $p/comm && kill ${p#/proc/}; done; true";
    assert!(engine.inside(&fourth, end).is_some());
    let outcome = run.finish();
    outcome.exits(4).writes("good\ngood\ngood\n").task();
    assert_eq!(joblog::codes(&log), [255, 255, 255, 143, 0, 0, 0]);
}

#[test]
fn more_memory_than_was_asked_for_is_said_with_the_remedy() {
    let project = Engine::under_test().project();
    let log = project.at("log");
    let cmd = project.parallel(1).words("--kube-mem 64Mi -k --joblog").arg(&log).arg("--");
    let cmd = cmd.arg("perl -e '$x = \"x\" x ({} << 20); print length $x, \"\\n\"'");
    let run = cmd.words("::: 1 300 2").run();
    run.exits(1).writes(format!("{}\n{}\n", 1 << 20, 2 << 20)).task();
    run.holds("--kube-mem is named", run.other_stderr().contains("--kube-mem"));
    let codes = joblog::codes(&log);
    assert!(codes[1] != 0 && codes[0] == 0 && codes[2] == 0, "{codes:?}");
}

#[test]
fn a_shell_whose_pod_is_removed_ends_with_the_reason() {
    let project = Engine::under_test().project();
    let engine = project.engine();
    let mut shell = project.womm().arg("shell").stdin_held().start();
    let task = shell.task();
    shell.send("echo here\n");
    shell.until("the shell", |run| (!run.stdout().is_empty()).then_some(()));
    let pod = engine.pods(&task).pop().expect("it runs in it");
    engine.remove_by_force(&pod);
    shell.until("a line that names the pod", |run| run.stderr().contains(&pod.name).then_some(()));
    shell.finish().exits(255).writes("here\n").task();
}

/// Pods by hand: $1 is an environment for the watcher alone.
const WATCHED: &str = r#"set -eu
run=$(mktemp -d "$XDG_RUNTIME_DIR/run.XXXXXX")
mkfifo life; exec 7<>life 8>life 9<life 7>&-
womm-image show >image
womm-pods create --kube-pods 1 --run "$run" --while 9 <image >"$run/task" 8>&-
cp "$run/task" task
env "$1" womm-pods watch --while 9 <task >lines 8>&- &
read _
exec 8>&-
womm-pods delete <task
wait"#;

/// A pod that is being made when the run ends reaches the engine after all pods were deleted.
#[test]
fn a_pod_that_comes_late_is_removed() {
    let engine = Engine::under_test();
    let project = engine.project();
    let (proxy, (name, value)) = engine.through_proxy(project.root());
    let run = project.sh(WATCHED).args(["sh", &format!("{name}={value}")]).stdin_held();
    let mut run = run.start();
    let lines = |word: &str| std::fs::read_to_string(project.at("lines")).is_ok_and(|lines| lines.contains(word));
    run.until("a pod", |_| lines("womm/pod-ready").then_some(()));
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(project.at("task")).unwrap()).unwrap();
    let task = record["task"]["id"].as_str().unwrap().to_owned();
    let each_way = std::time::Duration::from_millis(500);
    proxy.delay(each_way);
    engine.remove_by_force(&engine.pods(&task)[0]);
    run.until("its end", |_| lines("womm/pod-gone").then_some(()));
    // Docker is asked two things first, there and back, and then for a container: that is under way now.
    std::thread::sleep(each_way * 9 / 2);
    run.send("\n");
    run.finish().succeeds();
    std::thread::sleep(each_way * 2);
    let left = engine.of_task(&task);
    assert!(left.is_empty(), "{left:?}");
}
