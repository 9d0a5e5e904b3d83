//! `womm-ssh`, as far as it needs no run. All that is its own fault is 255, as with ssh(1).

use crate::common::explains_itself;
use harness::Project;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

#[test]
fn it_explains_itself() {
    explains_itself("womm-ssh", &["Exit code", "255", "128+N", "w001"]);
}

#[test]
fn wrong_words() {
    let project = Project::without_engine();
    let ssh = |words: &str| project.cmd("womm-ssh").words(words).run();
    ssh("").refuses(255, &["HOST"]);
    ssh("-Z w001 true").refuses(255, &["-Z"]);
    ssh("-l").refuses(255, &["-l"]);
}

#[test]
fn no_run() {
    let project = Project::without_engine();
    let ssh = |words: &str| project.cmd("womm-ssh").words(words);
    ssh("w001 true").run().refuses(255, &["no task", "womm parallel"]);
    ssh("abcdefgh/w001 true").run().refuses(255, &["abcdefgh"]);
    ssh("w001 true").env("WOMM_RUN", "/nonexistent/run").run().refuses(255, &["/nonexistent/run", "ended"]);
}

/// A run whose other end does what it likes: it must never look like success.
fn against(answer: &'static [u8]) -> harness::Outcome {
    against_sh(answer, "womm-ssh w001 true")
}

/// The same, womm-ssh being started by a script.
fn against_sh(answer: &'static [u8], script: &str) -> harness::Outcome {
    let project = Project::without_engine();
    let run = project.root().join("broken");
    fs::create_dir(&run).unwrap();
    let listener = UnixListener::bind(run.join("ssh.sock")).unwrap();
    std::thread::spawn(move || {
        let Ok((mut client, _)) = listener.accept() else { return };
        let _ = client.read(&mut [0; 4096]);
        let _ = client.write_all(answer);
    });
    project.sh(script).env("WOMM_RUN", &run).run()
}

#[test]
fn a_run_that_breaks_off_is_no_success() {
    against(b"").exits(255).holds("said", against(b"").stderr.contains("the run has ended before the job"));
    // stdout of 2 bytes, then nothing.
    against(b"\x10\0\0\0\x02hi").exits(255).writes("hi");
    // A frame of no kind, one that is too long, an end that is none.
    against(b"\x63\0\0\0\0").exits(255);
    against(b"\x10\x7f\xff\xff\xff").exits(255);
    against(b"\x14\0\0\0\x01e").exits(255);
}

#[test]
fn an_exit_code_counts_only_with_all_of_the_output() {
    // "Exited with 0 after 5 bytes of stdout", of which 2 came.
    let out = against(b"\x10\0\0\0\x02hi\x14\0\0\0\x12e\0\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\0");
    out.exits(255).holds("said", out.stderr.lines().count() == 1);
    against(b"\x10\0\0\0\x02hi\x14\0\0\0\x12e\x07\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0").exits(7).writes("hi");
    against(b"\x14\0\0\0\x12s\x0f\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").exits(143);
    against(b"\x14\0\0\0\x15l\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0why").refuses(255, &["why"]);
    against(b"\x14\0\0\0\x15r\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0why").refuses(255, &["why"]);
}

#[test]
fn output_that_could_not_be_written_is_no_success() {
    // "Exited with 0 after 2 bytes of stdout", or of stderr.
    let stdout = b"\x10\0\0\0\x02hi\x14\0\0\0\x12e\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0";
    let stderr = b"\x11\0\0\0\x02hi\x14\0\0\0\x12e\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02";
    against(stdout).exits(0).writes("hi");
    against(stderr).exits(0).holds("said", against(stderr).stderr == "hi");
    against_sh(stdout, "womm-ssh w001 true >/dev/full").refuses(255, &["write the job's stdout", "No space left"]);
    against_sh(stderr, "womm-ssh w001 true 2>/dev/full").exits(255);
    // Nobody reads it: no reason to end the job.
    against_sh(stderr, "mkfifo f && exec 3<>f 4>f 3>&- && womm-ssh w001 true 2>&4").exits(0);
}

#[test]
fn a_job_without_stdin_leaves_in_one_piece() {
    let project = Project::without_engine();
    let run = project.root().join("whole");
    fs::create_dir(&run).unwrap();
    let listener = UnixListener::bind(run.join("ssh.sock")).unwrap();
    let first = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut bytes = vec![0; 1 << 20];
        let count = client.read(&mut bytes).unwrap();
        client.write_all(b"\x14\0\0\0\x12e\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").unwrap();
        bytes.truncate(count);
        bytes
    });
    project.sh("womm-ssh w001 true </dev/null").env("WOMM_RUN", &run).run().exits(0);
    let first = first.join().unwrap();
    // An open, and stdin-eof behind it.
    assert_eq!((first[0], &first[first.len() - 5..]), (1, &b"\x03\0\0\0\0"[..]));
}
