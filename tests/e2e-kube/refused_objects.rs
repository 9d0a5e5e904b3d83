//! Clusters whose own rules refuse our objects: an admission policy, a webhook that does not answer.

use crate::cluster::{LITTLE, NEVER_STARTED, Namespace, SAID, apply, kubectl, no_pod, project, refused};
use harness::{LONG, Project, until};
use serde_json::json;

/// A rule of a namespace, for as long as this lives.
struct Rule {
    namespace: Namespace,
    kinds: &'static str,
}

impl Rule {
    /// Refuses to make objects of a kind, in these words.
    fn policy(project: &Project, group: &str, resource: &str) -> Self {
        let namespace = Namespace::new("policy");
        let name = &namespace.0;
        let rule =
            json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]});
        let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name}, "spec": {"matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "not on Fridays"}]}});
        let here = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
        let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": here}});
        apply(project, &policy);
        apply(project, &binding);
        Self { namespace, kinds: "validatingadmissionpolicybinding,validatingadmissionpolicy" }
    }

    /// Asks somebody who is not there.
    fn webhook(project: &Project, group: &str, resource: &str) -> Self {
        let namespace = Namespace::new("webhook");
        let name = &namespace.0;
        let rule =
            json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]});
        let webhook = json!({"name": "no.example.org", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": "https://127.0.0.1:1/"}, "failurePolicy": "Fail", "rules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
        let webhook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name}, "webhooks": [webhook]});
        apply(project, &webhook);
        Self { namespace, kinds: "validatingwebhookconfiguration" }
    }

    /// Waits until the API server knows it.
    fn holds(&self, make: &str) {
        let make = format!("{make} -n {} --image=x --dry-run=server", self.namespace.0);
        until(LONG, "the rule", || {
            let output = std::process::Command::new("kubectl")
                .env("KUBECONFIG", std::env::var("WOMM_TEST_KUBECONFIG").unwrap())
                .args(make.split_whitespace())
                .output();
            (!output.unwrap().status.success()).then_some(())
        });
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        let words = format!("delete {} {} --wait=false", self.kinds, self.namespace.0);
        let _ = std::panic::catch_unwind(|| kubectl(&words)); // it may be dropped by a panic
    }
}

fn run(project: &Project, rule: &Rule) -> harness::Cmd {
    project.parallel(1).args(["--namespace", &rule.namespace.0]).words(LITTLE).words("-- echo ran ::: 1")
}

#[test]
fn no_deployments_by_policy() {
    let project = project();
    let rule = Rule::policy(&project, "apps", "deployments");
    rule.holds("create deployment x");
    refused(&project, run(&project, &rule), NEVER_STARTED, &["create the Deployment", "not on Fridays"]);
}

#[test]
fn no_pods_by_policy() {
    let project = project();
    let rule = Rule::policy(&project, "", "pods");
    rule.holds("run x");
    let out = run(&project, &rule).deadline(SAID).run();
    no_pod(&out, &["the cluster refuses the pods", "not on Fridays"]);
}

#[test]
fn a_webhook_that_does_not_answer() {
    let project = project();
    let rule = Rule::webhook(&project, "apps", "deployments");
    rule.holds("create deployment x");
    refused(&project, run(&project, &rule), NEVER_STARTED, &["create the Deployment", "no.example.org"]);
}
