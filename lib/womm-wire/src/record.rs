//! The task record: one JSON object that grows a section at each stage. `docs/wire.md` has every field.
//!
//! Unknown fields, at the top and in each section, pass through untouched, so that a stage of another version, or a
//! stage that somebody put between ours, loses nothing.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The record's `kind`.
pub const KIND: &str = "womm/record";

/// What one stage hands to the next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Record {
    /// Always [`KIND`].
    #[serde(default)]
    pub kind: String,
    /// `.womm`'s content.
    pub project: Project,
    /// Set by `womm-image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Set by `womm-pods create`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// What this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A record without a task section, where one is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record has no task")]
pub struct NoTask;

impl NoTask {
    /// What to do about it.
    pub const HELP: &'static str = "`womm-pods create` makes one";
}

impl Record {
    /// The task section, which every stage after `womm-pods create` needs.
    ///
    /// # Errors
    /// If there is none.
    pub fn task(&self) -> Result<&Task, NoTask> {
        self.task.as_ref().ok_or(NoTask)
    }
}

/// Where pods run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// A Kubernetes cluster. What a `.womm` without the key means, as those of 0.1.6 are.
    #[default]
    Kube,
    /// Containers of the local Docker engine.
    Docker,
}

/// How the folder appears in the pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShareKind {
    /// Files travel when they are read.
    Lazy,
    /// Files travel before the first job, and never back.
    Eager,
    /// Files travel before the first job, changes come back after the last.
    EagerBack,
    /// Bind mount of the folder itself; engine docker only.
    Bind,
    /// An empty folder.
    #[default]
    None,
}

/// `.womm`: what `womm setup` decided for a folder.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Project {
    /// How the folder is shared.
    #[serde(default)]
    pub share_kind: ShareKind,
    /// Where the share is in the pods; missing: at `cwd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_path: Option<String>,
    /// The image's name.
    pub image: String,
    /// The project's folder. Once a record is made of it: the real one, where `.womm` was found.
    #[serde(default)]
    pub cwd: String,
    /// The workstation on which setup ran.
    #[serde(default)]
    pub hostname: String,
    /// The namespace of its tasks; missing: the context's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// A pull secret of that namespace, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// The kubeconfig's context that setup used; missing: the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Where pods run.
    #[serde(default)]
    pub engine: EngineKind,
    /// What this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The image that pods are made of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Image {
    /// As the engine is told: a name with tag or digest.
    pub reference: String,
    /// The local engine's id of it, if the local engine was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The version of the agent in it; missing: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// `amd64`, `arm64`…, as Kubernetes and Docker name it, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// An image that holds nothing but the agent, for pods of images without one; engine kube only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_image: Option<String>,
    /// What this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A task: its name, its size, who started it and where it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Task {
    /// Eight lower-case letters.
    pub id: String,
    /// `womm-task-ID`.
    pub name: String,
    /// Where its pods run.
    pub engine: EngineKind,
    /// When it was made, RFC 3339 in UTC.
    pub created: String,
    /// The number of pods asked for.
    pub pods: u32,
    /// Jobs at once in each pod.
    pub procs_per_pod: u32,
    /// CPUs a pod, in thousandths.
    pub cpu_milli: u64,
    /// Memory a pod, in bytes.
    pub mem_bytes: u64,
    /// GPUs a pod.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gpu: u32,
    /// Whose jobs these are.
    pub user: User,
    /// The workstation.
    pub host: String,
    /// Where the user stood: the cwd of jobs. At or below `project.cwd`.
    pub pwd: String,
    /// The command, quoted for a shell; for people.
    pub command: String,
    /// The run folder on the workstation.
    pub run: String,
    /// Engine kube: where its objects are. Recorded once, used by every later command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube: Option<Kube>,
    /// What this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Where a task of engine kube lives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kube {
    /// The kubeconfig files it was found in, as KUBECONFIG names them; missing: the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// The context's name; missing: in-cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The API server's URL, to notice a context that was pointed elsewhere since.
    pub server: String,
    /// The namespace of all the task's objects.
    pub namespace: String,
    /// UID of the Lease that owns them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_uid: Option<String>,
    /// The agent's path in its pods: of the image, or copied into them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The user as the workstation knows them; jobs run as this uid and gid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home folder.
    pub home: String,
    /// What this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_0_1_6_is_read_and_means_kube() {
        let text = r#"{"share_kind": "eager-back", "share_path": "/x", "image": "docker.io/r/womm-image-q",
            "cwd": "/home/a/p", "hostname": "h", "namespace": "default", "secret_name": null}"#;
        let project: Project = serde_json::from_str(text).expect("0.1.6's own file");
        assert_eq!(project.engine, EngineKind::Kube);
        assert_eq!(project.share_kind, ShareKind::EagerBack);
        assert_eq!(project.secret_name, None);
    }

    #[test]
    fn unknown_fields_survive_in_every_section() {
        let text = r#"{"kind":"womm/record","later":[1],"project":{"image":"i","cwd":"/","a":1},
            "image":{"reference":"r","b":2},"share":{"kind":"bind"},"task":{"id":"","name":"","engine":"kube","created":"",
            "pods":1,"procs_per_pod":1,"cpu_milli":1,"mem_bytes":1,"user":{"name":"","uid":0,"gid":0,"home":"","c":3},
            "host":"","pwd":"","command":"","run":"","kube":{"server":"","namespace":"","d":4},"e":5}}"#;
        let record: Record = serde_json::from_str(text).expect("valid");
        let back = serde_json::to_value(&record).expect("plain data");
        assert_eq!(back["later"][0], 1);
        assert_eq!(back["project"]["a"], 1);
        assert_eq!(back["image"]["b"], 2);
        assert_eq!(back["share"]["kind"], "bind");
        let task = &back["task"];
        assert_eq!((&task["user"]["c"], &task["kube"]["d"], &task["e"]), (&3.into(), &4.into(), &5.into()));
    }
}
