//! Engine `docker`: pods are containers of the local Docker engine.

pub mod agent;

use crate::{Error, Wire};
use tokio::sync::mpsc;
use womm_wire::pod::{Line, Pod};
use womm_wire::record::{Record, Task};

/// A connection to the local Docker engine.
#[derive(Clone)]
pub struct Docker {}

#[allow(missing_docs, clippy::unused_async)]
impl Docker {
    pub async fn connect() -> Result<Self, Error> { unimplemented!() }
    pub async fn create(&self, _record: &mut Record) -> Result<(), Error> { unimplemented!() }
    pub async fn watch(&self, _record: &Record, _events: mpsc::Sender<Line>) -> Result<(), Error> { unimplemented!() }
    pub async fn dial(&self, _task: &Task, _pod: &Pod) -> Result<Box<dyn Wire>, Error> { unimplemented!() }
    pub async fn delete(&self, _task: &Task) -> Result<bool, Error> { unimplemented!() }
}
