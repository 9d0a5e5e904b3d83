//! The questions of `womm setup`, in their order, with their defaults. What an option says is not asked.

use crate::cli;
use crate::leftovers::Leftovers;
use crate::plan::{self, Facts};
use crate::reference::{self, Reference};
use crate::tty::Tty;
use womm_cli::Failure;
use womm_wire::record::{EngineKind, ShareKind};

const QUIT: &str = "*) never mind, quit\n";

/// What an answer means, or why it means nothing.
type Read<T> = Box<dyn Fn(&str) -> Result<T, String>>;

/// The user quit.
pub fn quit(leftovers: &Leftovers) -> Failure {
    Failure::no(format!("you quit: {}", leftovers.outcome()))
}

/// A question: what is said once, what stands before each answer, and how an answer is read.
struct Question<T> {
    words: String,
    prompt: String,
    read: Read<T>,
}

impl<T> Question<T> {
    /// Asks until there is an answer that can be used.
    async fn ask(&self, tty: &Tty, leftovers: &Leftovers) -> Result<T, Failure> {
        tty.write(&self.words).await?;
        loop {
            tty.write(&self.prompt).await?;
            let line = tty.line().await?;
            match line.as_deref() {
                None | Some("*") => return Err(quit(leftovers)),
                Some(line) => match (self.read)(line) {
                    Ok(answer) => return Ok(answer),
                    Err(why) => tty.write(format!("{why}\n")).await?,
                },
            }
        }
    }
}

/// The options with an answer for each that was not given.
///
/// # Errors
/// No (1) if the user quits, usage (2) for what can't be meant.
pub async fn complete(
    args: &cli::Setup,
    facts: &Facts<'_>,
    tty: &Tty,
    leftovers: &Leftovers,
) -> Result<cli::Setup, Failure> {
    let mut args = args.clone();
    if args.engine.is_none() && facts.old.is_none() && !facts.has_context {
        args.engine = Some(engine().ask(tty, leftovers).await?);
    }
    let engine = plan::engine(&args, facts);
    if args.share.is_none() {
        args.share = Some(share(facts.folder, engine, facts.old.map(|old| old.share_kind)).ask(tty, leftovers).await?);
    }
    match plan::last(&args, facts) {
        Some(last) => {
            tty.write(format!("Starting from {last}, as you left it. --fresh starts from a base image.\n")).await?
        }
        None if args.base.is_none() => args.base = Some(base(&plan::default_base(facts)).ask(tty, leftovers).await?),
        None => {}
    }
    if engine == EngineKind::Kube
        && args.prefix.is_none()
        && args.name.is_none()
        && plan::kind(&args, facts).is_none()
        && plan::prefix(&args, facts)?.is_none()
    {
        args.prefix = Some(prefix().ask(tty, leftovers).await?);
    }
    Ok(args)
}

/// Numbered answers, the default in brackets.
fn choice<T: Copy + 'static>(words: &str, answers: &[(&str, Result<T, String>)], default: usize) -> Question<T> {
    let lines = answers.iter().enumerate().map(|(number, (text, _))| format!("{}) {text}\n", number + 1));
    let values: Vec<_> = answers.iter().map(|(_, value)| value.clone()).collect();
    Question {
        words: format!("{words}\n{}{QUIT}", lines.collect::<String>()),
        prompt: format!("[{default}] > "),
        read: Box::new(move |line| {
            let number = if line.is_empty() { Some(default) } else { line.parse::<usize>().ok() };
            let chosen = number.and_then(|number| values.get(number.checked_sub(1)?));
            chosen.cloned().unwrap_or_else(|| Err(format!("\"{line}\" is none of 1 to {} or *", values.len())))
        }),
    }
}

fn engine() -> Question<EngineKind> {
    let words = "No kubeconfig here selects a cluster. Where do you want to run jobs?";
    let answers = [
        ("docker: in containers of this machine", Ok(EngineKind::Docker)),
        ("kube: on a Kubernetes cluster, which you will have selected by then", Ok(EngineKind::Kube)),
    ];
    choice(words, &answers, 1)
}

fn share(folder: &str, engine: EngineKind, before: Option<ShareKind>) -> Question<ShareKind> {
    let later = |what: &str| Err(format!("not yet: \"{what}\" is not built in this version"));
    let (words, answers, default) = match engine {
        EngineKind::Kube => (
            format!("How do you want to share {folder} to your cloud?"),
            vec![
                ("lazily", later("lazily")),
                ("eagerly (no syncback)", later("eagerly")),
                ("eagerly (syncback on complete, not recommended)", later("eagerly")),
                ("not at all", Ok(ShareKind::None)),
            ],
            4,
        ),
        EngineKind::Docker => (
            format!("How do you want to share {folder} to your containers?"),
            vec![
                ("it is the same folder there (bind mount)", Ok(ShareKind::Bind)),
                ("not at all", Ok(ShareKind::None)),
            ],
            1,
        ),
    };
    let before = answers.iter().position(|(_, share)| share.as_ref().ok() == before.as_ref() && before.is_some());
    choice(&words, &answers, before.map_or(default, |before| before + 1))
}

fn base(default: &str) -> Question<String> {
    let default = default.to_owned();
    Question {
        words: "What is the docker hub name for the base image for your operating system?\n".into(),
        prompt: format!("[{default}] > "),
        read: Box::new(move |line| {
            let name = if line.is_empty() { &default } else { line };
            Reference::parse(name).map(|_| name.to_owned()).map_err(|e| e.to_string())
        }),
    }
}

fn prefix() -> Question<String> {
    Question {
        words: "What is a prefix of a docker image name that you are authorized to push to a secure location?\n\
                e.g. 'us-west4-docker.pkg.dev/angr-ci/defcon/'\n"
            .into(),
        prompt: "> ".into(),
        read: Box::new(|line| match reference::prefix(line) {
            Ok(prefix) if prefix.is_empty() => Err("the cluster pulls the image from there: it can't be empty".into()),
            Ok(prefix) => Ok(prefix),
            Err(e) => Err(e.to_string()),
        }),
    }
}

/// What "y" and "n" mean, and ^D or "*", where nothing is decided by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum YesNo {
    /// The default.
    Yes,
    /// n
    No,
    /// `*`
    Quit,
    /// ^D
    End,
}

/// A question with two answers.
///
/// # Errors
/// Outside (3) if the terminal can't be used.
pub async fn yes_no(tty: &Tty, words: &str) -> Result<YesNo, Failure> {
    tty.write(format!("{words} y/n\n")).await?;
    loop {
        tty.write("[y] > ").await?;
        let line = tty.line().await?;
        match line.map(|line| line.to_lowercase()).as_deref() {
            None => return Ok(YesNo::End),
            Some("" | "y" | "yes") => return Ok(YesNo::Yes),
            Some("n" | "no") => return Ok(YesNo::No),
            Some("*") => return Ok(YesNo::Quit),
            Some(other) => tty.write(format!("\"{other}\" is neither y nor n\n")).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_numbers_and_nothing_is_the_default() {
        let question = share("/p", EngineKind::Kube, None);
        assert_eq!((question.prompt.as_str(), (question.read)("")), ("[4] > ", Ok(ShareKind::None)));
        assert_eq!((question.read)("4"), Ok(ShareKind::None));
        for number in ["1", "2", "3"] {
            assert!((question.read)(number).expect_err("later").starts_with("not yet"), "{number}");
        }
        for wrong in ["0", "5", "x", "-1", "1.0", "lazily"] {
            assert!((question.read)(wrong).expect_err(wrong).contains("none of 1 to 4 or *"));
        }
        let before = share("/p", EngineKind::Docker, Some(ShareKind::None));
        assert_eq!((before.prompt.as_str(), (before.read)("")), ("[2] > ", Ok(ShareKind::None)));
        assert_eq!(share("/p", EngineKind::Docker, Some(ShareKind::Lazy)).prompt, "[1] > ");
    }

    #[test]
    fn who_quits_is_told_what_is_gone() {
        let leftovers = Leftovers::default();
        assert_eq!(quit(&leftovers).message, "you quit: nothing was changed");
        leftovers.changed("the shell is gone");
        assert_eq!(quit(&leftovers).message, "you quit: the shell is gone");
    }

    #[test]
    fn names_are_checked() {
        let base = base("debian:12");
        assert_eq!((base.read)(""), Ok("debian:12".into()));
        assert!((base.read)("Not A Name").is_err());
        let prefix = prefix();
        assert_eq!((prefix.read)("docker.io/me"), Ok("docker.io/me/".into()));
        assert!((prefix.read)("").is_err() && (prefix.read)("Me/").is_err());
    }
}
