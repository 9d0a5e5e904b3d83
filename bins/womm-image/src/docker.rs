//! The local Docker engine: reach it, ask about images, build and name them. Its errors become lines for people here.

use crate::reference::Reference;
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ImageInspect;
use bollard::query_parameters::{BuildImageOptionsBuilder, CreateImageOptionsBuilder, TagImageOptionsBuilder};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::timeout;
use womm_cli::Failure;

/// How long a pull or build may say nothing.
pub const SILENCE: Duration = Duration::from_secs(60);
/// The same where much is done without a word: a registry takes a large layer in, a node unpacks one, Docker puts an image
/// into an archive.
pub const AT_WORK: Duration = Duration::from_secs(600);

/// Reaches the Docker on which pods would be made.
///
/// # Errors
/// Outside (3) if it does not answer within 10 s, with the remedy.
pub async fn connect() -> Result<Docker, Failure> {
    let docker = womm_engine::docker::Docker::connect().await?.into_api();
    Ok(docker.with_request_modifier(|mut request| {
        // bollard encodes credentials with "+" and "/", where Docker reads the alphabet for URLs and takes anything else
        // for no credentials at all: passwords with ">", "?" or "~" were refused.
        for name in ["x-registry-auth", "x-registry-config"] {
            let fixed = request.headers().get(name).and_then(|v| v.to_str().ok());
            let fixed = fixed.and_then(|v| v.replace('+', "-").replace('/', "_").parse().ok());
            if let Some(value) = fixed {
                request.headers_mut().insert(name, value);
            }
        }
        request
    }))
}

/// Docker for a request that is answered only when its work is done: bollard's own deadline would end it after two minutes.
pub fn patient(docker: &Docker, deadline: Duration) -> Docker {
    docker.clone().with_timeout(deadline)
}

/// Docker's own words, without bollard's around them, down to the cause.
pub fn words(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        other => {
            let mut cause: &dyn std::error::Error = other;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            cause.to_string()
        }
    }
}

/// What Docker would not do, as a failure with the remedy where the reason is a known one.
pub fn failed(deed: impl std::fmt::Display, error: &Error) -> Failure {
    refused(deed, &words(error))
}

/// The same for a reason in words.
pub fn refused(deed: impl std::fmt::Display, reason: &str) -> Failure {
    let failure = Failure::outside(format!("{deed}: {reason}"));
    if reason.contains("no space left on device") {
        failure.help("free some space where Docker keeps images: `docker system df` says what takes it")
    } else {
        failure
    }
}

/// Why an image could not be found where it would be pulled from.
pub fn not_pulled(deed: impl std::fmt::Display, error: &Error) -> Failure {
    let failure = failed(deed, error);
    match failure.help {
        Some(_) => failure,
        None => failure.help("is the name right? A private image needs `docker login` first"),
    }
}

/// Whether Docker says that it could not reach a registry at all. The words are those of Go's net package and TLS.
pub fn is_unreachable(error: &Error) -> bool {
    let words = words(error);
    let known = [
        "dial tcp",
        "no such host",
        "connection refused",
        "i/o timeout",
        "Client.Timeout",
        "x509:",
        "server gave HTTP",
    ];
    known.iter().any(|known| words.contains(known))
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}

/// An image of the local engine; `None` if it has none of that name.
///
/// # Errors
/// Outside (3) if Docker can't say.
pub async fn inspect(docker: &Docker, name: &str) -> Result<Option<ImageInspect>, Failure> {
    match docker.inspect_image(name).await {
        Ok(image) => Ok(Some(image)),
        Err(e) if is_missing(&e) => Ok(None),
        Err(e) => Err(failed(format!("inspect image \"{name}\""), &e)),
    }
}

/// The next line of a stream, with a deadline.
///
/// # Errors
/// Timeout (4) after [`SILENCE`].
pub async fn next_line<T>(lines: &mut (impl Stream<Item = T> + Unpin), deed: &str) -> Result<Option<T>, Failure> {
    timeout(SILENCE, lines.next()).await.map_err(|_| silent(deed, SILENCE).help("is the network up?"))
}

/// Nothing was heard for that long.
pub fn silent(deed: &str, deadline: Duration) -> Failure {
    Failure::timeout(format!("{deed}: nothing for {} s", deadline.as_secs()))
}

/// Pulls an image, saying so on stderr.
///
/// # Errors
/// Outside (3) if it can't be pulled, timeout (4) if nothing comes for a while.
pub async fn pull(docker: &Docker, image: &Reference) -> Result<(), Failure> {
    pulled(docker, image).await?.map_err(|e| not_pulled(pulling(image), &e))
}

/// Pulls an image that its registry may not have any more; false if it says so.
///
/// # Errors
/// As [`pull`], for every other reason.
pub async fn pull_if_there(docker: &Docker, image: &Reference) -> Result<bool, Failure> {
    match pulled(docker, image).await? {
        Ok(()) => Ok(true),
        Err(e) if is_unknown(&words(&e)) => Ok(false),
        Err(e) => Err(not_pulled(pulling(image), &e)),
    }
}

/// Whether a registry says that it has no such image. Only that counts: a registry that can't be reached, or wants another
/// login, may well have it.
///
/// Source: moby, `distribution/errors.go`; containerd, `core/remotes/docker/resolver.go` (Docker with its image store); the
/// third is Harbor's, which knows the name and has nothing of it.
fn is_unknown(reason: &str) -> bool {
    let denied = ["denied", "unauthorized", "authorization", "authentication"];
    let is_denied = denied.iter().any(|word| reason.to_ascii_lowercase().contains(word));
    let unknown = reason.contains("manifest unknown")
        || reason.contains("name unknown")
        || (reason.starts_with("manifest for ") && reason.ends_with(" not found"))
        || (reason.contains("failed to resolve reference") && reason.ends_with(": not found"))
        || (reason.starts_with("unknown: artifact ") && reason.ends_with(" not found"));
    unknown && !is_denied
}

fn pulling(image: &Reference) -> String {
    format!("pull image \"{image}\"")
}

/// The pull itself, with Docker's own error.
async fn pulled(docker: &Docker, image: &Reference) -> Result<Result<(), Error>, Failure> {
    let deed = pulling(image);
    let options = CreateImageOptionsBuilder::default().from_image(&image.repository);
    let options = match image.digest.as_ref().or(image.tag.as_ref()) {
        Some(tag) => options.tag(tag).build(),
        None => options.build(),
    };
    let login = crate::login::find(image.registry()).await?;
    let mut lines = Box::pin(docker.create_image(Some(options), None, login));
    let mut progress = crate::progress::Progress::new(&format!("pulling {image}"));
    while let Some(line) = next_line(&mut lines, &deed).await? {
        let line = match line {
            Ok(line) => line,
            Err(e) => return Ok(Err(e)),
        };
        let (current, total) = line.progress_detail.map_or((None, None), |p| (p.current, p.total));
        progress.layer(line.id.as_deref(), line.status.as_deref().unwrap_or_default(), current, total);
    }
    progress.finish("pulled");
    Ok(Ok(()))
}

/// Builds an image without a name from a context; returns its id. Intermediate containers are removed in any case.
///
/// # Errors
/// Outside (3) if Docker refuses, timeout (4) if it says nothing for a while.
pub async fn build(
    docker: &Docker,
    context: Vec<u8>,
    arguments: &HashMap<String, String>,
    network: Option<&str>,
) -> Result<String, Failure> {
    let context = Bytes::from(context);
    match build_once(docker, context.clone(), arguments, network).await {
        // Docker had the image of an earlier step from a former build, and somebody has removed it (`docker image prune`).
        Err(e) if e.to_string().contains("unable to find image") => {
            build_once(docker, context, arguments, network).await
        }
        built => built,
    }
}

async fn build_once(
    docker: &Docker,
    context: Bytes,
    arguments: &HashMap<String, String>,
    network: Option<&str>,
) -> Result<String, Failure> {
    let deed = "build the image";
    let options = BuildImageOptionsBuilder::default().rm(true).forcerm(true).buildargs(arguments);
    let options = network.map_or(options.clone(), |network| options.networkmode(network)).build();
    let mut lines = Box::pin(docker.build_image(options, None, Some(bollard::body_full(context))));
    let (mut id, mut said) = (None, String::new());
    while let Some(line) = next_line(&mut lines, deed).await? {
        // Docker only says with which status a program of the image failed.
        let line = line.map_err(|e| match last_words(&said) {
            Some(why) if words(&e).contains("returned a non-zero code") => {
                refused(deed, &format!("{}: {why}", words(&e)))
            }
            _ => failed(deed, &e),
        })?;
        said = line.stream.filter(|stream| !stream.trim().is_empty()).unwrap_or(said);
        id = line.aux.and_then(|aux| aux.id).or(id);
    }
    id.ok_or_else(|| Failure::outside(format!("{deed}: Docker did not say which image it made")))
}

/// The last line of what a program said last, unless it was the builder itself that said it.
fn last_words(said: &str) -> Option<&str> {
    let line = said.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let of_builder = ["Step ", "--->", "Removing intermediate"].iter().any(|begin| line.starts_with(begin));
    (!of_builder).then_some(line)
}

/// Gives an image a name; whichever image had it loses it.
///
/// # Errors
/// Outside (3) if Docker refuses.
pub async fn tag(docker: &Docker, id: &str, name: &Reference) -> Result<(), Failure> {
    let options = TagImageOptionsBuilder::default().repo(&name.repository);
    let options = options.tag(name.tag.as_deref().unwrap_or("latest")).build();
    docker.tag_image(id, Some(options)).await.map_err(|e| failed(format!("name the image \"{name}\""), &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_s_last_words_are_its_own() {
        assert_eq!(last_words("Reading\nE: no such package\n\n"), Some("E: no such package"));
        assert_eq!(last_words(" ---> Running in 0123456789ab\n"), None);
        assert_eq!(last_words(""), None);
    }

    #[test]
    fn work_may_take_as_long_as_is_said() {
        let docker = Docker::connect_with_host("http://127.0.0.1:1").expect("it is not asked");
        assert!(docker.timeout() < AT_WORK);
        assert_eq!(patient(&docker, AT_WORK).timeout(), AT_WORK);
    }

    #[test]
    fn only_a_registry_that_knows_no_such_image_is_believed() {
        for reason in [
            // 20.10 to 28, with Docker's own image store
            "manifest for localhost:5000/team/x:latest not found: manifest unknown: manifest unknown",
            "manifest for team/x:latest not found",
            "manifest for 1.dkr.ecr.eu-west-1.amazonaws.com/x:1 not found: manifest unknown: Requested image not found",
            "repository localhost:5000/team/x not found: name unknown: repository name not known to registry",
            "unknown: artifact team/x:latest not found",
            // 24 to 28, with containerd's
            "failed to resolve reference \"localhost:5000/x:1\": localhost:5000/x:1: not found",
        ] {
            assert!(is_unknown(reason), "{reason}");
        }
        for reason in [
            "pull access denied for team/x, repository does not exist or may require 'docker login': denied: requested \
             access to the resource is denied",
            "failed to resolve reference \"docker.io/team/x:1\": pull access denied, repository does not exist or may require \
             authorization: server message: insufficient_scope: authorization failed",
            "Head \"https://r.example.org/v2/team/x/manifests/latest\": unauthorized: authentication required",
            "Get \"https://r.example.org/v2/\": no basic auth credentials",
            "Get \"https://r.example.org/v2/\": dial tcp: lookup r.example.org: no such host",
            "Get \"https://r.example.org/v2/\": dial tcp 10.0.0.1:443: connect: connection refused",
            "Get \"https://r.example.org/v2/\": net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
            "Get \"https://r.example.org/v2/\": x509: certificate has expired or is not yet valid",
            "received unexpected HTTP status: 503 Service Unavailable",
            "error parsing HTTP 404 response body: invalid character '<' looking for beginning of value: \"<html>\"",
            "toomanyrequests: You have reached your pull rate limit.",
            "denied: manifest unknown",
            "write /var/lib/docker/tmp/GetImageBlob1: no space left on device",
        ] {
            assert!(!is_unknown(reason), "{reason}");
        }
    }
}
