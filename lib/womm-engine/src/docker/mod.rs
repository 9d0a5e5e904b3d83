//! Engine `docker`: pods are containers of the local Docker engine, a task is its containers and a run folder.
//!
//! What is asked of Docker is built in [`objects`], pure functions of the record; the files beside it do the talking:
//! [`endpoint`] finds the engine, [`make`] makes and furnishes containers, [`watch`] replaces and reports them,
//! [`dial`] reaches into them, [`delete`] removes them. Docker's command line is not used.

pub mod agent;
mod delete;
mod dial;
pub mod endpoint;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod make;
mod objects;
mod trouble;
mod watch;

pub use objects::check_bind;

use crate::{Error, Wire};
use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use tokio::sync::mpsc;
use tokio::time::timeout;
use womm_wire::pod::{Line, Pod};
use womm_wire::record::{Record, Task};

/// In the run folder: locked (flock, exclusive) by whoever deletes the task. From when it exists, [`Docker::watch`]
/// replaces no container, or deleting would never end.
pub const RUN_DELETING: &str = "deleting";

/// How long Docker may take to say that it is there.
const PING_DEADLINE: Duration = Duration::from_secs(10);
/// How long one question may take: a busy engine lists thousands of containers in seconds.
const ASK_DEADLINE: Duration = Duration::from_secs(30);

/// A connection to the local Docker engine. Cheap to clone.
#[derive(Clone)]
pub struct Docker {
    api: bollard::Docker,
    at: Arc<endpoint::Endpoint>,
}

impl Docker {
    /// Reaches the engine that `DOCKER_HOST` names, else the one of the current Docker context, else the one at the
    /// default socket.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if it does not answer within 10 s, with the remedy.
    pub async fn connect() -> Result<Self, Error> {
        let at = Arc::new(endpoint::find());
        let api = bollard::Docker::connect_with_host(&at.url).map_err(|e| trouble::unreachable(&at, &e))?;
        // The server's own API version, or an older one, is spoken from here on.
        let hello = async { api.clone().negotiate_version().await };
        let api = match timeout(PING_DEADLINE, hello).await {
            Ok(answer) => answer.map_err(|e| trouble::unreachable(&at, &e))?,
            Err(_) => return Err(trouble::silent(&at, PING_DEADLINE)),
        };
        Ok(Self { api, at })
    }

    /// The connection itself, for what is no matter of pods: images.
    pub fn into_api(self) -> bollard::Docker {
        self.api
    }

    /// Makes the containers of a task and starts them; fills in what is missing of the record's image.
    /// Removes containers of this user's orphaned tasks first. Undoes what it made if it fails.
    ///
    /// # Errors
    /// If the image is missing, limits can't be had, or Docker refuses.
    pub async fn create(&self, record: &mut Record) -> Result<(), Error> {
        make::create(self, record).await
    }

    /// Replaces containers that end and reports what becomes of them, until the receiver is dropped or the future is,
    /// or a [`Line::Failed`] was sent, or the task is gone with its run folder. Replaces none once the task is being deleted ([`RUN_DELETING`]).
    ///
    /// # Errors
    /// [`Error::Unreachable`] if Docker has been away for 60 s.
    pub async fn watch(&self, record: &Record, events: mpsc::Sender<Line>) -> Result<(), Error> {
        watch::watch(self, record, events).await
    }

    /// A byte stream to the agent of a container: `womm-agent connect` in a docker exec.
    ///
    /// # Errors
    /// If the container is gone or exec is refused, or nothing happens within 10 s.
    pub async fn dial(&self, _task: &Task, pod: &Pod) -> Result<Box<dyn Wire>, Error> {
        dial::dial(self, pod).await
    }

    /// Removes all containers of a task and returns when they are gone; `false` if there were none. May be called again
    /// and by several at once.
    ///
    /// # Errors
    /// [`Error::Timeout`] if something is still there after 60 s without progress; what Docker says, or why it can't be
    /// reached, after 30 s of that.
    pub async fn delete(&self, task: &Task) -> Result<bool, Error> {
        delete::delete(self, &task.id).await
    }

    /// Asks Docker one thing, with a deadline.
    async fn ask<T>(
        &self,
        deed: &str,
        deadline: Duration,
        answer: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Error> {
        match timeout(deadline, answer).await {
            Ok(answer) => answer.map_err(|e| trouble::explain(&self.at, deed, &e)),
            Err(_) => Err(Error::Timeout { deed: deed.into(), after: deadline }),
        }
    }

    /// Containers that carry all these labels, in whatever state.
    async fn list(&self, filters: &HashMap<String, Vec<String>>) -> Result<Vec<ContainerSummary>, Error> {
        let options = ListContainersOptionsBuilder::new().all(true).filters(filters).build();
        self.ask("list containers", ASK_DEADLINE, self.api.list_containers(Some(options))).await
    }
}

/// Whether somebody has begun to delete the task, or has finished.
fn is_being_deleted(task: &Task) -> bool {
    let run = Path::new(&task.run);
    run.join(RUN_DELETING).exists() || !run.exists()
}
