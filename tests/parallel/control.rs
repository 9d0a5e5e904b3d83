//! When jobs run, how often, and what came of them.

use crate::case::{Case, plain};
use harness::Engine;
use std::fs;

#[test]
fn a_joblog() {
    let job = "case {} in 3) kill -KILL $$ ;; 4) exec no-such-program-here ;; esac; echo {}; exit {}";
    let both = Case::new("--joblog").both(|cmd, side| {
        cmd.arg("--joblog").arg(side.at("joblog")).words("-k --").arg(job).words("::: 0 1 2 3 4 255")
    });
    // Which line of which script is said by the shell is no concern of ours.
    both.exits(5).same_stdout().same_joblog("joblog");
}

#[test]
fn the_status_counts_failed_jobs() {
    plain("exit status", &["-k", "--", "exit {}", ":::", "0", "1", "255", "7", "0"], "", 3, "");
    plain(
        "exit status of many",
        &["-k", "-n0", "--", "exit 1", ":::", "a", "b", "c", "d", "e", "f", "g", "h"],
        "",
        8,
        "",
    );
}

#[test]
fn resumed() {
    let case = Case::new("--resume");
    let log = |inputs: &'static str| {
        case.both(move |cmd, side| {
            cmd.arg("--joblog").arg(side.at("log")).words("--resume -k --").arg("echo {}; exit {}").words(inputs)
        })
    };
    log("::: 0 1").exits(1).same_stdout();
    let both = log("::: 0 1 2 0");
    both.exits(1).same_stdout().same_stderr().same_joblog("log");
    both.ours.writes("2\n0\n");
}

#[test]
fn failed_ones_resumed() {
    for (name, option) in [("--resume-failed", "--resume-failed"), ("--retry-failed", "--retry-failed")] {
        let case = Case::new(name);
        let run = |option: &'static str, inputs: &'static str| {
            case.both(move |cmd, side| {
                let cmd = cmd.arg("--joblog").arg(side.at("log")).words(option).words("-k --");
                if inputs.is_empty() { cmd } else { cmd.arg("echo {}; exit {}").words(inputs) }
            })
        };
        run("--verbose", "::: 0 1 2").exits(2);
        let both = if option == "--retry-failed" { run(option, "") } else { run("--resume-failed", "::: 0 1 2 3") };
        both.exits(if option == "--retry-failed" { 2 } else { 3 });
        both.same_stdout().same_stderr().same_joblog("log");
        both.ours.holds("not the good one", both.ours.text().starts_with("1\n2\n"));
    }
}

#[test]
fn retried() {
    // Each host's own, or both hosts'; so the third try succeeds on either side.
    let job = "[ -e $TMPDIR/tried ] || { : >$TMPDIR/tried; exit 5; }; echo done";
    let both = Case::new("--retries").same(0, |cmd, _| cmd.words("--retries 3 -n0 --").arg(job).words("::: 1"));
    both.real.writes("done\n");
    let case = Case::new("--retries, in vain");
    case.same(1, |cmd, _| cmd.words("--retries 2 -n0 --").arg("echo try; exit 7").words("::: 1")).real.writes("try\n");
}

#[test]
fn halted_now() {
    let job = "[ {} != 1 ] || exit 3; sleep 1000; echo late";
    let both = Case::new("--halt now,fail=1").both(|cmd, side| {
        cmd.arg("--joblog").arg(side.at("log")).words("--halt now,fail=1 --").arg(job).words("::: 1 2 3")
    });
    both.exits(3).same_stdout().say("This job failed");
    both.ours.writes("");
}

#[test]
fn halted_soon() {
    let job = "case {} in 1) exit 3 ;; 2) sleep 2; echo finished ;; *) sleep 2; echo {} ;; esac";
    let both = Case::new("--halt soon,fail=1").both(|cmd, side| {
        cmd.arg("--joblog").arg(side.at("log")).words("--halt soon,fail=1 --").arg(job).words("::: 1 2 3 4 5")
    });
    both.exits(3).say("Starting no more jobs");
    for side in [&both.real, &both.ours] {
        side.holds(
            "what ran has finished, not all ran",
            side.text().contains("finished") && !side.text().contains('5'),
        );
    }
}

#[test]
fn halted_by_success() {
    let job = "[ {} != 2 ] || exit 0; sleep 1000";
    let both =
        Case::new("--halt now,success=1").both(|cmd, _| cmd.words("--halt now,success=1 --").arg(job).words("::: 1 2"));
    both.exits(0).same_stdout();
}

#[test]
fn ended_after_a_time() {
    // It counts from when GNU parallel starts a job, which may be before its pod is there.
    let limit = if Engine::under_test() == Engine::Kube { "20" } else { "5" };
    let both = Case::new("--timeout").both(|cmd, side| {
        let cmd = cmd.arg("--joblog").arg(side.at("log")).args(["--timeout", limit]).words("-k --");
        cmd.arg("sleep {}; echo {}").words("::: 0 1000 0")
    });
    both.exits(1).same_stdout().same_stderr().same_joblog("log");
    both.real.writes("0\n0\n");
}

#[test]
fn not_all_at_once() {
    let case = Case::new("--delay");
    let both = case.same(0, |cmd, _| cmd.words("--delay 0.5 -k -- echo ::: a b c"));
    both.real.writes("a\nb\nc\n");
    let log = fs::read_to_string(case.project().root().join("ours/joblog")).unwrap();
    let mut starts: Vec<f64> =
        log.lines().skip(1).map(|line| line.split('\t').nth(2).unwrap().trim().parse().unwrap()).collect();
    starts.sort_by(f64::total_cmp);
    // Not measured: the least that was asked for, as GNU parallel's clock has it.
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] > 0.45), "{starts:?}");
    plain("--ssh-delay", &["--sshdelay", "0.1", "-k", "--", "echo", ":::", "a"], "", 0, "a\n");
}

#[test]
fn so_many_at_once() {
    let case = Case::new("-j");
    let both = case.same(0, |cmd, _| cmd.words("-j 1 -k -- echo ::: a b c"));
    both.real.writes("a\nb\nc\n");
    plain("-j 100%", &["-j", "100%", "-k", "--", "echo", ":::", "a", "b"], "", 0, "a\nb\n");
}

/// GNU parallel asks a host for its load in an environment without WOMM_RUN.
#[test]
fn only_on_hosts_with_little_load() {
    plain("--load", &["--load", "1000", "-k", "--", "echo", ":::", "a", "b"], "", 0, "a\nb\n");
    plain("--memfree", &["--memfree", "1k", "-k", "--", "echo", ":::", "a"], "", 0, "a\n");
}

#[test]
fn with_less_priority() {
    let case = Case::new("--nice");
    let run = case.ours().words("--nice 7 -k -n0 --").arg("nice").words("::: 1").run();
    run.succeeds().quiet_task();
    // Of a container engine that is nice itself, more.
    run.holds("nice", run.text().trim().parse::<i32>().is_ok_and(|nice| nice >= 7));
}

#[test]
fn seen_by_the_job() {
    let job = "echo $PARALLEL_SEQ {#} $PARALLEL_SSHHOST | tr 12 xx";
    let both = Case::new("PARALLEL_SEQ, PARALLEL_SSHHOST").both(|cmd, _| cmd.words("-k --").arg(job).words("::: a b"));
    both.exits(0).same_stdout().same_stderr();
    both.ours.writes("x x w00x\nx x w00x\n");
}
