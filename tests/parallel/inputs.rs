//! Where inputs come from and how they become commands.

use crate::case::{Case, plain};

/// Half a megabyte of lines.
pub fn lines() -> String {
    (0..40_000).map(|n| format!("line {n:06}\n")).collect()
}

fn numbers(count: u32) -> String {
    (1..=count).map(|n| format!("{n}\n")).collect()
}

#[test]
fn commands_on_stdin() {
    let commands = "echo one\necho 'two  words' | tr a-z A-Z\nfalse\nexit 3\n";
    plain("commands on stdin", &["-k", "--"], commands, 2, "one\nTWO  WORDS\n");
}

#[test]
fn lines_on_stdin() {
    plain("lines on stdin", &["-k", "--", "echo [{}]"], "a\nb c\n\nd'e\n", 0, "[a]\n[b c]\n[]\n[d'e]\n");
}

#[test]
fn separated_by_zero_bytes() {
    plain("-0", &["-0", "-k", "--", "echo"], "a\nb\0c\0", 0, "a\nb\nc\n");
}

#[test]
fn another_delimiter() {
    plain("-d", &["-d", ",", "-k", "--", "echo"], "a,b,c", 0, "a\nb\nc\n");
}

#[test]
fn from_a_file() {
    let case = Case::new("-a");
    case.project().write("inputs", "a.x\nb.y\n");
    case.same(0, |cmd, _| cmd.words("-k -a inputs --").arg("echo {.} {#}")).real.writes("a 1\nb 2\n");
}

#[test]
fn arguments() {
    let words = ["-k", "--", "echo {1}-{2}", ":::", "1", "2", ":::", "x", "y"];
    plain(":::", &words, "", 0, "1-x\n1-y\n2-x\n2-y\n");
}

#[test]
fn files_of_arguments() {
    let case = Case::new("::::");
    case.project().write("inputs", "a\nb\n");
    let both = case.same(0, |cmd, _| cmd.words("-k --").arg("echo {2}{1}").words(":::: inputs - ").stdin("1\n2\n"));
    both.real.writes("1a\n2a\n1b\n2b\n");
}

#[test]
fn linked_arguments() {
    let words = ["-k", "--", "echo {1}{2}", ":::", "a", "b", "c", ":::+", "1", "2", "3"];
    plain(":::+", &words, "", 0, "a1\nb2\nc3\n");
    let case = Case::new("::::+");
    case.project().write("inputs", "1\n2\n");
    let both = case.same(0, |cmd, _| cmd.words("-k --").arg("echo {1}{2}").words("::: a b ::::+ inputs"));
    both.real.writes("a1\nb2\n");
}

#[test]
fn link() {
    let words = ["--link", "-k", "--", "echo {1}{2}", ":::", "a", "b", "c", ":::", "1", "2"];
    plain("--link", &words, "", 0, "a1\nb2\nc1\n");
}

#[test]
fn as_many_as_fit_each_in_its_context() {
    let both = Case::new("-X").same(0, |cmd, _| cmd.words("-X -k --").arg("echo pre-{}-post").stdin(numbers(3000)));
    let text = both.ours.text();
    both.ours.holds("many in a job", text.starts_with("pre-1-post pre-2-post ") && text.lines().count() < 100);
}

#[test]
fn as_many_as_fit() {
    let both = Case::new("-m").same(0, |cmd, _| cmd.words("-m -k --").arg("echo pre-{}-post").stdin(numbers(3000)));
    let text = both.ours.text();
    both.ours.holds("many in a job", text.starts_with("pre-1 2 3 ") && text.lines().count() < 100);
}

#[test]
fn no_longer_than() {
    // How long the call of ssh is counts too, and where a line ends hangs on it.
    let both = Case::new("-s").both(|cmd, _| cmd.words("-s 400 -m -k -- echo").stdin(numbers(300)));
    both.exits(0).same_stderr();
    for side in [&both.real, &both.ours] {
        let words = side.text().split_whitespace().map(|word| format!("{word}\n")).collect::<String>();
        side.holds("all are there, in several lines", words == numbers(300) && side.text().lines().count() > 2);
    }
}

#[test]
fn so_many_a_job() {
    plain("-N", &["-N", "2", "-k", "--", "echo {2} {1}"], &numbers(4), 0, "2 1\n4 3\n");
    plain("-N0", &["-N0", "-k", "--", "echo same"], &numbers(3), 0, "same\nsame\nsame\n");
    plain("-n", &["-n", "3", "-k", "--", "echo"], &numbers(5), 0, "1 2 3\n4 5\n");
    plain("-L", &["-L", "2", "-k", "--", "echo"], &numbers(5), 0, "1 2\n3 4\n5\n");
}

#[test]
fn columns() {
    plain("--colsep", &["--colsep", ",", "-k", "--", "echo {2} {1}"], "a,b\nc,d\n", 0, "b a\nd c\n");
    plain("--csv", &["--csv", "-k", "--", "echo {2} {1}"], "\"a, b\",c\n\"d\"\"e\",f\n", 0, "c a, b\nf d\"e\n");
    let words = ["--header", ":", "--colsep", ",", "-k", "--", "echo {y} {x}"];
    plain("--header", &words, "x,y\n1,2\n3,4\n", 0, "2 1\n4 3\n");
}

#[test]
fn replacement_strings() {
    let words = ["-k", "--", "echo {} {.} {/} {//} {/.} {#} {= s/a/A/g =}", ":::", "d/a.b.c", "plain"];
    plain(
        "{} {.} {/} {//} {/.} {#} {= =}",
        &words,
        "",
        0,
        "d/a.b.c d/a.b a.b.c d a.b 1 d/A.b.c\nplain plain plain . plain 2 plAin\n",
    );
    let words = ["--plus", "-k", "--", "echo {..} {+.} {0#} {:1}", ":::", "a.b.c"];
    plain("--plus", &words, "", 0, "a c 1 .b.c\n");
    let words = ["--rpl", "{up} $_=uc", "-I", ",,", "-k", "--", "echo {up} ,,", ":::", "a"];
    plain("--rpl, -I", &words, "", 0, "A a\n");
}

#[test]
fn quoted() {
    let words = ["-q", "-k", "--", "perl", "-e", "print \"$ARGV[0]  'x'\\n\"", "{}", ":::", "a b", "$c"];
    plain("-q", &words, "", 0, "a b  'x'\n$c  'x'\n");
}

#[test]
fn changed_before_they_are_used() {
    plain("--trim", &["--trim", "lr", "-k", "--", "echo [{}]"], "  a  \n b\n", 0, "[a]\n[b]\n");
    plain("-E", &["-E", "end", "-k", "--", "echo"], "a\nend\nb\n", 0, "a\n");
    plain("-r", &["-r", "-k", "--", "echo x{}"], "\n\na\n", 0, "xa\n");
    // What it passes over, GNU parallel counts as failed.
    let words = ["--filter", "{1} < {2}", "-k", "--", "echo", ":::", "1", "2", ":::", "1", "2"];
    plain("--filter", &words, "", 3, "1 2\n");
}

#[test]
fn in_any_order() {
    let both = Case::new("--shuf").both(|cmd, _| cmd.words("--shuf -k -- echo").stdin(numbers(30)));
    both.exits(0).same_lines().same_stderr();
    both.ours.holds("another order", both.ours.stdout != numbers(30).as_bytes());
}

#[test]
fn blocks_of_stdin() {
    let both = Case::new("--pipe").same(0, |cmd, _| cmd.words("--pipe --block 100k -k -- cksum").stdin(lines()));
    assert_eq!(both.ours.text().lines().count(), 5);
}

#[test]
fn records_of_stdin() {
    let case = Case::new("--pipe -N");
    case.same(0, |cmd, _| cmd.words("--pipe -N 10000 -k --").arg("wc -l").stdin(lines()))
        .real
        .writes("10000\n".repeat(4));
    let case = Case::new("--pipe --recstart --recend --rrs");
    let text = "<a\n1>\n<b\n2>\n<c\n3>\n";
    let words = "--pipe -N 1 --recstart < --recend >\\n --rrs -k --";
    case.same(0, |cmd, _| cmd.words(words).arg("cat; echo \"({#})\"").stdin(text));
}

#[test]
fn blocks_to_jobs_that_stay() {
    let both = Case::new("--pipe --round-robin")
        .both(|cmd, _| cmd.words("--pipe --block 50k --round-robin --").arg("cat").stdin(lines()));
    both.exits(0).same_lines().same_stderr();
}

#[test]
fn stdin_to_every_job() {
    let case = Case::new("--pipe --tee");
    let both =
        case.same(0, |cmd, _| cmd.words("--pipe --tee -k --").arg("cksum; echo {}").words("::: a b").stdin(lines()));
    assert_eq!(both.ours.text().lines().count(), 4);
}

#[test]
fn blocks_as_files() {
    let case = Case::new("--pipe --cat");
    case.same(0, |cmd, _| cmd.words("--pipe --block 200k --cat -k --").arg("cksum <{}; wc -l <{}").stdin(lines()));
    let case = Case::new("--pipe --fifo");
    case.same(0, |cmd, _| cmd.words("--pipe --block 200k --fifo -k --").arg("cksum <{}").stdin(lines()));
}

#[test]
fn parts_of_a_file() {
    let case = Case::new("--pipepart");
    case.project().write("big", lines());
    let both = case.same(0, |cmd, _| cmd.words("--pipepart -a big --block 100k -k -- cksum"));
    assert_eq!(both.ours.text().lines().count(), 5);
}
