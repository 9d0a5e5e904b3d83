//! Removing containers: a task's, and those of tasks that nobody looks after any more.

use super::{Docker, objects, trouble};
use crate::Error;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bollard::models::ContainerSummary;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use futures::StreamExt;
use tokio::time::{Instant, sleep};
use womm_wire::names;
use womm_wire::record::Task;

/// How long deleting goes on without any container going away.
const DEADLINE: Duration = Duration::from_secs(60);
/// Removals at once. Docker does them side by side; more only wait inside of it.
const AT_ONCE: usize = 32;
/// How long after the list is empty it is looked at again: a container that was being made may appear late.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// A container younger than this is no orphan yet: between two programs of a run that is put together by hand, nobody
/// holds its lock. The same minute as on a cluster.
const ORPHAN_AGE: Duration = Duration::from_secs(60);

pub(super) async fn delete(docker: &Docker, id: &str) -> Result<bool, Error> {
    let filters = objects::of_task(id);
    let mut found = false;
    let (mut fewest, mut progress) = (usize::MAX, Instant::now());
    let mut empty = 0;
    loop {
        let containers = docker.list(&filters).await?;
        if containers.is_empty() {
            empty += 1;
            if !found || empty >= 2 {
                return Ok(found);
            }
            sleep(LOOK_AGAIN).await;
            continue;
        }
        (found, empty) = (true, 0);
        if containers.len() < fewest {
            (fewest, progress) = (containers.len(), Instant::now());
        } else if progress.elapsed() > DEADLINE {
            let deed = format!("remove {} containers of {}", containers.len(), names::task_name(id));
            return Err(Error::Timeout { deed, after: DEADLINE });
        }
        let refused = remove_all(docker, &containers).await;
        if let (Some(error), true) = (refused, progress.elapsed() > DEADLINE / 2) {
            return Err(error);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Removes them side by side; returns the last refusal, for a caller who has lost patience.
async fn remove_all(docker: &Docker, containers: &[ContainerSummary]) -> Option<Error> {
    let ids: Vec<_> = containers.iter().filter_map(|c| c.id.clone()).collect();
    let removals = futures::stream::iter(ids).map(|id| async move { remove(docker, &id).await });
    removals
        .buffer_unordered(AT_ONCE)
        .filter_map(|done| async { done.err() })
        .fold(None, |_, e| async { Some(e) })
        .await
}

/// Kills and removes one container, with its anonymous volumes. It may be gone, or be going, already.
pub(super) async fn remove(docker: &Docker, id: &str) -> Result<(), Error> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let removal = async {
        match docker.api.remove_container(id, Some(options)).await {
            // 404: gone; 409: "removal of container … is already in progress".
            Err(e) if matches!(trouble::status(&e), Some(404 | 409)) => Ok(()),
            other => other,
        }
    };
    docker.ask("remove a container", DEADLINE, removal).await
}

/// Removes the containers of this user's tasks from this host whose run has ended without cleaning up: even its guard
/// was killed, or the machine was switched off. Says so on stderr, a line for each task.
pub(super) async fn reap(docker: &Docker, task: &Task) -> Result<(), Error> {
    let labels = [(names::LABEL_USER, task.user.name.as_str()), (names::NOTE_HOST, task.host.as_str())];
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut orphans: BTreeMap<String, Vec<ContainerSummary>> = BTreeMap::new();
    for container in docker.list(&objects::labelled(&labels)).await? {
        if let Some(id) = orphaned_task(&container, now).filter(|id| *id != task.id) {
            orphans.entry(id).or_default().push(container);
        }
    }
    // The lock is tried once a task: trying holds it for a moment.
    orphans
        .retain(|_, containers| run_of(&containers[0]).is_some_and(|run| womm_cli::run::is_orphaned(Path::new(run))));
    for (id, containers) in orphans {
        let name = names::task_name(&id);
        let line = match remove_all(docker, &containers).await {
            None => format!("womm: removed {} containers of {name}, which nobody looked after", containers.len()),
            Some(error) => format!("womm: {name} has no owner and can't be removed: {error}"),
        };
        // A stderr that is gone is no reason to fail.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    Ok(())
}

fn run_of(container: &ContainerSummary) -> Option<&str> {
    container.labels.as_ref()?.get(names::NOTE_RUN).map(String::as_str)
}

/// The task of a container that is old enough to be an orphan.
fn orphaned_task(container: &ContainerSummary, now_s: u64) -> Option<String> {
    let made_s = u64::try_from(container.created?).ok()?;
    let old = now_s.saturating_sub(made_s) >= ORPHAN_AGE.as_secs();
    let labels = container.labels.as_ref()?;
    (old && labels.contains_key(names::NOTE_RUN)).then(|| labels.get(names::LABEL_TASK).cloned()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn only_an_old_container_of_a_run_may_be_an_orphan() {
        let labels = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<HashMap<_, _>>())
        };
        let ours = labels(&[("womm.task", "abc"), ("womm.run", "/run/x")]);
        let container = |labels, created| ContainerSummary { labels, created: Some(created), ..Default::default() };
        assert_eq!(orphaned_task(&container(ours.clone(), 100), 160).as_deref(), Some("abc"));
        assert_eq!(orphaned_task(&container(ours.clone(), 100), 159), None);
        assert_eq!(orphaned_task(&container(ours, 500), 160), None);
        assert_eq!(orphaned_task(&container(labels(&[("womm.task", "abc")]), 100), 900), None);
    }
}
