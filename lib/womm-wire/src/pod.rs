//! The lines that `womm-pods watch` writes and `womm-sshlogins` reads: first the record, then what happens to pods.

use crate::record::Record;
use serde::{Deserialize, Serialize};

/// One line of `womm-pods watch`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum Line {
    /// The first line: the task, with all that is needed to reach its pods.
    #[serde(rename = "womm/task")]
    Record {
        /// As `womm-pods create` wrote it.
        record: Box<Record>,
    },
    /// A pod may take jobs.
    #[serde(rename = "womm/pod-ready")]
    Ready(Pod),
    /// A pod that was ready is no more, or never will be.
    #[serde(rename = "womm/pod-gone")]
    Gone {
        /// Which one.
        #[serde(flatten)]
        pod: Pod,
        /// In words, for people: "removed", "exceeded 512Mi: use --kube-mem".
        reason: String,
    },
    /// Why pods are still missing; said to the user when it changes. Not an end.
    #[serde(rename = "womm/waiting")]
    Waiting {
        /// In words.
        reason: String,
    },
    /// No pod can come any more: the run is to end.
    #[serde(rename = "womm/failed")]
    Failed {
        /// In words, with the remedy.
        reason: String,
    },
}

/// One pod, as long as it lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pod {
    /// Its name; another pod may have the same one later.
    pub name: String,
    /// What no other pod ever has: the pod's UID, the container's id.
    pub uid: String,
    /// Where it runs, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_the_pipe() {
        let record = Record { kind: crate::record::KIND.into(), ..Record::default() };
        let pod = Pod { name: "p".into(), uid: "u".into(), node: Some("n".into()) };
        for line in [
            Line::Record { record: Box::new(record) },
            Line::Ready(pod.clone()),
            Line::Gone { pod, reason: "r".into() },
            Line::Waiting { reason: "w".into() },
            Line::Failed { reason: "f".into() },
        ] {
            let text = serde_json::to_string(&line).expect("plain data");
            let back: Line = serde_json::from_str(&text).expect("what we wrote");
            assert_eq!(
                serde_json::to_value(&back).expect("plain data"),
                serde_json::to_value(&line).expect("plain data")
            );
        }
    }
}
