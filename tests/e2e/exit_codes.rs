//! How jobs end, in the joblog and in GNU parallel's own exit status: as over an ssh.

use harness::{Engine, joblog};

const COMMANDS: [&str; 12] = [
    "exit 0",
    "exit 1",
    "exit 3",
    "exit 7",
    "exit 126",
    "exit 127",
    "exit 254",
    "exit 255",
    "kill -TERM $$",
    "kill -KILL $$",
    "/nonexistent/program",
    "/etc/passwd",
];

#[test]
fn the_joblog_is_that_of_ssh() {
    let project = Engine::under_test().project();
    let (ours, real) = (project.at("ours"), project.at("real"));
    let stdin = COMMANDS.map(|command| format!("{command}\n")).concat();
    let real_run = project.parallel_by_ssh().arg("--joblog").arg(&real).stdin(&stdin).run();
    let our_run = project.parallel(2).arg("--joblog").arg(&ours).arg("--").stdin(&stdin).run();
    our_run.exits(11).task();
    assert_eq!(real_run.code(), 11, "what is compared with has run");
    let ends = |path| joblog::read(path).into_iter().map(|(seq, job)| (seq, job.exit, job.signal)).collect::<Vec<_>>();
    assert_eq!(ends(&ours), ends(&real));
    assert_eq!(joblog::codes(&ours)[..8], [0, 1, 3, 7, 126, 127, 254, 255]);
}

#[test]
fn the_joblog_is_that_of_ssh_where_a_program_of_the_job_ends_so() {
    let project = Engine::under_test().project();
    let (ours, real) = (project.at("ours"), project.at("real"));
    let job = ["--", "sh", "-c", "{}", ":::"];
    // The stand-in is parallel itself, for which no "--" is needed, but it may be there.
    project.parallel_by_ssh().arg("--joblog").arg(&real).args(job).args(COMMANDS).run().exits(11);
    project.parallel(2).arg("--joblog").arg(&ours).args(job).args(COMMANDS).run().exits(11).task();
    let ends = |path| joblog::read(path).into_iter().map(|(seq, job)| (seq, job.exit, job.signal)).collect::<Vec<_>>();
    assert_eq!(ends(&ours), ends(&real));
    assert_eq!(joblog::codes(&ours)[..10], [0, 1, 3, 7, 126, 127, 254, 255, 143, 137]);
}

#[test]
fn the_exit_status_is_that_of_gnu_parallel() {
    let project = Engine::under_test().project();
    project.parallel(1).words("-- exit ::: 0 0 0").run().succeeds().writes("");
    project.parallel(1).words("-- exit ::: 0 3 0 9").run().exits(2).task();
    let many: Vec<String> = (0..103).map(|_| "1".to_owned()).collect();
    // More than a hundred failed jobs are 101.
    project.parallel(1).words("--procs-per-pod 9 -- exit :::").args(&many).run().exits(101).task();
    // Of --halt: the job's own.
    project.parallel(1).words("--halt now,fail=1 -- exit ::: 0 7 0 0").run().exits(7).task();
}

#[test]
fn a_program_that_is_missing_is_said_by_the_pods_shell() {
    let project = Engine::under_test().project();
    let log = project.at("log");
    let run = project.parallel(1).arg("--joblog").arg(&log).words("-- no-such-program-here ::: 1").run();
    run.exits(1).writes("").task();
    run.holds("the shell names it", run.other_stderr().contains("no-such-program-here"));
    assert_eq!(joblog::codes(&log), [127]);
}
