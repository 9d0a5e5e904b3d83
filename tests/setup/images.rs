//! Base images that are not a plain Debian, and what is installed in them.

use crate::world::{World, it_works, prompt, run};
use harness::{screen, tool};

#[test]
fn one_that_has_nothing_but_busybox() {
    let world = World::busybox().for_audrey();
    let mut terminal = world.shell("");
    let said =
        run(&mut terminal, "id -u; cd /tmp; export FOUND=it; echo x | sudo tee /bin/made >/dev/null; sudo id -u");
    assert!(said.ends_with("0\r\n"), "{said}");
    terminal.keys("exit\n");
    terminal.answer("It has no package manager", "n\n");
    prompt(&mut terminal);
    assert_eq!(run(&mut terminal, "pwd; echo $FOUND; cat /bin/made"), "/tmp\r\nit\r\nx\r\n");
    let seen = it_works(terminal);
    world.shows("busybox.txt", &seen);
    world.only_the_image_was_made();
    let run = ["run", "--rm", &world.image(), "/bin/sh", "-c", "cat /bin/made; echo $FOUND"];
    assert_eq!(tool("docker", run), "x\nit\n");
}

#[test]
fn one_with_a_user_a_volume_and_more() {
    let more = "RUN useradd www && mkdir /data\nVOLUME /data\nUSER www\nENTRYPOINT [\"/bin/cat\"]\nCMD [\"/etc/hostname\"]\n\
                HEALTHCHECK CMD touch /tmp/checked\nSTOPSIGNAL SIGUSR1\nEXPOSE 80\nENV OF_IMAGE=yes\n";
    let world = World::on(more);
    let mut terminal = world.shell("");
    let said = run(&mut terminal, "id -u; echo $OF_IMAGE; sudo touch /opt/made; ls /tmp/checked 2>/dev/null");
    assert_eq!(said, format!("{}\r\nyes\r\n", rustix::process::getuid().as_raw()));
    let container = &world.containers()[0];
    let volume = "{{range .Mounts}}{{if eq .Destination \"/data\"}}{{.Name}}{{end}}{{end}}";
    let volume = tool("docker", ["inspect", "--format", volume, container]);
    assert_eq!(tool("docker", ["volume", "ls", "--quiet", "--filter", &format!("name={}", volume.trim())]), volume);
    it_works(terminal);
    world.only_the_image_was_made();
    assert_eq!(tool("docker", ["volume", "ls", "--quiet", "--filter", &format!("name={}", volume.trim())]), "");
    let base = |format: &str| tool("docker", ["image", "inspect", "--format", format, world.base()]).trim().to_owned();
    for format in ["User", "Entrypoint", "Cmd", "Healthcheck", "StopSignal", "ExposedPorts", "Volumes"] {
        let format = format!("{{{{json .Config.{format}}}}}");
        assert_eq!(world.inspect(&format), base(&format), "{format}");
    }
    world.job("echo $OF_IMAGE; ls /opt").succeeds().writes("yes\nmade\n");
}

#[test]
fn one_that_lacks_perl_which_is_installed_with_apt_get() {
    let world = World::on("RUN rm /usr/bin/perl").for_audrey();
    let mut terminal = world.shell("");
    run(&mut terminal, "sudo apt-get update -qq");
    let said = run(&mut terminal, "sudo apt-get install -qq --yes hello; echo status $?");
    assert!(said.ends_with("status 0\r\n"), "{said}");
    terminal.keys("exit\n");
    terminal.answer("Install it with apt-get? y/n", "y\n");
    terminal.answer("Does it work? y/n", "y\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 0, "{seen}");
    assert!(!seen.contains("still lacks"), "{seen}");
    let text = screen::without(&world.text(&seen), "sudo apt-get", "prompt> exit");
    let text = screen::without(&text, "[y] > y", "Does it work?");
    screen::is("setup/screens/perl.txt", text.trim_end_matches("…\n"));
    world.only_the_image_was_made();
    world
        .job("hello; perl -e 'print \"perl\\n\"'; ls /var/lib/apt/lists | wc -l")
        .succeeds()
        .writes("Hello, world!\nperl\n0\n");
}

#[test]
fn one_without_a_shell_is_refused() {
    let world = World::on("RUN rm -f /bin/bash /bin/dash /bin/sh");
    let words = format!("--engine docker --share bind --base {}", world.base());
    let (code, seen) = world.terminal(&words).finish();
    assert!(code == 3 && seen.contains("the image has no shell"), "{seen}");
    world.nothing_was_made();
}
