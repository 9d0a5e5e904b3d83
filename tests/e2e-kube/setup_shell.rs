//! `womm setup` as a person does it who has a cluster: README's first steps there, typed as they are there, and what is there
//! is what came.

use crate::cluster::engine;
use harness::image::Labelled;
use harness::{Audrey, Cmd, Project, Terminal, readme, screen};
use std::fs;
use std::path::Path;

#[test]
fn from_the_first_question_to_the_first_result() {
    let project = Project::without_image(engine());
    let base = Labelled::new(&project);
    let (folder, other) = (project.home().join("supercool"), project.home().join("other"));
    let kubeconfig = project.home().join(".kube/config");
    for folder in [&folder, &other, &project.home().join(".kube")] {
        fs::create_dir(folder).unwrap();
    }
    fs::copy(std::env::var("WOMM_TEST_KUBECONFIG").unwrap(), &kubeconfig).unwrap();
    let audrey = Audrey::takes(&project, &[&folder, &other, &kubeconfig]);
    // The cluster is the one that the kubeconfig in HOME selects, as for everybody.
    let cmd = |program: &str, folder: &Path| -> Cmd {
        let cmd = project.cmd(program).cwd(folder).env_remove("KUBECONFIG").env_remove("LS_COLORS");
        match &audrey {
            Some(audrey) => audrey.runs(cmd),
            None => cmd,
        }
    };
    let registry = std::env::var("WOMM_TEST_REGISTRY").unwrap();
    let prefix = format!("{registry}/team/");
    let shell = cmd("bash", &folder).words("--norc --noprofile -i").env("PS1", "$ ");
    let mut terminal = Terminal::start(shell, 50, 200);
    terminal.line("$ ", "womm setup");
    terminal.answer("How do you want to share", "\n");
    terminal.answer("base image for your operating system", &format!("{}\n", base.name()));
    terminal.answer("What is a prefix", &format!("{prefix}\n"));
    let seen = readme::after_the_questions(terminal);
    let text = fs::read_to_string(folder.join(".womm")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let image = file["image"].as_str().unwrap();
    assert!(image.starts_with(&format!("{prefix}womm-image-")), "{image}");
    base.only_was_made(image);
    assert_eq!(fs::read_to_string(project.home().join(".womm_prefix")).unwrap(), format!("{prefix}\n"));
    let names = [
        (folder.to_str().unwrap(), "/home/audrey/supercool"),
        (base.name(), "debian:12"),
        (&registry, "registry.example.org"),
    ];
    let text = screen::text(&project, &names, &readme::without_bars(&seen));
    readme::has("tests/e2e-kube/setup_shell.rs", &readme::shown(&text));

    // The prefix is asked once: another folder has it from there.
    let mut terminal = Terminal::start(cmd("womm", &other).arg("setup"), 33, 101);
    terminal.answer("How do you want to share", "\n");
    terminal.answer("base image for your operating system", &format!("{}\n", base.name()));
    terminal.until("are installed: perl");
    terminal.until_any(&["# ", "$ "]);
    terminal.keys("exit\n");
    terminal.answer("Does it work? y/n", "*\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 1, "{seen}");
    assert!(!seen.contains("What is a prefix"), "{seen}");
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0, "nothing is left");
    base.only_was_made(image);
}
