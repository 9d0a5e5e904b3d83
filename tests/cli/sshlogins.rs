//! `womm-sshlogins`, as far as it needs no engine.

use crate::common::{OUTSIDE, USAGE, explains_itself, record, record_with_task};
use harness::Project;
use std::fs;

#[test]
fn it_explains_itself() {
    explains_itself("womm-sshlogins", &["Exit codes", "2 usage", "3 the outside"]);
}

#[test]
fn wrong_words() {
    let project = Project::without_engine();
    let logins = |words: &str| project.cmd("womm-sshlogins").words(words).run();
    logins("").refuses(USAGE, &["--file <FILE> is missing", "womm-sshlogins --help"]);
    logins("--file f --nonsense").refuses(USAGE, &["unknown option \"--nonsense\"", "womm-sshlogins --help"]);
    logins("--file f --while soon").refuses(USAGE, &["--while <FD> \"soon\"", "womm-sshlogins --help"]);
}

/// As `womm-pods watch` begins.
fn first_line(record: &serde_json::Value) -> String {
    format!("{}\n", serde_json::json!({"kind": "womm/task", "record": record}))
}

#[test]
fn it_reads_pod_lines() {
    let project = Project::without_engine();
    let cmd = || project.cmd("womm-sshlogins").words("--file slf");
    cmd().run().refuses(USAGE, &["stdin is empty"]);
    cmd().stdin_terminal().run().refuses(USAGE, &["terminal"]);
    for garbage in [&b"{\n"[..], b"hello\n", b"\xff\xfe\n", b"[]\n", b"{\"kind\":\"womm/other\"}\n"] {
        cmd().stdin(garbage).run().refuses(USAGE, &["stdin"]);
    }
    let line = format!("{}\n", serde_json::json!({"kind": "womm/pod-ready", "name": "p", "uid": "u"}));
    cmd().stdin(line).run().refuses(USAGE, &["first line"]);
    cmd().stdin(first_line(&record())).run().refuses(USAGE, &["task"]);
    assert!(!project.at("slf").exists(), "an sshloginfile means that jobs are taken");
}

#[test]
fn a_descriptor_that_is_not_open() {
    let project = Project::without_engine();
    project.cmd("womm-sshlogins").words("--file slf --while 77").run().refuses(USAGE, &["--while", "77"]);
}

#[test]
fn an_engine_that_does_not_answer() {
    let project = Project::without_engine();
    let record = record_with_task(&project, "docker");
    let run = record["task"]["run"].as_str().unwrap().to_owned();
    fs::create_dir_all(&run).unwrap();
    let cmd = project.cmd("womm-sshlogins").words("--file slf").env("DOCKER_HOST", "unix:///nonexistent.sock");
    cmd.stdin(first_line(&record)).run().refuses(OUTSIDE, &["/nonexistent.sock"]);
    assert!(!project.at("slf").exists());
    fs::remove_dir_all(project.root().join("run/womm")).unwrap();
}
