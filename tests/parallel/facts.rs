//! What GNU parallel does with hosts and with its wrapper around each job, and what WOMM does about it. Each test fails
//! without the remedy that it names: tried, by taking the remedy away.

use crate::case::Case;
use harness::{Cmd, Engine, LONG, Pod, Project, Running, joblog, tool, until};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// GNU parallel, seen on: what the sshloginfile was when it started, and what it was when it ended, with inode and time.
const WATCHED: &str = r#"#!/bin/sh
# Not itself GNU Parallel.
for file; do
	case $file in */slf) break ;; esac
done
note() { { stat -c '%i %y' "$file" && cat "$file"; } >>"NOTES/$1"; }
note begin
"REAL" "$@"
status=$?
note end
exit "$status"
"#;

/// The words of a run with a GNU parallel that notes its sshloginfile in the test's folder.
fn watched(project: &Project, cmd: Cmd) -> Cmd {
    let notes = project.root().display().to_string();
    let rest = std::env::var_os("PATH").unwrap();
    let on_path = std::env::split_paths(&rest).map(|folder| folder.join("parallel"));
    let under_test = std::env::var_os("WOMM_TEST_PARALLEL").map(PathBuf::from).into_iter();
    let real = under_test.chain(on_path).find(|path| path.exists()).unwrap().display().to_string();
    let tool = project.tool("parallel", &WATCHED.replace("NOTES", &notes).replace("REAL", &real));
    let programs = harness::project::programs();
    let path: Vec<_> =
        [tool.parent().unwrap().into(), programs].into_iter().chain(std::env::split_paths(&rest)).collect();
    cmd.env("PATH", std::env::join_paths(path).unwrap())
}

/// What was noted at the begin, without inode and time, having asserted that it was the same file at the end.
#[track_caller]
fn unchanged(project: &Project) -> String {
    let read = |name: &str| fs::read_to_string(project.root().join(name)).unwrap();
    let begin = read("begin");
    assert_eq!(begin, read("end"), "the sshloginfile was another one at the end");
    begin.split_once('\n').unwrap().1.to_owned()
}

/// Facts: an empty sshloginfile runs every job on the workstation; a file that grows is only looked at if its time has
/// moved by more than a second. Remedy: all hosts are in it, before GNU parallel starts.
#[test]
fn all_hosts_are_listed_from_the_start() {
    let case = Case::new("fact: an empty sshloginfile, one that grows");
    let log = case.project().at("log");
    let cmd = watched(case.project(), case.project().parallel(4)).arg("--joblog").arg(&log);
    let run = cmd.words("--delay 0.1 -n0 --").arg("uname -n; sleep 2").words("::: 1 2 3 4").run();
    let task = run.succeeds().quiet_task();
    let pods: BTreeSet<&str> = run.text().lines().collect();
    run.holds("all ran in pods", pods.iter().all(|pod| pod.starts_with(&format!("womm-task-{task}-"))));
    let hosts: BTreeSet<String> = joblog::read(&log).into_values().map(|job| job.host).collect();
    assert_eq!(hosts.len(), 4, "each was used: {hosts:?}");
    assert_eq!(unchanged(case.project()), "1/w001\n1/w002\n1/w003\n1/w004\n");
}

/// Fact: a host without a number of jobs is asked for its CPUs, by running GNU parallel there, which pods don't have.
/// Remedy: always `N/host`.
#[test]
fn hosts_are_not_asked_for_cpus() {
    let case = Case::new("fact: a host without N/ is probed");
    let run = case.project().parallel(2).words("--procs-per-pod 3 --progress -- echo ::: 1").run();
    run.succeeds().task();
    run.holds("slots as they were asked for", run.stderr.contains("1:w001 / 3 / 3\n2:w002 / 3 / 3\n"));
    run.holds("no warning", !run.stderr.contains("Warning"));
}

/// Fact: GNU parallel holds back where a host has more jobs than sshd would let in at once. Remedy: no host has more
/// than nine. Each job here waits for all eleven; with eleven on one host that went well too, when it was tried, so it is
/// the sshloginfile that fails then.
#[test]
fn a_host_has_nine_jobs_at_most() {
    let case = Case::new("fact: more than 9 jobs a host are held back");
    let barrier = "mkdir -p /tmp/barrier; : >/tmp/barrier/{#}; i=0; \
        until [ $(ls /tmp/barrier | wc -l) -ge 11 ]; do i=$((i + 1)); [ $i -lt 300 ] || exit 9; sleep 0.1; done";
    let cmd = watched(case.project(), case.project().parallel(1)).words("--procs-per-pod 11 -n0 --").arg(barrier);
    let run = cmd.words("::: 1 2 3 4 5 6 7 8 9 10 11").run();
    run.succeeds().quiet_task();
    assert_eq!(unchanged(case.project()), "9/w001\n2/w001-2\n");
}

/// A run of two pods, whose jobs wait for the file `go-on`; and a pod in which one has begun. Not in each: before the
/// other is there, the jobs of both hosts may stand in line for the first.
fn begun(case: &Case, options: &str) -> (Running, String, Pod) {
    let project = case.project();
    let job = "touch /tmp/begun; until [ -e /tmp/go-on ]; do sleep 0.1; done; echo {}";
    let cmd = watched(project, project.parallel(2)).arg("--joblog").arg(project.at("log"));
    let mut run = cmd.words(options).arg("--").arg(job).stdin("1\n2\n3\n4\n5\n6\n7\n8\n").start();
    let task = run.task();
    let engine = project.engine();
    let pod = until(LONG, "a job in a pod", || engine.pods_where(&task, "test -e /tmp/begun").pop());
    (run, task, pod)
}

/// Lets all go on, in the pods that are there and those that come; the words that came out in the end.
fn ended(case: &Case, mut run: Running, task: &str, code: i32) -> Vec<u32> {
    let engine = case.project().engine();
    until(LONG, "the end of the run", || {
        for pod in engine.pods(task) {
            engine.inside(&pod, "touch /tmp/go-on");
        }
        run.has_ended().then_some(())
    });
    let outcome = run.finish();
    outcome.exits(code).task();
    let mut words: Vec<u32> = outcome.text().split_whitespace().map(|word| word.parse().unwrap()).collect();
    words.sort_unstable();
    words
}

/// Fact: a host that leaves the sshloginfile can make --retries hang; not always, so the file is compared too. Remedy: hosts are slots, which stay while pods come
/// and go.
#[test]
fn a_pod_that_leaves_is_a_host_that_stays() {
    let case = Case::new("fact: a host that leaves makes --retries hang");
    let (run, task, pod) = begun(&case, "--retries 3");
    case.project().engine().remove_by_force(&pod);
    assert_eq!(ended(&case, run, &task, 0), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(joblog::codes(&case.project().at("log")), [0; 8]);
    assert_eq!(unchanged(case.project()), "1/w001\n1/w002\n");
}

/// Fact: an sshloginfile that is read again can crash -X; as above. Remedy: it never changes, though a pod does.
#[test]
fn many_arguments_and_a_pod_that_leaves() {
    let case = Case::new("fact: a reload crashes -X");
    let (run, task, pod) = begun(&case, "--retries 3 -X -n 2");
    case.project().engine().remove_by_force(&pod);
    assert_eq!(ended(&case, run, &task, 0), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(unchanged(case.project()), "1/w001\n1/w002\n");
}

/// Fact: without SHELL in its environment GNU parallel's wrapper runs nothing, and says 0. Remedy: the agent sets it, to
/// a shell that is there.
#[test]
fn jobs_have_a_shell() {
    let case = Case::new("fact: no SHELL makes exit 3 a 0");
    let log = case.project().at("log");
    let cmd = case.project().parallel(1).arg("--joblog").arg(&log).words("-n0 --").arg("echo $SHELL; exit 3");
    let run = cmd.words("::: 1").run();
    run.exits(1).task();
    run.holds("it ran, in a shell", run.text().starts_with('/'));
    assert_eq!(joblog::codes(&log), [3]);
}

/// Fact: GNU parallel's wrapper has ten million digits unpacked, whatever its script has. Remedy: womm-ssh says how many there are.
/// It knows the wrapper to the letter: a version that writes another one fails here.
#[test]
fn the_wrapper_is_as_short_as_its_script() {
    let case = Case::new("fact: the wrapper unpacks ten million digits");
    // The job's parent is the wrapper.
    let both = case.both(|cmd, _| cmd.words("--").arg(r"tr '\0' ' ' </proc/$PPID/cmdline; : {}").words("::: 1"));
    both.exits(0);
    let unpacked = |text: &str| {
        let (_, rest) = text.split_once("GNU_Parallel_worker,eval+pack+q/H")?;
        let (count, digits) = rest.split_once("/,join+q//,@ARGV ")?;
        Some((count.parse::<usize>().ok()?, digits.bytes().filter(u8::is_ascii_hexdigit).count()))
    };
    both.real.holds("ten million", unpacked(both.real.text()).is_some_and(|(count, _)| count == 10_000_000));
    both.ours.holds("as many as there are", unpacked(both.ours.text()).is_some_and(|(count, digits)| count == digits));
}

/// Facts: so does the wrapper without a TMPDIR, or with one that is full. Remedy: the agent looks first, and refuses.
#[test]
fn jobs_have_room() {
    let case = Case::new("fact: no TMPDIR, or a full one, makes exit 3 a 0");
    let project = case.project();
    if project.engine() == Engine::Kube {
        return case.has_no_sense_here("/tmp of its pods can't be taken away; the agent is the same");
    }
    // Nothing is mounted below /tmp then.
    case.share_nothing();
    // Nothing can be written below /proc, and it has no room.
    for (change, why) in [("mv /tmp /gone", "TMPDIR /tmp"), ("mv /tmp /gone; ln -s /proc /tmp", "is full")] {
        let log = project.at("log");
        // The first job is under way when the change comes, the second one comes after it.
        let jobs = "touch /var/tmp/begun; until [ -e /var/tmp/go-on ]; do sleep 0.1; done; echo before\n\
            echo after; exit 3\n";
        let mut run = project.parallel(1).arg("--joblog").arg(&log).words("-k --").stdin(jobs).start();
        let task = run.task();
        let pod = until(LONG, "the first job", || Engine::Docker.pods_where(&task, "test -e /var/tmp/begun").pop());
        tool("docker", ["exec", "--user", "0", &pod.name, "sh", "-c", change]);
        assert!(Engine::Docker.inside(&pod, "touch /var/tmp/go-on").is_some());
        let outcome = run.finish();
        outcome.exits(1).writes("before\n").task();
        outcome.holds("why is said", outcome.stderr.contains(why));
        assert_eq!(joblog::codes(&log), [0, 255]);
        fs::remove_file(&log).unwrap();
    }
}

/// Fact: where the share is the folder, --cleanup and --trc delete the user's own files, which went nowhere. Remedy: they
/// are refused; `hosts::files_that_would_be_deleted` fails without that. This is the fact itself: GNU parallel over an
/// ssh to the same folder.
#[test]
fn cleanup_deletes_what_is_shared() {
    let case = Case::new("fact: --cleanup deletes shared files");
    case.project().configure("share_kind", "bind"); // for the stand-in: its hosts share the folder
    let file = case.project().write("input", "precious");
    case.real().words("--transferfile {} --cleanup -- true ::: input").run().succeeds();
    assert!(!file.exists(), "if it stays, the refusal can go");
}
