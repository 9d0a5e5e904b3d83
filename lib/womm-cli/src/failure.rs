//! How a program ends badly: one line that names the thing, one with the remedy, an exit code that means something.

use std::fmt;
use std::process::ExitCode;
use womm_wire::record::NoTask;

/// The exit codes of all programs but `womm parallel` and `womm-ssh`, which keep parallel's and ssh's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The answer to what was asked is no.
    No = 1,
    /// Wrong usage, or input that can't be read.
    Usage = 2,
    /// Docker, the cluster, the disk… failed or refused.
    Outside = 3,
    /// A deadline passed.
    Timeout = 4,
}

/// Why a program ends, for a person: what failed and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// One line, lower case, no full stop: the failed deed, then its subject.
    pub message: String,
    /// The remedy, if there is one to name.
    pub help: Option<String>,
}

impl Failure {
    /// Wrong usage or unreadable input (2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: Code::Usage, message: message.into(), help: None }
    }

    /// The outside failed (3).
    pub fn outside(message: impl Into<String>) -> Self {
        Self { code: Code::Outside, message: message.into(), help: None }
    }

    /// A deadline passed (4).
    pub fn timeout(message: impl Into<String>) -> Self {
        Self { code: Code::Timeout, message: message.into(), help: None }
    }

    /// The answer is no (1).
    pub fn no(message: impl Into<String>) -> Self {
        Self { code: Code::No, message: message.into(), help: None }
    }

    /// With a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever an engine put into its message.
        f.write_str(&one_line(&self.message))?;
        match &self.help {
            Some(help) => write!(f, ": {}", one_line(help)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<NoTask> for Failure {
    fn from(missing: NoTask) -> Self {
        Self::usage(missing.to_string()).help(NoTask::HELP)
    }
}

fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Says it on stderr as `PROGRAM: what failed: remedy`.
pub fn report(program: &str, failure: &Failure) {
    use std::io::Write;
    // A stderr that is gone is no reason to fail differently.
    let _ = writeln!(std::io::stderr(), "{program}: {failure}");
}

/// Runs a program's one function and turns its result into an exit code.
pub fn run_main(program: &str, body: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    match body() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(program, &failure);
            ExitCode::from(failure.code as u8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line() {
        let failure = Failure::outside("create container: a\n  b\r\n").help("try\nagain");
        assert_eq!(failure.to_string(), "create container: a b: try again");
    }
}
