//! Terminals that are closed and programs that are killed: what was done in the shell is not lost.

use crate::world::{World, it_works, prompt, run, throw_away, until_stopped};
use harness::{Signal, Terminal};
use rustix::process::kill_process;

/// The one container of this test.
#[track_caller]
fn kept(world: &World) -> String {
    let containers = world.containers();
    assert_eq!(containers.len(), 1, "{containers:?}");
    assert!(containers[0].starts_with("womm-setup-"), "{containers:?}");
    until_stopped(&containers[0]);
    assert_eq!(world.images(), ["<none>:<none>"], "the image that the container was made of");
    containers.into_iter().next().unwrap()
}

#[test]
fn a_closed_terminal_keeps_the_shell_and_continue_goes_on() {
    let world = World::new().for_audrey();
    let mut terminal = world.shell("--env GIVEN=1");
    run(
        &mut terminal,
        "export KEPT='two  words'; mkdir -p made-sub; cd made-sub; echo done | sudo tee /opt/file >/dev/null",
    );
    terminal.keys("sleep 1000 & sudo sleep 1000\n");
    terminal.until("sudo sleep");
    terminal.close();
    let (code, _) = terminal.finish();
    assert!([1, 129].contains(&code), "{code}");
    let container = kept(&world);

    let mut terminal = Terminal::start(world.setup("--continue"), 33, 101);
    prompt(&mut terminal);
    let said = run(&mut terminal, "cat /opt/file; echo \"$KEPT-$GIVEN\"; pwd; jobs");
    let lines: Vec<_> = said.lines().collect();
    let cwd = world.folder().join("made-sub");
    assert_eq!(lines, ["done", "two  words-1", cwd.to_str().unwrap()], "{said}");
    world.shows("continue.txt", &it_works(terminal));
    world.only_the_image_was_made();
    world.job("cat /opt/file; echo \"$KEPT\"").succeeds().writes("done\ntwo  words\n");
    assert!(container.starts_with("womm-setup-"));
}

#[test]
fn a_killed_setup_leaves_the_shell_stopped_and_the_next_one_asks() {
    let world = World::new().for_audrey();
    let mut terminal = world.shell("");
    run(&mut terminal, "echo done | sudo tee /opt/file >/dev/null");
    kill_process(terminal.pid(), Signal::KILL).unwrap();
    drop(terminal);
    kept(&world);
    // While it is there, the next one offers it.
    let mut terminal = world.terminal("");
    terminal.answer("Go on with it?", "\n");
    prompt(&mut terminal);
    assert_eq!(run(&mut terminal, "cat /opt/file").trim_end(), "done");
    // And whoever is in it is not disturbed.
    let (code, seen) = world.terminal("").finish();
    assert!(code == 3 && seen.contains("leave that one first"), "{seen}");
    // ^D once too often: nothing is lost, and one line says where it is.
    terminal.keys("exit\n");
    terminal.answer("Does it work? y/n", "\x04");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 1, "{seen}");
    assert!(seen.contains("womm setup --continue"), "{seen}");
    world.shows("kept.txt", &seen);
    kept(&world);
    // Who does not want it is rid of it.
    let mut terminal = world.terminal("");
    terminal.answer("Go on with it?", "n\n");
    terminal.answer("Where do you want", "*\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 1, "{seen}");
    world.nothing_was_made();
}

#[test]
fn signals_and_ctrl_c_at_the_last_question_keep_it_too() {
    let world = World::new();
    let mut terminal = world.shell("");
    kill_process(terminal.pid(), Signal::TERM).unwrap();
    terminal.until("is kept in the container");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 143, "{seen}");
    kept(&world);
    // One that opens no shell leaves it alone, and says so.
    let run = world.setup("--yes --engine docker --base localhost:1/none:1").run();
    run.exits(3).holds("it is named", run.stderr.contains("womm setup --continue"));
    let mut terminal = world.terminal("--continue");
    prompt(&mut terminal);
    terminal.keys("exit\n");
    terminal.answer("Does it work? y/n", "\x03");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 130, "{seen}");
    kept(&world);
    let mut terminal = world.terminal("--continue");
    prompt(&mut terminal);
    throw_away(terminal);
    world.nothing_was_made();
}

#[test]
fn a_container_that_is_stopped_under_the_shell_is_kept() {
    let world = World::new();
    let mut terminal = world.shell("");
    run(&mut terminal, "echo done | sudo tee /opt/file >/dev/null; export KEPT=1");
    harness::tool("docker", ["stop", &world.containers()[0]]);
    terminal.until("was stopped under the shell");
    let (code, seen) = terminal.finish();
    assert!(code == 3 && seen.contains("womm setup --continue"), "{seen}");
    kept(&world);
    let mut terminal = world.terminal("--continue");
    prompt(&mut terminal);
    assert_eq!(run(&mut terminal, "cat /opt/file; echo $KEPT").trim_end(), "done\r\n1");
    throw_away(terminal);
    world.nothing_was_made();
}

#[test]
fn a_failure_after_the_shell_loses_nothing() {
    let world = World::new();
    let mut terminal = world.shell("");
    run(&mut terminal, "echo done | sudo tee /opt/file >/dev/null; export KEPT=1");
    // Where the file is to be, something else is now.
    std::fs::create_dir(world.folder().join(".womm")).unwrap();
    terminal.keys("exit\n");
    terminal.answer("Does it work? y/n", "y\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 3, "{seen}");
    assert!(seen.contains("/.womm\"") && seen.contains("womm setup --continue"), "{seen}");
    std::fs::remove_dir(world.folder().join(".womm")).unwrap();
    kept(&world);
    let mut terminal = world.terminal("--continue");
    prompt(&mut terminal);
    assert_eq!(run(&mut terminal, "cat /opt/file; echo $KEPT"), "done\r\n1\r\n");
    throw_away(terminal);
    world.nothing_was_made();
}
