//! --kube-patch: a strategic merge patch for the Deployment, seen in the pods.

use crate::cluster::{LITTLE, gone, object, objects, open, project, refused};
use serde_json::{Value, json};

fn patched(spec: Value, annotations: Value) -> String {
    json!({"spec": {"template": {"metadata": {"annotations": annotations, "labels": {"team": "blue"}}, "spec": spec}}})
        .to_string()
}

#[test]
fn is_seen_in_the_pods() {
    let project = project();
    let spec = json!({
        "nodeSelector": {"kubernetes.io/hostname": "node2"},
        "volumes": [{"name": "more", "emptyDir": {"medium": "Memory"}}],
        "containers": [{
            "name": "job",
            "env": [{"name": "PATCHED", "value": "yes"}],
            "volumeMounts": [{"name": "more", "mountPath": "/more"}],
        }],
    });
    project.write("patch.json", patched(spec, json!({"example.org/note": "a \"quoted\" \\ note"})));
    let (mut run, task) = open(project.parallel(2).words("--kube-patch patch.json"));
    let pods = objects("pods", &task);
    assert_eq!(pods.len(), 2, "none was made of the template before the patch, none more");
    for pod in &pods {
        assert_eq!(pod["metadata"]["labels"]["team"], "blue");
        assert_eq!(pod["metadata"]["annotations"]["example.org/note"], "a \"quoted\" \\ note");
        assert_eq!(pod["spec"]["nodeName"], "node2");
        // What was there before stays.
        assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 5);
        assert!(pod["spec"]["nodeSelector"]["kubernetes.io/arch"].is_string());
        assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 4);
    }
    assert_eq!(object("deployments", &task)["spec"]["paused"], Value::Null);
    run.send("touch /more/file && echo mounted-$PATCHED\n");
    let out = run.finish();
    out.succeeds().writes("first\nmounted-yes\n").quiet_task();
    gone(&task);
}

#[test]
fn in_yaml() {
    let project = project();
    let patch = "\
# who pays
spec:
  template:
    metadata:
      labels: {team: blue}
    spec:
      terminationGracePeriodSeconds: 3
      containers:
      - name: job
        env:
        - name: PATCHED
          value: \"yes\"
";
    project.write("patch.yaml", patch);
    let (mut run, task) = open(project.parallel(1).words("--kube-patch patch.yaml"));
    let pod = object("pods", &task);
    assert_eq!(pod["metadata"]["labels"]["team"], "blue");
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 3);
    run.send("echo $PATCHED\n");
    run.finish().succeeds().writes("first\nyes\n").task();
    gone(&task);
}

#[test]
fn that_is_bad() {
    let project = project();
    let bad = |content: &str, words: &[&str]| {
        project.write("patch.json", content);
        let cmd = project.parallel(1).words("--kube-patch patch.json").words(LITTLE).words("-- echo ran ::: 1");
        refused(&project, cmd, 2, &[&["--kube-patch"], words].concat());
    };
    bad("", &["JSON or YAML", "empty"]);
    bad(r#"{"spec": "#, &["JSON", "line 1"]);
    bad("spec: [1", &["YAML", "line 1"]);
    bad("spec:\n  paused: true\n  paused: false\n", &["YAML", "duplicate", "line 3"]);
    bad("a word", &["object"]);
    bad("[]", &["object"]);
    bad(r#"{"spec": 7}"#, &["spec"]);
    bad(r#"{"spec": {"no-such-field": 1}}"#, &["no-such-field"]);
    bad(r#"{"spec": {"template": {"spec": {"nodeSelecter": {"a": "b"}}}}}"#, &["nodeSelecter"]);
    bad(r#"{"spec": {"template": {"spec": {"containers": 7}}}}"#, &["containers"]);
    bad(r#"{"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}"#, &["restartPolicy"]);
    bad(r#"{"spec": {"replicas": 3}}"#, &["replicas", "--kube-pods"]);
    bad(r#"{"spec": {"selector": {"matchLabels": {"a": "b"}}}}"#, &["selector"]);
    bad(r#"{"metadata": {"ownerReferences": null}}"#, &["owner"]);
    bad(r#"{"metadata": {"labels": {"womm.task": null}}}"#, &["womm.task"]);
    bad(r#"{"metadata": {"name": "another"}}"#, &["name"]);
    bad(r#"{"spec": {"template": {"spec": {"containers": [{"name": "job", "command": ["true"]}]}}}}"#, &["agent"]);
}
