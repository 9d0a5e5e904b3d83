//! Pushes an image, with progress per layer. Docker sends the layers that the registry lacks; a Docker that goes away
//! in the middle is waited for, and the push taken up again: what had arrived stays there.
//!
//! Through Docker's API but not through bollard, whose answer to a push (0.21) leaves out the layer's id.

use crate::cli;
use crate::docker::{self, AT_WORK, SILENCE, silent};
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
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use womm_cli::Failure;
use womm_engine::docker::endpoint;

/// How long a Docker that went away is waited for. Its restart by a package's update takes less.
const AWAY: Duration = Duration::from_secs(60);
/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// As often it may break off without having moved a layer.
const MOST_BREAKS: u32 = 5;

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
/// Outside (3) if the registry refuses, with the login that is missing, or Docker went away and stays away; timeout (4)
/// if nothing comes for a while.
pub async fn push(docker: &Docker, image: &Reference) -> Result<(), Failure> {
    let deed = format!("push image \"{image}\"");
    let mut breaks = 0;
    loop {
        let (why, moved) = match once(docker, image, &deed).await {
            Ok(()) => return Ok(()),
            Err(Trouble::Failed(failure)) => return Err(failure),
            Err(Trouble::Broken { why, moved }) => (why, moved),
        };
        breaks = if moved { 0 } else { breaks + 1 };
        if breaks >= MOST_BREAKS {
            return Err(Failure::outside(format!("{deed}: Docker broke off {breaks} times: {why}"))
                .help("see its log: `journalctl -u docker`"));
        }
        wait_for_docker(&deed, &why).await?;
    }
}

/// Why one attempt did not succeed.
enum Trouble {
    /// It makes no sense to try again.
    Failed(Failure),
    /// Docker went away; whether a layer had arrived by then.
    Broken { why: String, moved: bool },
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Waits until Docker answers, and says so.
async fn wait_for_docker(deed: &str, why: &str) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut said = false;
    loop {
        let error = match docker::connect().await {
            Ok(_) => break,
            Err(error) => error,
        };
        if !said {
            crate::progress::say(&format!("Docker went away ({why}): waiting up to {} s for it", AWAY.as_secs()));
            said = true;
        }
        if begun.elapsed() >= AWAY {
            return Err(Failure::outside(format!(
                "{deed}: Docker went away, and was not back after {} s: {}",
                AWAY.as_secs(),
                error.message
            ))
            .help("start it and do the same again: layers that have arrived are not sent again"));
        }
        sleep(LOOK).await;
    }
    let what = if said { "Docker is back".to_owned() } else { format!("Docker broke off ({why})") };
    crate::progress::say(&format!("{what}: what has not arrived is sent again"));
    Ok(())
}

async fn once(docker: &Docker, image: &Reference, deed: &str) -> Result<(), Trouble> {
    let login = crate::login::find(image.registry()).await?;
    let has_login = login.is_some();
    let silent =
        |deadline| silent(deed, deadline).help(format!("is {} reachable from where Docker runs?", image.registry()));
    let mut hearing = Hearing::default();
    let mut answer = match timeout(SILENCE, ask(docker, image, login, deed)).await.map_err(|_| silent(SILENCE))? {
        Ok(answer) => answer,
        Err(trouble) => return Err(trouble),
    };
    let mut progress = Progress::new(&format!("pushing {image}"));
    while let Some(frame) = timeout(AT_WORK, answer.body_mut().frame()).await.map_err(|_| silent(AT_WORK))? {
        let frame = frame.map_err(|e| hearing.broken(&innermost(&e)))?;
        hearing.take(frame.data_ref().map_or(&[][..], |data| data), &mut progress)?;
    }
    hearing.take(b"\n", &mut progress)?;
    match hearing.refusal.take() {
        // A Docker that is told to end calls off what it does.
        Some(reason) if reason.contains("context canceled") => Err(hearing.broken(&reason)),
        Some(reason) => Err(refused(deed, image, has_login, &reason).into()),
        None if !answer.status().is_success() => {
            Err(Failure::outside(format!("{deed}: Docker refused without a word")).into())
        }
        // An end without a word is none: Docker says the digest when all has arrived.
        None if !hearing.arrived => Err(hearing.broken("it ended without a word")),
        None => {
            progress.finish("pushed");
            Ok(())
        }
    }
}

/// What has been heard of an answer.
#[derive(Default)]
struct Hearing {
    lines: Vec<u8>,
    refusal: Option<String>,
    moved: bool,
    arrived: bool,
}

impl Hearing {
    fn broken(&self, why: &str) -> Trouble {
        Trouble::Broken { why: why.to_owned(), moved: self.moved }
    }

    fn take(&mut self, bytes: &[u8], progress: &mut Progress) -> Result<(), Failure> {
        self.lines.extend_from_slice(bytes);
        while let Some(end) = self.lines.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.lines.drain(..=end).collect();
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let line: Line = serde_json::from_slice(&line)
                .map_err(|e| Failure::outside(format!("push: Docker's answer is not understood: {e}")))?;
            self.hear(line, progress);
        }
        Ok(())
    }

    fn hear(&mut self, line: Line, progress: &mut Progress) {
        if let Some(reason) = line.error.or(line.message) {
            self.refusal.get_or_insert(reason);
            return;
        }
        let status = line.status.as_deref().unwrap_or_default();
        self.moved |= status == "Pushed";
        self.arrived |= line.aux.is_some_and(|aux| aux.digest.is_some());
        progress.layer(line.id.as_deref(), status, line.detail.current, line.detail.total);
    }
}

/// A line of Docker's answer.
#[derive(Deserialize)]
struct Line {
    id: Option<String>,
    status: Option<String>,
    #[serde(rename = "progressDetail", default)]
    detail: Detail,
    aux: Option<Aux>,
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

/// Said when the manifest has arrived.
#[derive(Deserialize)]
struct Aux {
    #[serde(rename = "Digest")]
    digest: Option<String>,
}

/// A push that the registry refused, with the remedy.
pub fn refused(deed: &str, image: &Reference, has_login: bool, reason: &str) -> Failure {
    let failure = docker::refused(deed, reason);
    let registry = image.registry();
    let words =
        ["unauthorized", "denied", "no basic auth credentials", "authentication required", "forbidden", "401", "403"];
    if words.iter().any(|word| reason.to_ascii_lowercase().contains(word)) {
        return failure.help(login_help(image, has_login));
    }
    if reason.contains("server gave HTTP response to HTTPS client") {
        return failure.help(format!("add {registry} to \"insecure-registries\" in /etc/docker/daemon.json"));
    }
    if reason.contains("500 Internal Server Error") || reason.contains("503 Service Unavailable") {
        return failure.help(format!("{registry} itself failed: is its disk full? See its log, or tell who runs it"));
    }
    failure
}

/// Which login a refused push wants.
pub fn login_help(image: &Reference, has_login: bool) -> String {
    let registry = image.registry();
    let command = match registry {
        crate::reference::DOCKER_HUB => "docker login".to_owned(),
        registry => format!("docker login {registry}"),
    };
    if has_login {
        format!(
            "the login at {registry} may not push there: log in as somebody who may (`{command}`), or choose another --prefix"
        )
    } else {
        format!("there is no login for {registry}: run `{command}`")
    }
}

async fn ask(
    docker: &Docker,
    image: &Reference,
    login: Option<DockerCredentials>,
    deed: &str,
) -> Result<Response<Incoming>, Trouble> {
    let failed = |e: &dyn std::fmt::Display| Trouble::Failed(Failure::outside(format!("{deed}: {e}")));
    let broken = |e: &(dyn std::error::Error + 'static)| Trouble::Broken { why: innermost(e), moved: false };
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
        let stream = UnixStream::connect(path).await.map_err(|e| broken(&e))?;
        send(stream, request).await.map_err(|e| broken(&e))
    } else {
        let address = host.trim_start_matches("tcp://").trim_start_matches("http://").trim_end_matches('/');
        let stream = TcpStream::connect(address).await.map_err(|e| broken(&e))?;
        send(stream, request).await.map_err(|e| broken(&e))
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
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

    fn heard(text: &str) -> Hearing {
        let mut hearing = Hearing::default();
        let mut progress = Progress::new("pushing x");
        // In pieces, as a socket has them.
        for piece in text.as_bytes().chunks(7) {
            hearing.take(piece, &mut progress).expect("JSON");
        }
        hearing
    }

    #[test]
    fn only_a_digest_is_the_end() {
        let pushed = "{\"status\":\"Pushed\",\"id\":\"0123456789ab\",\"progressDetail\":{}}\r\n";
        let digest = "{\"progressDetail\":{},\"aux\":{\"Tag\":\"latest\",\"Digest\":\"sha256:0\",\"Size\":7}}\r\n";
        let whole = heard(&format!("{pushed}{digest}"));
        assert!(whole.moved && whole.arrived && whole.refusal.is_none());
        let part = heard(pushed);
        assert!(part.moved && !part.arrived);
        let error = "{\"errorDetail\":{\"message\":\"no\"},\"error\":\"no\"}\r\n";
        assert_eq!(heard(&format!("{pushed}{error}")).refusal.as_deref(), Some("no"));
    }
}
