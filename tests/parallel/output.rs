//! What becomes of the jobs' output, and what GNU parallel says itself.

use crate::case::{Case, plain};
use std::fs;

/// The job that begins first ends last.
const LATE: &str = "[ {} != 1 ] || sleep 1; echo out {}; echo err {} >&2";

#[test]
fn kept_in_order() {
    let both = Case::new("--keep-order").same(0, |cmd, _| cmd.words("--keep-order --").arg(LATE).words("::: 1 2 3"));
    both.real.writes("out 1\nout 2\nout 3\n");
}

#[test]
fn grouped() {
    let job = "echo a {}; sleep 0.3; echo b {}; echo err {} >&2";
    let both = Case::new("--group").both(|cmd, _| cmd.words("--group --").arg(job).words("::: 1 2 3 4"));
    both.exits(0).same_lines();
    let text = both.ours.text();
    let apart = (1..=4).all(|n| text.contains(&format!("a {n}\nb {n}\n")));
    both.ours.holds("no other job's line between", apart);
}

#[test]
fn line_by_line() {
    let job = "printf begin; sleep 0.3; echo ' {}'; sleep 0.5; echo end {}";
    let both = Case::new("--line-buffer").both(|cmd, _| cmd.words("--line-buffer --").arg(job).words("::: 1 2 3"));
    both.exits(0).same_lines().same_stderr();
}

#[test]
fn not_grouped() {
    let job = "echo out; echo err >&2; printf 'no line end'";
    let both = Case::new("--ungroup").same(3, |cmd, _| {
        // One job: what several write at once has no order.
        cmd.words("--ungroup --halt now,fail=1 -n0 --").arg(format!("{job}; exit 3")).words("::: 1")
    });
    both.real.writes("out\nno line end");
}

#[test]
fn tagged() {
    plain("--tag", &["--tag", "-k", "--", "echo x; echo y", ":::", "a", "b"], "", 0, "a\tx\na\ty a\nb\tx\nb\ty b\n");
}

#[test]
fn tagged_with_words() {
    let words = ["--tagstring", "<{}-{#}>", "-k", "--", "echo", ":::", "a", "b"];
    plain("--tagstring", &words, "", 0, "<a-1>\ta\n<b-2>\tb\n");
    let case = Case::new("--tag --line-buffer");
    let both = case.both(|cmd, _| cmd.words("--tag --line-buffer --").arg("echo {} one; echo two").words("::: a b"));
    both.exits(0).same_lines();
}

#[test]
fn coloured() {
    let both = Case::new("--color").same(0, |cmd, _| cmd.words("--color -k -- echo ::: a b c"));
    both.ours.holds("there are colours", both.ours.text().contains('\x1b'));
}

#[test]
fn kept_in_files() {
    let case = Case::new("--results");
    let both = case.same(1, |cmd, side| {
        cmd.arg("--results")
            .arg(side.at("results"))
            .words("-k --")
            .arg("echo out {}; echo err {} >&2; [ {} != b ]")
            .words("::: a b")
    });
    let [real, ours] = both.files("results");
    assert_eq!(real, ours);
    assert!(ours.iter().any(|(name, content)| name == "1/b/stderr" && content == b"err b\n"), "{ours:?}");
}

#[test]
fn kept_in_temporary_files() {
    let case = Case::new("--files");
    let both = case.both(|cmd, _| cmd.words("--files -k --").arg("echo in {}").words("::: a b"));
    both.exits(0).same_stderr();
    let content = |text: &str| text.lines().map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>();
    assert_eq!(content(both.ours.text()), ["in a\n", "in b\n"]);
    assert_eq!(content(both.real.text()), ["in a\n", "in b\n"]);
}

#[test]
fn compressed_meanwhile() {
    plain("--compress", &["--compress", "-k", "--", "echo", ":::", "a", "b"], "", 0, "a\nb\n");
}

#[test]
fn a_bar() {
    let both = Case::new("--bar").both(|cmd, _| cmd.words("--bar -k -- echo ::: a b c d"));
    both.exits(0).same_stdout().say("100% 4:0=0s");
}

#[test]
fn when_it_will_be_done() {
    let both = Case::new("--eta").both(|cmd, _| cmd.words("--eta -k -- echo ::: a b c d"));
    both.exits(0).same_stdout().say("1:w001 / 1 / 1").say("2:w002 / 1 / 1").say("ETA: 0s Left: 0 AVG: ");
}

#[test]
fn how_far_it_is() {
    let both = Case::new("--progress").both(|cmd, _| cmd.words("--progress -k -- echo ::: a b c d"));
    both.exits(0).same_stdout().say("1:w001 / 1 / 1").say("2:w002 / 1 / 1").say("%/");
}

#[test]
fn only_said() {
    let case = Case::new("--dry-run");
    let both = case.same(0, |cmd, _| cmd.words("--dry-run -k --").arg("echo {}; touch made").words("::: a b"));
    both.real.writes("echo a; touch made\necho b; touch made\n");
    assert!(!case.project().at("made").exists(), "no job runs");
}

#[test]
fn said_and_run() {
    plain("-v", &["-v", "-k", "--", "echo", ":::", "a", "b"], "", 0, "echo a\na\necho b\nb\n");
    let both = Case::new("--shell-quote").same(0, |cmd, _| cmd.words("--shell-quote -k --").stdin("a b\n'c'\n"));
    assert_eq!(both.ours.text().lines().count(), 2);
}

#[test]
fn a_long_output() {
    let job = "perl -e 'print \"{} $_\\n\" for 1 .. 200000'";
    let both = Case::new("megabytes of output, -k").same(0, |cmd, _| cmd.words("-k --").arg(job).words("::: a b c"));
    assert_eq!(both.ours.text().lines().count(), 600_000);
}
