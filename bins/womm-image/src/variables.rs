//! What the setup shell exported, and which of it is for the image: all but what is about the shell, its terminal and who
//! uses it, which jobs have of their own.

use std::collections::BTreeMap;
use womm_wire::names;

/// What LANG is where an image says nothing.
pub const LANG: &str = "C.UTF-8";
/// Not for the image. What dircolors and lesspipe set for a terminal is in the environment of every Ubuntu's shell.
const NOT: &[&str] = &[
    "_",
    "COLORTERM",
    "COLUMNS",
    "ENV",
    "HISTFILE",
    "HOME",
    "HOSTNAME",
    "LESSCLOSE",
    "LESSOPEN",
    "LINES",
    "LOGNAME",
    "LS_COLORS",
    "MAIL",
    "OLDPWD",
    "PWD",
    "SHELL",
    "SHLVL",
    "TERM",
    "TMPDIR",
    "USER",
];
/// Nor what begins so.
const NOT_BEGINNING: &[&str] = &[names::ENV_PREFIX, "SUDO_"];

/// What a shell left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// Where it stood, if that is UTF-8.
    pub cwd: Option<String>,
    /// What it exported.
    pub variables: BTreeMap<String, String>,
    /// Names of variables that are not UTF-8, or whose value is not: an image can't have them.
    pub unfit: Vec<String>,
}

impl Left {
    /// Reads what the agent wrote: the folder and `NAME=VALUE`, each ended by NUL. None if it is something else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.strip_suffix(&[0])?.split(|b| *b == 0);
        let cwd = parts.next().filter(|cwd| cwd.starts_with(b"/"))?;
        let mut left = Self { cwd: String::from_utf8(cwd.to_vec()).ok(), ..Self::default() };
        for part in parts {
            match std::str::from_utf8(part) {
                Ok(text) => {
                    if let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) {
                        left.variables.insert(name.to_owned(), value.to_owned());
                    }
                }
                Err(_) => {
                    let name = part.split(|b| *b == b'=').next().unwrap_or_default();
                    left.unfit.push(String::from_utf8_lossy(name).into_owned());
                }
            }
        }
        Some(left)
    }

    /// The image's variables: those of the image it started from, in their order, with what the shell made of them.
    pub fn for_image(&self, before: &[String]) -> Vec<String> {
        let mut mine = self.variables.clone();
        mine.retain(|name, _| !is_not(name));
        if let Some(path) = mine.get_mut("PATH") {
            *path = path.split(':').filter(|folder| *folder != names::SETUP_BIN).collect::<Vec<_>>().join(":");
        }
        let mut lines = Vec::new();
        for line in before {
            let name = line.split('=').next().unwrap_or_default();
            lines.push(mine.remove(name).map_or_else(|| line.clone(), |value| format!("{name}={value}")));
        }
        // Setup says so where the image says nothing, and so does the agent to jobs.
        mine.retain(|name, value| name != "LANG" || value != LANG);
        lines.extend(mine.into_iter().map(|(name, value)| format!("{name}={value}")));
        lines
    }
}

fn is_not(name: &str) -> bool {
    NOT.contains(&name) || NOT_BEGINNING.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exported_reaches_the_image() {
        let text = b"/home/a b\0PATH=/dev/womm/bin:/usr/bin:/opt/x\0FOO=1\n2=3\0TERM=xterm\0WOMM_X=1\0BASH_FUNC_f%%=() { :\n}\0\
                     EMPTY=\0LANG=C.UTF-8\0B\xff=1\0BAD=\xfe\0=odd\0";
        let left = Left::parse(text).expect("understood");
        assert_eq!(left.cwd.as_deref(), Some("/home/a b"));
        assert_eq!(left.unfit, ["B\u{fffd}", "BAD"]);
        let before = ["PATH=/usr/bin".to_owned(), "KEPT=by image".to_owned()];
        let expected = ["PATH=/usr/bin:/opt/x", "KEPT=by image", "BASH_FUNC_f%%=() { :\n}", "EMPTY=", "FOO=1\n2=3"];
        assert_eq!(left.for_image(&before), expected);
        assert_eq!(Left::parse(b"womm-agent: no such shell"), None);
        assert_eq!(Left::parse(b""), None);
    }
}
