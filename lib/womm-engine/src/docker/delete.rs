//! Removing containers: a task's, and those of tasks that nobody looks after any more.

use super::{Docker, objects, trouble};
use crate::Error;
use std::collections::{BTreeMap, HashSet};
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
/// How long it is tried while Docker can't be reached or refuses.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long after the list is empty it is looked at again: a container that was being made may appear late.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How soon a container is tried again that somebody else is removing.
const TRY_AGAIN: Duration = Duration::from_millis(50);
/// A container younger than this is no orphan yet: between two programs of a run that is put together by hand, nobody
/// holds its lock. The same minute as on a cluster.
const ORPHAN_AGE: Duration = Duration::from_secs(60);

pub(super) async fn delete(docker: &Docker, id: &str) -> Result<bool, Error> {
    let filters = objects::of_task(id);
    let mut found = false;
    let (mut fewest, mut progress) = (usize::MAX, Instant::now());
    let mut empty = 0;
    // Docker may list containers that it knows no more, until it is restarted.
    let mut ghosts = HashSet::new();
    loop {
        let mut containers = match docker.list(&filters).await {
            Ok(containers) => containers,
            // Asking again may help: the way to it breaks, or it is started again.
            Err(Error::Unreachable { .. } | Error::Timeout { .. }) if progress.elapsed() < PATIENCE => {
                sleep(LOOK_AGAIN).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        containers.retain(|container| container.id.as_ref().is_none_or(|id| !ghosts.contains(id)));
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
        let removed = remove_all(docker, &containers).await;
        if let (Some(error), true) = (removed.refused, progress.elapsed() > PATIENCE) {
            return Err(error);
        }
        ghosts.extend(removed.unknown);
        sleep(TRY_AGAIN).await;
    }
}

/// What became of containers that were to be removed.
#[derive(Default)]
struct Removed {
    /// How many went.
    count: usize,
    /// Those that Docker did not know, whatever its list said.
    unknown: Vec<String>,
    /// The last refusal, for a caller who has lost patience.
    refused: Option<Error>,
}

/// Removes them side by side.
async fn remove_all(docker: &Docker, containers: &[ContainerSummary]) -> Removed {
    let ids: Vec<_> = containers.iter().filter_map(|c| c.id.clone()).collect();
    let removals = futures::stream::iter(ids).map(|id| async move { (remove(docker, &id).await, id) });
    removals
        .buffer_unordered(AT_ONCE)
        .fold(Removed::default(), |mut all, (removed, id)| async move {
            match removed {
                Ok(Removal::Done) => all.count += 1,
                Ok(Removal::Unknown) => all.unknown.push(id),
                Ok(Removal::UnderWay) => {}
                Err(error) => all.refused = Some(error),
            }
            all
        })
        .await
}

/// What Docker answers when a container is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    Done,
    /// It has gone before, or has never been.
    Unknown,
    /// Somebody else is at it.
    UnderWay,
}

/// Kills and removes one container, with its anonymous volumes. Somebody else who is at it is waited for, for up to 60 s.
pub(super) async fn remove(docker: &Docker, id: &str) -> Result<Removal, Error> {
    let begun = Instant::now();
    let mut waited = false;
    loop {
        match begin_to_remove(docker, id).await? {
            // If the other one fails, we are to do it.
            Removal::UnderWay if begun.elapsed() < DEADLINE => waited = true,
            Removal::Unknown if waited => return Ok(Removal::Done),
            removal => return Ok(removal),
        }
        sleep(TRY_AGAIN).await;
    }
}

/// The same, without a wait for somebody else.
pub(super) async fn begin_to_remove(docker: &Docker, id: &str) -> Result<Removal, Error> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let removal = async {
        match docker.api.remove_container(id, Some(options)).await {
            Ok(()) => Ok(Removal::Done),
            Err(e) if trouble::status(&e) == Some(404) => Ok(Removal::Unknown),
            // "removal of container … is already in progress"
            Err(e) if trouble::status(&e) == Some(409) => Ok(Removal::UnderWay),
            Err(e) => Err(e),
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
            Removed { refused: Some(error), .. } => format!("womm: {name} has no owner and can't be removed: {error}"),
            Removed { count: 0, .. } => continue,
            Removed { count, .. } => format!("womm: removed {count} containers of {name}, which nobody looked after"),
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
    use crate::docker::endpoint::Endpoint;
    use std::collections::HashMap;
    use std::io::Read;
    use std::os::unix::net::UnixListener;
    use std::sync::{Arc, Mutex};

    /// What is asked, "GET /containers/json", and what comes of it: a status with a body, or the connection breaks.
    type Answer = Option<(u16, &'static str)>;

    /// A Docker engine that does what a real one can't be made to do at will: `script` has the answers, in their order, and what
    /// has to be asked for each. `test` sees all of them asked for.
    fn scripted(script: &[(&'static str, Answer)], test: impl AsyncFnOnce(Docker)) {
        let folder = tempfile::tempdir().expect("a folder in /tmp");
        let socket = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let left = Arc::new(Mutex::new(script.to_vec()));
        let answers = Arc::clone(&left);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.expect("a connection");
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    connection.read_exact(&mut byte).expect("a request");
                    head.extend(byte);
                }
                let asked = String::from_utf8_lossy(&head).into_owned();
                // The version stands between them.
                let asked = asked.replacen("/v1.41", "", 1);
                let mut answers = answers.lock().expect("nobody panicked");
                assert!(!answers.is_empty(), "nothing more is asked: {asked}");
                let (expected, answer) = answers.remove(0);
                assert!(asked.starts_with(expected), "{expected}, not {asked}");
                if let Some((status, body)) = answer {
                    let _ = write!(
                        connection,
                        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                }
            }
        });
        let version = bollard::ClientVersion { major_version: 1, minor_version: 41 };
        let path = socket.to_str().expect("UTF-8");
        let api = bollard::Docker::connect_with_unix(path, 60, &version).expect("no request is made yet");
        let docker = Docker { api, at: Arc::new(Endpoint { url: format!("unix://{path}"), named_by: None }) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test(docker));
        let left = left.lock().expect("the script was followed");
        assert!(left.is_empty(), "not asked: {left:?}");
    }

    const LIST: &str = "GET /containers/json";
    const REMOVE: &str = "DELETE /containers/abc";
    const NONE: Answer = Some((200, "[]"));
    const ONE: Answer = Some((200, r#"[{"Id":"abc"}]"#));
    const UNKNOWN: Answer = Some((404, r#"{"message":"No such container: abc"}"#));
    const UNDER_WAY: Answer = Some((409, r#"{"message":"removal of container abc is already in progress"}"#));

    #[test]
    fn a_connection_that_breaks_is_made_again() {
        let script = [(LIST, None), (LIST, ONE), (REMOVE, None), (LIST, ONE), (REMOVE, Some((204, ""))), (LIST, None)];
        scripted(&[&script[..], &[(LIST, NONE), (LIST, NONE)]].concat(), async |docker| {
            assert!(delete(&docker, "x").await.expect("it goes on"));
        });
    }

    #[test]
    fn a_container_that_docker_lists_but_does_not_know_is_gone() {
        scripted(&[(LIST, ONE), (REMOVE, UNKNOWN), (LIST, ONE), (LIST, ONE)], async |docker| {
            assert!(delete(&docker, "x").await.expect("nothing is left"));
        });
    }

    #[test]
    fn who_removes_a_container_waits_for_another_who_does() {
        scripted(&[(REMOVE, UNDER_WAY), (REMOVE, UNDER_WAY), (REMOVE, UNKNOWN)], async |docker| {
            assert_eq!(remove(&docker, "abc").await.expect("it is gone"), Removal::Done);
        });
        scripted(&[(REMOVE, UNDER_WAY)], async |docker| {
            assert_eq!(begin_to_remove(&docker, "abc").await.expect("an answer"), Removal::UnderWay);
        });
    }

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
