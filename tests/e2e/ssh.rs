//! `womm ssh`: into a run from another terminal, and as the ssh of other programs.

use harness::{Cmd, Engine, LONG, Project, Running, SOON, tool, until};
use std::fs;
use std::path::Path;

/// A run of so many pods, whose jobs are the lines that it is sent.
fn open_run(project: &Project, pods: u32) -> (Running, String) {
    let mut run = project.parallel(pods).words("--line-buffer --").stdin_held().start();
    let task = run.task();
    let is_it = |folder: &Path| fs::read_to_string(folder.join("id")).is_ok_and(|id| id.trim() == task);
    until(LONG, "the run's socket", || {
        project.run_folders().iter().any(|folder| folder.join("ssh.sock").exists() && is_it(folder)).then_some(())
    });
    (run, task)
}

fn close(mut run: Running) {
    run.end_of_input();
    run.finish().succeeds().task();
}

#[test]
fn words_streams_and_status_are_as_with_ssh() {
    let project = Engine::under_test().project();
    let (run, task) = open_run(&project, 1);
    let out = project.ssh().words("w001 uname -n").run();
    out.succeeds().holds("stderr is empty", out.stderr.is_empty());
    out.holds("in the task's pod", out.text().starts_with(&format!("womm-task-{task}-")));
    project
        .ssh()
        .args(["w001", "echo  'two  words'", "; pwd"])
        .run()
        .writes(format!("two  words\n{}\n", project.folder().display()));
    let out = project.ssh().args(["w001", "--", "echo out; echo err >&2; exit 9"]).run();
    out.exits(9).writes("out\n").holds("stderr apart", out.stderr == "err\n");
    project.ssh().args(["w001", "exit 255"]).run().exits(255);
    project.ssh().args(["w001", "kill -TERM $$"]).run().exits(143);
    project.ssh().args(["-l", "me", "someone@w001", "true"]).run().succeeds();
    project.ssh().args([&format!("{task}/w001"), "echo by id"]).run().succeeds().writes("by id\n");
    project.ssh().arg("w001").stdin("echo commands for a login shell\nexit 4\n").run().exits(4);
    close(run);
}

#[test]
fn binary_stdin_comes_back_equal() {
    let project = Engine::under_test().project();
    let (run, _) = open_run(&project, 1);
    let noise =
        project.sh("perl -e 'srand 9; print pack \"N*\", map {int rand 2**32} 1 .. 65536 for 1 .. 80'").run().stdout;
    assert_eq!(noise.len(), 20 << 20);
    project.ssh().args(["w001", "cat"]).stdin(&noise).run().succeeds().writes(&noise);
    let out = project.ssh().args(["w001", "sha256sum"]).stdin(&noise).run();
    let path = project.write("noise", &noise);
    out.succeeds().writes(tool("sh", ["-c", "sha256sum <\"$1\"", "sh", path.to_str().unwrap()]));
    // A command that reads none of it, and one that ends while it is still sent.
    project.ssh().args(["w001", "true"]).stdin(&noise).run().succeeds();
    project.ssh().args(["w001", "head -c 3"]).stdin(b"abcdef").run().succeeds().writes("abc");
    // Who feeds it has a moment for the rest, as over OpenSSH, and does not die of SIGPIPE.
    let feeds = "{ printf abc; sleep 0.1; head -c 1000000 noise; echo $? >fed; } | womm ssh w001 'head -c 3'";
    project.sh(feeds).run().succeeds().writes("abc");
    assert_eq!(std::fs::read_to_string(project.at("fed")).unwrap(), "0\n");
    close(run);
}

#[test]
fn it_ends_although_its_stdin_never_does() {
    let project = Engine::under_test().project();
    let (run, _) = open_run(&project, 1);
    let feeds = "{ while sleep 0.1 && echo x; do :; done; } | { womm ssh w001 'head -n 1'; echo $? >code; }";
    project.sh(feeds).run().writes("x\n");
    assert_eq!(fs::read_to_string(project.at("code")).unwrap(), "0\n");
    close(run);
}

#[test]
fn a_command_of_100_kilobytes() {
    let project = Engine::under_test().project();
    let (run, _) = open_run(&project, 1);
    let long = "x".repeat(100 << 10);
    let out = project.ssh().args(["w001", "echo"]).arg(&long).run();
    out.succeeds().writes(format!("{long}\n"));
    let words: Vec<String> = (0..10_000).map(|n| format!("word{n:06}")).collect();
    let script = format!("echo {}", words.join(" "));
    let out = project.ssh().arg("w001").args(script.split(' ')).run();
    out.succeeds().writes(format!("{}\n", words.join(" ")));
    close(run);
}

#[test]
fn rsync_and_scp_work_through_it() {
    let project = Engine::under_test().project();
    let (run, _) = open_run(&project, 1);
    project.write("sent", "some bytes\n");
    let ok = |cmd: Cmd| _ = cmd.run().succeeds();
    ok(project.cmd("rsync").words("-a -e womm-ssh sent w001:/tmp/by-rsync"));
    ok(project.cmd("rsync").words("-a -e womm-ssh w001:/tmp/by-rsync back-rsync"));
    assert_eq!(fs::read_to_string(project.at("back-rsync")).unwrap(), "some bytes\n");
    let ssh = harness::project::programs().join("womm-ssh");
    ok(project.cmd("scp").arg("-q").arg("-S").arg(&ssh).words("sent w001:/tmp/by-scp"));
    ok(project.cmd("scp").arg("-q").arg("-S").arg(&ssh).words("w001:/tmp/by-scp back-scp"));
    assert_eq!(fs::read_to_string(project.at("back-scp")).unwrap(), "some bytes\n");
    close(run);
}

#[test]
fn a_job_ends_with_its_ssh() {
    let project = Engine::under_test().project();
    let (run, task) = open_run(&project, 1);
    let engine = project.engine();
    let running = |number: &str| {
        let look = format!("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -q 'sleep {number}[ ]'");
        !engine.pods_where(&task, &look).is_empty()
    };
    let ssh =
        project.ssh().args(["w001", "trap '' TERM HUP INT; setsid sleep 98701 & sleep 98702; sleep 98703"]).start();
    until(LONG, "the job's processes", || (running("98701") && running("98702")).then_some(()));
    ssh.signal(harness::Signal::KILL);
    until(SOON, "the end of all of them", || (!["98701", "98702", "98703"].iter().any(|n| running(n))).then_some(()));
    close(run);
}

/// What it read would look whole to the job: the supervisor stands still here, so that nothing else ends it at once.
#[test]
fn a_job_whose_ssh_is_killed_sees_no_end_of_its_input() {
    let project = Engine::under_test().project();
    let (run, task) = open_run(&project, 1);
    let engine = project.engine();
    let holds = |look: &str| !engine.pods_where(&task, look).is_empty();
    let script = "kill -STOP $PPID; echo $$ >/tmp/job; head -c 2 >/tmp/begun; cat >/tmp/part; echo whole >/tmp/whole";
    let mut ssh = project.ssh().args(["w001", script]).stdin_held().start();
    ssh.send("begun");
    until(LONG, "the job, which reads", || holds("[ -s /tmp/begun ]").then_some(()));
    ssh.signal(harness::Signal::KILL);
    // The agent gives a supervisor 13 s.
    until(LONG, "its end", || holds("! kill -0 $(cat /tmp/job)").then_some(()));
    assert!(holds("[ ! -e /tmp/whole ]"), "it ended without an end of its input");
    close(run);
}

#[test]
fn a_stdin_that_can_not_be_read_is_no_end_of_it() {
    let project = Engine::under_test().project();
    let (run, _) = open_run(&project, 1);
    // nohup(1) puts the last one in a terminal's place.
    let ssh = "womm ssh w001 'cat; echo whole'";
    let out = project.sh(&format!("{ssh} </; echo code $?; {ssh} <&-; {ssh} 0>/dev/null")).run();
    out.succeeds().writes("code 255\nwhole\nwhole\n");
    out.holds("why is said", out.stderr.contains("read the job's stdin: Is a directory"));
    close(run);
}

#[test]
fn a_terminal_by_request() {
    let project = Engine::under_test().project();
    let (run, _) = open_run(&project, 1);
    let mut terminal = harness::Terminal::start(project.ssh().args(["-t", "w001", "tty; stty size; exit 6"]), 30, 90);
    terminal.until("/dev/pts/");
    terminal.until("30 90");
    assert_eq!(terminal.finish().0, 6);
    // With a command and no -t there is none, although the user has one.
    let mut terminal = harness::Terminal::start(project.ssh().args(["w001", "tty"]), 30, 90);
    terminal.until("not a tty");
    assert_eq!(terminal.finish().0, 1);
    close(run);
}

#[test]
fn which_run_is_meant_is_said_or_asked() {
    let project = Engine::under_test().project();
    project.ssh().words("w001 true").run().refuses(255, &["no task", "womm parallel"]);
    let (first, one) = open_run(&project, 1);
    project.ssh().words("w009 true").run().refuses(255, &["w009", "w001"]);
    project.ssh().words("nonesuch/w001 true").run().refuses(255, &["nonesuch"]);
    let (second, other) = open_run(&project, 1);
    project.ssh().words("w001 true").run().refuses(255, &[&one, &other]);
    for task in [&one, &other] {
        let out = project.ssh().args([&format!("{task}/w001"), "uname", "-n"]).run();
        out.succeeds().holds("the run that is named", out.text().starts_with(&format!("womm-task-{task}-")));
    }
    close(first);
    close(second);
}
