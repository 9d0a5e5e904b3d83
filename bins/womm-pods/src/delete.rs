//! `womm-pods delete`: what `womm parallel` calls at its end.

use crate::folder::{self, Deleting, Told};
use crate::{runtime, say, task_of};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use womm_cli::Failure;
use womm_engine::Engine;
use womm_wire::record::Task;

/// How long the guard, or another `delete`, may be at it.
const PATIENCE: Duration = Duration::from_secs(90);

pub fn run() -> Result<ExitCode, Failure> {
    let record = womm_cli::read_record()?;
    let task = task_of(&record)?;
    runtime()?.block_on(delete(task))?;
    Ok(ExitCode::SUCCESS)
}

async fn delete(task: &Task) -> Result<(), Failure> {
    let run = Path::new(&task.run);
    let engine = Engine::for_task(task).await?;
    let mut right = Deleting::wait(run, PATIENCE).await?;
    let found = engine.delete(task).await?;
    // The guard may have been faster; that the user is told is left to us.
    let untold = right.as_mut().is_some_and(|right| right.told() == Told::Not);
    if found || untold {
        say(&format!("deployment.apps \"{}\" deleted", task.name));
        if let Some(right) = &mut right {
            right.tell(Told::Yes);
        }
    }
    folder::remove(run)
}
