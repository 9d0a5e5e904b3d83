//! Pushes an image, with progress per layer.
//!
//! Through Docker's API but not through bollard, whose answer to a push (0.21) leaves out the layer's id.

use crate::cli;
use crate::docker::{self, SILENCE};
use crate::progress::Progress;
use crate::reference::Reference;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bollard::Docker;
use bollard::auth::DockerCredentials;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use womm_cli::Failure;
use womm_engine::docker::endpoint;

/// `womm-image push`.
///
/// # Errors
/// Usage (2) without a project, outside (3) if the registry refuses, timeout (4) if nothing comes for a while.
pub async fn run(args: &cli::Push) -> Result<(), Failure> {
    let name = crate::show::image_name(&args.find, args.image.as_deref())?;
    let image = Reference::parse(&name)?;
    let docker = docker::connect().await?;
    if docker::inspect(&docker, &name).await?.is_none() {
        return Err(crate::show::missing(&name, false));
    }
    push(&docker, &image).await
}

/// Pushes an image of the local engine to the registry that its name says.
///
/// # Errors
/// Outside (3) if the registry refuses, with the login that is missing; timeout (4) if nothing comes for a while.
pub async fn push(docker: &Docker, image: &Reference) -> Result<(), Failure> {
    let deed = format!("push image \"{image}\"");
    let login = crate::login::find(image.registry()).await?;
    let has_login = login.is_some();
    let silent = || {
        Failure::timeout(format!("{deed}: nothing for {} s", SILENCE.as_secs()))
            .help(format!("is {} reachable from where Docker runs?", image.registry()))
    };
    let mut answer = timeout(SILENCE, ask(docker, image, login, &deed)).await.map_err(|_| silent())??;
    let ok = answer.status().is_success();
    let mut progress = Progress::new(&format!("pushing {image}"));
    let mut lines = Vec::new();
    while let Some(frame) = timeout(SILENCE, answer.body_mut().frame()).await.map_err(|_| silent())? {
        let frame = frame.map_err(|e| Failure::outside(format!("{deed}: Docker broke off: {e}")))?;
        lines.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = lines.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = lines.drain(..=end).collect();
            said(&line, &mut progress).map_err(|reason| refused(&deed, image, has_login, &reason))?;
        }
    }
    said(&lines, &mut progress).map_err(|reason| refused(&deed, image, has_login, &reason))?;
    if ok { Ok(()) } else { Err(Failure::outside(format!("{deed}: Docker refused without a word"))) }
}

/// A line of Docker's answer.
#[derive(Deserialize)]
struct Line {
    id: Option<String>,
    status: Option<String>,
    #[serde(rename = "progressDetail", default)]
    detail: Detail,
    error: Option<String>,
    /// What an answer with a failed status has instead.
    message: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Detail {
    current: Option<i64>,
    total: Option<i64>,
}

fn said(line: &[u8], progress: &mut Progress) -> Result<(), String> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let line: Line = serde_json::from_slice(line).map_err(|e| format!("Docker's answer is not understood: {e}"))?;
    if let Some(reason) = line.error.or(line.message) {
        return Err(reason);
    }
    progress.layer(
        line.id.as_deref(),
        line.status.as_deref().unwrap_or_default(),
        line.detail.current,
        line.detail.total,
    );
    Ok(())
}

fn refused(deed: &str, image: &Reference, has_login: bool, reason: &str) -> Failure {
    let failure = docker::refused(deed, reason);
    let registry = image.registry();
    let words =
        ["unauthorized", "denied", "no basic auth credentials", "authentication required", "forbidden", "401", "403"];
    if words.iter().any(|word| reason.to_ascii_lowercase().contains(word)) {
        let which =
            if registry == crate::reference::DOCKER_HUB { "docker login" } else { &format!("docker login {registry}") };
        return failure.help(if has_login {
            format!("the login at {registry} may not push there: log in as somebody who may (`{which}`), or choose another --prefix")
        } else {
            format!("there is no login for {registry}: run `{which}`")
        });
    }
    if reason.contains("server gave HTTP response to HTTPS client") {
        return failure.help(format!("add {registry} to \"insecure-registries\" in /etc/docker/daemon.json"));
    }
    failure
}

async fn ask(
    docker: &Docker,
    image: &Reference,
    login: Option<DockerCredentials>,
    deed: &str,
) -> Result<Response<Incoming>, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::outside(format!("{deed}: {e}"));
    let version = docker.client_version();
    let uri = format!(
        "/v{}.{}/images/{}/push?tag={}",
        version.major_version,
        version.minor_version,
        image.repository,
        image.tag.as_deref().unwrap_or("latest") // never without: all tags would be pushed
    );
    let login = serde_json::to_vec(&login.unwrap_or_default()).map_err(|e| failed(&e))?;
    let request = Request::post(uri)
        .header("host", "docker")
        .header("x-registry-auth", URL_SAFE.encode(login))
        .body(Empty::<Bytes>::new())
        .map_err(|e| failed(&e))?;
    let host = endpoint::find().url;
    if let Some(path) = host.strip_prefix("unix://") {
        let stream = UnixStream::connect(path).await.map_err(|e| failed(&e))?;
        send(stream, request).await.map_err(|e| failed(&e))
    } else {
        let address = host.trim_start_matches("tcp://").trim_start_matches("http://").trim_end_matches('/');
        let stream = TcpStream::connect(address).await.map_err(|e| failed(&e))?;
        send(stream, request).await.map_err(|e| failed(&e))
    }
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends by itself: with the answer, or with the runtime when the verb ends before.
    tokio::spawn(connection);
    sender.send_request(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_which_login_is_missing() {
        let image = Reference::parse("localhost:5000/me/x").expect("valid");
        let text = refused("push image \"x\"", &image, false, "no basic auth credentials").to_string();
        assert!(text.ends_with("there is no login for localhost:5000: run `docker login localhost:5000`"), "{text}");
        let hub = Reference::parse("me/x").expect("valid");
        let text =
            refused("push image \"x\"", &hub, true, "denied: requested access to the resource is denied").to_string();
        assert!(text.contains("docker login`"), "{text}");
    }
}
