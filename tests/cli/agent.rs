//! `womm-agent`, as far as it needs no pod: its words, and what it does on the workstation.

use crate::common::{USAGE, explains_itself};
use harness::{Project, SOON, process, until};
use std::fs;

#[test]
fn it_explains_itself() {
    explains_itself("womm-agent", &["Exit codes", "2 usage", "3 the outside failed", "128+N"]);
}

#[test]
fn wrong_words() {
    let project = Project::without_engine();
    let agent = |words: &str| project.cmd("womm-agent").words(words).run();
    agent("").refuses(USAGE, &["--help"]);
    agent("paint").refuses(USAGE, &["paint"]);
    agent("supervise").refuses(USAGE, &["--parent"]);
    agent("supervise --nonsense").refuses(USAGE, &["--nonsense"]);
    agent("supervise --parent x -- true").refuses(USAGE, &["number"]);
    agent("supervise --parent 1 --life 77 -- true").refuses(USAGE, &["--life", "77"]);
    agent("install").exits(USAGE);
}

#[test]
fn connect_gives_up_where_no_agent_is() {
    Project::without_engine().cmd("womm-agent").arg("connect").run().refuses(4, &["agent.sock"]);
}

#[test]
fn it_is_static_and_installs_itself() {
    let project = Project::without_engine();
    let copy = project.at("copy");
    project.cmd("womm-agent").arg("install").arg(&copy).run().succeeds().writes("");
    let original = fs::read(harness::project::programs().join("womm-agent")).unwrap();
    assert_eq!(fs::read(&copy).unwrap(), original);
    // It needs nothing of the image: not even a loader.
    project.cmd(&copy).arg("--version").env("LD_LIBRARY_PATH", "/nonexistent").run().succeeds();
    let ldd = project.cmd("ldd").arg(&copy).run();
    ldd.holds("it is static", (ldd.text().to_owned() + &ldd.stderr).contains("statically linked") || ldd.code() == 1);
    project.cmd("womm-agent").words("install /nonexistent/folder/agent").run().refuses(3, &["/nonexistent/folder"]);
}

#[test]
fn supervise_ends_what_the_command_left() {
    let project = Project::without_engine();
    let daemon = "perl -MPOSIX -e 'fork and exit; setsid; fork and exit; exec qw(sleep 1000)'; exit 7";
    let script = "womm-agent supervise --parent $$ -- sh -c \"$1\"; echo \"$?\"";
    let out = project.sh(script).args(["sh", daemon]).run();
    out.succeeds().writes("7\n");
    assert_eq!(process::marked(project.mark()), [], "at once");
}

#[test]
fn supervise_ends_when_its_parent_does() {
    let project = Project::without_engine();
    let command = "trap '' TERM HUP; setsid sleep 1000 & touch begun; sleep 1000; sleep 1000";
    let run = project.sh("womm-agent supervise --parent $$ -- sh -c \"$1\" & wait").args(["sh", command]).start();
    until(SOON, "the command", || project.at("begun").exists().then_some(()));
    run.signal(harness::Signal::KILL);
    run.finish().exits(137);
    until(SOON, "the end of all", || process::marked(project.mark()).is_empty().then_some(()));
}

#[test]
fn supervise_tells_how_the_command_ended() {
    let project = Project::without_engine();
    let supervised = |command: &str| {
        project.sh("womm-agent supervise --parent $$ -- sh -c \"$1\"; exit $?").args(["sh", command]).run()
    };
    for code in [0, 1, 101, 255] {
        supervised(&format!("exit {code}")).exits(code);
    }
    supervised("kill -TERM $$").exits(143);
    supervised("kill -KILL $$").exits(137);
    let missing = project.sh("womm-agent supervise --parent $$ -- /nonexistent/program; exit $?").run();
    missing.refuses(3, &["/nonexistent/program"]);
}
