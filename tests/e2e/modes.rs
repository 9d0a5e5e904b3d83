//! Ways to use `womm parallel`: commands on stdin, jobs on the workstation too, many jobs in a pod, sources of input.

use harness::{Engine, joblog};
use std::collections::BTreeSet;

#[test]
fn commands_on_stdin() {
    let project = Engine::under_test().project();
    let commands = "echo one\nuname -n\necho 'three  words' | tr a-z A-Z\n";
    let run = project.parallel(2).words("-k --").stdin(commands).run();
    run.succeeds().quiet_task();
    let lines: Vec<_> = run.text().lines().collect();
    run.holds("each line is a job", lines.len() == 3 && lines[0] == "one" && lines[2] == "THREE  WORDS");
    run.holds("they run in pods", lines[1].starts_with("womm-task-"));
}

#[test]
fn inputs_of_every_kind() {
    let project = Engine::under_test().project();
    let file = project.write("inputs", "a\nb\n");
    project.parallel(1).words("-k -- echo {1}-{2} ::: 1 2 ::: x y").run().writes("1-x\n1-y\n2-x\n2-y\n");
    project.parallel(1).words("-k -- echo {1}{2} :::: ").arg(&file).words(":::+ 1 2").run().writes("a1\nb2\n");
    project.parallel(1).words("-k -a").arg(&file).words("-- echo {.} {#}").run().writes("a 1\nb 2\n");
    project.parallel(1).words("-k -N2 -- echo").stdin("1\n2\n3\n4\n").run().writes("1 2\n3 4\n");
    // Nothing to do is no error, and pods are not left for it.
    project.parallel(1).words("-r -- echo").stdin("").run().succeeds().writes("").task();
}

#[test]
fn a_dry_run_runs_nothing() {
    let project = Engine::under_test().project();
    let run = project.parallel(1).words("--dry-run -k -- echo {} ::: 1 2").run();
    run.succeeds().task();
    run.holds("it says the commands", run.text().contains("echo 1") && run.text().contains("echo 2"));
}

#[test]
fn the_workstation_works_too() {
    let project = Engine::under_test().project();
    let log = project.at("log");
    let cmd = project.parallel(1).arg("--local-procs=1").arg("--joblog").arg(&log).words("-k -n0 --");
    let run = cmd.arg("echo $(uname -n); sleep 1").words("::: 1 2 3 4 5 6").run();
    run.succeeds().quiet_task();
    let own = harness::tool("uname", ["-n"]).trim().to_owned();
    let hosts: BTreeSet<&str> = run.text().lines().collect();
    run.holds("jobs ran here", hosts.contains(own.as_str()));
    run.holds("and in one pod", hosts.len() == 2 && hosts.iter().any(|h| h.starts_with("womm-task-")));
    let jobs = joblog::read(&log);
    let at: BTreeSet<&str> = jobs.values().map(|job| job.host.as_str()).collect();
    assert_eq!(at, BTreeSet::from([":", "w001"]));
}

#[test]
fn jobs_on_the_workstation_are_in_the_project_too() {
    let project = Engine::under_test().project();
    let run = project.parallel(1).words("--local-procs 1 -n0 --").arg("echo $(uname -n) $(pwd); sleep 1");
    let run = run.words("::: 1 2 3 4").run();
    run.succeeds();
    let folder = project.folder().display().to_string();
    run.holds("all are in the folder", run.text().lines().all(|line| line.split(' ').nth(1) == Some(&folder)));
}

/// More than nine jobs in a pod are several hosts of GNU parallel. All of them run at once: each waits for all.
#[test]
fn twelve_jobs_at_once_in_one_pod() {
    let project = Engine::under_test().project();
    let log = project.at("log");
    let barrier = "mkdir -p /tmp/barrier; : >/tmp/barrier/{#}; i=0; \
        until [ $(ls /tmp/barrier | wc -l) -ge 12 ]; do i=$((i + 1)); [ $i -lt 600 ] || exit 9; sleep 0.1; done; uname -n";
    let cmd = project.parallel(1).words("--procs-per-pod 12 --joblog").arg(&log).words("-n0 --").arg(barrier);
    let run = cmd.arg(":::").args((1..=12).map(|n| n.to_string())).run();
    run.succeeds().quiet_task();
    let pods: BTreeSet<&str> = run.text().lines().collect();
    run.holds("all ran in the same pod", pods.len() == 1 && run.text().lines().count() == 12);
    let jobs = joblog::read(&log);
    let hosts: BTreeSet<&str> = jobs.values().map(|job| job.host.as_str()).collect();
    assert_eq!(hosts, BTreeSet::from(["w001", "w001-2"]));
}

/// By kubectl exec, 30 and more at once into a pod stall for seconds. And GNU parallel, which takes fewer jobs at once if it may not
/// open files for all, gets more than the user's limit has.
#[test]
fn forty_jobs_at_once_in_one_pod() {
    let project = Engine::under_test().project();
    let barrier = "mkdir -p /tmp/barrier; : >/tmp/barrier/{#}; i=0; \
        until [ $(ls /tmp/barrier | wc -l) -ge 40 ]; do i=$((i + 1)); [ $i -lt 200 ] || exit 9; sleep 0.5; done; uname -n";
    let cmd = project.parallel(1).words("--procs-per-pod 40 --kube-mem 1Gi -n0 --").arg(barrier);
    let cmd = cmd.arg(":::").args((1..=40).map(|n| n.to_string()));
    let run = cmd.by("sh", &["-c", "ulimit -Sn 128 && exec \"$@\"", "sh"]).run();
    run.succeeds().quiet_task();
    let pods: BTreeSet<&str> = run.text().lines().collect();
    run.holds("all ran in the same pod", pods.len() == 1 && run.text().lines().count() == 40);
}

#[test]
fn jobs_are_spread_over_all_pods() {
    let project = Engine::under_test().project();
    let run = project.parallel(3).words("-n0 --").arg("uname -n; sleep 1").words("::: 1 2 3 4 5 6").run();
    let task = run.succeeds().quiet_task();
    let pods: BTreeSet<&str> = run.text().lines().collect();
    run.holds("three pods", pods.len() == 3);
    run.holds("of this task", pods.iter().all(|pod| pod.starts_with(&format!("womm-task-{task}-"))));
}

#[test]
fn retries_are_parallels_own() {
    let project = Engine::under_test().project();
    // The file is the pod's own: the job fails the first time it is there.
    let job = "[ -e /tmp/tried ] || { : >/tmp/tried; exit 5; }; echo done";
    let log = project.at("log");
    let run = project.parallel(1).words("--retries 3 --joblog").arg(&log).words("-n0 --").arg(job).words("::: 1").run();
    run.succeeds().writes("done\n").quiet_task();
    assert_eq!(joblog::codes(&log), [0]);
}

#[test]
fn files_travel_by_transferfile_and_return_where_none_are_shared() {
    let project = Engine::under_test().project();
    project.configure("share_kind", "none");
    project.write("input", "some text\n");
    // Names with blanks are more than GNU parallel 20221122 and rsync >= 3.2.4 can agree on.
    let words = "--transferfile {} --return {}.out --cleanup --";
    let cmd = project.parallel(1).words(words).arg("tr a-z A-Z <{} >{}.out").args([":::", "input"]);
    cmd.run().succeeds().task();
    let back = std::fs::read_to_string(project.at("input.out")).expect("the file came back");
    assert_eq!(back, "SOME TEXT\n");
    assert!(project.at("input").exists(), "--cleanup is about the pod's files");
}

/// What GNU parallel has run to make a folder for them has the job's stdin, too.
#[test]
fn files_that_travel_leave_stdin_to_the_job() {
    let project = Engine::under_test().project();
    project.configure("share_kind", "none");
    project.write("input", "some text\n");
    let cmd = project.parallel(1).words("--pipe -N 1000 -k --transferfile input --").arg("cat input; wc -l");
    let numbers: String = (1..=2500).map(|n| format!("{n}\n")).collect();
    cmd.stdin(numbers).run().succeeds().writes("some text\n1000\nsome text\n1000\nsome text\n500\n").task();
}

/// A job that did not find them might even succeed.
#[test]
fn files_that_were_brought_once_are_not_looked_for_in_a_pod_that_came_later() {
    let project = Engine::under_test().project();
    let engine = project.engine();
    project.configure("share_kind", "none");
    project.write("base", "some text\n");
    let log = project.at("log");
    let cmd = project.parallel(1).words("--line-buffer --basefile base --joblog").arg(&log).arg("--").stdin_held();
    let mut run = cmd.start();
    let task = run.task();
    run.send("cat base\ncat *\necho last\n");
    run.until("the first job", |_| (log.exists() && joblog::codes(&log).first() == Some(&0)).then_some(()));
    let first = engine.pods(&task).pop().expect("it ran in one");
    engine.remove_by_force(&first);
    run.until("another pod", |_| engine.pods(&task).into_iter().find(|pod| pod.name != first.name));
    run.send("cat *\necho last\n");
    let out = run.finish();
    let codes = joblog::codes(&log);
    out.holds(&format!("later ones are lost: {codes:?}"), codes.len() == 5 && codes[3..] == [255, 255]);
    out.holds("why is said", out.stderr.contains(&format!("--basefile brought are gone with pod {}", first.name)));
    out.task();
}

/// GNU parallel would send it one after the other.
#[test]
fn a_host_whose_files_are_gone_takes_one_of_the_jobs_not_all() {
    let project = Engine::under_test().project();
    let engine = project.engine();
    project.configure("share_kind", "none");
    project.write("base", "some text\n");
    let log = project.at("log");
    let cmd = project.parallel(2).words("--basefile base -n0 --joblog").arg(&log).arg("--").arg("sleep 0.5; cat base");
    let mut run = cmd.words("::: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16").start();
    let task = run.task();
    run.until("two jobs", |_| (log.exists() && joblog::codes(&log).len() >= 2).then_some(()));
    engine.remove_by_force(&engine.pods(&task)[0]);
    let out = run.finish();
    let codes = joblog::codes(&log);
    let lost = codes.iter().filter(|code| **code == 255).count();
    // One that was at work there, and one that came.
    out.holds(&format!("few are lost: {codes:?}"), codes.len() == 16 && (1..=2).contains(&lost));
    out.holds("no other fails", codes.iter().all(|code| [0, 255].contains(code)));
    out.exits(i32::try_from(lost).unwrap()).holds("why is said", out.stderr.contains("--basefile brought are gone"));
    out.task();
}

#[test]
fn options_stand_with_and_without_an_equals_sign() {
    let project = Engine::under_test().project();
    let words = "parallel --kube-pods=1 --procs-per-pod=2 --kube-cpu=0.5 --kube-mem=64Mi --jobs 1 -k -- echo ::: 1 2";
    project.womm().words(words).run().succeeds().writes("1\n2\n").quiet_task();
}
