//! `womm_wire`'s JSON: what a program does not know passes through it.

use crate::memory::at_most;
use serde_json::{Map, Value};
use womm_wire::pod::Line;
use womm_wire::record::Record;

/// Fields that may be left out instead of being null or zero.
const OPTIONAL: [&str; 13] = [
    "share_path",
    "namespace",
    "secret_name",
    "context",
    "id",
    "agent",
    "arch",
    "agent_image",
    "gpu",
    "kube",
    "kubeconfig",
    "lease_uid",
    "node",
];
/// Objects that are known here, whose fields are compared one by one.
const SECTIONS: [&str; 6] = ["project", "image", "task", "user", "kube", "record"];

fn memory(text: &[u8]) -> usize {
    // "0," is a Value of 32 bytes, and vectors of them grow by doubling; serde may hold a second copy (flatten).
    256 * text.len() + (64 << 10)
}

/// All that went in comes out. More may come out: what a missing field means.
#[track_caller]
fn kept(before: &Map<String, Value>, after: &Map<String, Value>) {
    for (key, value) in before {
        let unset = value.is_null() || value == 0;
        match (value, after.get(key)) {
            (Value::Object(before), Some(Value::Object(after))) if SECTIONS.contains(&key.as_str()) => {
                kept(before, after)
            }
            (_, None) if unset && (OPTIONAL.contains(&key.as_str()) || SECTIONS.contains(&key.as_str())) => {}
            (value, after) => assert_eq!(Some(value), after, "field \"{key}\""),
        }
    }
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("a record is an object")
}

/// Records and what is in `.womm`.
pub fn record(text: &[u8]) {
    let Ok(record) = at_most(memory(text), || serde_json::from_slice::<Record>(text)) else { return };
    let before: Value = serde_json::from_slice(text).expect("a record is JSON");
    let after = serde_json::to_value(&record).expect("plain data");
    kept(object(&before), object(&after));
    // A second stage changes nothing at all.
    let written = serde_json::to_string(&record).expect("plain data");
    let second: Record = serde_json::from_str(&written).expect("what we wrote");
    assert_eq!(serde_json::to_value(&second).expect("plain data"), after);
}

/// Lines of `womm-pods watch`.
pub fn line(text: &[u8]) {
    let Ok(line) = at_most(memory(text), || serde_json::from_slice::<Line>(text)) else { return };
    let written = at_most(memory(text), || serde_json::to_string(&line)).expect("plain data");
    assert!(!written.contains('\n'), "a line is one line");
    let again: Line = serde_json::from_str(&written).expect("what we wrote");
    assert_eq!(serde_json::to_string(&again).expect("plain data"), written);
    if let (Line::Record { .. }, Ok(before)) = (&line, serde_json::from_slice::<Value>(text)) {
        let after: Value = serde_json::from_str(&written).expect("what we wrote");
        kept(object(&before["record"]), object(&after["record"]));
    }
}
