//! README's transcripts: what a test types and sees is what is there. WOMM_UPDATE_README=1 writes it there.

use crate::Terminal;
use crate::screen::without;
use std::fs;
use std::path::Path;

const END: &str = "<!-- end of it -->\n";

/// Asserts that README has a transcript where it says `<!-- what TEST typed and saw -->`.
///
/// # Panics
/// If it has another one, or no such place.
#[track_caller]
pub fn has(test: &str, transcript: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(&path).expect("README is there");
    let begin = format!("<!-- what {test} typed and saw -->\n");
    let (before, rest) = readme.split_once(&begin).expect("README has the place for it");
    let (there, after) = rest.split_once(END).expect("and its end");
    let block: String = transcript.lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n").collect();
    let block = format!("\n{block}\n");
    if std::env::var_os("WOMM_UPDATE_README").is_some() {
        fs::write(&path, format!("{before}{begin}{block}{END}{after}")).expect("README can be written");
        return;
    }
    assert!(there == block, "README has other steps than these; WOMM_UPDATE_README=1 writes them there:\n{block}");
}

/// Types the steps that are the same wherever the jobs are to run, once `womm setup` has asked all that it asks before its
/// shell; what was seen from the start.
///
/// # Panics
/// If they lead to something else.
#[track_caller]
pub fn after_the_questions(mut terminal: Terminal) -> String {
    terminal.line("$ ", "sudo apt-get -qq update");
    terminal.line("$ ", "sudo apt-get -qq install hello");
    terminal.line("$ ", "export GREETING=hey");
    terminal.line("$ ", "hello --greeting=\"$GREETING\"");
    terminal.line("$ ", "exit");
    terminal.answer("Does it work? y/n", "y\n");
    terminal.until("my machine");
    terminal.line("$ ", "womm parallel -k --kube-pods 2 -- 'hello --greeting=\"$GREETING, {}\"' ::: you me");
    terminal.until("deleted");
    terminal.until("$ ");
    terminal.keys("exit\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 0, "{seen}");
    seen
}

/// What a terminal got, without the bars of a push: they are as wide as it is, and go on in its next row without a new line.
///
/// # Panics
/// If nothing was pushed.
#[track_caller]
pub fn without_bars(seen: &str) -> String {
    let begin = seen.find("\npushing ").expect("what is pushed") + 1;
    let begin = begin + seen[begin..].find('\n').expect("the line's end") + 1;
    let end = begin + seen[begin..].find("wrote ").expect("what comes after it");
    format!("{}{}", &seen[..begin], &seen[end..])
}

/// A transcript as README shows it: without what apt-get says, how a push proceeds and how long pods take, and without the
/// end of the shell around it all.
///
/// # Panics
/// If that shell was not left by "exit".
#[track_caller]
pub fn shown(text: &str) -> String {
    let text = without(text, "apt-get -qq install", "$ ");
    let text = without(&text, "pushing ", "wrote ");
    let lines = text.lines().filter(|line| !line.starts_with("womm: "));
    let out: String = lines.map(|line| format!("{line}\n")).collect();
    let end = out.rfind("$ exit\n").expect("how the test ended it");
    out[..end].to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn bars_are_left_out() {
        let seen = "y\npushing a\n[> ]   [>>]\x1b[1A\n\x1b[2Kpushed\n\x1b[1Bwrote c\n";
        assert_eq!(super::without_bars(seen), "y\npushing a\nwrote c\n");
    }

    #[test]
    fn what_differs_is_left_out() {
        let text = "$ apt-get -qq install x\nSetting up\n$ womm setup\npushing a\nb: Pushed\npushed a: 1 of 1\nwrote c\n\
                    womm: 0 of 2 pods are up: x\nhey\n$ exit\n";
        assert_eq!(super::shown(text), "$ apt-get -qq install x\n…\n$ womm setup\npushing a\n…\nwrote c\nhey\n");
    }
}
