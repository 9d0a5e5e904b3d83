//! The cluster's errors in our words: which verb on which resource in which namespace, and what to do about it.

use super::At;
use crate::Error;
use std::time::Duration;

use ::kube::Error as Api;
use ::kube::client::AuthError;
use ::kube::core::Status;

/// What can happen to one request.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The API server refused it, or can't be reached.
    Api(Api),
    /// Nothing came back in time.
    Late(Duration),
}

impl From<Api> for Trouble {
    fn from(error: Api) -> Self {
        Self::Api(error)
    }
}

impl Trouble {
    /// The API server's answer, if it answered.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(Api::Api(status)) => Some(status),
            _ => None,
        }
    }

    /// The HTTP status of the answer; 0 if there was none.
    pub fn code(&self) -> u16 {
        self.status().map_or(0, |status| status.code)
    }

    /// Whether asking again may help: nobody answered, or the answer was about the server's own state.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Late(_) => true,
            Self::Api(Api::Api(status)) => matches!(status.code, 429 | 500 | 502..=504),
            Self::Api(error) => auth(error).is_none(),
        }
    }

    /// What happened, without the remedy: for a line that says why we wait.
    pub fn words(&self) -> String {
        match self {
            Self::Late(after) => format!("no answer within {} s", after.as_secs()),
            Self::Api(Api::Api(status)) => status.message.trim().to_owned(),
            Self::Api(error) => innermost(error).to_string(),
        }
    }
}

/// Turns trouble with a request into an error that names the deed ("create leases") and the remedy.
pub(super) fn explain(at: &At, deed: &str, trouble: &Trouble) -> Error {
    match trouble {
        Trouble::Late(after) => unreachable(at, &format!("no answer to \"{deed}\" within {} s", after.as_secs())),
        Trouble::Api(Api::Api(status)) => refused(at, deed, status),
        Trouble::Api(Api::SerdeError(error)) => {
            Error::Refused { deed: deed.into(), reason: format!("the answer can't be read: {error}") }
        }
        Trouble::Api(
            error @ (Api::ProxyProtocolUnsupported { .. }
            | Api::ProxyProtocolDisabled { .. }
            | Api::TlsRequired
            | Api::RustlsTls(_)
            | Api::InferKubeconfig(_)),
        ) => Error::Invalid {
            message: format!("{} can't be used: {}", at.cluster(), innermost(error)),
            help: at.correct_kubeconfig(),
        },
        Trouble::Api(error) => match auth(error) {
            Some(error) => unauthorized(at, &plugin(error)),
            None => unreachable(at, &innermost(error).to_string()),
        },
    }
}

/// The API server answered with an error.
fn refused(at: &At, deed: &str, status: &Status) -> Error {
    let message = status.message.trim();
    let deed_there = || format!("{deed} in namespace \"{}\"", at.namespace);
    match status.code {
        401 => return unauthorized(at, if message.is_empty() { "Unauthorized" } else { message }),
        404 if names_namespace(status, &at.namespace) => {
            return Error::Missing {
                what: format!("namespace \"{}\"", at.namespace),
                on: Some(format!("on {}{}", at.cluster(), at.by_context())),
                help: format!("create it with `kubectl create namespace {}`, or choose another with -n", at.namespace),
            };
        }
        _ => {}
    }
    if let Some(right) = Right::parse(message) {
        return Error::Forbidden {
            deed: right.deed(&at.namespace),
            reason: format!("user \"{}\" has no such right{}", right.user, at.by_context()),
            help: format!(
                "ask whoever runs the cluster for it, or choose another namespace with -n{}",
                if right.namespace.is_some() { " (the cluster says the same of one that does not exist)" } else { "" }
            ),
        };
    }
    if status.code == 403 && message.contains("because it is being terminated") {
        return Error::Refused { deed: deed_there(), reason: "the namespace is being deleted".into() };
    }
    if matches!(status.code, 500..=599) && message.is_empty() {
        return unreachable(at, &format!("it answers {}", status.code));
    }
    Error::Refused { deed: deed_there(), reason: refusal(message) }
}

/// The cluster's words of a refused object without what is before them: the object's own name, which the user never chose.
pub(super) fn refusal(message: &str) -> String {
    let rest = match message.split_once(" is forbidden: ") {
        Some((object, rest)) if is_object(object) => rest,
        _ => message,
    };
    // client-go says it so for a webhook: "admission webhook "x" denied the request: why".
    rest.trim().trim_start_matches("error when creating: ").to_owned()
}

/// `pods "x"`. Other words may be somebody's own: of a webhook, which knows best why it refuses.
fn is_object(text: &str) -> bool {
    let name = text.split_once(' ').and_then(|(_, rest)| rest.strip_prefix('"')?.strip_suffix('"'));
    name.is_some_and(|name| !name.contains(['"', ' ']))
}

fn names_namespace(status: &Status, namespace: &str) -> bool {
    status.details.as_ref().is_some_and(|d| d.kind == "namespaces" && d.name == namespace)
        || status.message.starts_with(&format!("namespaces \"{namespace}\" not found"))
}

/// The credentials are refused, or can't be had.
pub(super) fn unauthorized(at: &At, reason: &str) -> Error {
    let (reason, remedy) = match at.expired() {
        Some(day) => (
            format!("the client certificate of the kubeconfig's user expired on {day} ({reason})"),
            "get a new one from whoever runs the cluster",
        ),
        None => (reason.to_owned(), "log in again"),
    };
    Error::Unauthorized {
        engine: at.cluster(),
        reason,
        help: format!("{remedy}; `{} get pods` must work", at.kubectl()),
    }
}

/// Nobody answers, or not as an API server would.
pub(super) fn unreachable(at: &At, reason: &str) -> Error {
    Error::Unreachable {
        engine: at.cluster(),
        reason: reason.to_owned(),
        help: format!("is it running, and is that its address? `{} version` must work", at.kubectl()),
    }
}

/// What the credential plugin said, or why it was not run.
fn plugin(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { cmd, out } => {
            let said = String::from_utf8_lossy(&out.stderr);
            let said = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing");
            format!("the credential plugin {cmd} failed ({}): {said}", out.status)
        }
        AuthError::AuthExecStart(error) => format!("the credential plugin can't be run: {error}"),
        other => innermost(other).to_string(),
    }
}

fn auth(error: &Api) -> Option<&AuthError> {
    if let Api::Auth(error) = error {
        return Some(error);
    }
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<AuthError>() {
            return Some(found);
        }
        if let Some(Api::Auth(found)) = error.downcast_ref::<Api>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The cause beneath the layers: "Connection refused (os error 111)".
pub(super) fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner
}

/// What RBAC says is missing. Source: kubernetes, `apiserver/pkg/endpoints/handlers/responsewriters/errors.go`,
/// `forbiddenMessage`: `User "u" cannot VERB resource "RES" in API group "G" in the namespace "NS"` or
/// `… at the cluster scope`.
struct Right<'a> {
    user: &'a str,
    verb: &'a str,
    resource: &'a str,
    namespace: Option<&'a str>,
}

impl<'a> Right<'a> {
    fn parse(message: &'a str) -> Option<Self> {
        let (_, rest) = message.split_once("is forbidden: User \"")?;
        let (user, rest) = rest.split_once("\" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once('"')?;
        let namespace = rest.split_once("in the namespace \"").and_then(|(_, rest)| rest.split_once('"'));
        Some(Self { user, verb, resource, namespace: namespace.map(|(name, _)| name) })
    }

    fn deed(&self, namespace: &str) -> String {
        match self.namespace {
            Some(namespace) => format!("{} {} in namespace \"{namespace}\"", self.verb, self.resource),
            None => {
                format!("{} {} of the whole cluster (wanted for namespace \"{namespace}\")", self.verb, self.resource)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::kube::core::response::StatusDetails;
    use womm_cli::Failure;

    fn at() -> At {
        At {
            server: "https://10.0.0.1:6443".into(),
            context: Some("big".into()),
            namespace: "team".into(),
            certificate_ends: None,
        }
    }

    fn text(code: u16, message: &str) -> String {
        let status = Status { code, message: message.into(), ..Status::default() };
        Failure::from(explain(&at(), "create deployments", &Trouble::Api(Api::Api(status.boxed())))).to_string()
    }

    #[test]
    fn rbac_is_told_by_verb_resource_and_namespace() {
        let own = "admission webhook \"a.b\" denied the request: User \"x\" cannot: it is forbidden: see the wiki";
        let said = text(403, own);
        assert!(said.ends_with(own), "{said}");
        let said = text(
            403,
            "leases.coordination.k8s.io is forbidden: User \"team-member\" cannot create resource \"leases\" in API \
             group \"coordination.k8s.io\" in the namespace \"default\"",
        );
        assert_eq!(
            said,
            "create leases in namespace \"default\" is forbidden: user \"team-member\" has no such right (context \
             \"big\"): ask whoever runs the cluster for it, or choose another namespace with -n (the cluster says the \
             same of one that does not exist)"
        );
        let said = text(
            403,
            "nodes is forbidden: User \"u\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
        );
        assert!(said.starts_with("list nodes of the whole cluster"), "{said}");
    }

    #[test]
    fn a_webhook_is_named() {
        let said = text(403, "admission webhook \"no.example.org\" denied the request: not on Fridays");
        assert_eq!(
            said,
            "create deployments in namespace \"team\": admission webhook \"no.example.org\" denied the request: not \
             on Fridays"
        );
        let own = "admission webhook \"a.b\" denied the request: User \"x\" cannot: it is forbidden: see the wiki";
        let said = text(403, own);
        assert!(said.ends_with(own), "{said}");
        let said = text(
            403,
            "leases.coordination.k8s.io \"womm-task-x\" is forbidden: exceeded quota: few, requested: count/leases=1",
        );
        assert!(said.ends_with(": exceeded quota: few, requested: count/leases=1"), "{said}");
    }

    #[test]
    fn a_missing_namespace_has_a_remedy() {
        let details = StatusDetails {
            name: "team".into(),
            kind: "namespaces".into(),
            group: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        };
        let status = Status { code: 404, message: "x".into(), details: Some(details), ..Status::default() };
        let error = explain(&at(), "create leases", &Trouble::Api(Api::Api(status.boxed())));
        let said = Failure::from(error).to_string();
        assert!(
            said.starts_with("namespace \"team\" does not exist on the cluster at https://10.0.0.1:6443"),
            "{said}"
        );
        assert!(text(404, "namespaces \"team\" not found").contains("kubectl create namespace team"));
        assert!(text(404, "deployments.apps \"x\" not found").starts_with("create deployments in namespace"));
    }

    #[test]
    fn refused_credentials_are_not_an_unreachable_cluster() {
        let said = text(401, "Unauthorized");
        assert!(
            said.starts_with(
                "the cluster at https://10.0.0.1:6443 does not accept the credentials: Unauthorized: log in"
            )
        );
        assert!(said.contains("`kubectl --context big -n team get pods`"), "{said}");
        let end = |text: &str| At { certificate_ends: text.parse().ok(), ..at() };
        let expired = Failure::from(unauthorized(&end("2020-01-02T03:04:05Z"), "Unauthorized")).to_string();
        let words = "does not accept the credentials: the client certificate of the kubeconfig's user expired on \
                     2020-01-02 (Unauthorized): get a new one";
        assert!(expired.contains(words), "{expired}");
        let valid = Failure::from(unauthorized(&end("9998-01-02T03:04:05Z"), "Unauthorized")).to_string();
        assert!(valid.contains("credentials: Unauthorized: log in again"), "{valid}");
        let late = Failure::from(explain(&at(), "ask for its version", &Trouble::Late(Duration::from_secs(10))));
        assert!(late.to_string().starts_with("the cluster at https://10.0.0.1:6443 can't be reached: no answer to"));
        let status = Status { code: 503, ..Status::default() };
        assert!(Trouble::Api(Api::Api(status.boxed())).is_passing());
    }

    #[test]
    fn a_plugin_s_last_words_are_told() {
        use std::os::unix::process::ExitStatusExt;
        let out = std::process::Output {
            status: std::process::ExitStatus::from_raw(256),
            stdout: Vec::new(),
            stderr: b"trace\nError: session expired\n\n".to_vec(),
        };
        let error = AuthError::AuthExecRun { cmd: "aws".into(), out: Box::new(out) };
        let said = Failure::from(explain(&at(), "x", &Trouble::Api(Api::Auth(error)))).to_string();
        assert!(said.contains("plugin aws failed (exit status: 1): Error: session expired"), "{said}");
    }
}
