//! `womm`: the dispatcher, and what `womm parallel` and `womm shell` say of themselves.

use harness::Project;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn help_names_the_commands() {
    let project = Project::without_engine();
    for words in [&["--help"][..], &["-h"], &["help"], &[]] {
        let help = project.womm().args(words).run();
        help.succeeds().holds("stderr is empty", help.stderr.is_empty());
        for word in [
            "Usage: womm [cmd] [parameters]",
            "setup",
            "parallel",
            "shell",
            "doctor",
            "clear-prefix",
            "2 for a command",
        ] {
            help.holds(&format!("it names {word}"), help.text().contains(word));
        }
        help.holds("what is for other programs is left out", !help.text().contains("ssh"));
    }
}

#[test]
fn the_version_is_the_one_of_the_other_programs() {
    let expected = format!("womm {}\n", womm_wire::names::VERSION);
    Project::without_engine().womm().arg("--version").run().succeeds().writes(expected);
}

#[test]
fn help_of_a_command() {
    let project = Project::without_engine();
    for (command, words) in [
        ("parallel", &["Usage: womm parallel [options] -- [command]", "--kube-pods N", "Exit status", "125"][..]),
        ("shell", &["Usage: womm shell", "--local", "Exit status", "255"]),
        ("setup", &["--base", "--engine", "Exit status"]),
        ("doctor", &["Usage: womm doctor", "--json", "Exit status"]),
        ("clear-prefix", &["Usage: womm clear-prefix", ".womm_prefix"]),
        ("ssh", &["Usage:", "HOST", "255"]),
    ] {
        let help = project.womm().args([command, "--help"]).run();
        help.succeeds().holds("stderr is empty", help.stderr.is_empty());
        for word in words {
            help.holds(&format!("it names {word}"), help.text().contains(word));
        }
    }
}

#[test]
fn help_is_short_enough_for_a_terminal() {
    let project = Project::without_engine();
    let help = project.womm().words("parallel --help").run();
    help.holds("no line is longer than 120", help.text().lines().all(|line| line.len() <= 120));
}

#[test]
fn it_finds_its_programs_through_links() {
    let project = Project::without_engine();
    let folder = project.root().join("links");
    fs::create_dir(&folder).unwrap();
    symlink(harness::project::programs().join("womm"), folder.join("womm")).unwrap();
    symlink("womm", folder.join("womm again")).unwrap();
    let path = std::env::var("PATH").unwrap();
    project.cmd(folder.join("womm again")).env("PATH", path).words("parallel --help").run().succeeds();
}

#[test]
fn the_prefix_is_forgotten() {
    let project = Project::without_engine();
    let file = project.home().join(".womm_prefix");
    fs::write(&file, "r.io/me/\n").unwrap();
    project.womm().arg("clear-prefix").run().succeeds().writes("");
    assert!(!file.exists());
    project.womm().arg("clear-prefix").run().succeeds();
    project.womm().words("clear-prefix now").run().refuses(2, &["now"]);
}

#[test]
fn a_closed_stdin_or_stdout_does_no_harm() {
    let project = Project::without_engine();
    project.sh("womm parallel --kube-pods 1 -- true <&- >&-").run().refuses(2, &["womm setup"]);
    project.sh("womm --help >/dev/full; [ $? -ne 0 ] || echo 'a full disk is no success'").run().writes("");
}
