//! `womm-image`, as far as it needs no engine: what it reads of `.womm`, what it refuses.

use crate::common::{OUTSIDE, USAGE, explains_itself};
use harness::Project;
use serde_json::json;
use std::fs;

/// `.womm` as 0.1.6 wrote it.
const OF_0_1_6: &str = r#"{"share_kind": "none", "share_path": null, "image": "docker.io/me/womm-image-awtmaomf",
    "cwd": "/home/audrey/proj", "hostname": "laptop", "namespace": "default", "secret_name": null}"#;

#[test]
fn it_explains_itself() {
    explains_itself("womm-image", &["Exit status", "1 the answer is no", "2 usage", "3 Docker", "4 timed out"]);
    let project = Project::without_engine();
    for verb in ["show", "setup", "agent", "check", "push", "doctor"] {
        let help = project.cmd("womm-image").args([verb, "--help"]).run();
        help.succeeds().holds("exit codes are named", help.text().contains("Exit status"));
    }
}

#[test]
fn wrong_words() {
    let project = Project::without_engine();
    let image = |words: &str| project.cmd("womm-image").words(words).run();
    image("").refuses(USAGE, &["no verb", "show, setup, agent, check, push", "womm-image --help"]);
    image("paint").refuses(USAGE, &["\"paint\"", "womm-image --help"]);
    image("show --nonsense").refuses(USAGE, &["unknown option \"--nonsense\"", "womm-image show --help"]);
    image("show --engine podman").refuses(USAGE, &["--engine <ENGINE> \"podman\"", "kube and docker"]);
    image("setup --yes --share floppy").refuses(USAGE, &["\"floppy\"", "lazy, eager"]);
    image("setup --yes --yes").refuses(USAGE, &["--yes was given twice"]);
}

#[test]
fn a_file_of_0_1_6_is_read_and_means_kube() {
    let project = Project::without_engine();
    project.write(".womm", OF_0_1_6);
    fs::write(project.home().join(".womm_prefix"), "docker.io/me/").unwrap();
    let out = project.cmd("womm-image").arg("show").run();
    let record = out.succeeds().json();
    assert_eq!(record["kind"], "womm/record");
    assert_eq!(record["project"]["engine"], "kube");
    assert_eq!(record["project"]["namespace"], "default");
    assert_eq!(record["image"]["reference"], "docker.io/me/womm-image-awtmaomf");
    assert_eq!(record["project"]["cwd"], project.folder().to_str().unwrap(), "where it is, not where it was made");
    // Its image has no agent: where pods get one follows from the prefix, which 0.1.6 kept too.
    let agent = format!("docker.io/me/womm-agent:{}", womm_wire::names::VERSION);
    assert_eq!(record["image"]["agent_image"], agent);
}

#[test]
fn the_nearest_file_above_is_found_and_unknown_fields_stay() {
    let project = Project::without_engine();
    project.write(".womm", r#"{"image": "i:1", "engine": "kube", "image_agent": "0.2.0", "later": {"x": [1, null]}}"#);
    let deep = project.at("a/b c");
    fs::create_dir_all(&deep).unwrap();
    let record = project.cmd("womm-image").arg("show").cwd(&deep).run().succeeds().json();
    assert_eq!(record["project"]["later"], json!({"x": [1, null]}));
    assert_eq!(record["project"]["cwd"], project.folder().to_str().unwrap());
    let link = project.root().join("link");
    std::os::unix::fs::symlink(&deep, &link).unwrap();
    let record = project.cmd("womm-image").arg("show").cwd(&link).env("PWD", &link).run().succeeds().json();
    assert_eq!(record["project"]["cwd"], project.folder().to_str().unwrap(), "the real folder, not the link");
}

#[test]
fn a_project_on_stdin_or_in_another_file() {
    let project = Project::without_engine();
    let text = r#"{"image": "i:1", "engine": "kube", "image_agent": "0.2.0"}"#;
    let record = project.cmd("womm-image").words("show --file -").stdin(text).run().succeeds().json();
    assert_eq!(record["project"]["cwd"], project.folder().to_str().unwrap());
    project.cmd("womm-image").words("show --file -").run().refuses(USAGE, &["stdin"]);
    project.cmd("womm-image").words("show --file nowhere.json").run().refuses(USAGE, &["nowhere.json"]);
    let elsewhere = project.root().join("elsewhere.json");
    fs::write(&elsewhere, text).unwrap();
    let record = project.cmd("womm-image").words("show --file").arg(&elsewhere).run().succeeds().json();
    assert_eq!(record["project"]["cwd"], project.root().to_str().unwrap(), "the folder of that file");
}

#[test]
fn files_that_are_none_of_womm() {
    let project = Project::without_engine();
    project.cmd("womm-image").arg("show").run().refuses(USAGE, &["womm setup"]);
    for (content, word) in [("", "JSON"), ("[]", "object"), ("{}", "image"), ("{\"image\":1}", "image")] {
        project.write(".womm", content);
        project.cmd("womm-image").arg("show").run().refuses(USAGE, &[".womm", word]);
    }
    project.write(".womm", vec![b' '; 2 << 20]);
    project.cmd("womm-image").arg("show").run().refuses(USAGE, &[".womm", "1 MiB"]);
}

#[test]
fn setup_says_what_it_needs_before_it_touches_anything() {
    let project = Project::without_engine();
    let setup = |words: &str| project.cmd("womm-image").arg("setup").words(words).env("DOCKER_HOST", "unix:///nowhere");
    setup("").run().refuses(USAGE, &["--yes"]);
    setup("--yes --engine kube").run().refuses(USAGE, &["--prefix"]);
    setup("--yes --engine docker --env 1BAD=x").run().refuses(USAGE, &["1BAD"]);
    setup("--yes --engine docker --share eager").run().refuses(USAGE, &["eager"]);
    setup("--yes --engine docker --name a@sha256:0").run().exits(USAGE);
    setup("--yes --engine docker").run().refuses(OUTSIDE, &["/nowhere"]);
    assert!(!project.at(".womm").exists());
    assert_eq!(fs::read_dir(project.folder()).unwrap().count(), 0, "no draft is left");
    project.write(".womm", "{");
    setup("--yes --engine docker").run().refuses(USAGE, &[".womm"]);
    assert_eq!(fs::read_to_string(project.at(".womm")).unwrap(), "{", "a file that is not understood stays");
}

#[test]
fn docker_that_is_not_there() {
    let project = Project::without_engine();
    project.write(".womm", r#"{"image": "i:1", "engine": "docker", "share_kind": "bind"}"#);
    for verb in ["show", "check", "push"] {
        let cmd = project.cmd("womm-image").arg(verb).env("DOCKER_HOST", "unix:///nonexistent.sock");
        cmd.run().refuses(OUTSIDE, &["/nonexistent.sock"]);
    }
    let cmd = project.cmd("womm-image").arg("show").env("DOCKER_HOST", "gopher://x");
    cmd.run().refuses(OUTSIDE, &["gopher://x"]);
}
