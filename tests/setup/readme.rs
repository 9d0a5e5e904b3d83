//! README's first steps: typed as they are there, and what is there is what came. WOMM_UPDATE_README=1 writes it anew.

use crate::screen;
use crate::world::{World, answer};
use harness::Terminal;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- what tests/setup/readme.rs typed and saw -->\n";
const END: &str = "<!-- end of it -->\n";

/// Waits for the prompt of either shell, and types.
#[track_caller]
fn typed(terminal: &mut Terminal, prompt: &str, line: &str) {
    terminal.until(prompt);
    terminal.keys(&format!("{line}\n"));
    terminal.until("\r\n");
}

#[test]
fn its_first_steps_lead_to_the_first_result() {
    let world = World::new();
    let folder = world.project.home().join("supercool");
    let world = world.within(&folder).for_audrey();
    // No dircolors: a plain terminal, in which readline tells nothing about pasting either.
    let cmd = world.cmd("bash").words("--norc --noprofile -i").env("PS1", "$ ");
    let mut terminal = Terminal::start(cmd, 50, 200);
    typed(&mut terminal, "$ ", "womm setup");
    answer(&mut terminal, "Where do you want to run jobs?", "1\n");
    answer(&mut terminal, "How do you want to share", "\n");
    answer(&mut terminal, "base image", &format!("{}\n", world.base()));
    typed(&mut terminal, "$ ", "sudo apt-get -qq update");
    typed(&mut terminal, "$ ", "sudo apt-get -qq install hello");
    typed(&mut terminal, "$ ", "export GREETING=hey");
    typed(&mut terminal, "$ ", "hello --greeting=\"$GREETING\"");
    typed(&mut terminal, "$ ", "exit");
    answer(&mut terminal, "Does it work? y/n", "y\n");
    terminal.until("my machine");
    typed(&mut terminal, "$ ", "womm parallel -k --kube-pods 2 -- 'hello --greeting=\"$GREETING, {}\"' ::: you me");
    terminal.until("deleted");
    terminal.until("$ ");
    terminal.keys("exit\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 0, "{seen}");
    world.only_the_image_was_made();

    let text = shown(&screen::text(&world, &seen));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("README has the place for it");
    let (there, after) = rest.split_once(END).expect("and its end");
    let block: String = text.lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n").collect();
    let block = format!("\n{block}\n");
    if std::env::var_os("WOMM_UPDATE_README").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{block}{END}{after}")).unwrap();
        return;
    }
    assert!(there == block, "README has other steps than these; WOMM_UPDATE_README=1 writes them there:\n{block}");
}

/// Without what apt-get says, and without the end of the shell around it all.
fn shown(text: &str) -> String {
    let mut out = String::new();
    let mut eliding = false;
    for line in text.lines() {
        let prompts = line.contains("$ ");
        if eliding && !prompts {
            continue;
        }
        eliding = line.contains("apt-get -qq install");
        out.push_str(line);
        out.push('\n');
        if eliding {
            out.push_str("…\n");
        }
    }
    let end = out.rfind("$ exit\n").expect("how the test ended it");
    out[..end].to_owned()
}
