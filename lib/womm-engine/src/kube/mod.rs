//! Engine `kube`: pods of a Kubernetes cluster.
use crate::{Error, Wire};
use tokio::sync::mpsc;
use womm_wire::pod::{Line, Pod};
use womm_wire::record::{Record, Task};

/// A connection to a Kubernetes cluster.
#[derive(Clone)]
pub struct Kube {}

#[allow(missing_docs, clippy::unused_async)]
impl Kube {
    pub async fn for_project(_record: &Record, _place: &crate::Place) -> Result<Self, Error> { unimplemented!() }
    pub async fn for_task(_task: &Task) -> Result<Self, Error> { unimplemented!() }
    pub async fn create(&self, _record: &mut Record, _extras: &crate::Extras) -> Result<(), Error> { unimplemented!() }
    pub async fn watch(&self, _record: &Record, _events: mpsc::Sender<Line>) -> Result<(), Error> { unimplemented!() }
    pub async fn dial(&self, _task: &Task, _pod: &Pod) -> Result<Box<dyn Wire>, Error> { unimplemented!() }
    pub async fn delete(&self, _task: &Task) -> Result<bool, Error> { unimplemented!() }
}
