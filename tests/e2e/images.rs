//! Images: made by setup, never seen by it, lacking what jobs need.

use harness::{Engine, Project, image, joblog, tool};
use rustix::process::getuid;

#[test]
fn an_image_that_setup_never_saw() {
    let project = Engine::under_test().project();
    let base = project.engine().reachable(&image::base());
    let script = "id -u; pwd; touch \"$HOME/a\" && echo home; perl -e 'print \"perl\\n\"'";
    let run = project.parallel(2).args(["--image", &base]).words("-n0 --").arg(script).words("::: 1").run();
    let expected = format!("{}\n{}\nhome\nperl\n", getuid().as_raw(), project.folder().display());
    run.succeeds().writes(expected).quiet_task();
    // And a shell in it.
    let shell = project.womm().args(["shell", "--image", &base]).stdin("echo hi; exit 3\n").run();
    shell.exits(3).writes("hi\n").quiet_task();
}

#[test]
fn setup_writes_what_a_run_needs_and_leaves_nothing_else() {
    let project = Project::without_image(Engine::under_test());
    let engine = project.engine();
    let mut setup = project.womm().words("setup --yes --base").arg(image::base());
    setup = setup.args(["--engine", engine.name(), "--env", "A=1 2", "--env", "B"]).env("B", "of here");
    setup = setup.arg("--name").arg(engine.image_name("womm-test-setup"));
    let before = containers();
    let run = setup.clone().run();
    run.succeeds().writes("");
    assert_eq!(containers(), before, "setup leaves no container");
    let file = project.womm_file();
    assert_eq!(file["engine"], engine.name());
    assert_eq!(file["cwd"], project.folder().to_str().unwrap());
    assert_eq!(file["image"].as_str().unwrap().split(':').next_back(), Some("latest"));
    let run = project.parallel(1).words("-n0 --").arg("echo $A-$B").words("::: 1").run();
    run.succeeds().writes("1 2-of here\n").quiet_task();
    // Again: the same image, without what is no longer asked for.
    setup.env("B", "now").run().succeeds();
    assert_eq!(project.womm_file()["image"], file["image"]);
    let run = project.parallel(1).words("-n0 --").arg("echo $A-$B").words("::: 1").run();
    run.succeeds().writes("1 2-now\n").quiet_task();
    let names: Vec<_> = std::fs::read_dir(project.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, [".womm"]);
    tool("docker", ["image", "rm", "--force", file["image"].as_str().unwrap()]);
}

fn containers() -> Vec<String> {
    // Those of runs come and go while other tests run; setup's have no label of a task.
    let text = tool("docker", ["ps", "--all", "--format", "{{.Label \"womm.task\"}}\t{{.ID}}"]);
    let mut ids: Vec<_> = text.lines().filter_map(|l| l.strip_prefix('\t').map(str::to_owned)).collect();
    ids.sort_unstable();
    ids
}

/// The base image without a program, for as long as this lives.
struct Without(String);

impl Without {
    fn new(program: &str) -> Self {
        let name = format!("womm-test-without-{}-{}", program, std::process::id());
        let container = tool("docker", ["create", &image::base(), "sh"]);
        let container = container.trim();
        // Not removed but covered by a file that can't be run: nothing has to be run in it.
        let empty = tempfile::NamedTempFile::new().unwrap();
        let archive = format!("{container}:/usr/bin/{program}");
        tool("docker", ["cp", empty.path().to_str().unwrap(), &archive]);
        tool("docker", ["commit", container, &name]);
        tool("docker", ["rm", container]);
        Self(name)
    }
}

impl Drop for Without {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker").args(["image", "rm", "--force", &self.0]).output();
    }
}

#[test]
fn an_image_without_perl_fails_jobs_and_says_so() {
    let project = Engine::under_test().project();
    let image = Without::new("perl");
    let name = project.engine().reachable(&image.0);
    let check = project.cmd("womm-image").args(["check", "--image", &image.0]).run();
    check.exits(1);
    check.holds("what is missing is named", check.stderr.lines().count() == 1 && check.stderr.contains("perl"));
    let log = project.at("log");
    let cmd = project.parallel(1).args(["--image", &name]).arg("--joblog").arg(&log).words("-- echo ::: 1 2");
    let run = cmd.run();
    run.exits(2).writes("").task();
    run.holds("perl is named", run.other_stderr().contains("perl"));
    let codes = joblog::codes(&log);
    assert!(codes.iter().all(|code| *code != 0) && codes.len() == 2, "{codes:?}");
}

#[test]
fn what_setup_is_given_wrong_changes_nothing() {
    let project = Project::without_image(Engine::under_test());
    let refused = |words: &str, code: i32, named: &str| {
        let run = project.womm().words(words).run();
        run.exits(code).writes("").holds(&format!("it names {named}"), run.stderr.contains(named));
        assert!(!project.at(".womm").exists(), "nothing is written");
    };
    refused("setup --yes --engine docker --base no-such-image-here:7", 3, "no-such-image-here:7");
    refused("setup --yes --engine docker --base not..a//name", 2, "not..a//name");
    refused("setup --yes --engine podman", 2, "podman");
    refused("setup --yes --engine docker --share lazy", 2, "lazy");
    refused("setup --yes --engine docker --env NO_SUCH_VARIABLE", 2, "NO_SUCH_VARIABLE");
    refused("setup --yes --engine kube --base womm-test-base:1", 2, "--prefix");
}
