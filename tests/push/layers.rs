//! Which layers travel, and what is said of them.

use crate::picture::{Picture, shared};
use harness::image::Labelled;
use harness::registry::Config;
use harness::{Outcome, Project, Proxy, Registry, Terminal, screen, tool};
use std::time::Duration;

fn push(project: &Project, image: &str) -> Outcome {
    project.cmd("womm-image").args(["push", "--image", image]).run()
}

#[test]
fn only_those_that_changed() {
    let project = Project::without_engine();
    let registry = Registry::start(&project, &Config::default());
    let image = Picture::new(&project, &shared(), &format!("{}/me/x:1", registry.name), 3_000_000);
    let said = |out: &Outcome, words: &str, layers: usize| {
        out.succeeds().writes("");
        let last = out.stderr.lines().last().unwrap_or_default();
        out.holds(
            &format!("the totals hold {words:?}"),
            last.starts_with(&format!("pushed {}: ", image.name)) && last.contains(words),
        );
        out.holds("without a terminal nothing is drawn", !out.stderr.contains(['\r', '\x1b']));
        let of_layers = ["ushed, ", "already exists"].map(|words| out.stderr.matches(words).count());
        out.holds("a line for each layer", of_layers.iter().sum::<usize>() == layers);
        out.holds("one before and one after them", out.stderr.lines().count() == 2 + layers);
    };
    let first = push(&project, &image.name);
    said(&first, "1 of 1 layers, 3.0", 1);
    assert!(registry.has("me/x", "1"));
    said(&push(&project, &image.name), "0 of 1 layers", 1);
    image.add(&project, 1_000_000);
    let third = push(&project, &image.name);
    said(&third, "1 of 2 layers, 1.0", 2);
    third.holds("the other stays", third.stderr.contains("1 were there"));
    // Layers are beside each other: which is first is chance.
    let text = screen::text(&project, &[(&registry.name, "registry.example.org")], &third.stderr);
    let text = screen::measured(&text);
    let mut lines: Vec<_> = text.lines().collect();
    lines[1..3].sort_unstable();
    screen::is("push/screens/push.txt", &(lines.join("\n") + "\n"));
}

/// How many layers a setup pushed, and of how many.
#[track_caller]
fn pushed(setup: &Outcome, image: &str) -> (usize, usize) {
    setup.succeeds();
    let totals = setup.stderr.lines().find_map(|line| line.strip_prefix(&format!("pushed {image}: ")));
    let totals = totals.unwrap_or_else(|| setup.fail("it does not say what it pushed"));
    let words: Vec<_> = totals.split(' ').collect();
    assert_eq!((words[1], words[3]), ("of", "layers,"), "{totals}");
    (words[0].parse().unwrap(), words[2].parse().unwrap())
}

#[test]
fn setup_again_sends_only_what_is_new() {
    let project = Project::without_engine();
    let registry = Registry::start(&project, &Config::default());
    let base = Labelled::new(&project);
    let setup = |words: &str| project.cmd("womm-image").arg("setup").words(words);
    let first = format!("--yes --engine kube --share none --prefix {}/me/ --base {}", registry.name, base.name());
    let first = setup(&first).run();
    let file = project.womm_file();
    let name = file["image"].as_str().unwrap();
    let (sent, layers) = pushed(&first, name);
    assert_eq!(sent, layers, "the registry had nothing");
    // Variables are in no layer.
    assert_eq!(pushed(&setup("--yes --env NEW=1").run(), name), (0, layers));
    let agent = project.tool("womm-agent", "another\n");
    assert_eq!(pushed(&setup("--refresh").env("WOMM_AGENT", &agent).run(), name), (1, layers + 1));
    base.only_was_made(name);
    // Gone here, it is had from where it was pushed to.
    for (words, expected) in [("--yes --env NEW=2", (1, layers + 2)), ("--refresh", (0, layers + 2))] {
        tool("docker", ["image", "rm", "--force", name]);
        base.nothing_was_made();
        let again = setup(words).run();
        again.holds("it is pulled", again.stderr.contains(&format!("pulling {name}\n")));
        assert_eq!(pushed(&again, name), expected, "{words}");
        base.only_was_made(name);
    }
    let variables = tool("docker", ["image", "inspect", "--format", "{{.Config.Env}}", name]);
    assert!(variables.contains("NEW=2"), "{variables}");
    tool("docker", ["image", "rm", "--force", name]);
}

#[test]
fn a_terminal_has_a_bar_for_each() {
    let project = Project::without_engine();
    let registry = Registry::start(&project, &Config::default());
    let proxy = Proxy::tcp(([127, 0, 0, 1], registry.port).into());
    proxy.delay(Duration::from_millis(20));
    let image = Picture::new(&project, &shared(), &format!("{}/x:1", proxy.address()), 8_000_000);
    image.add(&project, 6_000_000);
    let mut terminal = Terminal::start(project.cmd("womm-image").args(["push", "--image", &image.name]), 30, 120);
    // A layer's bar, and that of all.
    terminal.until("MB   Pushing");
    terminal.until("/s, ");
    terminal.until(" left, 0 of 2 layers");
    proxy.pass();
    terminal.until("Pushed, 8.0");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains(&format!("pushed {}: 2 of 2 layers, 14.0", image.name)), "{seen}");
}

#[test]
fn an_interrupted_one_ends_at_once() {
    let project = Project::without_engine();
    let registry = Registry::start(&project, &Config::default());
    let proxy = Proxy::tcp(([127, 0, 0, 1], registry.port).into());
    let image = Picture::new(&project, &shared(), &format!("{}/x:1", proxy.address()), 1_000_000);
    proxy.hold();
    let mut run = project.cmd("womm-image").args(["push", "--image", &image.name]).start();
    run.until("its first line", |run| run.stderr().contains("pushing").then_some(()));
    run.signal(harness::Signal::INT);
    run.finish().exits(130);
}

#[test]
fn an_interrupted_pull_leaves_nothing() {
    let project = Project::without_engine();
    let registry = Registry::start(&project, &Config::default());
    let proxy = Proxy::tcp(([127, 0, 0, 1], registry.port).into());
    let image = Picture::new(&project, &shared(), &format!("{}/x:1", proxy.address()), 3_000_000);
    push(&project, &image.name).succeeds();
    tool("docker", ["image", "rm", "--force", &image.name]);
    proxy.delay(Duration::from_millis(50));
    let mut run = project.womm().words("setup --yes --engine docker --base").arg(&image.name).start();
    run.until("its first line", |run| run.stderr().contains("pulling").then_some(()));
    // In the middle of it, or before; not at its end.
    proxy.hold();
    run.signal(harness::Signal::INT);
    run.finish().exits(130);
    assert!(!project.at(".womm").exists());
    let there = tool("docker", ["image", "ls", "--quiet", "--filter", &format!("reference={}", image.name)]);
    assert_eq!(there, "", "it was not pulled");
}
