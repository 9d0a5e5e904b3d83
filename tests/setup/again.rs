//! Setup again: from what the last one made, from the base image, or for the agent alone.

use crate::world::{World, it_works, prompt, run};
use harness::tool;

fn layers(world: &World) -> usize {
    world.inspect("{{len .RootFS.Layers}}").parse().unwrap()
}

#[test]
fn it_starts_from_where_it_was_unless_it_is_to_begin_anew() {
    let world = World::new();
    let mut terminal = world.shell("");
    run(&mut terminal, "export FIRST=1; echo first | sudo tee /opt/file >/dev/null");
    it_works(terminal);
    let (name, first) = (world.image(), layers(&world));
    assert_eq!(first, 3, "the base, the agent's, the shell's");

    let mut terminal = world.terminal("--share bind");
    prompt(&mut terminal);
    assert_eq!(
        run(&mut terminal, "cat /opt/file; echo $FIRST; export SECOND=2; sudo touch /opt/second"),
        "first\r\n1\r\n"
    );
    it_works(terminal);
    assert_eq!((world.image(), layers(&world)), (name.clone(), first + 1), "one layer more, and no other agent");
    world.only_the_image_was_made();
    world.job("cat /opt/file; echo $FIRST$SECOND").succeeds().writes("first\n12\n");

    // The agent is the same: nothing changes.
    let id = world.inspect("{{.Id}}");
    world.setup("--refresh").run().succeeds();
    assert_eq!(world.inspect("{{.Id}}"), id);
    // Another one is put on top.
    let agent = world.project.tool("womm-agent", "another\n");
    world.setup("--refresh").env("WOMM_AGENT", agent).run().succeeds();
    assert_eq!(layers(&world), first + 2);
    assert_eq!(tool("docker", ["run", "--rm", &name, "cat", "/usr/local/libexec/womm-agent"]), "another\n");
    assert_eq!(tool("docker", ["run", "--rm", &name, "cat", "/opt/file"]), "first\n");
    world.setup("--refresh").run().succeeds();
    world.job("cat /opt/file").succeeds().writes("first\n");
    world.only_the_image_was_made();

    let mut terminal = world.terminal("--share bind --fresh");
    terminal.until("base image for your");
    terminal.until(&format!("[{}] > ", world.base()));
    terminal.keys("\n");
    prompt(&mut terminal);
    assert_eq!(run(&mut terminal, "ls /opt; echo -$FIRST-"), "--\r\n");
    it_works(terminal);
    assert_eq!(layers(&world), first);
    world.only_the_image_was_made();
    // Unattended it is the same.
    world.setup("--yes --env THIRD=3").run().succeeds();
    world.job("echo $THIRD").succeeds().writes("3\n");
    world.setup("--yes --fresh").run().succeeds();
    world.job("echo -$THIRD-").succeeds().writes("--\n");
    world.only_the_image_was_made();
}

#[test]
fn an_image_that_is_gone_is_made_again() {
    let world = World::new();
    world.setup(&format!("--yes --engine docker --base {}", world.base())).run().succeeds();
    let name = world.image();
    tool("docker", ["image", "rm", &name]);
    world.setup("--refresh").run().refuses(3, &[&name, "is gone"]);
    let run = world.setup("--yes").run();
    run.succeeds().holds("it is said", run.stderr.contains("is gone: starting from a base image"));
    assert_eq!(world.image(), name);
    world.only_the_image_was_made();
}
