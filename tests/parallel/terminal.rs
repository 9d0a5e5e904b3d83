//! `womm ssh w001` as a terminal: its size, its keys, an editor; in a terminal of the tests' own, and in tmux.

use crate::case::Case;
use crate::others::{close, open_run};
use harness::{LONG, Project, Running, Terminal, until};

/// A shell in the pod, at its prompt.
fn shell(case: &Case) -> (Running, Terminal) {
    let run = open_run(case.project());
    let mut terminal = Terminal::start(case.project().ssh().arg("w001"), 33, 101);
    terminal.until_any(&["# ", "$ "]);
    // Its prompt is whatever the image says; what the shell writes itself is not on the line that is typed.
    terminal.keys("PS1='prompt''> '\n");
    terminal.until("prompt> ");
    (run, terminal)
}

fn leave(run: Running, mut terminal: Terminal) {
    terminal.keys("exit 5\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 5, "{seen}");
    close(run);
}

#[test]
fn its_size() {
    let case = Case::new("womm ssh w001: resize");
    let (run, mut terminal) = shell(&case);
    terminal.keys("tty; echo size $(stty size) $TERM\n");
    terminal.until("/dev/pts/");
    terminal.until("size 33 101 xterm");
    terminal.until("prompt> ");
    // Not bash, which keeps a trap for later while it reads a line.
    let waits = "trap 'echo si\"\"gnal; exit' WINCH; echo rea\"\"dy; while :; do sleep 0.1; done";
    terminal.keys(&format!("sh -c \"{}\"\n", waits.replace('"', "\\\"")));
    terminal.until("ready");
    terminal.resize(44, 122);
    terminal.until("signal");
    terminal.until("prompt> ");
    terminal.keys("echo size $(stty size)\n");
    terminal.until("size 44 122");
    leave(run, terminal);
}

#[test]
fn interrupted() {
    let case = Case::new("womm ssh w001: ^C");
    let (run, mut terminal) = shell(&case);
    // One process that is in the foreground before it says so: ^C is not to meet bash between two commands.
    terminal.keys("sh -c \"echo be''gin; exec sleep 1000\"\n");
    terminal.until("begin");
    terminal.keys("\x03");
    terminal.until("prompt> ");
    terminal.keys("echo st''atus $?\n");
    terminal.until("status 130");
    leave(run, terminal);
}

#[test]
fn stopped_and_continued() {
    let case = Case::new("womm ssh w001: ^Z, fg");
    let (run, mut terminal) = shell(&case);
    terminal.keys("sh -c \"echo be''gin; exec cat\"\n");
    terminal.until("begin");
    terminal.keys("\x1a");
    terminal.until("Stopped");
    terminal.until("prompt> ");
    terminal.keys("jobs; echo st''ill here\n");
    terminal.until("still here");
    terminal.keys("fg; echo st''atus $?\n");
    terminal.until("exec cat"); // bash says what it continues
    terminal.keys("typed\n");
    terminal.until("typed\r\ntyped");
    terminal.keys("\x04");
    terminal.until("status 0");
    leave(run, terminal);
}

#[test]
fn an_editor() {
    let case = Case::new("womm ssh w001: vi");
    let (run, mut terminal) = shell(&case);
    terminal.keys("vi /tmp/edited\n");
    terminal.until("/tmp/edited");
    terminal.keys("ifirst lime\x1b0wcwline\x1bosecond\x1b");
    terminal.until("second");
    // Its screen is as large as the terminal is now.
    terminal.resize(20, 60);
    // The size travels beside the keys: asked until it has arrived.
    until(LONG, "the new size", || {
        terminal.keys(":set lines?\r");
        terminal.until("lines=");
        terminal.until_any(&["20", "33"]);
        terminal.seen().contains("lines=20").then_some(())
    });
    terminal.keys(":wq\r");
    terminal.until("prompt> ");
    let text = case.project().ssh().words("w001 cat /tmp/edited").run();
    text.succeeds().writes("first line\nsecond\n");
    leave(run, terminal);
}

/// A tmux server of the test's own, with one window.
struct Tmux<'a>(&'a Project);

impl Tmux<'_> {
    fn run(&self, args: &[&str]) -> String {
        let tmux = self.0.cmd("tmux").env("TMUX_TMPDIR", self.0.tmp()).env("TERM", "xterm");
        tmux.words("-u -L test -f /dev/null").args(args).run().succeeds().text().to_owned()
    }

    fn types(&self, line: &str) {
        self.run(&["send-keys", "-l", line]);
        self.run(&["send-keys", "Enter"]);
    }

    fn screen(&self) -> Vec<String> {
        self.run(&["capture-pane", "-p"]).lines().map(str::to_owned).collect()
    }

    /// Waits until a line of the screen is this.
    #[track_caller]
    fn shows(&self, wanted: &str) {
        let mut screen = Vec::new();
        let shown = || {
            screen = self.screen();
            screen.iter().any(|line| line == wanted).then_some(())
        };
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| until(LONG, "the line", shown)));
        assert!(waited.is_ok(), "no line is {wanted:?}:\n{}", screen.join("\n"));
    }
}

#[test]
fn in_tmux() {
    let case = Case::new("womm ssh w001: in tmux");
    let project = case.project();
    let run = open_run(project);
    let tmux = Tmux(project);
    // A busy tmux may forget the status of a pane: the shell there says it.
    tmux.run(&["new-session", "-d", "womm ssh w001; echo left $?; exec sleep 1000", ";", "set", "-g", "status", "off"]);
    tmux.run(&["resize-window", "-x", "101", "-y", "33"]);
    // Before that, keys might be lost.
    until(LONG, "its prompt", || tmux.screen().iter().any(|line| line.ends_with(['#', '$'])).then_some(()));
    tmux.types("PS1='prompt''> '; clear");
    tmux.shows("prompt>");
    tmux.types("echo size $(stty size)");
    tmux.shows("size 33 101");
    tmux.types("sh -c \"echo be''gin; exec sleep 1000\"");
    tmux.shows("begin");
    tmux.run(&["send-keys", "C-c"]);
    tmux.shows("prompt>");
    tmux.types("code=$?; clear; echo st''atus $code; sh -c \"echo be''gin; exec cat\"");
    tmux.shows("status 130");
    tmux.shows("begin");
    tmux.run(&["send-keys", "C-z"]);
    tmux.shows("prompt>");
    tmux.types("clear; fg; echo st''atus $?");
    tmux.shows("sh -c \"echo be''gin; exec cat\""); // bash says what it continues
    tmux.types("typed");
    tmux.run(&["send-keys", "C-d"]);
    tmux.shows("status 0");
    // The editor draws its screen anew when it is resized: a line below all text is a tilde.
    tmux.types("vi /tmp/edited");
    tmux.shows("~");
    tmux.run(&["send-keys", "-l", "ifirst line\nsecond"]);
    tmux.shows("second");
    tmux.run(&["send-keys", "Escape"]);
    tmux.run(&["resize-window", "-x", "60", "-y", "20"]);
    until(LONG, "the editor's screen of 20 lines", || {
        let screen = tmux.screen();
        (screen.len() == 20 && screen[2..19].iter().all(|line| line == "~")).then_some(())
    });
    tmux.types(":wq");
    tmux.shows("prompt>");
    project.ssh().words("w001 cat /tmp/edited").run().succeeds().writes("first line\nsecond\n");
    tmux.types("exit 5");
    tmux.shows("left 5");
    tmux.run(&["kill-server"]);
    close(run);
}
