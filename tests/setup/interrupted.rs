//! ^C, and a signal, while Docker works for setup: what it was asked to make does not stay.

use crate::world::World;
use harness::{Cmd, Engine, Proxy, Running, Signal, Terminal};
use std::time::Duration;

/// Whether a moment has come.
type Look = fn(&World, &Running) -> bool;

/// A setup whose Docker takes its time.
fn slow(world: &World, words: &str) -> (Proxy, Cmd) {
    let (proxy, (name, value)) = Engine::Docker.through_proxy(world.project.root());
    proxy.delay(Duration::from_millis(150)); // 64 KiB each
    let words = format!("--engine docker --share bind --base {} {words}", world.base());
    (proxy, world.setup(&words).env(name, value))
}

#[test]
fn by_a_signal_at_any_time() {
    let world = World::new();
    let (_proxy, setup) = slow(&world, "--yes");
    let moments: [(&str, Look); 3] = [
        ("a container to look into the image", |world, _| !world.containers().is_empty()),
        ("the line on what is made", |_, run| run.stderr().contains("making image")),
        ("an image without a name", |world, _| !world.images().is_empty()),
    ];
    for (moment, is_there) in moments {
        let mut run = setup.clone().start();
        run.until(moment, |run| is_there(&world, run).then_some(()));
        run.signal(Signal::INT);
        run.finish().exits(130);
        world.nothing_was_made();
    }
}

#[test]
fn by_ctrl_c_before_the_shell() {
    let world = World::new();
    let (_proxy, setup) = slow(&world, "");
    let mut terminal = Terminal::start(setup, 33, 101);
    terminal.until("making image");
    terminal.keys("\x03");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 130, "{seen}");
    world.nothing_was_made();
}
