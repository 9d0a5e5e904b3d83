//! README's first steps, on containers of this machine: typed as they are there, and what is there is what came. Those on a
//! cluster are in tests/e2e-kube/setup_shell.rs.

use crate::world::World;
use harness::{Terminal, readme};

#[test]
fn its_first_steps_lead_to_the_first_result() {
    let world = World::new();
    let folder = world.project.home().join("supercool");
    let world = world.within(&folder).for_audrey();
    // No dircolors: a plain terminal, in which readline tells nothing about pasting either.
    let cmd = world.cmd("bash").words("--norc --noprofile -i").env("PS1", "$ ");
    let mut terminal = Terminal::start(cmd, 50, 200);
    terminal.line("$ ", "womm setup");
    terminal.answer("Where do you want to run jobs?", "1\n");
    terminal.answer("How do you want to share", "\n");
    terminal.answer("base image", &format!("{}\n", world.base()));
    let seen = readme::after_the_questions(terminal);
    world.only_the_image_was_made();
    readme::has("tests/setup/readme.rs", &readme::shown(&world.text(&seen)));
}
