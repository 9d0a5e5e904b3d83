//! Pods: make, watch, reach, delete. One interface, two engines: [`docker`] and [`kube`].
//!
//! Objects are built by pure functions of the record (`docker/objects.rs`, `kube/objects.rs`); what talks to the
//! outside is apart from them. [`Engine::dial`] is the only way to a pod.

pub mod docker;
mod error;
pub mod kube;

pub use error::Error;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use womm_wire::pod::{Line, Pod};
use womm_wire::record::{EngineKind, Record, Task};

/// A byte stream to the agent of one pod. It may break at any byte; an end without a word is a break, never success.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection to the place where pods run. Cheap to clone.
#[derive(Clone)]
pub enum Engine {
    /// The local Docker engine.
    Docker(docker::Docker),
    /// A Kubernetes cluster.
    Kube(kube::Kube),
}

/// What only a command line can say about where to run; the record remembers it afterwards.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// `--context`.
    pub context: Option<String>,
    /// `-n`, `--namespace`.
    pub namespace: Option<String>,
}

/// What the command line of one task adds to the record.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// `--kube-patch`: a strategic merge patch for the Deployment; engine kube only.
    pub patch: Option<serde_json::Value>,
}

impl Engine {
    /// Reaches the engine on which a new task of this project is to run, with a deadline, and proves that it answers.
    ///
    /// # Errors
    /// If it can't be reached or refuses us, with the remedy.
    pub async fn for_project(record: &Record, place: &Place) -> Result<Self, Error> {
        match record.project.engine {
            EngineKind::Docker => docker::Docker::connect().await.map(Self::Docker),
            EngineKind::Kube => kube::Kube::for_project(record, place).await.map(Self::Kube),
        }
    }

    /// Reaches the engine on which a task was made: the recorded context, server and namespace, whatever is current now.
    ///
    /// # Errors
    /// As [`Engine::for_project`], and if the record's context leads elsewhere now.
    pub async fn for_task(task: &Task) -> Result<Self, Error> {
        match task.engine {
            EngineKind::Docker => docker::Docker::connect().await.map(Self::Docker),
            EngineKind::Kube => kube::Kube::for_task(task).await.map(Self::Kube),
        }
    }

    /// Writes into the task where this engine would make it, as [`Engine::create`] does when it is through: before
    /// that, so that whoever cleans up after an interrupted `create` can reach it by [`Engine::for_task`].
    pub fn locate(&self, task: &mut Task) {
        match self {
            Self::Docker(_) => {}
            Self::Kube(kube) => kube.locate(task),
        }
    }

    /// Makes the task (`record.task` is filled in but for what the engine knows) with its pods, and completes the record.
    /// Returns once the objects exist; pods get ready while [`Engine::watch`] runs. Undoes what it made if it fails.
    ///
    /// # Errors
    /// If the image is missing, limits can't be had, or the engine refuses.
    pub async fn create(&self, record: &mut Record, extras: &Extras) -> Result<(), Error> {
        match self {
            Self::Docker(docker) => docker.create(record).await,
            Self::Kube(kube) => kube.create(record, extras).await,
        }
    }

    /// Keeps the task alive (its pods replaced, its Lease renewed) and reports what becomes of pods, until the receiver
    /// is dropped or the future is. Never returns otherwise, except after a [`Line::Failed`].
    ///
    /// # Errors
    /// If the engine can't be asked any more, after trying for a while.
    pub async fn watch(&self, record: &Record, events: mpsc::Sender<Line>) -> Result<(), Error> {
        match self {
            Self::Docker(docker) => docker.watch(record, events).await,
            Self::Kube(kube) => kube.watch(record, events).await,
        }
    }

    /// A new byte stream to the agent in a pod.
    ///
    /// # Errors
    /// If the pod is gone or exec is refused. Has a deadline.
    pub async fn dial(&self, task: &Task, pod: &Pod) -> Result<Box<dyn Wire>, Error> {
        match self {
            Self::Docker(docker) => docker.dial(task, pod).await,
            Self::Kube(kube) => kube.dial(task, pod).await,
        }
    }

    /// Deletes all that belongs to a task and returns when it is gone; `false` if there was nothing. May be called again
    /// and by several at once.
    ///
    /// # Errors
    /// If something is still there at the deadline.
    pub async fn delete(&self, task: &Task) -> Result<bool, Error> {
        match self {
            Self::Docker(docker) => docker.delete(task).await,
            Self::Kube(kube) => kube.delete(task).await,
        }
    }
}
