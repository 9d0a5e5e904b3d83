//! The questions before the shell: their order, defaults, wrong answers, and how they are quit.

use crate::world::{World, it_works, prompt, run, throw_away};
use harness::Terminal;
use std::fs;

/// A kubeconfig that selects a cluster, which nobody asks for anything.
fn select_a_cluster(world: &World) {
    let folder = world.project.home().join(".kube");
    fs::create_dir(&folder).unwrap();
    let text = "{\"apiVersion\": \"v1\", \"kind\": \"Config\", \"current-context\": \"there\", \"contexts\": [{\"name\": \"there\", \
                \"context\": {\"cluster\": \"c\", \"user\": \"u\"}}], \"clusters\": [{\"name\": \"c\", \"cluster\": {\"server\": \
                \"https://127.0.0.1:1\"}}], \"users\": [{\"name\": \"u\", \"user\": {}}]}";
    fs::write(folder.join("config"), text).unwrap();
}

/// Answers questions with these, then quits by other keys at the next one.
#[track_caller]
fn quit(world: &World, answers: &[&str], keys: &str, expected: i32) -> String {
    let mut terminal = world.terminal("");
    for line in answers {
        terminal.until("] > ");
        terminal.keys(&format!("{line}\n"));
    }
    terminal.until("> ");
    terminal.keys(keys);
    let (code, seen) = terminal.finish();
    assert_eq!(code, expected, "{seen}");
    assert!(seen.contains("nothing was changed"), "{seen}");
    world.nothing_was_made();
    seen
}

#[test]
fn each_can_be_quit_and_nothing_is_left() {
    let world = World::new();
    for (keys, code) in [("*\n", 1), ("\x03", 130), ("\x04", 1)] {
        for answers in [&[][..], &["1"], &["1", "1"]] {
            quit(&world, answers, keys, code);
        }
    }
    select_a_cluster(&world);
    for (keys, code) in [("*\n", 1), ("\x03", 130), ("\x04", 1)] {
        for answers in [&[][..], &["4"], &["4", ""]] {
            quit(&world, answers, keys, code);
        }
    }
}

#[test]
fn wrong_answers_are_asked_again() {
    let world = World::new();
    let seen = quit(&world, &["", "7", "x", "1", "Not A Name"], "*\n", 1);
    world.shows("wrong-answers-docker.txt", &seen);
    select_a_cluster(&world);
    let mut terminal = world.terminal("");
    for line in ["1", "2", "3", "0", "lazily", "", "a b", world.base()] {
        terminal.until("] > ");
        terminal.keys(&format!("{line}\n"));
    }
    terminal.until("e.g. ");
    for line in ["", "Capital/", "*"] {
        terminal.until("> ");
        terminal.keys(&format!("{line}\n"));
    }
    let (code, seen) = terminal.finish();
    assert_eq!(code, 1, "{seen}");
    world.shows("wrong-answers-kube.txt", &seen);
    world.nothing_was_made();
}

#[test]
fn what_an_option_says_is_not_asked() {
    let world = World::new();
    let mut terminal = world.terminal("--engine docker --network none");
    terminal.answer("How do you want to share", "2\n");
    terminal.answer("base image", &format!("{}\n", world.base()));
    prompt(&mut terminal);
    assert_eq!(run(&mut terminal, "ls /sys/class/net"), "lo\r\n");
    let seen = it_works(terminal);
    assert!(!seen.contains("Where do you want"), "{seen}");
    assert!(fs::read_to_string(world.folder().join(".womm")).unwrap().contains("\"share_kind\": \"none\""));
    world.only_the_image_was_made();
    // The last answers are the defaults of the next time.
    let mut terminal = world.terminal("");
    terminal.answer("*) never mind, quit", "\n");
    prompt(&mut terminal);
    let seen = terminal.seen();
    assert!(seen.contains("[2] > ") && seen.contains("Starting from womm-image-"), "{seen}");
    assert!(!seen.contains("base image for your"), "{seen}");
    throw_away(terminal);
    world.only_the_image_was_made();
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let world = World::new();
    let run = world.setup("--engine docker").stdin("1\n").run();
    run.refuses(2, &["stdin is no terminal", "--yes"]);
    let run = Terminal::start(world.setup("--continue"), 24, 80).finish();
    assert!(run.0 == 2 && run.1.contains("no shell of this folder was kept"), "{run:?}");
    world.setup("--continue --yes").run().refuses(2, &["--continue"]);
    world.setup("--refresh --engine docker").run().refuses(2, &["no image here"]);
    world.setup("--refresh --fresh").run().refuses(2, &["--fresh"]);
    let (code, seen) = Terminal::start(world.setup("").env("DOCKER_HOST", "unix:///nowhere.sock"), 24, 80).finish();
    assert!(code == 3 && seen.contains("/nowhere.sock"), "{seen}");
    world.nothing_was_made();
}

#[test]
fn a_base_image_that_is_not_there_leaves_nothing() {
    let world = World::new();
    let words = "--engine docker --share bind --base localhost:1/womm-no-such-image:7";
    let (code, seen) = Terminal::start(world.setup(words), 24, 80).finish();
    assert!(code == 3 && seen.contains("womm-no-such-image:7"), "{seen}");
    world.nothing_was_made();
}
