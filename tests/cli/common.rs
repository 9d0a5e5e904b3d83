//! What holds for every program.

use harness::{Cmd, Project};

/// Usage, or input that can't be read.
pub const USAGE: i32 = 2;
/// The outside failed.
pub const OUTSIDE: i32 = 3;

/// A record of a project, as `womm-image show` writes it, with a field in each section that no program knows.
pub fn record() -> serde_json::Value {
    serde_json::json!({
        "kind": "womm/record",
        "later": {"a": [1, null]},
        "project": {"image": "i:1", "cwd": "/nowhere", "engine": "docker", "share_kind": "none", "more": true},
        "image": {"reference": "i:1", "colour": "blue"},
    })
}

/// The same with a task of this engine.
pub fn record_with_task(project: &Project, engine: &str) -> serde_json::Value {
    let mut record = record();
    record["project"]["engine"] = engine.into();
    record["task"] = serde_json::json!({
        "id": "abcdefgh", "name": "womm-task-abcdefgh", "engine": engine, "created": "2025-01-01T00:00:00Z",
        "pods": 1, "procs_per_pod": 1, "cpu_milli": 1000, "mem_bytes": 536_870_912, "host": "here", "pwd": "/nowhere",
        "user": {"name": "a", "uid": 0, "gid": 0, "home": "/"}, "command": "true",
        "run": project.root().join("run/womm/abcdefgh"),
    });
    record
}

/// Asserts that a filter refuses what is no record: nothing, a terminal, garbage, JSON of other kinds.
#[track_caller]
pub fn reads_a_record(cmd: &Cmd) {
    cmd.clone().run().refuses(USAGE, &["stdin is empty"]);
    cmd.clone().stdin(" \n\n").run().refuses(USAGE, &["stdin is empty"]);
    cmd.clone().stdin_terminal().run().refuses(USAGE, &["terminal"]);
    for garbage in [&b"{"[..], b"hello\n", b"[]", b"\xff\xfe\x00", b"7", b"null", b"{}", b"{\"kind\":\"womm/other\"}"] {
        cmd.clone().stdin(garbage).run().refuses(USAGE, &["stdin"]);
    }
    let large = vec![b'{'; 20 << 20];
    cmd.clone().stdin(large).run().refuses(USAGE, &["stdin"]);
}

/// Asserts what --help and --version say.
#[track_caller]
pub fn explains_itself(program: &str, exit_codes: &[&str]) {
    let project = Project::without_engine();
    let help = project.cmd(program).arg("--help").run();
    help.succeeds().holds("stderr is empty", help.stderr.is_empty());
    help.holds(
        "it begins with what it is, or how it is used",
        help.stdout.len() > 200 && !help.stdout.starts_with(b"\n"),
    );
    help.holds("it names the program", help.text().contains(program));
    let words = help.text().split_whitespace().collect::<Vec<_>>().join(" "); // whatever the width
    for word in exit_codes {
        help.holds(&format!("it names {word:?}"), words.contains(word));
    }
    help.holds("no line is too long for a terminal", help.text().lines().all(|line| line.chars().count() <= 130));
    let version = project.cmd(program).arg("--version").run();
    version.succeeds().writes(format!("{program} {}\n", womm_wire::names::VERSION));
    version.holds("stderr is empty", version.stderr.is_empty());
}
