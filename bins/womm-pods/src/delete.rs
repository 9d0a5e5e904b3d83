//! `womm-pods delete`: what `womm parallel` calls at its end.

use crate::folder::{self, Deleting, Told};
use crate::{runtime, say};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use womm_cli::Failure;
use womm_engine::Engine;
use womm_wire::record::Task;

/// How long the guard, or another `delete`, may be at it.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long the guard may take instead of us, if there is one.
const GUARD: Duration = Duration::from_secs(30);

pub fn run() -> Result<ExitCode, Failure> {
    let record = womm_cli::read_record()?;
    let task = record.task()?;
    runtime()?.block_on(delete(task))?;
    Ok(ExitCode::SUCCESS)
}

async fn delete(task: &Task) -> Result<(), Failure> {
    let run = Path::new(&task.run);
    let engine = match Engine::for_task(task).await {
        Ok(engine) => engine,
        Err(error) => return by_guard(task, error.into()).await,
    };
    let mut right = Deleting::wait(run, PATIENCE).await?;
    let found = engine.delete(task).await?;
    let untold = right.as_mut().is_some_and(|right| match right.told() {
        // The guard may have been faster; that the user is told is left to us.
        Told::Not => true,
        // Docker has no Deployment: what was said to be created is the task itself, whose containers may all have ended.
        Told::Nothing => matches!(engine, Engine::Docker(_)),
        Told::Yes => false,
    });
    if found || untold {
        say(&format!("deployment.apps \"{}\" deleted", task.name));
        if let Some(right) = &mut right {
            right.tell(Told::Yes);
        }
    }
    folder::remove(run)
}

/// The engine can't be reached from here any more, the kubeconfig having gone or changed; the run's guard has reached
/// it at the start. Lets it delete the task, or fails as we did.
async fn by_guard(task: &Task, failure: Failure) -> Result<(), Failure> {
    let run = Path::new(&task.run);
    // Taken and let go: that it was taken tells the guard to begin.
    drop(Deleting::wait(run, PATIENCE).await?);
    let deadline = Instant::now() + GUARD;
    while run.exists() {
        if Instant::now() >= deadline {
            return Err(failure);
        }
        sleep(Duration::from_millis(50)).await;
    }
    say(&format!("deployment.apps \"{}\" deleted", task.name));
    Ok(())
}
