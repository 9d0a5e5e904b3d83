//! Which layers travel, and what is said of them.

use crate::picture::{Picture, shared};
use harness::registry::Config;
use harness::{Outcome, Project, Proxy, Registry, Terminal};
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
