//! The shell: a terminal as any other, the user as they are here, the folder and the host's files.

use crate::world::{World, it_works, prompt, run, throw_away};
use harness::audrey;
use rustix::process::{getgid, getuid};
use std::fs;
use std::os::unix::fs::MetadataExt;

#[test]
fn a_terminal_as_any_other() {
    let world = World::new();
    let mut terminal = world.shell("");
    let said = run(&mut terminal, "tty; stty size; echo $TERM");
    assert_eq!(said, "/dev/pts/0\r\n33 101\r\nxterm\r\n");
    terminal.resize(44, 122);
    // The size travels beside the keys: asked until it has arrived.
    run(&mut terminal, "until [ \"$(stty size)\" = '44 122' ]; do sleep 0.1; done");
    // ^C, one process that is in the foreground before it says so.
    terminal.keys("sh -c \"echo be''gin; exec sleep 1000\"\n");
    terminal.until("begin");
    terminal.keys("\x03");
    terminal.until("prompt> ");
    assert_eq!(run(&mut terminal, "echo $?"), "130\r\n");
    // ^Z and fg
    terminal.keys("sh -c \"echo be''gin; exec cat\"\n");
    terminal.until("begin");
    terminal.keys("\x1a");
    terminal.until("Stopped");
    terminal.until("prompt> ");
    terminal.keys("fg\n");
    terminal.until("exec cat");
    terminal.keys("typed\n");
    terminal.until("typed\r\ntyped");
    terminal.keys("\x04");
    terminal.until("prompt> ");
    // Keys that Docker would keep for itself, and bytes that a library would take for its own.
    terminal.keys("sh -c \"stty raw -echo; echo g''o; head -c 4 | od -An -tx1; stty sane\"\n");
    terminal.until("go");
    terminal.keys("\x10\x11\x00\x10");
    terminal.until("10 11 00 10");
    terminal.until("prompt> ");
    let said = run(&mut terminal, "printf '\\001\\002\\000x'; head -c 300000 /dev/zero | tr '\\0' z; echo");
    assert!(said.starts_with("\x01\x02\x00xzzz") && said.len() == 300_006, "{}", said.len());
    throw_away(terminal);
    world.nothing_was_made();
}

#[test]
fn the_users_own_terminal_is_as_it_was_afterwards() {
    let world = World::new();
    let mut terminal = harness::Terminal::start(world.cmd("bash").words("--norc --noprofile -i"), 24, 100);
    terminal.keys("PS1='here''> '\n");
    terminal.until("here> ");
    let base = world.base();
    terminal.keys(&format!("stty -g >/$TMPDIR/before; womm setup --engine docker --share bind --base {base}\n"));
    prompt(&mut terminal);
    terminal.keys("exit\n");
    terminal.answer("Does it work? y/n", "*\n");
    terminal.until("here> ");
    terminal.keys("stty -g >$TMPDIR/after; cmp $TMPDIR/before $TMPDIR/after && echo the sa''me\n");
    terminal.until("the same");
    terminal.keys("exit\n");
    terminal.finish();
    world.nothing_was_made();
}

/// Where it is told who a user is who has another name in the image, and whose paths have spaces.
#[test]
fn the_user_is_who_they_are_here() {
    let (uid, gid) = if getuid().is_root() { audrey::IDS } else { (getuid().as_raw(), getgid().as_raw()) };
    let world = World::on(&format!(
        "RUN echo 'ubuntu:x:{uid}:{uid}::/home/ubuntu:/bin/sh' >>/etc/passwd && echo 'crew:x:4444:' >>/etc/group"
    ));
    let folder = world.project.at("my project");
    let home = world.project.root().join("a home");
    let world = world.within(&folder).at_home_in(&home).for_audrey();
    fs::write(folder.join("made-here"), "of the host\n").unwrap();
    let words = format!("--engine docker --share bind --base {}", world.base());
    let mut terminal = harness::Terminal::start(world.setup(&words), 33, 101);
    prompt(&mut terminal);
    let name = if getuid().is_root() { "audrey" } else { world.project.user() };
    let said = run(&mut terminal, "id -u; id -g; whoami; echo $USER $LOGNAME; echo ~; pwd; cat made-here");
    let lines: Vec<_> = said.lines().collect();
    let expected = [&uid.to_string(), &gid.to_string(), name, &format!("{name} {name}")];
    assert_eq!(lines[..4], expected, "{said}");
    assert_eq!(lines[4..], [home.to_str().unwrap(), folder.to_str().unwrap(), "of the host"], "{said}");
    let said = run(&mut terminal, "sudo id -un; sudo -u ubuntu id -u; ls -l /dev/pts/0 | cut -d ' ' -f 3");
    assert_eq!(said, format!("root\r\n{uid}\r\n{name}\r\n"));
    if getuid().is_root() {
        let said = run(&mut terminal, "id -Gn");
        assert!(said.contains("crew"), "{said}");
    }
    let said = run(&mut terminal, "touch \"$HOME/mine\" made-there && echo yes; touch /etc/mine || echo no");
    assert!(said.starts_with("yes\r\n") && said.ends_with("no\r\n"), "{said}");
    // The host's files are there to be read, even for root.
    let said =
        run(&mut terminal, &format!("cat \"/mnt{}/made-here\"; sudo touch /mnt/made || echo no", folder.display()));
    assert!(said.starts_with("of the host\r\n") && said.ends_with("no\r\n"), "{said}");
    let seen = it_works(terminal);
    assert!(seen.contains("wrote "), "{seen}");
    assert_eq!(fs::metadata(folder.join("made-there")).unwrap().uid(), uid, "what is made there is the user's here");
    world.only_the_image_was_made();
    let run = world.cmd("womm").words("parallel --kube-pods 1 -n0 --");
    let run = run.arg("whoami; ls -A \"$HOME\"; pwd").words("::: 1").run();
    run.succeeds().holds("who and where they were", run.text().ends_with(&format!("{}\n", folder.display())));
    run.holds("with what they made", run.text().starts_with(&format!("{name}\n")) && run.text().contains("mine\n"));
}

#[test]
fn what_works_is_what_jobs_find() {
    let world = World::new().for_audrey();
    let mut terminal = world.shell("--env GIVEN=here");
    run(
        &mut terminal,
        "echo 'echo tool' | sudo tee /usr/local/bin/tool >/dev/null; sudo chmod 755 /usr/local/bin/tool; : typed-secret",
    );
    run(&mut terminal, "export EXPORTED='two  words, a \"quote\"'$'\\n''and $HOME'; NOT=exported");
    run(&mut terminal, "greet() { echo hello \"$1\"; }; export -f greet; export PATH=$PATH:/opt/bin");
    run(&mut terminal, "mkdir made-sub; cd made-sub; history -w");
    terminal.keys("exit\n");
    // Back in it, all is as it was.
    terminal.answer("Does it work? y/n", "what\n");
    terminal.answer("\"what\" is neither y nor n", "n\n");
    prompt(&mut terminal);
    let said = run(&mut terminal, "tool; greet again; pwd; echo \"$EXPORTED$NOT\"");
    let expected = format!(
        "tool\r\nhello again\r\n{}/made-sub\r\ntwo  words, a \"quote\"\r\nand $HOME\r\n",
        world.folder().display()
    );
    assert_eq!(said, expected);
    terminal.keys("exit\n");
    terminal.answer("Does it work? y/n", "\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 0, "{seen}");
    world.shows("it-works.txt", &seen);
    world.only_the_image_was_made();

    let job = world.job("tool; echo \"$EXPORTED\"; echo $GIVEN; bash -c 'greet job'; env | grep -c '^\\(PATH=.*womm\\|HISTFILE\\|WOMM\\|SUDO\\)'; pwd");
    let expected =
        format!("tool\ntwo  words, a \"quote\"\nand $HOME\nhere\nhello job\n0\n{}\n", world.folder().display());
    job.succeeds().writes(expected);

    assert_eq!(
        world.inspect("{{.Config.StopSignal}}{{.Config.User}}{{.Config.Entrypoint}}"),
        "[]",
        "as the base has it"
    );
    assert_eq!(world.inspect("{{.Config.WorkingDir}}"), format!("{}/made-sub", world.folder().display()));
}

/// What was typed is not in the image; that nothing secret is, is looked at wherever an image was made.
#[test]
fn what_is_typed_is_kept_nowhere() {
    let world = World::new().for_audrey();
    let mut terminal = world.shell("");
    run(&mut terminal, ": typed-secret; history -w");
    for shell in ["sudo bash", "sudo -s", "sudo -i", "sudo -u nobody HOME=/tmp bash"] {
        terminal.keys(&format!("{shell}\n"));
        terminal.until("\r\n");
        terminal.until_any(&["# ", "$ "]);
        terminal.keys(": typed-secret; history -w\n");
        terminal.until("\r\n");
        terminal.until_any(&["# ", "$ "]);
        terminal.keys("exit\n");
        terminal.until("prompt> ");
    }
    it_works(terminal);
    world.only_the_image_was_made();
}
