//! Clusters of kind (kind.sigs.k8s.io), whose nodes are containers of the local Docker engine: an image need not be pushed to
//! a registry that they could pull from, it is loaded into each node, as `kind load docker-image` does.
//!
//! Source: kind, "Loading an Image Into Your Cluster"; `pkg/cluster/constants` for the labels; containerd, ctr(8).

use crate::docker::{self, AT_WORK, failed, silent};
use crate::progress::Progress;
use crate::reference::Reference;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use womm_cli::Failure;

/// How its contexts in the kubeconfig begin; the cluster's name follows.
const CONTEXT: &str = "kind-";
const LABEL_CLUSTER: &str = "io.x-k8s.kind.cluster";
const LABEL_ROLE: &str = "io.x-k8s.kind.role";
/// A container of the cluster that is no node.
const BALANCER: &str = "external-load-balancer";
/// The tag of images that are loaded. Not "latest": of that Kubernetes looks for a newer one in the registry each time
/// (kubernetes.io, "Images", imagePullPolicy).
pub const TAG: &str = "loaded";
/// How often it is looked whether ctr still runs.
const LOOK: Duration = Duration::from_millis(500);
/// How long its last words may take once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The most that is kept of what ctr says, bytes.
const MOST_WORDS: usize = 4 << 10;

/// A cluster's nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// The cluster's name.
    pub name: String,
    /// Its containers.
    pub nodes: Vec<String>,
}

/// The cluster that a context means, by its name alone; none if it is none of kind's.
pub fn named(context: Option<&str>) -> Option<String> {
    let current = match context {
        Some(context) => Some(context.to_owned()),
        None => womm_engine::kube::current_context(),
    };
    current?.strip_prefix(CONTEXT).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Its nodes on the local Docker engine.
///
/// # Errors
/// Outside (3) if Docker has no node of that name, or can't say.
pub async fn find(docker: &Docker, name: &str) -> Result<Kind, Failure> {
    let filters = HashMap::from([("label", vec![format!("{LABEL_CLUSTER}={name}")])]);
    let options = ListContainersOptionsBuilder::default().filters(&filters).build();
    let found = docker.list_containers(Some(options)).await;
    let found = found.map_err(|e| failed(format!("look for the nodes of the kind cluster \"{name}\""), &e))?;
    let is_node = |labels: &HashMap<String, String>| labels.get(LABEL_ROLE).is_none_or(|role| role != BALANCER);
    let nodes = found.into_iter().filter(|c| c.labels.as_ref().is_none_or(is_node));
    let mut nodes: Vec<_> = nodes.filter_map(|c| Some(c.names?.first()?.trim_start_matches('/').to_owned())).collect();
    nodes.sort();
    if nodes.is_empty() {
        return Err(Failure::outside(format!(
            "the kind cluster \"{name}\" has no running node on the local Docker engine"
        ))
        .help("is it on another machine? Give --prefix, a registry that it pulls from"));
    }
    Ok(Kind { name: name.to_owned(), nodes })
}

/// Loads an image of the local engine into each node.
///
/// # Errors
/// Outside (3) if Docker or a node's containerd refuses, timeout (4) if nothing moves for a while.
pub async fn load(docker: &Docker, kind: &Kind, image: &Reference) -> Result<(), Failure> {
    let size = docker::inspect(docker, &image.to_string()).await?.and_then(|found| found.size).unwrap_or_default();
    let mut progress = Progress::new(&format!("loading {image}"));
    for node in &kind.nodes {
        load_into(docker, node, image, size, &mut progress).await?;
    }
    progress.finish(&format!("kind cluster \"{}\": loaded", kind.name));
    Ok(())
}

async fn load_into(
    docker: &Docker,
    node: &str,
    image: &Reference,
    size: i64,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let deed = format!("load image \"{image}\" into node \"{node}\"");
    let command = ["ctr", "--namespace=k8s.io", "images", "import", "-"];
    let options = CreateExecOptions {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command.map(str::to_owned).to_vec()),
        ..Default::default()
    };
    let id = docker.create_exec(node, options).await.map_err(|e| failed(&deed, &e))?.id;
    let started = docker.start_exec(&id, None).await.map_err(|e| failed(&deed, &e))?;
    let StartExecResults::Attached { mut output, mut input } = started else {
        return Err(Failure::outside(format!("{deed}: Docker gave no connection to it")));
    };
    // Read beside the writing: who says much before it has read all would wait for us.
    let words = Words::default();
    let listening = tokio::spawn({
        let words = words.clone();
        async move {
            while let Some(Ok(
                LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message },
            )) = output.next().await
            {
                words.take(&message);
            }
        }
    });
    let sent = send(docker, image, &mut input, &deed, |current| {
        progress.part(node, "Loading", current, u64::try_from(size).unwrap_or_default());
    });
    let sent = sent.await;
    drop(input);
    let code = ended(docker, &id, listening, &deed).await?;
    if code != Some(0) {
        return Err(docker::refused(&deed, &words.text()));
    }
    sent?;
    progress.part(node, "Loaded", 0, 0);
    Ok(())
}

/// What ctr said so far.
#[derive(Default, Clone)]
struct Words(Arc<Mutex<Vec<u8>>>);

impl Words {
    fn take(&self, bytes: &[u8]) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST_WORDS.saturating_sub(words.len());
        words.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn text(&self) -> String {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match String::from_utf8_lossy(&words).trim() {
            "" => "ctr failed without a word".to_owned(),
            words => words.to_owned(),
        }
    }
}

/// Waits for ctr's end, as it unpacks without a word; its status.
async fn ended(docker: &Docker, exec: &str, mut listening: JoinHandle<()>, deed: &str) -> Result<Option<i64>, Failure> {
    let begun = Instant::now();
    while begun.elapsed() < AT_WORK {
        // The end of its output is its end, but for a moment; another process may have its output open for ever.
        match listening.is_finished() {
            false => _ = timeout(LOOK, &mut listening).await,
            true => sleep(LOOK / 20).await,
        }
        let found = docker.inspect_exec(exec).await.map_err(|e| failed(deed, &e))?;
        if found.running != Some(true) {
            if !listening.is_finished() {
                let _ = timeout(LAST_WORDS, &mut listening).await;
                listening.abort();
            }
            return Ok(found.exit_code);
        }
    }
    Err(silent(deed, AT_WORK))
}

/// The image as an archive, into the node.
async fn send(
    docker: &Docker,
    image: &Reference,
    input: &mut (impl AsyncWriteExt + Unpin),
    deed: &str,
    mut moved: impl FnMut(u64),
) -> Result<(), Failure> {
    let broken = |e: std::io::Error| Failure::outside(format!("{deed}: {e}"));
    let late = |_| silent(deed, AT_WORK);
    let name = image.to_string();
    let docker = docker::patient(docker, AT_WORK);
    let mut pieces = Box::pin(docker.export_image(&name));
    let mut bytes = 0;
    while let Some(piece) = timeout(AT_WORK, pieces.next()).await.map_err(late)? {
        let piece = piece.map_err(|e: Error| failed(deed, &e))?;
        timeout(AT_WORK, input.write_all(&piece)).await.map_err(late)?.map_err(broken)?;
        bytes += piece.len() as u64;
        moved(bytes);
    }
    input.shutdown().await.map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ctr_says_is_kept_up_to_a_point() {
        let words = Words::default();
        assert_eq!(words.text(), "ctr failed without a word");
        words.clone().take(b" no room\n");
        assert_eq!(words.text(), "no room");
        words.take(&[b'x'; 2 * MOST_WORDS]);
        assert_eq!(words.text().len(), MOST_WORDS - 1, "but for the space in front");
    }

    #[test]
    fn a_context_names_its_cluster() {
        assert_eq!(named(Some("kind-kind")).as_deref(), Some("kind"));
        assert_eq!(named(Some("kind-a-b")).as_deref(), Some("a-b"));
        for other in ["kind", "kind-", "womm", "my-kind-x"] {
            assert_eq!(named(Some(other)), None, "{other}");
        }
    }
}
