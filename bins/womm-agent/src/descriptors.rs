//! How many descriptors a process may have open. The agent needs several for each job, more than a container's limit may
//! allow; a job gets the container's own, as some programs go through all that there may be, or take the limit for advice.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::ffi::{OsStr, OsString};

/// The soft limit that the container came with; `None`: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoftLimit(Option<u64>);

/// As a word, for no limit.
const NONE: &str = "none";

impl SoftLimit {
    /// Raises this process's as far as it may; what it was before.
    pub fn raise() -> Self {
        let was = Self(getrlimit(Resource::Nofile).current);
        womm_cli::raise_descriptor_limit();
        was
    }

    /// For a supervisor's command line.
    pub fn word(self) -> OsString {
        self.0.map_or_else(|| NONE.into(), |limit| limit.to_string().into())
    }

    /// Reads such a word.
    pub fn of_word(word: &OsStr) -> Option<Self> {
        let word = word.to_str()?;
        if word == NONE { Some(Self(None)) } else { word.parse().ok().map(|limit| Self(Some(limit))) }
    }

    /// Gives it to this process and those that it starts.
    pub fn restore(self) {
        let maximum = getrlimit(Resource::Nofile).maximum;
        // Lowering, or raising up to the hard limit, is always allowed.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: self.0, maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_raised_is_restored() {
        let before = getrlimit(Resource::Nofile);
        let was = SoftLimit::raise();
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
        SoftLimit::of_word(&was.word()).expect("our own").restore();
        let after = getrlimit(Resource::Nofile);
        assert_eq!((after.current, after.maximum), (before.current, before.maximum));
        assert_eq!(SoftLimit::of_word(&SoftLimit(None).word()), Some(SoftLimit(None)));
        assert_eq!(SoftLimit::of_word(OsStr::new("")), None);
    }
}
