//! What a check found out: a row of a table for people, an object for scripts.

use crate::Failure;
use serde::Serialize;
use std::future::Future;
use std::time::Duration;
use tokio::time::timeout;

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it has to be.
    Ok,
    /// WOMM will not work so.
    Wrong,
    /// It can't be known, or is not needed here.
    Unknown,
}

impl State {
    /// As JSON has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Wrong => "wrong",
            Self::Unknown => "unknown",
        }
    }
}

/// What a check can say that is no failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is well; the detail.
    Ok(String),
    /// It can't be known; why.
    Unknown(String),
}

/// What comes of a check: who can't go on without it takes the failure as it is, `womm doctor` makes it a row.
pub type Checked = Result<Answer, Failure>;

/// One check and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// How it stands.
    pub state: State,
    /// What there is to say, one line.
    pub detail: String,
    /// What to do, if something is wrong and a remedy is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// A row of what came of a check.
    pub fn of(check: impl Into<String>, checked: Checked) -> Self {
        let check = check.into();
        match checked {
            Ok(Answer::Ok(detail)) => Self { check, state: State::Ok, detail, remedy: None },
            Ok(Answer::Unknown(detail)) => Self { check, state: State::Unknown, detail, remedy: None },
            Err(Failure { message, help, .. }) => {
                let line = |text: String| Failure::no(text).to_string();
                Self { check, state: State::Wrong, detail: line(message), remedy: help.map(line) }
            }
        }
    }

    /// Runs a check, no longer than the deadline.
    pub async fn within(check: impl Into<String>, deadline: Duration, work: impl Future<Output = Checked>) -> Self {
        let late = || {
            let failure = Failure::timeout(format!("no answer within {} s", deadline.as_secs()));
            Err(failure.help("it is there, and busy or behind a slow network: try again"))
        };
        Self::of(check, timeout(deadline, work).await.unwrap_or_else(|_| late()))
    }
}

/// The exit code of all of them: no (1) if one is wrong.
///
/// # Errors
/// No (1), with the number of those that are wrong.
pub fn verdict(findings: &[Finding]) -> Result<(), Failure> {
    match findings.iter().filter(|finding| finding.state == State::Wrong).count() {
        0 => Ok(()),
        1 => Err(Failure::no("1 thing is wrong")),
        count => Err(Failure::no(format!("{count} things are wrong"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[test]
    fn a_failure_becomes_a_row() {
        let failure = Failure::outside("Docker is\n away").help("start it");
        let row = Finding::of("docker", Err(failure));
        assert_eq!(
            (row.state, row.detail.as_str(), row.remedy.as_deref()),
            (State::Wrong, "Docker is away", Some("start it"))
        );
        let rows = [row, Finding::of("x", Ok(Answer::Unknown("?".into())))];
        assert_eq!(verdict(&rows).expect_err("one is wrong").code, Code::No);
        assert_eq!(verdict(&rows[1..]), Ok(()));
        assert_eq!(
            serde_json::to_value(&rows[1]).expect("JSON"),
            serde_json::json!({"check": "x", "state": "unknown", "detail": "?"})
        );
    }

    #[tokio::test]
    async fn a_check_that_hangs_has_an_end() {
        let row = Finding::within("x", Duration::from_millis(10), std::future::pending()).await;
        assert_eq!(row.state, State::Wrong);
        assert!(row.remedy.is_some(), "what is wrong has a remedy");
    }
}
