//! What jobs write and read: no byte more, none less.

use crate::jobs_killed::SUPERVISOR;
use harness::{Engine, LONG, joblog, tool};
use std::fs::OpenOptions;
use std::io::{Read, Write};

/// 256 KiB of noise for each of so many times, the same everywhere: perl has a random generator of its own.
fn noise(times: u32) -> String {
    format!("perl -e 'srand 7; print pack \"N*\", map {{int rand 2**32}} 1 .. 65536 for 1 .. {times}'")
}

fn sha256(path: &std::path::Path) -> String {
    tool("sha256sum", [path]).split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn stdout_and_stderr_stay_apart() {
    let project = Engine::under_test().project();
    let run = project.parallel(2).words("-k --").arg("echo out {}; echo err {} >&2").words("::: 1 2 3").run();
    run.succeeds().writes("out 1\nout 2\nout 3\n").task();
    let stderr = run.other_stderr();
    let mut lines: Vec<_> = stderr.lines().collect();
    lines.sort_unstable();
    run.holds("stderr has the jobs' lines, each once", lines == ["err 1", "err 2", "err 3"]);
}

#[test]
fn creation_and_deletion_are_said_once_and_nothing_else() {
    let project = Engine::under_test().project();
    let run = project.parallel(3).words("-k -- echo ::: 1 2 3 4").run();
    run.succeeds().writes("1\n2\n3\n4\n").quiet_task();
    run.holds("creation comes first", run.stderr.starts_with("deployment.apps/womm-task-"));
}

#[test]
fn a_hundred_megabytes_arrive_as_they_were_sent() {
    let project = Engine::under_test().project();
    let local = project.sh(&noise(400)).run();
    let run = project.parallel(1).words("-n0 --").arg(noise(400)).words("::: 1").run();
    run.succeeds().quiet_task();
    assert_eq!(run.stdout.len(), 100 << 20);
    assert_eq!(sha256(&run.stdout_file), sha256(&local.stdout_file));
}

#[test]
fn output_without_a_line_end_and_with_every_byte() {
    let project = Engine::under_test().project();
    let every = "perl -e 'print map chr, 0 .. 255'";
    let expected: Vec<u8> = (0..=255).collect();
    project.parallel(1).words("-n0 --").arg(every).words("::: 1").run().succeeds().writes(&expected).quiet_task();
    let run = project.parallel(1).words("-n0 --").arg(format!("{every} >&2")).words("::: 1").run();
    run.succeeds().writes("");
    run.holds("stderr has all that is ASCII", run.stderr.contains(" !\"#$%&'()*+,-./0123456789"));
}

#[test]
fn what_goes_into_pipe_mode_comes_out_of_it() {
    let project = Engine::under_test().project();
    let input = project.sh(&noise(80)).run().stdout;
    assert_eq!(input.len(), 20 << 20);
    let run = project.parallel(2).words("--procs-per-pod 2 --pipe --block 1M -k -- cat").stdin(&input).run();
    run.succeeds().writes(&input).quiet_task();
}

/// Blocks of parallel's default size. Over OpenSSH, whose window is 2 MB, such jobs succeed (measured, 9.2); GNU
/// parallel alone on the workstation sees its own feeder die of SIGPIPE.
#[test]
fn a_job_need_not_read_its_stdin() {
    let project = Engine::under_test().project();
    let input = "a line of some length, to fill blocks quickly\n".repeat(200_000);
    let log = project.at("log");
    let run = |command: &str| {
        let cmd = project.parallel(2).arg("--joblog").arg(&log).words("--pipe -k --").arg(command);
        let run = cmd.stdin(&input).run();
        run.task();
        run
    };
    let numbers = |format: fn(u32) -> String| (1..=9).map(format).collect::<String>();
    run("exec cat >/dev/null").succeeds().writes("");
    run("sleep 0.2; true {#}").writes("").succeeds();
    assert_eq!(joblog::codes(&log), [0; 9]);
    run("head -c 6; exec <&-; echo {#}").writes(numbers(|n| format!("a line{n}\n"))).succeeds();
    assert_eq!(joblog::codes(&log), [0; 9]);
}

#[test]
fn order_tag_and_line_buffer_are_parallels_own() {
    let project = Engine::under_test().project();
    let two = || project.parallel(1).words("--procs-per-pod 2");
    // The later job ends first: the earlier one waits for it, however late a busy machine begins it.
    let job = r#"[ {#} = 2 ] || { until [ -e "$TMPDIR/second.{1}" ]; do sleep 0.1; done; sleep 1.5; }
        echo slept {#}; : >"$TMPDIR/second.{1}""#;
    two().words("--keep-order --").arg(job).words("::: k k").run().writes("slept 1\nslept 2\n");
    two().words("--").arg(job).words("::: n n").run().writes("slept 2\nslept 1\n");
    project.parallel(2).words("-k --tag -- echo ::: a b").run().writes("a\ta\nb\tb\n");
    let lines = r#"echo begin {}; : >"$TMPDIR/begun.{}"
        until [ -e "$TMPDIR/begun.1" ] && [ -e "$TMPDIR/begun.2" ]; do sleep 0.1; done; sleep 1.5; echo end {}"#;
    let run = two().words("--line-buffer --").arg(lines).words("::: 1 2").run();
    run.succeeds().writes_lines(&["begin 1", "begin 2", "end 1", "end 2"]);
    run.holds("lines come when they are written", run.text().lines().take(2).all(|line| line.starts_with("begin")));
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let project = Engine::under_test().project();
    let run = project.sh("womm parallel --kube-pods 2 --line-buffer -n0 -- 'yes' ::: 1 2 3 4 | head -n 1").run();
    run.succeeds().writes("y\n");
    project.is_clean();
}

/// A pager, say. What WOMM itself has to say meanwhile keeps no job's output from arriving.
#[test]
fn a_reader_of_stderr_that_stands_still_stops_nobody() {
    let project = Engine::under_test().project();
    let fifo = project.at("stderr");
    tool("mkfifo", [&fifo]);
    let mut reader = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let words = "--procs-per-pod 3 --kube-retries 1 -k --line-buffer --";
    let cmd = project.parallel(1).words(words).by("sh", &["-c", r#"exec "$@" 2>stderr"#, "sh"]);
    let mut run = cmd.stdin_held().deadline(LONG).start();
    // GNU parallel waits for one line more than it has begun jobs for; what has ended is not told meanwhile.
    run.send("echo begun\nsleep 2\nsleep 2\nsleep 2\n");
    run.until("a job", |run| run.stdout().starts_with(b"begun\n").then_some(()));
    while reader.write(&[b'-'; 4096]).is_ok() {}
    while reader.write(b"-").is_ok() {}
    // More of them are lost, and that is said, than womm-sshlogins has threads for its connections.
    for number in 1..=3 {
        let lost = format!("kill -9 $p; sleep 1000; }}; echo again {number}\n");
        run.send(format!("[ -e $TMPDIR/{number} ] || {{ : >$TMPDIR/{number}; {SUPERVISOR}; {lost}"));
    }
    run.send("echo last\n");
    run.end_of_input();
    let all = "begun\nagain 1\nagain 2\nagain 3\nlast\n";
    run.until("all output", |run| (run.stdout() == all.as_bytes()).then_some(()));
    let mut said = Vec::new();
    let _ = reader.read_to_end(&mut said); // up to what would block; what comes after that finds room
    let out = run.finish();
    let _ = reader.read_to_end(&mut said);
    out.succeeds().writes(all);
    let said = String::from_utf8_lossy(&said);
    assert_eq!(said.matches("running it again (1 of 1)").count(), 3, "{}", said.trim_matches('-'));
}

#[test]
fn many_small_outputs_none_lost() {
    let project = Engine::under_test().project();
    let expected: String = (1..=200).map(|n| format!("{n}\n")).collect();
    let run = project.parallel(2).words("--procs-per-pod 4 -k -- echo").stdin(&expected).run();
    run.succeeds().writes(&expected).quiet_task();
}
