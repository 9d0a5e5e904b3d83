//! What was on a terminal, as text that is the same each time, and compared with the file that is kept of it.
//! WOMM_UPDATE_SCREENS=1 writes the files anew.

use crate::project::Project;
use std::fs;
use std::path::Path;

/// What stands for each number that is measured.
const NUMBER: &str = "1.23";

/// What a program wrote, as text that is the same each time. `names` are shown as others: what a test chose, such as a
/// folder, and what a reader would have there.
pub fn text(project: &Project, names: &[(&str, &str)], seen: &str) -> String {
    let mut plain = plain(seen);
    let home = project.home();
    for (what, name) in names.iter().copied().chain(home.to_str().map(|home| (home, "/home/audrey"))) {
        plain = plain.replace(what, name);
    }
    plain = plain.replace(&format!("{}@womm-setup", project.user()), "audrey@womm-setup");
    plain = masked(&plain, "womm-image-", "awtmaomf");
    plain = masked(&plain, "womm-task-", "prnmnvzi");
    plain = masked(&plain, "womm-setup-", "0123456789abcdef");
    plain.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// What is left to be seen in the end: without colours, and without bars that were cleared away.
fn plain(seen: &str) -> String {
    let (mut rows, mut row) = (vec![String::new()], 0_usize);
    let mut rest = seen.chars();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => match rest.next() {
                Some('[') => {
                    let (number, letter) = sequence(&mut rest);
                    // Progress moves by numbers and clears whole lines; what readline does to its own line, which it never
                    // leaves here, is none of that.
                    match (letter, number) {
                        ('A', Some(number)) => row = row.saturating_sub(number),
                        ('B', Some(number)) => row += number,
                        ('K', Some(2)) => rows[row].clear(),
                        _ => {}
                    }
                }
                Some(']') => while rest.next().is_some_and(|c| c != '\x07') {},
                _ => {}
            },
            '\n' => row += 1,
            '\r' | '\x07' => {}
            c => rows[row].push(c),
        }
        rows.resize(rows.len().max(row + 1), String::new());
    }
    rows.join("\n")
}

/// The rest of a control sequence: its number, if it is one, and its letter.
fn sequence(rest: &mut impl Iterator<Item = char>) -> (Option<usize>, char) {
    let mut words = String::new();
    for c in rest {
        if c.is_ascii_alphabetic() {
            return (words.parse().ok(), c);
        }
        words.push(c);
    }
    (None, '\0')
}

/// With other letters after a word.
fn masked(text: &str, word: &str, letters: &str) -> String {
    let mut parts = text.split(word);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let fits = part.len() >= letters.len() && part.bytes().take(letters.len()).all(|b| b.is_ascii_alphanumeric());
        out.push_str(word);
        out.push_str(if fits { letters } else { &part[..0] });
        out.push_str(if fits { &part[letters.len()..] } else { part });
    }
    out
}

/// With other ids of layers, sizes, times and versions.
pub fn measured(text: &str) -> String {
    let mut before = "";
    let mut word = |word: &str| {
        let inner = word.trim_end_matches([':', ',', ';', '"']);
        let is_id = inner.len() == 12 && inner.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let is_date = inner.len() == 8 && inner.bytes().all(|b| b.is_ascii_digit());
        let is_number = inner.contains('.') && inner.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let is_unit = before == NUMBER && ["B", "kB", "MB", "GB", "TB"].contains(&inner.trim_end_matches("/s"));
        let known = match () {
            () if is_id => "0123456789ab",
            () if is_date || is_number => NUMBER,
            () if is_unit && inner.ends_with("/s") => "MB/s",
            () if is_unit => "MB",
            () => inner,
        };
        before = if known == NUMBER { NUMBER } else { "" };
        known.to_owned() + &word[inner.len()..]
    };
    text.lines().map(|line| line.split(' ').map(&mut word).collect::<Vec<_>>().join(" ") + "\n").collect()
}

/// With "…" for the lines after each that holds one text, as far as one that holds the other.
pub fn without(text: &str, after: &str, until: &str) -> String {
    let (mut out, mut skips) = (String::new(), false);
    for line in text.lines() {
        skips = skips && !line.contains(until);
        if skips {
            continue;
        }
        out.push_str(line);
        out.push('\n');
        if line.contains(after) {
            out.push_str("…\n");
            skips = true;
        }
    }
    out
}

/// Compares a text with a file of the tests.
///
/// # Panics
/// If the file has another one.
#[track_caller]
pub fn is(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("WOMM_UPDATE_SCREENS").is_some() {
        fs::write(&path, text).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == kept, "the screen is not that of {}:\n{text}", path.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cleared_away_is_not_seen() {
        let seen = "pushing x\r\nab [> ]\r\nall [> ]\x1b[1A\r\x1b[2K\x1b[1B\r\x1b[2K\x1b[1Aab: Pushed\r\n\x1b[31mdone\x1b[0m\r\n";
        assert_eq!(plain(seen), "pushing x\nab: Pushed\ndone\n");
        assert_eq!(plain("\x1b]0;title\x07$ typed\x1b[K\r\n\x1b[?2004l"), "$ typed\n");
    }

    #[test]
    fn what_differs_each_time_is_masked() {
        let text = "0f23456789ab: Pushed, 3.02 MB\npushed x: 1 of 1 layers, 3.02 MB in 0.1 s, 30.12 MB/s\n";
        let same = "0123456789ab: Pushed, 1.23 MB\npushed x: 1 of 1 layers, 1.23 MB in 1.23 s, 1.23 MB/s\n";
        assert_eq!(measured(text), same);
        assert_eq!(measured("20221122 free: 9.12 GB in \"/x\"\n"), "1.23 free: 1.23 MB in \"/x\"\n");
        assert_eq!(without("a\nb 1\nx\ny\n$ c\nb 2\nz\n", "b ", "$"), "a\nb 1\n…\n$ c\nb 2\n…\n");
        assert_eq!(
            masked("womm-task-abcdefgh created womm-task-x", "womm-task-", "prnmnvzi"),
            "womm-task-prnmnvzi created womm-task-x"
        );
    }
}
