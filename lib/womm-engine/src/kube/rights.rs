//! Every right that WOMM uses on a cluster, in one place: `womm doctor` asks for each, and a test runs jobs as a user who
//! has those that are needed and no other.

use k8s_openapi::api::authorization::v1::ResourceAttributes;

/// A right on objects of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Right {
    pub verb: &'static str,
    /// `pods/exec` for a subresource.
    pub resource: &'static str,
    /// The API group; empty for the core.
    pub group: &'static str,
    /// What goes without it; none: nothing does.
    pub optional: Option<&'static str>,
    /// Of the whole cluster, not of a namespace.
    pub is_of_cluster: bool,
}

const fn needed(verb: &'static str, resource: &'static str, group: &'static str) -> Right {
    Right { verb, resource, group, optional: None, is_of_cluster: false }
}

const fn wanted(verb: &'static str, resource: &'static str, group: &'static str, without: &'static str) -> Right {
    Right { optional: Some(without), ..needed(verb, resource, group) }
}

const LEASES: &str = "coordination.k8s.io";

/// All of them, by the file that uses them: create.rs, watch.rs, dial.rs, delete.rs.
pub(super) const RIGHTS: &[Right] = &[
    needed("create", "leases", LEASES),
    needed("create", "deployments", "apps"),
    wanted("patch", "deployments", "apps", "--kube-patch is not possible"),
    needed("patch", "leases", LEASES),
    needed("list", "pods", ""),
    needed("watch", "pods", ""),
    needed("get", "deployments", "apps"),
    wanted("list", "events", "", "it is not always said why a pod does not come"),
    Right { is_of_cluster: true, ..wanted("list", "nodes", "", "it is not said which node has room") },
    // A WebSocket is opened by GET, which is "get" up to Kubernetes 1.34, and "create" as well from 1.35 on.
    // Source: kubernetes, feature gate AuthorizePodWebsocketUpgradeCreatePermission.
    needed("get", "pods/exec", ""),
    needed("create", "pods/exec", ""),
    needed("delete", "deployments", "apps"),
    needed("delete", "leases", LEASES),
    needed("get", "leases", LEASES),
    wanted("delete", "pods", "", "pods that are slow to end are waited for"),
];

impl Right {
    /// "create deployments.apps", as `kubectl auth can-i` takes it.
    pub fn words(&self) -> String {
        let (resource, sub) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        let dot = if self.group.is_empty() { "" } else { "." };
        let slash = if sub.is_empty() { "" } else { "/" };
        format!("{} {resource}{dot}{}{slash}{sub}", self.verb, self.group)
    }

    /// What a SelfSubjectAccessReview asks for.
    pub fn attributes(&self, namespace: &str) -> ResourceAttributes {
        let (resource, sub) = match self.resource.split_once('/') {
            Some((resource, sub)) => (resource, Some(sub.to_owned())),
            None => (self.resource, None),
        };
        ResourceAttributes {
            verb: Some(self.verb.into()),
            resource: Some(resource.into()),
            subresource: sub,
            group: Some(self.group.into()),
            namespace: (!self.is_of_cluster).then(|| namespace.to_owned()),
            ..Default::default()
        }
    }

    /// The rule that gives it, as it stands in a Role.
    pub fn rule(&self) -> String {
        format!(r#"{{apiGroups: ["{}"], resources: [{}], verbs: [{}]}}"#, self.group, self.resource, self.verb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::rbac::v1::Role;
    use std::collections::BTreeSet;

    /// Whoever runs the cluster applies it.
    const ROLE: &str = include_str!("../../../../manifests/role.yaml");

    #[test]
    fn the_role_gives_what_is_used_and_no_more() {
        let role: Role = serde_saphyr::from_str(ROLE).expect("a Role");
        let mut given = BTreeSet::new();
        for rule in role.rules.expect("some") {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    given.extend(rule.verbs.iter().map(|verb| (verb.clone(), resource.clone(), group.clone())));
                }
            }
        }
        // A Role gives nothing of the whole cluster.
        let used = RIGHTS.iter().filter(|right| !right.is_of_cluster);
        let used: BTreeSet<_> = used.map(|r| (r.verb.to_owned(), r.resource.to_owned(), r.group.to_owned())).collect();
        assert_eq!(given, used);
    }

    #[test]
    fn rights_are_named_as_kubectl_names_them() {
        let exec = RIGHTS.iter().find(|right| right.resource == "pods/exec").expect("it is needed");
        assert_eq!(exec.words(), "get pods/exec");
        let attributes = exec.attributes("team");
        assert_eq!((attributes.resource.as_deref(), attributes.subresource.as_deref()), (Some("pods"), Some("exec")));
        assert_eq!(RIGHTS[0].words(), "create leases.coordination.k8s.io");
        assert_eq!(RIGHTS[1].rule(), r#"{apiGroups: ["apps"], resources: [deployments], verbs: [create]}"#);
        let of_nodes = RIGHTS.iter().find(|right| right.resource == "nodes").expect("it is wanted");
        assert_eq!(of_nodes.attributes("team").namespace, None);
    }
}
