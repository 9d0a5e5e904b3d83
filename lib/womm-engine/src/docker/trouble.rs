//! Docker's errors in our words: what failed, and what to do about it.

use super::endpoint::Endpoint;
use crate::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;

use bollard::errors::Error as Api;

/// The HTTP status that Docker answered with, if it answered.
pub(super) fn status(error: &Api) -> Option<u16> {
    match error {
        Api::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Docker's words in an answer, else what the transport says, without the layers around it.
pub(super) fn words(error: &Api) -> String {
    match error {
        Api::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        _ => innermost(error).to_string(),
    }
}

fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner
}

fn io_kind(error: &Api) -> Option<ErrorKind> {
    match error {
        Api::SocketNotFoundError(_) => Some(ErrorKind::NotFound),
        // Transparent: its source is already the next one.
        Api::IOError { err } => Some(err.kind()),
        _ => innermost(error).downcast_ref::<io::Error>().map(io::Error::kind),
    }
}

/// The engine can't be reached.
pub(super) fn unreachable(at: &Endpoint, error: &Api) -> Error {
    let reason = match error {
        Api::SocketNotFoundError(path) => format!("there is no \"{path}\""),
        Api::UnsupportedURISchemeError { .. } => "only unix:// and tcp:// without TLS are spoken".to_owned(),
        _ => words(error),
    };
    Error::Unreachable { engine: engine(at), reason, help: help(at, io_kind(error)) }
}

/// The engine accepts connections but does not answer.
pub(super) fn silent(at: &Endpoint, deadline: Duration) -> Error {
    let reason = format!("no answer within {} s", deadline.as_secs());
    Error::Unreachable { engine: engine(at), reason, help: "restart it: `sudo systemctl restart docker`".into() }
}

fn engine(at: &Endpoint) -> String {
    format!("Docker at {}", at.url)
}

fn help(at: &Endpoint, kind: Option<ErrorKind>) -> String {
    match (kind, &at.named_by) {
        (Some(ErrorKind::PermissionDenied), _) => {
            "add yourself to its group with `sudo usermod -aG docker $USER` and log in again".into()
        }
        (_, Some(named_by)) => format!("is it running? {named_by} says that it is there"),
        (_, None) => "is it running? `sudo systemctl start docker`".into(),
    }
}

/// Says what failed; a broken connection is [`Error::Unreachable`], so that callers can tell it from a refusal.
pub(super) fn explain(at: &Endpoint, deed: &str, error: &Api) -> Error {
    match error {
        Api::DockerResponseServerError { .. } | Api::JsonDataError { .. } | Api::JsonSerdeError { .. } => {
            Error::Refused { deed: deed.into(), reason: words(error) }
        }
        Api::RequestTimeoutError => Error::Timeout { deed: deed.into(), after: Duration::from_secs(120) },
        _ => unreachable(at, error),
    }
}

/// What Docker says when a container can't be made or started, with the remedies we know.
pub(super) fn explain_make(at: &Endpoint, deed: &str, image: &str, error: &Api) -> Error {
    let said = words(error);
    if status(error) == Some(404) && said.to_lowercase().contains("no such image") {
        return missing_image(image);
    }
    if let Some((_, path)) = said.split_once("bind source path does not exist: ") {
        return Error::Missing {
            what: format!("the folder \"{}\"", path.trim()),
            on: Some(format!("where Docker runs ({})", at.url)),
            help: "share kind \"bind\" needs a Docker engine on this machine that sees the folder".into(),
        };
    }
    if said.contains("could not select device driver") {
        return Error::Invalid {
            message: "Docker has no driver for GPUs".into(),
            help: "install the NVIDIA container toolkit, or leave out --kube-gpu".into(),
        };
    }
    explain(at, deed, error)
}

/// There is no such image here.
pub(super) fn missing_image(name: &str) -> Error {
    Error::Missing {
        what: format!("image \"{name}\""),
        on: Some("on the local Docker engine".into()),
        help: format!("get it with `docker pull {name}`, or make it with `womm setup`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use womm_cli::Failure;

    fn at() -> Endpoint {
        Endpoint { url: "unix:///var/run/docker.sock".into(), named_by: None }
    }

    fn said(status_code: u16, message: &str) -> Api {
        Api::DockerResponseServerError { status_code, message: message.into() }
    }

    #[test]
    fn who_may_not_is_told_of_the_group() {
        let error = Api::IOError { err: io::Error::from(ErrorKind::PermissionDenied) };
        let failure = Failure::from(unreachable(&at(), &error)).to_string();
        assert!(failure.contains("usermod"), "{failure}");
        let error = Api::SocketNotFoundError("/var/run/docker.sock".into());
        let failure = Failure::from(unreachable(&at(), &error)).to_string();
        assert_eq!(
            failure,
            "Docker at unix:///var/run/docker.sock can't be reached: there is no \"/var/run/docker.sock\": \
             is it running? `sudo systemctl start docker`"
        );
    }

    #[test]
    fn what_docker_refuses_has_a_remedy() {
        let text = |e: &Api| Failure::from(explain_make(&at(), "make a container", "img:1", e)).to_string();
        assert!(text(&said(404, "No such image: img:1")).contains("docker pull img:1"));
        let bind = said(400, "invalid mount config for type \"bind\": bind source path does not exist: /x y");
        assert!(text(&bind).starts_with("the folder \"/x y\" does not exist where Docker runs"), "{}", text(&bind));
        let gpu = said(500, "could not select device driver \"\" with capabilities: [[gpu]]");
        assert!(text(&gpu).contains("--kube-gpu"));
        assert_eq!(text(&said(500, "no space left\n")), "make a container: no space left");
    }
}
