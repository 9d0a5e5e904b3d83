//! `womm-pods create`: a task and its pods, all of it or nothing.

use crate::guard::Guarded;
use crate::{cli, folder, runtime, say, task};
use serde_json::Value;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use womm_cli::life::{self, Life};
use womm_cli::{Failure, signalled, write_record};
use womm_engine::{Engine, Extras, Place};
use womm_wire::record::{EngineKind, Record, Task};

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
    // A caller that was killed removes nothing any more, and there may be no guard yet.
    let abandoned = life.as_ref().is_some_and(Life::is_over);
    if (folder.new || abandoned) && !matches!(made, Ok(ExitCode::SUCCESS)) {
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
    let mut guarded = life.map(|life| Guarded::start(life, record)).transpose()?;
    let runtime = runtime()?;
    let made = runtime.block_on(make(record, life, place, extras, guarded.as_mut()));
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
                End::Over => Err(Failure::outside("the run ended while its pods were being made")),
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
    /// Whether it is sure that nothing is left, and that the guard is not needed for anything.
    clean: bool,
}

enum End {
    Failed(Failure),
    Signalled(u8),
    /// The run is over.
    Over,
}

/// Makes the task and hands the record on; or there is no task.
async fn make(
    record: &mut Record,
    life: Option<&Life>,
    place: &Place,
    extras: &Extras,
    guarded: Option<&mut Guarded>,
) -> Result<(), Unmade> {
    let nothing = |end: End| Unmade { clean: !matches!(end, End::Over), end };
    let engine = tokio::select! {
        engine = Engine::for_project(record, place) => engine.map_err(|e| nothing(End::Failed(e.into())))?,
        end = interrupted(life) => return Err(nothing(end)),
    };
    if let Some(task) = &mut record.task {
        engine.locate(task);
    }
    if let Some(guarded) = guarded {
        guarded.locate(record);
    }
    let end = tokio::select! {
        made = engine.create(record, extras) => match made {
            Ok(()) => match write_record(record) {
                Ok(()) => return Ok(()),
                Err(failure) => End::Failed(failure),
            },
            // It has undone what it made.
            Err(e) => return Err(nothing(End::Failed(e.into()))),
        },
        end = interrupted(life) => end,
    };
    let undone = match &record.task {
        Some(task) => undo(&engine, task, !matches!(end, End::Failed(_))).await,
        None => Ok(()),
    };
    if let Err(error) = &undone {
        womm_cli::report(crate::PROGRAM, &Failure::outside(format!("undo what was made: {error}")));
    }
    // When the run is over, the guard wakes in any case, and removes the run folder, whose maker may be no more.
    Err(Unmade { clean: undone.is_ok() && !matches!(end, End::Over), end })
}

/// Removes what there is, and what appears late because it was under way when we were interrupted.
async fn undo(engine: &Engine, task: &Task, interrupted: bool) -> Result<(), womm_engine::Error> {
    if engine.delete(task).await? || interrupted {
        tokio::time::sleep(LATE).await;
        engine.delete(task).await?;
    }
    Ok(())
}

async fn interrupted(life: Option<&Life>) -> End {
    tokio::select! {
        number = signalled() => End::Signalled(number),
        over = life::over(life) => match over {
            Ok(()) => End::Over,
            Err(failure) => End::Failed(failure),
        },
    }
}

fn extras(args: &cli::Create, record: &Record) -> Result<Extras, Failure> {
    let Some(path) = &args.kube_patch else { return Ok(Extras::default()) };
    if record.project.engine == EngineKind::Docker {
        return Err(Failure::usage("--kube-patch means nothing to engine docker").help("leave it out"));
    }
    let text = std::fs::read(path).map_err(|e| Failure::usage(format!("read --kube-patch {path:?}: {e}")))?;
    let patch = read_patch(&text).map_err(|e| Failure::usage(format!("read --kube-patch {path:?} {e}")))?;
    Ok(Extras { patch: Some(patch) })
}

/// A patch as kubectl takes one: JSON or YAML.
fn read_patch(text: &[u8]) -> Result<Value, String> {
    if text.trim_ascii_start().starts_with(b"{") {
        // Nearly all JSON is YAML too, but words about the one are of no help with the other.
        return serde_json::from_slice(text).map_err(|e| format!("as JSON: {e}"));
    }
    let text = std::str::from_utf8(text).map_err(|e| format!("as YAML: {e}"))?;
    if text.trim().is_empty() {
        return Err("as JSON or YAML: it is empty".into());
    }
    // Without the excerpt of several lines: this goes into one.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|e: serde_saphyr::Error| {
        format!("as YAML: {}", e.render_with_formatter(&serde_saphyr::UserMessageFormatter))
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_is_json_or_yaml() {
        let yaml = "# who pays\nspec:\n  template:\n    metadata:\n      labels: {team: blue}\n    spec:\n      \
                    tolerations:\n      - {key: gpu, operator: Exists, tolerationSeconds: 30}\n      \
                    hostNetwork: true\n";
        let toleration = json!({"key": "gpu", "operator": "Exists", "tolerationSeconds": 30});
        let expected = json!({"spec": {"template": {"metadata": {"labels": {"team": "blue"}},
            "spec": {"tolerations": [toleration], "hostNetwork": true}}}});
        assert_eq!(read_patch(yaml.as_bytes()), Ok(expected.clone()));
        assert_eq!(read_patch(format!("---\n{expected}\n").as_bytes()), Ok(expected.clone()));
        assert_eq!(read_patch(format!(" {expected}").as_bytes()), Ok(expected));
    }

    #[test]
    fn what_is_no_patch_is_said_in_one_line() {
        for (text, words) in [
            ("", "empty"),
            ("{\"spec\": }", "as JSON: expected value at line 1 column 10"),
            ("spec: {a", "as YAML: "),
            ("spec:\n\ttabs: 1\n", "as YAML: "),
            ("a: 1\n---\nb: 2\n", "as YAML: "),
            ("a: 1\na: 2\n", "as YAML: "),
            ("spec: \u{0}", "as YAML: "),
        ] {
            let said = read_patch(text.as_bytes()).expect_err(text);
            assert!(said.contains(words) && said.lines().count() == 1, "{text:?}: {said}");
        }
        assert!(read_patch(b"a: \xff").is_err());
    }
}
