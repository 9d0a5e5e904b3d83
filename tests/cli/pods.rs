//! `womm-pods`, as far as it needs no engine: what it reads, what it refuses.

use crate::common::{OUTSIDE, USAGE, explains_itself, reads_a_record, record, record_with_task};
use harness::Project;
use std::fs;

#[test]
fn it_explains_itself() {
    explains_itself("womm-pods", &["Exit status", "2 usage", "3 Docker or the cluster", "4 timed out"]);
    let project = Project::without_engine();
    for verb in ["create", "watch", "delete"] {
        let help = project.cmd("womm-pods").args([verb, "--help"]).run();
        help.succeeds().holds("exit codes are named", help.text().contains("Exit status"));
    }
}

#[test]
fn wrong_words() {
    let project = Project::without_engine();
    let pods = |words: &str| project.cmd("womm-pods").words(words).run();
    pods("").refuses(USAGE, &["no verb", "create, watch, delete", "womm-pods --help"]);
    pods("paint").refuses(USAGE, &["\"paint\"", "create, watch, delete", "womm-pods --help"]);
    pods("--nonsense").refuses(USAGE, &["unknown option \"--nonsense\"", "womm-pods --help"]);
    pods("create --nonsense").refuses(USAGE, &["unknown option \"--nonsense\"", "womm-pods create --help"]);
    pods("create --kube-podz 3").refuses(USAGE, &["--kube-podz", "--kube-pods?"]);
    pods("create --run").refuses(USAGE, &["--run <DIR> needs a value", "womm-pods create --help"]);
    pods("watch --while soon").refuses(USAGE, &["--while <FD> \"soon\"", "womm-pods watch --help"]);
    pods("delete womm-task-abcdefgh").refuses(USAGE, &["\"womm-task-abcdefgh\"", "womm-pods delete --help"]);
}

#[test]
fn every_verb_reads_a_record() {
    let project = Project::without_engine();
    for words in ["create --kube-pods 1", "watch", "delete"] {
        reads_a_record(&project.cmd("womm-pods").words(words));
    }
}

#[test]
fn a_record_without_a_task() {
    let project = Project::without_engine();
    for verb in ["watch", "delete"] {
        project.cmd("womm-pods").arg(verb).stdin(record().to_string()).run().refuses(USAGE, &["task"]);
    }
}

#[test]
fn numbers_of_the_command_line() {
    let project = Project::without_engine();
    let create = |words: &str| project.cmd("womm-pods").arg("create").words(words).stdin(record().to_string()).run();
    create("").refuses(USAGE, &["--kube-pods"]);
    create("--kube-pods x").refuses(USAGE, &["Expected integer argument to --kube-pods, got x"]);
    create("--kube-pods 0").refuses(USAGE, &["--kube-pods", "0"]);
    create("--kube-pods -3").refuses(USAGE, &["--kube-pods", "-3"]);
    create("--kube-pods 4294967296").refuses(USAGE, &["--kube-pods", "4294967296"]);
    create("--kube-pods 1 --procs-per-pod 0").refuses(USAGE, &["--procs-per-pod"]);
    create("--kube-pods 1 --kube-mem lots").refuses(USAGE, &["--kube-mem", "lots"]);
    create("--kube-pods 1 --kube-mem -1").refuses(USAGE, &["--kube-mem", "-1"]);
    create("--kube-pods 1 --kube-cpu 1e99").refuses(USAGE, &["--kube-cpu", "1e99"]);
    create("--kube-pods 1 --kube-gpu some").refuses(USAGE, &["--kube-gpu", "some"]);
    create("--kube-pods 1 --kube-patch x.json").refuses(USAGE, &["--kube-patch"]);
    create("--kube-pods 1 --while 77").refuses(USAGE, &["--while", "77"]);
    create("--kube-pods 1 --while 1").refuses(USAGE, &["--while", "1"]);
    assert_eq!(project.run_folders(), [] as [std::path::PathBuf; 0]);
}

#[test]
fn an_engine_that_does_not_answer_leaves_no_run_folder() {
    let project = Project::without_engine();
    let cmd = project.cmd("womm-pods").words("create --kube-pods 1").stdin(record().to_string());
    cmd.env("DOCKER_HOST", "unix:///nonexistent.sock").run().refuses(OUTSIDE, &["/nonexistent.sock"]);
    assert_eq!(project.run_folders(), [] as [std::path::PathBuf; 0]);
    for verb in ["watch", "delete"] {
        let record = record_with_task(&project, "docker");
        fs::create_dir_all(record["task"]["run"].as_str().unwrap()).unwrap();
        let cmd = project.cmd("womm-pods").arg(verb).stdin(record.to_string());
        cmd.env("DOCKER_HOST", "unix:///nonexistent.sock").run().refuses(OUTSIDE, &["/nonexistent.sock"]);
    }
    fs::remove_dir_all(project.root().join("run/womm")).unwrap();
}

#[test]
fn a_run_folder_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let project = Project::without_engine();
    let folder = project.root().join("open");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let cmd = project.cmd("womm-pods").words("create --kube-pods 1 --run").arg(&folder).stdin(record().to_string());
    cmd.run().refuses(USAGE, &["open"]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}
