//! `womm_engine`: what a container engine sends through an exec, and what a cluster says of its objects.

use crate::input::{Input, at_once, now};
use crate::memory::at_most;
use crate::stream::run;
use serde_json::{Value, json};
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use womm_engine::Wire;
use womm_engine::docker::fuzz::{self as docker, Sent as Docker};
use womm_engine::kube::fuzz::{self as kube, Sent as Kube};

/// Reads to the end; what came, and the error it ended with.
fn read(wire: &mut Box<dyn Wire>, sizes: u8) -> (Vec<u8>, Option<String>) {
    let mut all = Vec::new();
    let mut buffer = vec![0; usize::from(sizes) * 16 + 1];
    loop {
        match at_once(wire.read(&mut buffer)) {
            Ok(0) => return (all, None),
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(error) => return (all, Some(error.to_string())),
        }
    }
}

/// Docker's frames of an exec.
pub fn docker_exec(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let sizes = input.byte();
    let (mut frames, mut expected, mut begun, mut ended) = (Vec::new(), Vec::new(), false, false);
    while !input.is_empty() {
        let kind = input.byte() % 5;
        let words = input.bytes().to_vec();
        if kind == 0 && !ended {
            if !begun && words.starts_with(b"OCI runtime exec failed") {
                ended = true;
            } else {
                begun |= !words.is_empty();
                expected.extend_from_slice(&words);
            }
        }
        ended |= kind == 4;
        frames.push(match kind {
            0 => Docker::Stdout(words),
            1 => Docker::Stderr(words),
            2 => Docker::Console(words),
            3 => Docker::Stdin(words),
            _ => Docker::Broken(String::from_utf8_lossy(&words).into_owned()),
        });
    }
    // What is kept of stderr is 4 KiB, three times that if it is not UTF-8, and twice while it becomes an error.
    at_most(64 * bytes.len() + (64 << 10), || {
        let mut wire = docker::exec(frames);
        let (got, error) = read(&mut wire, sizes);
        assert_eq!(got, expected);
        assert!(error.as_ref().is_none_or(|words| words.len() <= 3 * (4 << 10)));
        // And it stays ended, in the same way.
        assert_eq!(read(&mut wire, sizes), (Vec::new(), error));
    });
}

/// The API server's messages of an exec.
pub fn kube_exec(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let sizes = input.byte();
    let (mut messages, mut expected, mut clean) = (Vec::new(), Vec::new(), None);
    while !input.is_empty() {
        let kind = input.byte();
        let words = input.bytes();
        let text = || String::from_utf8_lossy(words).into_owned();
        messages.push(match kind % 16 {
            0..=3 => {
                let channel = kind % 16;
                match channel {
                    1 if clean.is_none() => expected.extend_from_slice(words),
                    3 if clean.is_none() && !words.is_empty() => {
                        let status: Option<Value> = serde_json::from_slice(words).ok();
                        clean = Some(status.is_some_and(|status| status["status"] == "Success"));
                    }
                    _ => {}
                }
                Kube::Binary([&[channel], words].concat())
            }
            4 => {
                if let ([1, rest @ ..], None) = (words, clean) {
                    expected.extend_from_slice(rest);
                }
                if let ([3, rest @ ..], None) = (words, clean)
                    && !rest.is_empty()
                {
                    let status: Option<Value> = serde_json::from_slice(rest).ok();
                    clean = Some(status.is_some_and(|status| status["status"] == "Success"));
                }
                Kube::Binary(words.to_vec())
            }
            5 => Kube::Text(text()),
            6 => Kube::Ping(words.to_vec()),
            7 => Kube::Pong(words.to_vec()),
            8 => {
                clean.get_or_insert(false);
                Kube::Close((kind & 16 == 0).then(text))
            }
            9 => {
                clean.get_or_insert(false);
                Kube::Broken
            }
            // A channel that ends, as v5 of the protocol says it.
            _ => Kube::Binary(vec![255, kind >> 4]),
        });
    }
    at_most(256 * bytes.len() + (64 << 10), || {
        run(async {
            let mut wire = kube::exec(messages);
            let (got, error) = read(&mut wire, sizes);
            assert_eq!(got, expected);
            // Clean only by the server's word, never because the connection ended.
            assert_eq!(error.is_none(), clean.unwrap_or(false), "{error:?}");
            assert_eq!(read(&mut wire, sizes), (Vec::new(), error));
            assert!(matches!(now(wire.write(b"x")), Poll::Ready(Err(_))));
        });
    });
}

/// The same from the bytes of the WebSocket.
pub fn kube_socket(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(60 << 10)];
    // The frame of 16 MiB that tungstenite takes is reserved as its header says; kube does not let us choose less.
    at_most(512 * bytes.len() + (18 << 20), || {
        run(async {
            let (near, mut far) = tokio::io::duplex(64 << 10);
            let mut wire = kube::socket(near).await;
            at_once(far.write_all(bytes)).expect("room");
            let _ = now(wire.write_all(b"ping"));
            let _ = now(wire.flush());
            drop(far);
            let (got, error) = read(&mut wire, 255);
            assert!(got.len() <= bytes.len());
            assert_eq!(read(&mut wire, 255), (Vec::new(), error));
        });
    });
}

/// A cluster's objects, in which everything may be missing or odd.
pub fn reasons(bytes: &[u8]) {
    let plain = bytes.starts_with(b"{");
    let objects = if plain {
        let Ok(objects) = serde_json::from_slice(bytes) else { return };
        objects
    } else {
        let mut fields = bytes.split(|b| *b == 0xff).map(String::from_utf8_lossy);
        let mut next = || fields.next().unwrap_or_default().into_owned();
        filled(&mut next)
    };
    let said = at_most(1024 * bytes.len() + (1 << 20), || kube::reasons(&objects));
    for words in said {
        // Names and reasons are what an API server lets pass, messages are anything.
        assert!(plain || !words.chars().any(char::is_control), "{words:?}");
        assert!(words.chars().count() <= 2000 + 4 * bytes.len(), "{} characters", words.chars().count());
    }
}

/// Objects of the shape that clusters give, with the fuzzer's words in them: from nothing it would take days to get there.
fn filled(next: &mut dyn FnMut() -> String) -> Value {
    let choices = next();
    let mut choices = choices.bytes();
    let mut choice = move || choices.next().unwrap_or(0);
    let mut word = |known: &[&str]| match known.get(usize::from(choice()) % (known.len() + 1)) {
        Some(known) => (*known).to_owned(),
        None if known.is_empty() => next(),
        None => next().replace(char::is_control, ""),
    };
    let number = |text: String| text.parse::<i32>().unwrap_or(0);
    let waiting = [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CreateContainerConfigError",
        "RunContainerError",
        "CrashLoopBackOff",
        "CreateContainerError",
        "PodInitializing",
    ];
    let over = ["OOMKilled", "StartError", "Completed", "Error", "ContainerStatusUnknown"];
    let causes = [
        "Unschedulable",
        "DeletionByTaintManager",
        "PreemptionByScheduler",
        "EvictionByEvictionAPI",
        "TerminationByKubelet",
    ];
    let ended = |word: &mut dyn FnMut(&[&str]) -> String| json!({"exitCode": number(word(&["1", "137", "143"])), "reason": word(&over), "message": word(&[])});
    let mut status = || {
        let state = match word(&["waiting", "running", "terminated"]).as_str() {
            "waiting" => json!({"waiting": {"reason": word(&waiting), "message": word(&[])}}),
            "running" => json!({"running": {}}),
            _ => json!({"terminated": ended(&mut word)}),
        };
        json!({
            "name": word(&["job", "job"]), "image": word(&["i:1"]), "imageID": "", "ready": false,
            "restartCount": number(word(&["0", "1", "5", "2147483647"])), "containerID": word(&["docker://abc"]),
            "state": state, "lastState": {"terminated": ended(&mut word)},
        })
    };
    let statuses = [status(), status()];
    let condition = |word: &mut dyn FnMut(&[&str]) -> String| {
        json!({
            "type": word(&["PodScheduled", "DisruptionTarget", "ReplicaFailure", "Ready"]),
            "status": word(&["False", "True"]), "reason": word(&causes), "message": word(&[]),
        })
    };
    let resources = |word: &mut dyn FnMut(&[&str]) -> String| json!({"cpu": word(&["1", "100"]), "memory": word(&["1Gi"]), "nvidia.com/gpu": word(&["1"])});
    let mut pod = json!({
        "metadata": {"name": word(&["p"]), "uid": word(&["u"])},
        "spec": {
            "nodeName": word(&["n"]), "nodeSelector": {"kubernetes.io/arch": word(&["amd64"])},
            "containers": [
                {"name": "job", "resources": {"requests": resources(&mut word), "limits": resources(&mut word)}},
                {"name": "side", "resources": {"requests": resources(&mut word)}},
            ],
        },
        "status": {
            "phase": word(&["Pending", "Failed", "Running"]), "reason": word(&["Evicted"]), "message": word(&[]),
            "conditions": [condition(&mut word), condition(&mut word)],
            "containerStatuses": [statuses[0]],
        },
    });
    let mut flag = || word(&["yes", "no"]) == "yes";
    if flag() {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    if flag() {
        pod["status"]["initContainerStatuses"] = json!([statuses[1]]);
    }
    if flag() {
        pod["spec"]["nodeSelector"] = Value::Null;
    }
    let nodes: Vec<Value> = (0..if flag() { 2 } else { 0 })
        .map(|_| {
            json!({
                "metadata": {"labels": {"kubernetes.io/arch": word(&["amd64"])}},
                "status": {"conditions": [condition(&mut word)], "allocatable": resources(&mut word)},
            })
        })
        .collect();
    let event = |word: &mut dyn FnMut(&[&str]) -> String| {
        json!({
            "metadata": {}, "involvedObject": {}, "message": word(&[]),
            "reason": word(&["TriggeredScaleUp", "FailedMount", "Pulling", "Pulled", "FailedCreatePodSandBox"]),
        })
    };
    json!({
        "pod": pod, "nodes": nodes, "events": [event(&mut word), event(&mut word)],
        "deployment": {"metadata": {}, "status": {"conditions": [condition(&mut word)]}},
        "seconds": number(word(&["0", "10", "100"])),
    })
}
