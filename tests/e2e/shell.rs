//! `womm shell`: with commands on stdin, and in a real terminal.

use harness::{Engine, Project, Terminal};

#[test]
fn commands_on_stdin_without_a_terminal() {
    let project = Engine::under_test().project();
    let run =
        project.womm().arg("shell").stdin("echo hello; uname -n; pwd\ntest -t 0 || echo no terminal\nexit 7\n").run();
    let task = run.exits(7).quiet_task();
    let lines: Vec<_> = run.text().lines().collect();
    run.holds("it runs them", lines.first() == Some(&"hello") && lines.last() == Some(&"no terminal"));
    run.holds("in a pod", lines[1].starts_with(&format!("womm-task-{task}-")));
    run.holds("in the folder", lines[2] == project.folder().to_str().unwrap());
    project.womm().arg("shell").stdin("false\n").run().exits(1);
    project.womm().arg("shell").stdin("kill -KILL $$\n").run().exits(137);
}

#[test]
fn large_binary_stdin_and_stdout() {
    let project = Engine::under_test().project();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let input = [&b"exec cat\n"[..], &bytes].concat();
    // A shell reads its commands byte by byte, so what follows them is cat's.
    project.womm().arg("shell").stdin(&input).run().succeeds().writes(&bytes);
}

/// Waits for the first prompt: the image's, of root or of another user.
fn prompt(terminal: &mut Terminal) {
    terminal.until(" created");
    terminal.until_any(&["# ", "$ "]);
}

/// A shell in a terminal of this size, at its first prompt.
fn shell(project: &Project, words: &str) -> Terminal {
    let mut terminal = Terminal::start(project.womm().words(words), 33, 101);
    prompt(&mut terminal);
    // Its prompt is whatever the image says; what the shell writes itself is not on the line that is typed.
    terminal.keys("PS1='prompt''> '\n");
    terminal.until("prompt> ");
    terminal
}

#[test]
fn a_terminal_is_one_in_the_pod_too() {
    let project = Engine::under_test().project();
    let mut terminal = shell(&project, "shell");
    terminal.keys("tty; echo size $(stty size); echo TERM is $TERM\n");
    terminal.until("/dev/pts/");
    terminal.until("size 33 101");
    terminal.until("TERM is xterm");
    terminal.until("prompt> ");
    terminal.resize(44, 122);
    // The size travels beside the keys: asked until it has arrived.
    terminal.keys("until [ \"$(stty size)\" = '44 122' ]; do sleep 0.1; done; echo resi''zed\n");
    terminal.until("resized");
    terminal.keys("exit 5\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 5, "{seen}");
    assert_eq!(seen.matches(" created").count(), 1, "{seen}");
    assert_eq!(seen.matches("\" deleted").count(), 1, "{seen}");
}

#[test]
fn keys_are_the_shells() {
    let project = Engine::under_test().project();
    let mut terminal = shell(&project, "shell");
    // One process that is in the foreground before it says so: ^C is not to meet bash between two commands.
    terminal.keys("sh -c \"echo be''gin; exec sleep 1000\"\n");
    terminal.until("begin");
    terminal.keys("\x03"); // ^C ends what runs in the pod, and neither the shell nor womm
    terminal.until("prompt> ");
    terminal.keys("echo $? is the st''atus\n");
    terminal.until("130 is the status");
    // What it waits for is not on the line that is typed: the terminal's echo of `line` must not come before it.
    terminal.keys("echo rea''dy; cat\n");
    terminal.until("ready\r\n");
    terminal.keys("line\n");
    terminal.until("line\r\nline");
    terminal.keys("\x04"); // ^D ends cat's stdin
    terminal.until("prompt> ");
    terminal.keys("\x04"); // and the shell's
    let (code, seen) = terminal.finish();
    assert_eq!(code, 0, "{seen}");
}

#[test]
fn the_users_terminal_is_as_it_was_afterwards() {
    let project = Engine::under_test().project();
    // A shell in the terminal, in which womm is a job as users have it.
    let mut terminal = Terminal::start(project.cmd("bash").words("--norc --noprofile -i"), 24, 80);
    terminal.keys("PS1='here''> '\n");
    terminal.until("here> ");
    terminal.keys("stty -g >before; womm shell; stty -g >after; cmp before after && echo the sa''me\n");
    prompt(&mut terminal);
    terminal.keys("exit\n");
    terminal.until("the same");
    terminal.keys("exit\n");
    terminal.finish();
}

#[test]
fn what_is_typed_before_the_shell_is_there_is_not_lost() {
    let project = Engine::under_test().project();
    let mut terminal = Terminal::start(project.womm().words("shell"), 24, 80);
    terminal.until(" created");
    terminal.keys("echo typed ahe''ad; exit 4\n");
    terminal.until("typed ahead");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 4, "{seen}");
}

#[test]
fn the_shell_of_this_machine() {
    let project = Engine::under_test().project();
    project.write("file", "the folder itself\n");
    let run = project.womm().words("shell --local").stdin("uname -n; cat file; exit 3\n").run();
    let task = run.exits(3).quiet_task();
    run.holds("in a container", run.text().starts_with(&format!("womm-task-{task}-")));
    run.holds("with the folder itself", run.text().ends_with("\nthe folder itself\n"));
    assert_eq!(Engine::Docker.left(project.root()), [], "whatever engine the project has");
}

#[test]
fn a_closed_terminal_ends_the_shell_and_its_pod() {
    let project = Engine::under_test().project();
    let mut terminal = shell(&project, "shell");
    terminal.keys("trap '' HUP TERM; sleep 1000\n");
    terminal.close();
    project.is_clean();
}
