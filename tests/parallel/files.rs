//! Files that travel with jobs, where nothing is shared.

use crate::case::{Case, Side, tree};
use harness::{Cmd, Project};
use std::fs;

/// Each side in a folder of its own that holds these.
fn prepare(project: &Project, cmd: Cmd, side: &Side) -> Cmd {
    let folder = side.at("folder");
    fs::create_dir_all(folder.join("deep")).unwrap();
    for (name, content) in [("a", "one\n"), ("b", "two\n"), ("deep/c", "three\n"), ("base", "of all\n")] {
        fs::write(folder.join(name), content).unwrap();
    }
    // Of another folder, so that both sides have one.
    fs::copy(project.at(".womm"), folder.join(".womm")).unwrap();
    cmd.cwd(folder)
}

/// The same words on both sides, one host, in order; the same files afterwards, whose names are returned.
#[track_caller]
fn travel(name: &'static str, code: i32, words: &str, job: &str, inputs: &str, stdout: &str) -> Vec<String> {
    let case = Case::on_one_host(name);
    case.share_nothing();
    let both = case
        .same(code, |cmd, side| prepare(case.project(), cmd, side).words(words).words("-k --").arg(job).words(inputs));
    both.real.writes(stdout);
    let [real, ours] = both.files("folder");
    assert_eq!(real, ours, "the same files are here afterwards");
    ours.into_iter().map(|(name, _)| name).filter(|name| name != ".womm").collect()
}

const ALL: [&str; 4] = ["a", "b", "base", "deep/c"];

#[test]
fn there() {
    let seen = travel("--transferfile", 0, "--transferfile {}", "cat {}", "::: a deep/c", "one\nthree\n");
    assert_eq!(seen, ALL);
    let words = "--transferfile {1} --transferfile {2}";
    travel("--transferfile, several", 0, words, "cat {1} {2}", "::: a b ::: deep/c", "one\nthree\ntwo\nthree\n");
}

#[test]
fn one_that_is_missing() {
    let case = Case::on_one_host("--transferfile, missing");
    case.share_nothing();
    let both = case.same(0, |cmd, side| {
        prepare(case.project(), cmd, side)
            .words("--transferfile {} -k --")
            .arg("[ -e {} ] || echo no {}")
            .words("::: a none")
    });
    both.say("none is not readable").real.writes("no none\n");
}

#[test]
fn back() {
    let words = "--transferfile {} --return {}.out --return deep/{/}.err";
    let job = "mkdir -p deep; tr a-z A-Z <{} >{}.out; echo {} >deep/{/}.err";
    let seen = travel("--return", 0, words, job, "::: a deep/c", "");
    assert_eq!(seen, ["a", "a.out", "b", "base", "deep/a.err", "deep/c", "deep/c.err", "deep/c.out"]);
}

/// The second job looks for what the first has left.
#[test]
fn away_afterwards() {
    let job = "find . -type f | sort; cp {} {}.out";
    let words = "--transferfile {} --return {}.out --cleanup";
    let seen = travel("--cleanup", 0, words, job, "::: a deep/c", "./a\n./deep/c\n");
    assert_eq!(seen, ["a", "a.out", "b", "base", "deep/c", "deep/c.out"]);
    let words = "--transferfile {} --return {}.out";
    travel("no --cleanup", 0, words, job, "::: a b", "./a\n./a\n./a.out\n./b\n");
}

#[test]
fn all_three() {
    let seen = travel("--trc", 0, "--trc {}.out", "find . -type f; cp {} {}.out", "::: a b", "./a\n./b\n");
    assert_eq!(seen, ["a", "a.out", "b", "b.out", "base", "deep/c"]);
}

#[test]
fn once_for_all_jobs() {
    travel("--basefile", 0, "--basefile base", "cat base; rm base; : >>base", "::: a b", "of all\n");
    let words = "--basefile base --transferfile {} --cleanup";
    travel("--basefile --cleanup", 0, words, "cat base {}", "::: a b", "of all\none\nof all\ntwo\n");
}

#[test]
fn on_two_hosts_in_folders_of_their_own() {
    let case = Case::new("--wd ... --trc");
    case.share_nothing();
    let both = case.same(0, |cmd, side| {
        prepare(case.project(), cmd, side)
            .words("--wd ... --trc {}.out -k --")
            .arg("cat {} >{}.out; ls")
            .words("::: a b")
    });
    both.real.writes("a\na.out\nb\nb.out\n");
    let [real, ours] = both.files("folder");
    assert_eq!(real, ours);
    assert!(ours.iter().any(|(name, content)| name == "b.out" && content == b"two\n"), "{ours:?}");
    assert_eq!(tree(&case.project().root().join("remote")), [], "the stand-in has cleaned up too, so it is comparable");
}

#[test]
fn that_are_large() {
    let case = Case::on_one_host("--transferfile and --return of 20 MB");
    case.share_nothing();
    let noise = "perl -e 'srand 5; print pack \"N*\", map {int rand 2**32} 1 .. 65536 for 1 .. 80'";
    let big = case.project().sh(noise).run().stdout;
    case.project().write("big", &big);
    let run =
        case.ours().words("--transferfile {} --return {}.gz --cleanup --").arg("gzip -1 -k {}").words("::: big").run();
    run.succeeds().quiet_task();
    case.project().cmd("gzip").words("-dc big.gz").run().succeeds().writes(&big);
}
