//! Engine `kube`: pods of a Kubernetes cluster; a task is a Lease that owns a Deployment.
//!
//! What the cluster is asked for is built in `objects`, what it says is read in `reasons`: pure functions both. The
//! files beside them do the talking: `connect` finds the cluster, `create` makes the objects, `watch` keeps the
//! Lease and reports pods, `dial` reaches into them, `delete` removes it all.
//!
//! Nothing here needs a right outside the task's namespace, nor any but on pods, pods/exec, deployments and leases in
//! it. Events, nodes and ReplicaSets are read where that is allowed, for better words.

mod certificate;
mod client;
mod clock;
mod connect;
mod create;
mod delete;
mod dial;
mod examine;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod objects;
mod reasons;
mod rights;
mod trouble;
mod watch;

pub use connect::{current_context, has_context, is_within};
pub use examine::{Subject, unfit};

use crate::{Error, Extras, Place, Wire};
use clock::Clock;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use trouble::Trouble;

use ::kube::client::Body;
use ::kube::core::Status;
use ::kube::{Api, Client};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::timeout;
use womm_wire::pod::{Line, Pod};
use womm_wire::record::{Record, Task};

/// How long one question to the API server may take, its own retries (429, 503, 504) included.
const ASK_DEADLINE: Duration = Duration::from_secs(15);

/// Which cluster, by which context, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct At {
    /// The API server's URL, without a slash at the end.
    server: String,
    /// The kubeconfig's context; none in a pod of the cluster itself.
    context: Option<String>,
    /// The namespace of all of the task's objects.
    namespace: String,
    /// Until when the user's client certificate is valid, if it is one that lets us in.
    certificate_ends: Option<Timestamp>,
}

impl At {
    /// "the cluster at https://…", as errors begin.
    fn cluster(&self) -> String {
        format!("the cluster at {}", self.server)
    }

    /// ` (context "x")`, or nothing.
    fn by_context(&self) -> String {
        self.context.as_ref().map(|name| format!(" (context \"{name}\")")).unwrap_or_default()
    }

    /// The kubectl command line that leads to the same place, for remedies.
    fn kubectl(&self) -> String {
        match &self.context {
            Some(context) => format!("kubectl --context {context} -n {}", self.namespace),
            None => format!("kubectl -n {}", self.namespace),
        }
    }

    /// The day on which the client certificate expired.
    fn expired(&self) -> Option<String> {
        self.certificate_ends.filter(|end| *end < Timestamp::now()).map(|end| end.strftime("%F").to_string())
    }

    fn correct_kubeconfig(&self) -> String {
        match &self.context {
            Some(context) => format!("correct the kubeconfig's context \"{context}\", its cluster or user"),
            None => "correct the pod's service account".to_owned(),
        }
    }
}

/// A connection to a Kubernetes cluster. Cheap to clone.
#[derive(Clone)]
pub struct Kube {
    client: Client,
    at: Arc<At>,
    /// The kubeconfig files, as the record keeps them.
    kubeconfig: Option<String>,
    clock: Arc<Clock>,
}

impl Kube {
    /// Reaches the cluster of a new task: the context of `--context`, else the project's, else the current one; the
    /// namespace of `-n`, else the project's, else the context's, else `default`. Asks for the cluster's version, which
    /// proves that it answers and takes the credentials, but not what they allow.
    ///
    /// # Errors
    /// If there is no such context, the cluster does not answer within 10 s, or it refuses the credentials.
    pub async fn for_project(record: &Record, place: &Place) -> Result<Self, Error> {
        let context = place.context.as_deref().or(record.project.context.as_deref());
        let namespace = place.namespace.as_deref().or(record.project.namespace.as_deref());
        let kube = connect::open(&connect::Files::of_environment()?, context, namespace).await?;
        kube.version(connect::CONNECT_DEADLINE).await.map_err(|e| kube.explain("ask for its version", &e))?;
        Ok(kube)
    }

    /// Reaches the cluster of a task: the recorded kubeconfig, context and namespace, whatever is current now. Asks
    /// nothing of it yet.
    ///
    /// # Errors
    /// If the record has no such section, its context is gone, or it leads to another server than it did.
    pub async fn for_task(task: &Task) -> Result<Self, Error> {
        connect::reopen(task).await
    }

    /// Records cluster, context and namespace, so that [`Kube::for_task`] leads here.
    pub fn locate(&self, task: &mut Task) {
        task.kube = Some(womm_wire::record::Kube {
            kubeconfig: self.kubeconfig.clone(),
            context: self.at.context.clone(),
            server: self.at.server.clone(),
            namespace: self.at.namespace.clone(),
            ..Default::default()
        });
    }

    /// Makes the task's Lease and Deployment and records where they are. The Lease goes again if the rest fails.
    ///
    /// # Errors
    /// If the record asks for what this engine has not, the namespace is missing, or the cluster refuses.
    pub async fn create(&self, record: &mut Record, extras: &Extras) -> Result<(), Error> {
        create::create(self, record, extras).await
    }

    /// Renews the task's Lease every 10 s and reports what becomes of its pods, until the receiver is dropped or the
    /// future is, or a [`Line::Failed`] was sent. An API server that is away is waited for, and said.
    ///
    /// # Errors
    /// If pods may not be listed and watched.
    pub async fn watch(&self, record: &Record, events: mpsc::Sender<Line>) -> Result<(), Error> {
        watch::watch(self, record, events).await
    }

    /// A byte stream to the agent of a pod: `womm-agent connect` by pods/exec.
    ///
    /// # Errors
    /// If the pod is gone or exec is refused, or nothing happens within 10 s.
    pub async fn dial(&self, task: &Task, pod: &Pod) -> Result<Box<dyn Wire>, Error> {
        dial::dial(self, task, pod).await
    }

    /// Deletes Lease, Deployment and pods and returns when none is listed any more; `false` if there was nothing. May be
    /// called again and by several at once. Pods get 1 s to end; those of a lost node go by force after 30 s.
    ///
    /// # Errors
    /// [`Error::Timeout`] if something is still there after 120 s, or the cluster refuses.
    pub async fn delete(&self, task: &Task) -> Result<bool, Error> {
        delete::delete(self, task).await
    }

    /// Objects of one kind in the task's namespace.
    fn api<K>(&self) -> Api<K>
    where
        K: ::kube::Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.at.namespace)
    }

    /// Waits for one answer, no longer than [`ASK_DEADLINE`].
    async fn ask<T>(&self, answer: impl Future<Output = Result<T, ::kube::Error>>) -> Result<T, Trouble> {
        timeout(ASK_DEADLINE, answer).await.map_err(|_| Trouble::Late(ASK_DEADLINE))?.map_err(Trouble::Api)
    }

    /// Sends a request and notes the server's time on the way. For the few that need it: [`Api`] hides the headers.
    async fn send<T: DeserializeOwned>(
        &self,
        request: Result<http::Request<Vec<u8>>, ::kube::core::request::Error>,
        deadline: Duration,
    ) -> Result<T, Trouble> {
        let request = request.map_err(::kube::Error::BuildRequest)?;
        let answer = async {
            let response = self.client.send(request.map(Body::from)).await?;
            let status = response.status();
            if let Some(date) = response.headers().get(http::header::DATE).and_then(|date| date.to_str().ok()) {
                self.clock.note(date);
            }
            let body = response.into_body().collect_bytes().await?;
            if status.is_success() {
                return serde_json::from_slice(&body).map_err(::kube::Error::SerdeError);
            }
            let refused = serde_json::from_slice::<Status>(&body).unwrap_or_else(|_| {
                // A proxy before the API server, most likely; its page is no message.
                Status::failure(&format!("the answer is {status}"), "NotAStatus")
            });
            Err(::kube::Error::Api(refused.with_code(status.as_u16()).boxed()))
        };
        timeout(deadline, answer).await.map_err(|_| Trouble::Late(deadline))?.map_err(Trouble::Api)
    }

    /// Asks for the cluster's version, which everybody may know, and so for its time.
    async fn version(&self, deadline: Duration) -> Result<Option<String>, Trouble> {
        let request = http::Request::get("/version").body(Vec::new());
        let request = request.map_err(::kube::core::request::Error::BuildRequest);
        match self.send::<serde_json::Value>(request, deadline).await {
            // Somebody took the right to know the version away. It is an answer all the same.
            Err(trouble) if matches!(trouble.code(), 403 | 404) => Ok(None),
            other => other.map(|version| version["gitVersion"].as_str().map(str::to_owned)),
        }
    }

    fn explain(&self, deed: &str, trouble: &Trouble) -> Error {
        trouble::explain(&self.at, deed, trouble)
    }
}
