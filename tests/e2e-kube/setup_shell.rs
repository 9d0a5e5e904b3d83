//! `womm setup` as a person does it who has a cluster: what is asked, the shell, the push, the first result.

use harness::{Engine, Project, Terminal, image, tool};
use std::fs;
use std::process::Command;

/// Removed when it is dropped.
struct Image(String);

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["image", "rm", "--force", &self.0]).output();
    }
}

#[test]
fn from_the_first_question_to_the_first_result() {
    let project = Project::without_image(Engine::Kube);
    let prefix = format!("{}/by-hand-", std::env::var("WOMM_TEST_REGISTRY").unwrap());
    let mut terminal = Terminal::start(project.womm().arg("setup"), 33, 101);
    let mut answer = |question: &str, keys: &str| {
        terminal.until(question);
        terminal.until("> ");
        terminal.keys(&format!("{keys}\n"));
    };
    answer("How do you want to share", "");
    answer("base image for your operating system", &image::base());
    answer("What is a prefix", &prefix);
    terminal.until("are installed: perl");
    terminal.until_any(&["# ", "$ "]);
    terminal.keys("export GREETING=hey; echo tool | sudo tee /opt/tool; exit\n");
    terminal.until("Does it work? y/n");
    terminal.until("> ");
    terminal.keys("y\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 0, "{seen}");
    let image = Image(project.womm_file()["image"].as_str().unwrap().to_owned());
    assert!(image.0.starts_with(&format!("{prefix}womm-image-")), "{}", image.0);
    assert_eq!(fs::read_to_string(project.home().join(".womm_prefix")).unwrap(), format!("{prefix}\n"));
    let run = project.parallel(1).words("-n0 --").arg("echo $GREETING; cat /opt/tool").words("::: 1").run();
    run.succeeds().writes("hey\ntool\n").task(); // it says that the image is pulled

    // The prefix is asked once: another folder has it from there.
    let other = project.root().join("other");
    fs::create_dir(&other).unwrap();
    let mut terminal = Terminal::start(project.womm().arg("setup").cwd(&other), 33, 101);
    terminal.until("[4] > ");
    terminal.keys("\n");
    terminal.until("[ubuntu:22.04] > ");
    terminal.keys(&format!("{}\n", image::base()));
    terminal.until("are installed: perl");
    terminal.until_any(&["# ", "$ "]);
    terminal.keys("exit\n");
    terminal.until("Does it work? y/n");
    terminal.until("> ");
    terminal.keys("*\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 1, "{seen}");
    assert!(!seen.contains("What is a prefix"), "{seen}");
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0, "nothing is left");
    let containers = tool("docker", ["ps", "--all", "--format", "{{.Image}} {{.Names}}"]);
    assert!(!containers.contains(&image.0), "{containers}");
}
