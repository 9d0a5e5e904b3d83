//! The command line of programs that read theirs by clap. What is wrong with it is one line, as every other failure:
//! clap's own paragraphs with usage and tips are for `--help`.

use crate::{Failure, report};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error, Parser};
use std::ffi::OsString;

/// What this process was called with. `--help` and `--version` are answered, wrong words refused with status 2; the
/// process ends with that. Call it first thing in `main`.
pub fn parse<P: Parser>() -> P {
    let words: Vec<OsString> = std::env::args_os().collect();
    let error = match P::try_parse_from(&words) {
        Ok(parsed) => return parsed,
        Err(error) => error,
    };
    if !error.use_stderr() {
        error.exit(); // it was asked for
    }
    let command = P::command();
    report(command.get_name(), &refusal(&command, &words, &error));
    std::process::exit(crate::Code::Usage as i32)
}

fn refusal(command: &Command, words: &[OsString], error: &Error) -> Failure {
    let verb = words.get(1).and_then(|word| command.find_subcommand(word));
    let verb = verb.map(|verb| format!(" {}", verb.get_name())).unwrap_or_default();
    Failure::usage(what(command, error)).help(format!("see `{}{verb} --help`", command.get_name()))
}

/// What is wrong, in our words; clap's where we have none.
fn what(command: &Command, error: &Error) -> String {
    let about = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(" ")),
        _ => None,
    };
    // As help spells it: "--while <FD>".
    let option = about(ContextKind::InvalidArg);
    let value = about(ContextKind::InvalidValue);
    match (error.kind(), option, value) {
        (ErrorKind::UnknownArgument, Some(word), _) if word.starts_with('-') => {
            let guess = about(ContextKind::SuggestedArg);
            format!("unknown option \"{word}\"{}", guess.map(|guess| format!(", is it {guess}?")).unwrap_or_default())
        }
        (ErrorKind::UnknownArgument, Some(word), _) => format!("\"{word}\" is one word too many"),
        (ErrorKind::InvalidSubcommand, ..) => {
            let word = about(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("no verb \"{word}\", only {}", verbs(command))
        }
        (ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, ..) => {
            format!("no verb was given, one of {}", verbs(command))
        }
        (ErrorKind::MissingRequiredArgument, Some(option), _) => format!("{option} is missing"),
        (ErrorKind::InvalidValue, Some(option), None) => format!("{option} needs a value"),
        (ErrorKind::InvalidValue, Some(option), Some(value)) if value.is_empty() => format!("{option} needs a value"),
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, Some(option), Some(value)) => {
            let why = std::error::Error::source(error).map(|why| format!(": {why}"));
            format!("bad {option} \"{value}\"{}", why.unwrap_or_default())
        }
        (ErrorKind::ArgumentConflict, Some(option), _) if Some(&option) == about(ContextKind::PriorArg).as_ref() => {
            format!("{option} was given twice")
        }
        (ErrorKind::InvalidUtf8, ..) => "a word of the command line is not UTF-8".into(),
        _ => {
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).into()
        }
    }
}

/// "create, watch, delete": those that help shows.
fn verbs(command: &Command) -> String {
    let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    shown.map(Command::get_name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction, value_parser};

    fn said(words: &[&str]) -> String {
        let number = Arg::new("while").long("while").value_name("FD").value_parser(value_parser!(i32));
        let yes = Arg::new("yes").long("yes").action(ArgAction::SetTrue).conflicts_with("while");
        let command = Command::new("womm-x")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(Command::new("paint").arg(number).arg(yes))
            .subcommand(Command::new("draw").arg(Arg::new("file").long("file").value_name("FILE").required(true)))
            .subcommand(Command::new("guard").hide(true));
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let error = command.clone().try_get_matches_from(&words).expect_err("wrong words");
        refusal(&command, &words, &error).to_string()
    }

    #[test]
    fn what_is_wrong_with_words() {
        for (words, expected) in [
            (&["womm-x"][..], "no verb was given, one of paint, draw: see `womm-x --help`"),
            (&["womm-x", "--while", "9"], "unknown option \"--while\": see `womm-x --help`"),
            (&["womm-x", "print"], "no verb \"print\", only paint, draw: see `womm-x --help`"),
            (&["womm-x", "paint", "-x"], "unknown option \"-x\": see `womm-x paint --help`"),
            (
                &["womm-x", "paint", "--whil", "9"],
                "unknown option \"--whil\", is it --while?: see `womm-x paint --help`",
            ),
            (&["womm-x", "paint", "it", "red"], "\"it\" is one word too many: see `womm-x paint --help`"),
            (&["womm-x", "paint", "--while"], "--while <FD> needs a value: see `womm-x paint --help`"),
            (
                &["womm-x", "paint", "--while", "so\non"],
                "bad --while <FD> \"so on\": invalid digit found in string: see `womm-x paint --help`",
            ),
            (
                &["womm-x", "paint", "--while", "1", "--while", "2"],
                "--while <FD> was given twice: see `womm-x paint --help`",
            ),
            (&["womm-x", "draw"], "--file <FILE> is missing: see `womm-x draw --help`"),
            (
                &["womm-x", "paint", "--while", "1", "--yes"],
                "the argument '--while <FD>' cannot be used with '--yes': see `womm-x paint --help`",
            ),
        ] {
            assert_eq!(said(words), expected);
        }
    }
}
