//! `womm-pods create`: a task and its pods, all of it or nothing.

use crate::guard::Guarded;
use crate::{cli, folder, runtime, say, signalled, task};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use womm_cli::life::{self, Life};
use womm_cli::{Failure, write_record};
use womm_engine::{Engine, Extras, Place};
use womm_wire::record::{EngineKind, Record};

/// After an interruption: how long what was asked of the engine before may take to appear.
const LATE: Duration = Duration::from_secs(1);

pub fn run(args: &cli::Create) -> Result<ExitCode, Failure> {
    // First thing, so that a signal to the caller's process group does not leave half a task behind.
    let life = args.life.map(Life::join).transpose()?;
    let mut record = womm_cli::read_record()?;
    let mut task = task::new(args, &record)?;
    let extras = extras(args, &record)?;
    let place = Place { context: args.context.clone(), namespace: args.namespace.clone() };
    check_place(&place, &record)?;

    let folder = folder::make(args.run.as_deref(), &task.id)?;
    task.run = folder.path.to_string_lossy().into_owned();
    record.task = Some(task);
    let made = under_guard(&mut record, life.as_ref(), &place, &extras, &folder.path);
    if folder.new && !matches!(made, Ok(ExitCode::SUCCESS)) {
        // The first failure is the one to tell.
        let _ = folder::remove(&folder.path);
    }
    made
}

fn under_guard(
    record: &mut Record,
    life: Option<&Life>,
    place: &Place,
    extras: &Extras,
    run: &Path,
) -> Result<ExitCode, Failure> {
    let _lock = folder::hold(run)?;
    let guarded = life.map(|life| Guarded::start(life, record)).transpose()?;
    let runtime = runtime()?;
    let made = runtime.block_on(async {
        make(record, life, place, extras).await?;
        match write_record(record) {
            Ok(()) => Ok(()),
            Err(failure) => Err(Unmade::undone(End::Failed(failure), record).await),
        }
    });
    match made {
        Ok(()) => {
            if let Some(guarded) = guarded {
                guarded.complete(record);
            }
            let name = record.task.as_ref().map_or("", |task| task.name.as_str());
            say(&format!("deployment.apps/{name} created"));
            Ok(ExitCode::SUCCESS)
        }
        Err(unmade) => {
            // What could not be removed is the guard's to try again, when the run ends.
            if let (Some(guarded), true) = (guarded, unmade.clean) {
                guarded.dismiss();
            }
            match unmade.end {
                End::Failed(failure) => Err(failure),
                End::Signalled(number) => {
                    womm_cli::report(crate::PROGRAM, &Failure::no("interrupted"));
                    Ok(ExitCode::from(128 + number))
                }
            }
        }
    }
}

/// Why there is no task.
struct Unmade {
    end: End,
    /// Whether it is sure that nothing is left.
    clean: bool,
}

enum End {
    Failed(Failure),
    Signalled(u8),
}

impl Unmade {
    /// After removing what there is, and what appears late.
    async fn undone(end: End, record: &Record) -> Self {
        let undo = async {
            let Some(task) = &record.task else { return Ok(()) };
            let engine = Engine::for_task(task).await?;
            engine.delete(task).await?;
            tokio::time::sleep(LATE).await;
            engine.delete(task).await.map(drop)
        };
        let undone: Result<(), womm_engine::Error> = undo.await;
        if let Err(error) = &undone {
            womm_cli::report(crate::PROGRAM, &Failure::outside(format!("undo what was made: {error}")));
        }
        Self { end, clean: undone.is_ok() }
    }
}

async fn make(record: &mut Record, life: Option<&Life>, place: &Place, extras: &Extras) -> Result<(), Unmade> {
    let planned = record.clone();
    let failed = |failure| Unmade { end: End::Failed(failure), clean: true };
    let work = async {
        let engine = Engine::for_project(record, place).await.map_err(|e| failed(e.into()))?;
        match (engine.create(record, extras).await, &record.task) {
            (Ok(()), _) => Ok(()),
            // It has undone what it could; the last word on that is the engine's.
            (Err(error), Some(task)) => {
                let clean = engine.delete(task).await.is_ok();
                Err(Unmade { end: End::Failed(error.into()), clean })
            }
            (Err(error), None) => Err(failed(error.into())),
        }
    };
    tokio::select! {
        made = work => made,
        number = signalled() => Err(Unmade::undone(End::Signalled(number), &planned).await),
        over = life::over(life) => {
            let failure = match over {
                Ok(()) => Failure::outside("the run ended while its pods were being made"),
                Err(failure) => failure,
            };
            let unmade = Unmade::undone(End::Failed(failure), &planned).await;
            // The guard wakes now in any case, and removes the run folder: whose caller may be no more.
            Err(Unmade { clean: false, ..unmade })
        }
    }
}

fn extras(args: &cli::Create, record: &Record) -> Result<Extras, Failure> {
    let Some(path) = &args.kube_patch else { return Ok(Extras::default()) };
    if record.project.engine == EngineKind::Docker {
        return Err(Failure::usage("--kube-patch means nothing to engine docker").help("leave it out"));
    }
    let text = std::fs::read(path).map_err(|e| Failure::usage(format!("read --kube-patch {path:?}: {e}")))?;
    let patch = serde_json::from_slice(&text);
    let patch = patch.map_err(|e| Failure::usage(format!("read --kube-patch {path:?} as JSON: {e}")))?;
    Ok(Extras { patch: Some(patch) })
}

fn check_place(place: &Place, record: &Record) -> Result<(), Failure> {
    let option = match (&place.context, &place.namespace) {
        (Some(_), _) => "--context",
        (_, Some(_)) => "--namespace",
        _ => return Ok(()),
    };
    if record.project.engine == EngineKind::Docker {
        return Err(Failure::usage(format!("{option} means nothing to engine docker")).help("leave it out"));
    }
    Ok(())
}
