//! Makes and checks the image of a project: reads `.womm`, writes the image section of the record.
//!
//! `main` parses and picks; one file per verb, and beside them what verbs share: `.womm` (project.rs), names of images
//! (reference.rs), the layer that setup adds (layer.rs, no I/O), Docker (docker.rs), the registry (push.rs, login.rs). Setup itself: its questions
//! (ask.rs, tty.rs), what they come to (plan.rs), the image with the agent in it (furnish.rs), the shell (shell.rs, body.rs, host.rs,
//! variables.rs).

mod agent;
mod ask;
mod body;
mod check;
mod checks;
mod cli;
mod docker;
mod doctor;
mod furnish;
mod host;
mod kind;
mod layer;
mod leftovers;
mod login;
mod plan;
mod probe;
mod progress;
mod project;
mod push;
mod reference;
mod registry;
#[cfg(test)]
mod scripts;
mod setup;
mod shell;
mod show;
mod tty;
mod user;
mod variables;

use cli::{Cli, Verb};
use std::process::ExitCode;
use womm_cli::{Failure, report, signalled};

const PROGRAM: &str = "womm-image";

fn main() -> ExitCode {
    let verb = womm_cli::parse::<Cli>().verb;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            report(PROGRAM, &Failure::outside(format!("start: {e}")));
            return ExitCode::from(3);
        }
    };
    runtime.block_on(run(verb))
}

/// Runs a verb, and removes what it left half done, whether it failed or a signal ended it.
async fn run(verb: Verb) -> ExitCode {
    let leftovers = leftovers::Leftovers::default();
    let work = async {
        match verb {
            Verb::Show(args) => show::run(&args).await,
            Verb::Setup(args) => setup::run(&args, &leftovers).await,
            Verb::Agent(args) => agent::run(&args, &leftovers).await,
            Verb::Check(args) => check::run(&args, &leftovers).await,
            Verb::Push(args) => push::run(&args).await,
            Verb::Doctor(args) => doctor::run(&args).await,
        }
    };
    let ended = tokio::select! {
        result = work => result.map_err(End::Failed),
        number = signalled() => Err(End::Signalled(number)),
    };
    let left = leftovers.remove().await;
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Failed(failure)) => {
            report(PROGRAM, &failure);
            ExitCode::from(failure.code as u8)
        }
        Err(End::Signalled(number)) => {
            report(PROGRAM, &Failure::no(format!("interrupted: {}", leftovers.outcome())));
            ExitCode::from(128 + number)
        }
    };
    for failure in left {
        report(PROGRAM, &failure);
    }
    code
}

enum End {
    Failed(Failure),
    Signalled(u8),
}
