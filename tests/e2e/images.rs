//! Images: made by setup, never seen by it, lacking what jobs need.

use harness::{Engine, Project, image, joblog, tool};
use rustix::process::getuid;
use std::fs;

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
    let base = image::Labelled::new(&project);
    let image = image::Named::new(engine, "setup");
    let mut setup = project.womm().words("setup --yes --base").arg(base.name());
    setup = setup.args(["--engine", engine.name(), "--env", "A=1 2", "--env", "B", "--name", image.name()]);
    setup.clone().env("B", "of here").run().succeeds().writes("");
    let file = project.womm_file();
    assert_eq!(file["engine"], engine.name());
    assert_eq!(file["cwd"], project.folder().to_str().unwrap());
    assert_eq!(file["image"], image.name());
    let run = project.parallel(1).words("-n0 --").arg("echo $A-$B").words("::: 1").run();
    run.succeeds().writes("1 2-of here\n").quiet_task();
    // Again: the same image, with what is there now.
    setup.env("B", "now").run().succeeds();
    assert_eq!(project.womm_file(), file);
    base.only_was_made(image.name());
    let run = project.parallel(1).words("-n0 --").arg("echo $A-$B").words("::: 1").run();
    run.succeeds().writes("1 2-now\n").quiet_task();

    let names: Vec<_> = fs::read_dir(project.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, [".womm"], "setup leaves no file");
    base.only_was_made(image.name());
}

/// The base image without a program, for as long as this lives.
fn base_without(program: &str) -> image::Named {
    let container = tool("docker", ["create", &image::base(), "sh"]);
    let container = container.trim();
    // Covered by a file that can't be run: nothing has to be run in it.
    let empty = tempfile::NamedTempFile::new().unwrap();
    tool("docker", ["cp", empty.path().to_str().unwrap(), &format!("{container}:/usr/bin/{program}")]);
    let image = image::Named::commit(container, &format!("without-{program}"));
    tool("docker", ["rm", container]);
    image
}

#[test]
fn an_image_without_perl_fails_jobs_and_says_so() {
    let project = Engine::under_test().project();
    let image = base_without("perl");
    let name = project.engine().reachable(image.name());
    let check = project.cmd("womm-image").args(["check", "--image", image.name()]).run();
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
    let base = image::Labelled::new(&project);
    let of_base = format!("setup --yes --base {} --engine", base.name());
    let refused = |words: &str, code: i32, named: &str| {
        let run = project.womm().words(words).run();
        run.exits(code).writes("").holds(&format!("it names {named}"), run.stderr.contains(named));
        assert!(!project.at(".womm").exists(), "nothing is written");
        base.nothing_was_made();
    };
    refused("setup --yes --engine docker --base no-such-image-here:7", 3, "no-such-image-here:7");
    refused("setup --yes --engine docker --base not..a//name", 2, "not..a//name");
    refused("setup --yes --engine podman", 2, "podman");
    refused("setup --yes --engine docker --share lazy", 2, "lazy");
    refused(&format!("{of_base} docker --env NO_SUCH_VARIABLE"), 2, "NO_SUCH_VARIABLE");
    refused(&format!("{of_base} docker --env 1A=x"), 2, "1A");
    refused(&format!("{of_base} docker --name A:b"), 2, "A:b");
    refused(&format!("{of_base} kube"), 2, "--prefix");
}
