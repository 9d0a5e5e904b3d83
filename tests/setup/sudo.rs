//! `sudo` in the shell: root's powers without a program that has them.

use crate::world::{World, answer, run, throw_away, until_stopped};
use harness::tool;

#[test]
fn commands_run_as_root_and_end_as_they_do() {
    let world = World::new().for_audrey();
    let mut terminal = world.shell("");
    let said = run(
        &mut terminal,
        "sudo id -u; sudo sh -c 'exit 7'; echo $?; sudo sh -c 'kill -KILL $$'; echo $?; sudo nothing-here; echo $?",
    );
    assert!(said.contains("0\r\n7\r\n") && said.contains("137\r\n") && said.ends_with("1\r\n"), "{said}");
    assert!(said.contains("sudo: nothing-here: command not found"), "{said}");
    // What can't be a command is refused, and nothing else happens.
    let said = run(&mut terminal, "sudo ''; echo $?; sudo '' x 2>&1 | cat; sudo -u nobody ''; echo $?");
    let refused = "sudo: the command's name is empty\r\n";
    assert_eq!(said, format!("{refused}1\r\n{refused}{refused}1\r\n"));
    // Pipes and files are passed on as they are.
    let said = run(
        &mut terminal,
        "echo a | sudo cat | tr a b; sudo sh -c 'echo err >&2' 2>&1 >/dev/null | tr r R; sudo cat </etc/hostname | wc -l",
    );
    assert_eq!(said, "b\r\neRR\r\n1\r\n");
    let said = run(
        &mut terminal,
        "X=1 sudo env | grep -c ^X=1; sudo Y=2 sh -c 'echo $Y $HOME $USER $SUDO_USER'; sudo -E sh -c 'echo $HOME'",
    );
    let (home, user) =
        (world.project.home(), if rustix::process::getuid().is_root() { "audrey" } else { world.project.user() });
    assert_eq!(said, format!("1\r\n2 /root root {user}\r\n{}\r\n", home.display()));
    let said = run(
        &mut terminal,
        "cd /tmp; sudo -s pwd; sudo -i pwd; sudo -u nobody id -un; sudo -v && echo fine; sudo; echo $?",
    );
    assert!(said.starts_with("/tmp\r\n/root\r\nnobody\r\nfine\r\nsudo: ") && said.ends_with("1\r\n"), "{said}");
    let said = run(
        &mut terminal,
        "sudo sh -c 'echo extra:x:777:nobody >>/etc/group'; sudo -u nobody id -G; sudo -u nobody id -G | cat; sudo -l id -u; \
         sudo -l no-such-command; echo $?; sudo -b true; echo $?",
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..3], ["65534 777", "65534 777", "/usr/bin/id -u"], "{said}");
    assert_eq!(lines[3..5], ["sudo: no-such-command: command not found", "1"], "{said}");
    assert_eq!(lines[5..], ["sudo: -b is no option here: see sudo --help", "1"], "{said}");
    // What it starts in the background stays, as a service would.
    let said = run(
        &mut terminal,
        "sudo sh -c 'sleep 1000 >/dev/null 2>&1 & echo $!' >pid; sudo kill -0 $(cat pid) && echo lives",
    );
    assert_eq!(said, "lives\r\n");
    // What package managers download is not in memory, and goes with the container.
    let said = run(
        &mut terminal,
        "stat -f -c %T /var/cache/apt /var/lib/apt/lists | grep -c tmpfs; sudo touch /var/lib/apt/lists/made; echo $?",
    );
    assert_eq!(said, "0\r\n0\r\n");
    let volumes = "{{range .Mounts}}{{if eq .Type \"volume\"}}{{println .Name}}{{end}}{{end}}";
    let volumes = tool("docker", ["inspect", "--format", volumes, &world.containers()[0]]);
    assert_eq!(volumes.trim().lines().count(), 2, "{volumes}");
    // The host's files stay as they are, those of file systems that are mounted somewhere in it too.
    let there = format!("dev/shm/{}", world.project.mark());
    let said = run(&mut terminal, &format!("sudo touch /mnt/{there} 2>/dev/null || echo no"));
    assert!(said == "no\r\n" && !std::path::Path::new("/").join(&there).exists(), "{said}");
    // Nobody else may ask.
    let said = run(&mut terminal, "sudo -u nobody sudo id -u || echo refused");
    assert!(said.ends_with("refused\r\n"), "{said}");
    throw_away(terminal);
    world.nothing_was_made();
    let there = tool("docker", ["volume", "ls", "--quiet"]);
    assert!(!there.lines().any(|name| volumes.contains(name)), "{there}");
}

#[test]
fn its_terminal_is_the_users() {
    let world = World::new().for_audrey();
    let mut terminal = world.shell("");
    let said = run(&mut terminal, "sudo sh -c 'tty; stty size; : </dev/tty && echo mine'");
    assert_eq!(said, "/dev/pts/1\r\n33 101\r\nmine\r\n");
    // ^C is the command's.
    terminal.keys("sudo sh -c \"echo be''gin; exec sleep 1000\"\n");
    terminal.until("begin");
    terminal.keys("\x03");
    terminal.until("prompt> ");
    assert_eq!(run(&mut terminal, "echo $?"), "130\r\n");
    // ^Z stops it for the shell, which lets it go on.
    terminal.keys("sudo sh -c \"echo be''gin; exec cat\"\n");
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
    // A root's shell with jobs of its own, and a size that changes.
    terminal.keys("sudo bash --norc\n");
    terminal.until("# ");
    terminal.keys("PS1='root''> '\n");
    terminal.until("root> ");
    terminal.resize(50, 120);
    terminal.keys("until [ \"$(stty size)\" = '50 120' ]; do sleep 0.1; done; echo resi''zed\n");
    terminal.until("resized");
    terminal.keys("sh -c \"echo be''gin; exec sleep 1000\"\n");
    terminal.until("begin");
    terminal.keys("\x1a");
    terminal.until("Stopped");
    terminal.until("root> ");
    terminal.keys("fg\n");
    terminal.until("exec sleep");
    terminal.keys("\x03");
    terminal.until("root> ");
    terminal.keys("exit 5\n");
    terminal.until("prompt> ");
    assert_eq!(run(&mut terminal, "echo $?"), "5\r\n");
    // What goes on writing into its terminal does not keep it from ending.
    terminal.keys("sudo sh -c 'trap \"\" HUP; yes & sleep 0.1'; echo en''ded $?\n");
    terminal.until("ended 0");
    terminal.until("prompt> ");
    // Without a terminal on both sides, signals are passed on.
    terminal.keys("sudo sh -c \"echo be''gin >&2; exec sleep 1000\" | cat\n");
    terminal.until("begin");
    terminal.keys("\x03");
    terminal.until("prompt> ");
    assert_eq!(run(&mut terminal, "sudo true; echo $?"), "0\r\n");
    throw_away(terminal);
    world.nothing_was_made();
}

/// What is missing is installed as root, by a question's option, with the shell and without one.
#[test]
fn what_is_missing_is_installed_without_a_question() {
    let world = World::on("RUN rm /usr/bin/perl && useradd www\nUSER www");
    let mut terminal = world.shell("--install");
    terminal.keys("exit\n");
    answer(&mut terminal, "Does it work? y/n", "\x04");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 1, "{seen}");
    let asked = ["Install it with", "still lacks", "apt-get failed"].into_iter().find(|words| seen.contains(words));
    assert!(seen.contains("The image lacks perl") && asked.is_none(), "{seen}");
    // The shell that was kept is not asked about either.
    until_stopped(&world.containers()[0]);
    let words = format!("--yes --engine docker --share bind --install --discard --base {}", world.base());
    let run = world.setup(&words).run();
    run.succeeds().holds("nothing is missing", !run.stderr.contains("lacks"));
    world.only_the_image_was_made();
    assert_eq!(world.inspect("{{.Config.User}}"), "www");
    world.job("perl -e 'print \"perl\\n\"'; ls /var/lib/apt/lists | wc -l").succeeds().writes("perl\n0\n");
}
