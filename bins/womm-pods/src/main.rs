//! Makes, watches and deletes the pods of a task.
//!
//! `main` parses and picks; a file per verb, and beside them what verbs share: the task section (task.rs), the user
//! (user.rs), the run folder (folder.rs).

mod cli;
mod create;
mod delete;
mod folder;
mod guard;
mod task;
mod user;
mod watch;

use cli::{Cli, Verb};
use std::io::Write;
use std::process::ExitCode;
use tokio::runtime::Runtime;
use womm_cli::{Failure, report};

const PROGRAM: &str = "womm-pods";

fn main() -> ExitCode {
    let result = match womm_cli::parse::<Cli>().verb {
        Verb::Create(args) => create::run(&args),
        Verb::Watch(args) => watch::run(&args),
        Verb::Delete => delete::run(),
        Verb::Guard(args) => guard::run(&args),
    };
    result.unwrap_or_else(|failure| {
        report(PROGRAM, &failure);
        ExitCode::from(failure.code as u8)
    })
}

fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|e| Failure::outside(format!("start: {e}")))
}

/// A line for the user, as kubectl would say it.
fn say(line: &str) {
    // A stderr that is gone is no reason to fail.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
