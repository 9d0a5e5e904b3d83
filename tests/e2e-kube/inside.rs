//! What a pod may know of its cluster, and what the cluster is told of a task.

use crate::cluster::{LITTLE, gone, object, objects, open, project};
use harness::{LONG, until};
use rustix::process::getuid;
use serde_json::json;

/// Looked for from inside a job: everything that could be used against the cluster.
const LOOK: &str = "\
    env | grep -E '^(KUBERNETES_|KUBECONFIG)|_SERVICE_(HOST|PORT)|_PORT_[0-9]+_TCP'
    for f in /var/run/secrets/kubernetes.io /run/secrets/kubernetes.io \"$HOME/.kube\" /root/.kube; do ls -d \"$f\" 2>/dev/null; done
    find / -xdev \\( -name '*kubeconfig*' -o -name 'ca.crt' -o -name token -path '*serviceaccount*' \\) 2>/dev/null
    cut -d' ' -f2 /proc/mounts | grep -E 'serviceaccount|kubernetes'
    echo looked";

#[test]
fn no_token_no_kubeconfig_no_service_links() {
    let project = project();
    let out = project.parallel(1).words(LITTLE).words("-n0 --").arg(LOOK).words("::: 1").run();
    gone(&out.succeeds().writes("looked\n").quiet_task());
    let shell = project.womm().arg("shell").stdin(format!("{LOOK}\n")).run();
    gone(&shell.succeeds().writes("looked\n").quiet_task());
}

#[test]
fn the_pod_as_the_cluster_has_it() {
    let project = project();
    let mut run = project.parallel(1).words("--kube-cpu 0.3 --kube-mem 96Mi --line-buffer --").stdin_held().start();
    let task = run.task();
    crate::cluster::job(&mut run, "first");
    let pod = object("pods", &task);
    let spec = &pod["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["enableServiceLinks"], false);
    assert_eq!(spec["terminationGracePeriodSeconds"], 5);
    assert!(spec["nodeSelector"]["kubernetes.io/arch"].is_string());
    assert_eq!(spec["containers"][0]["resources"]["requests"], json!({"cpu": "300m", "memory": "96Mi"}));
    assert_eq!(spec["containers"][0]["resources"]["limits"], json!({"memory": "96Mi"}));
    assert_eq!(spec["securityContext"]["runAsUser"], getuid().as_raw());
    for container in spec["containers"].as_array().unwrap() {
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    }
    let volumes = spec["volumes"].as_array().unwrap();
    assert!(volumes.iter().all(|volume| volume["emptyDir"].is_object()), "{volumes:?}");
    run.finish().succeeds().quiet_task();
    gone(&task);
}

#[test]
fn the_lease_owns_the_deployment_and_both_say_whose_they_are() {
    let project = project();
    let (run, task) = open(project.parallel(1));
    let (lease, deployment) = (object("leases", &task), object("deployments", &task));
    let name = format!("womm-task-{task}");
    for object in [&lease, &deployment] {
        let meta = &object["metadata"];
        assert_eq!(meta["name"], name.as_str());
        assert_eq!(meta["labels"]["womm.task"], task.as_str());
        assert_eq!(meta["labels"]["womm.user"], project.user());
        assert_eq!(meta["labels"]["app.kubernetes.io/managed-by"], "womm");
        let notes = &meta["annotations"];
        assert_eq!(notes["womm.pwd"], project.folder().to_str().unwrap());
        assert_eq!(notes["womm.host"], harness::tool("hostname", [""; 0]).trim());
        assert!(notes["womm.command"].as_str().unwrap().starts_with("'parallel'"), "{notes}");
        assert!(notes["womm.created"].as_str().unwrap().starts_with("20") && notes["womm.version"].is_string());
    }
    let owners = &deployment["metadata"]["ownerReferences"];
    assert_eq!(owners.as_array().unwrap().len(), 1);
    assert_eq!(owners[0]["kind"], "Lease");
    assert_eq!(owners[0]["uid"], lease["metadata"]["uid"]);
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 60);
    let renewed = lease["spec"]["renewTime"].clone();
    until(LONG, "the Lease to be renewed", || (object("leases", &task)["spec"]["renewTime"] != renewed).then_some(()));
    run.finish().succeeds().quiet_task();
    gone(&task);
    assert_eq!(objects("leases", &task).len(), 0);
}
