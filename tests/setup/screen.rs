//! What was on a terminal, as text that is the same each time, and compared with the file that is kept of it.
//! WOMM_UPDATE_SCREENS=1 writes the files anew.

use crate::world::World;
use std::fs;
use std::path::Path;

/// Without what moves cursors and colours, and without what differs from run to run.
pub fn text(world: &World, seen: &str) -> String {
    let mut plain = String::new();
    let mut rest = seen.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => match rest.next() {
                Some('[') => while rest.next().is_some_and(|c| !c.is_ascii_alphabetic()) {},
                Some(']') => while rest.next().is_some_and(|c| c != '\x07') {},
                _ => {}
            },
            '\r' | '\x07' => {}
            c => plain.push(c),
        }
    }
    let home = world.project.home();
    for (what, name) in [
        (world.folder().to_str().unwrap(), "/home/audrey/supercool"),
        (home.to_str().unwrap(), "/home/audrey"),
        (world.base(), "debian:12"),
    ] {
        plain = plain.replace(what, name);
    }
    let user = format!("{}@womm-setup", world.project.user());
    plain = plain.replace(&user, "audrey@womm-setup");
    plain = masked(&plain, "womm-image-", "awtmaomf");
    plain = masked(&plain, "womm-task-", "prnmnvzi");
    plain = masked(&plain, "womm-setup-", "0123456789abcdef");
    plain.lines().map(|line| format!("{}\n", line.trim_end())).collect()
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

/// Compares a screen with the file of that name.
#[track_caller]
pub fn is(world: &World, name: &str, seen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("setup/screens").join(name);
    let text = text(world, seen);
    if std::env::var_os("WOMM_UPDATE_SCREENS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == kept, "the screen is not that of {}:\n{text}", path.display());
}
