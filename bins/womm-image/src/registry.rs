//! Whether a registry takes an image of ours, asked as a push would begin: an upload is started, and called off again.
//!
//! Sources: OCI distribution-spec 1.1, "Pushing a blob"; docs.docker.com, "Registry authentication" (token
//! authentication, OAuth 2) and "Verify repository client with certificates" (`/etc/docker/certs.d`); RFC 9110, 11.6.1.

use crate::push::{login_help, refused};
use crate::reference::{DOCKER_HUB, Reference};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Certificate, Client, Response, StatusCode, Url};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use womm_cli::Failure;

/// How long connecting may take, and each answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);
/// Where Docker Hub answers, which is not what its images are called after.
const HUB: &str = "registry-1.docker.io";
/// Certificates that Docker trusts, a folder for each registry.
const CERTIFICATES: &str = "/etc/docker/certs.d";
/// The most that is read of an answer, in bytes.
const MOST: usize = 1 << 20;

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the image.
    Takes,
    /// It could not be asked from here; why. Docker may reach it all the same: its proxies are its own.
    Unknown(String),
}

/// Asks whether an image of this name may be pushed with this login. `secure` says whether Docker insists on TLS there.
///
/// # Errors
/// Outside (3) if the registry refuses, with the login that is missing.
pub async fn takes(image: &Reference, login: Option<&DockerCredentials>, secure: bool) -> Result<Verdict, Failure> {
    let deed = format!("push to \"{}\"", image.repository);
    let client = match client(image.registry(), secure) {
        Ok(client) => client,
        Err(why) => return Ok(Verdict::Unknown(why)),
    };
    // As Docker does: TLS first, and plain HTTP only where it does not insist on TLS.
    let schemes: &[&str] = if secure { &["https"] } else { &["https", "http"] };
    let mut why = String::new();
    for scheme in schemes {
        let asking = Asking { client: &client, image, login, scheme, deed: &deed };
        match asking.ask().await {
            Ok(verdict) => return Ok(verdict),
            Err(Trouble::Failed(failure)) => return Err(failure),
            Err(Trouble::Away(reason)) => why = reason,
        }
    }
    Ok(Verdict::Unknown(why))
}

fn client(registry: &str, secure: bool) -> Result<Client, String> {
    // Whoever comes first installs it for the process; the others are the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let agent = concat!("womm/", env!("CARGO_PKG_VERSION"));
    let mut builder = Client::builder().user_agent(agent).connect_timeout(CONNECT).timeout(ANSWER);
    if !secure {
        // What Docker does with a registry that it was told to take as it is.
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    if is_loopback(registry) {
        builder = builder.no_proxy(); // as Go has it
    }
    for certificate in certificates(&Path::new(CERTIFICATES).join(registry)) {
        builder = builder.tls_certs_merge([certificate]);
    }
    builder.build().map_err(|e| innermost(&e))
}

/// Those that a folder holds; what can't be read is no trust.
fn certificates(folder: &Path) -> Vec<Certificate> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let pem = files.filter(|path| path.extension().is_some_and(|ext| ext == "crt"));
    pem.filter_map(|path| Certificate::from_pem_bundle(&std::fs::read(path).ok()?).ok()).flatten().collect()
}

/// Whether a registry's name is this machine's.
pub fn is_loopback(registry: &str) -> bool {
    let host = host(registry);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A registry's name without its port.
pub fn host(registry: &str) -> &str {
    match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => registry.split_once(':').map_or(registry, |(host, _)| host),
    }
}

enum Trouble {
    /// It answered no.
    Failed(Failure),
    /// It did not answer, or about its own state only.
    Away(String),
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        Self::Away(innermost(&error.without_url()))
    }
}

/// A question in the making.
struct Asking<'a> {
    client: &'a Client,
    image: &'a Reference,
    login: Option<&'a DockerCredentials>,
    scheme: &'a str,
    deed: &'a str,
}

impl Asking<'_> {
    async fn ask(&self) -> Result<Verdict, Trouble> {
        let url = self.url().map_err(Trouble::Away)?;
        let first = self.begin(&url, None).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return self.concluded(first, None).await;
        }
        let authorization = self.authorization(&Challenge::of(first.headers())).await?;
        let second = self.begin(&url, Some(&authorization)).await?;
        self.concluded(second, Some(&authorization)).await
    }

    fn url(&self) -> Result<Url, String> {
        let registry = self.image.registry();
        let path = self.image.path();
        let host = if registry == DOCKER_HUB { HUB } else { registry };
        Url::parse(&format!("{}://{host}/v2/{path}/blobs/uploads/", self.scheme)).map_err(|e| e.to_string())
    }

    async fn begin(&self, url: &Url, authorization: Option<&str>) -> Result<Response, reqwest::Error> {
        let request = self.client.post(url.clone()).header(CONTENT_LENGTH, 0);
        let request = authorization.iter().fold(request, |request, value| request.header(AUTHORIZATION, *value));
        request.send().await
    }

    /// What an answer to the start of an upload means. One that was started is called off.
    async fn concluded(&self, answer: Response, authorization: Option<&str>) -> Result<Verdict, Trouble> {
        let status = answer.status();
        if status == StatusCode::ACCEPTED {
            let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            if let Some(upload) = location.and_then(|location| answer.url().join(location).ok()) {
                let request = self.client.delete(upload);
                let request = authorization.iter().fold(request, |r, value| r.header(AUTHORIZATION, *value));
                // One that stays, as where the token gives no right to delete, is removed by the registry's own housekeeping.
                let _ = request.send().await;
            }
            return Ok(Verdict::Takes);
        }
        let words = words(answer).await;
        match status {
            StatusCode::UNAUTHORIZED
                if self.login.is_some() && authorization.is_some_and(|a| a.starts_with("Basic")) =>
            {
                Err(self.not_accepted(&words))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.refused(&words)),
            StatusCode::TOO_MANY_REQUESTS => Err(Trouble::Away(words)),
            status if status.is_server_error() => Err(Trouble::Away(words)),
            _ => Err(Trouble::Failed(
                Failure::outside(format!("{}: {words}", self.deed))
                    .help("is the prefix right? Choose another --prefix"),
            )),
        }
    }

    fn refused(&self, reason: &str) -> Trouble {
        // Whatever the words, it is a matter of the login.
        let failure = refused(self.deed, self.image, self.login.is_some(), reason);
        Trouble::Failed(failure.help(login_help(self.image, self.login.is_some())))
    }

    fn not_accepted(&self, reason: &str) -> Trouble {
        let registry = self.image.registry();
        let command = if registry == DOCKER_HUB { "docker login".into() } else { format!("docker login {registry}") };
        Trouble::Failed(
            Failure::outside(format!(
                "{}: {registry} does not accept the login of the Docker config: {reason}",
                self.deed
            ))
            .help(format!("log in again: `{command}`")),
        )
    }

    /// The header that answers a challenge.
    async fn authorization(&self, challenge: &Challenge) -> Result<String, Trouble> {
        match challenge {
            Challenge::Basic => self.basic().ok_or_else(|| self.refused("no basic auth credentials")),
            Challenge::Bearer { realm, service, scope } => {
                let token = self.login.and_then(|login| login.registrytoken.clone());
                let token = match token {
                    Some(token) => token,
                    None => self.token(realm, service.as_deref(), scope.as_deref()).await?,
                };
                Ok(format!("Bearer {token}"))
            }
            Challenge::Other(scheme) => {
                Err(Trouble::Away(format!("it asks for a login of a kind that is not known here: {scheme}")))
            }
        }
    }

    fn basic(&self) -> Option<String> {
        let login = self.login?;
        let pair = format!("{}:{}", login.username.as_deref()?, login.password.as_deref().unwrap_or_default());
        Some(format!("Basic {}", STANDARD.encode(pair)))
    }

    /// Gets a token, with the login if there is one.
    async fn token(&self, realm: &str, service: Option<&str>, scope: Option<&str>) -> Result<String, Trouble> {
        let url = Url::parse(realm).map_err(|e| Trouble::Away(format!("its token server \"{realm}\": {e}")))?;
        let login_travels = self.login.is_some() && self.scheme == "https" && url.scheme() != "https";
        if login_travels {
            return Err(Trouble::Away(format!("its token server {realm} has no TLS: no login is sent there")));
        }
        let scope = scope.map_or_else(|| format!("repository:{}:pull,push", self.image.path()), str::to_owned);
        let mut parameters = vec![("scope", scope)];
        parameters.extend(service.map(|service| ("service", service.to_owned())));
        let identity = self.login.and_then(|login| login.identitytoken.clone()).filter(|token| !token.is_empty());
        let request = match identity {
            Some(token) => {
                let more = [
                    ("grant_type", "refresh_token".to_owned()),
                    ("client_id", "womm".to_owned()),
                    ("refresh_token", token),
                ];
                parameters.extend(more);
                self.client.post(url).form(&parameters)
            }
            None => {
                let mut url = url;
                url.query_pairs_mut().extend_pairs(parameters.iter().map(|(key, value)| (*key, value.as_str())));
                let request = self.client.get(url);
                self.basic().into_iter().fold(request, |request, basic| request.header(AUTHORIZATION, basic))
            }
        };
        let answer = request.send().await?;
        let status = answer.status();
        if !status.is_success() {
            let words = words(answer).await;
            return Err(match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST if self.login.is_some() => {
                    self.not_accepted(&words)
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.refused(&words),
                _ => Trouble::Away(format!("its token server: {words}")),
            });
        }
        let answer: Value = serde_json::from_slice(&body(answer).await).unwrap_or_default();
        let token = answer["token"].as_str().or_else(|| answer["access_token"].as_str());
        token.map(str::to_owned).ok_or_else(|| Trouble::Away("its token server gives no token".into()))
    }
}

/// How a registry wants to be asked.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    Other(String),
}

impl Challenge {
    fn of(headers: &HeaderMap) -> Self {
        let all: Vec<_> =
            headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok()).map(Self::parse).collect();
        let index = all.iter().position(|one| !matches!(one, Self::Other(_))).unwrap_or_default();
        all.into_iter().nth(index).unwrap_or_else(|| Self::Other("none is named".into()))
    }

    fn parse(text: &str) -> Self {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => Self::Basic,
            "bearer" => {
                let value = |key: &str| parameters(rest).find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v);
                match value("realm") {
                    Some(realm) => Self::Bearer { realm, service: value("service"), scope: value("scope") },
                    None => Self::Other("Bearer without a realm".into()),
                }
            }
            _ => Self::Other(scheme.into()),
        }
    }
}

/// `a="x,y", b=z`, in turn.
fn parameters(text: &str) -> impl Iterator<Item = (String, String)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (key, after) = rest.trim_start_matches([',', ' ']).split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        rest = after;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    })
}

async fn body(mut answer: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        bytes.extend_from_slice(&piece);
        if bytes.len() > MOST {
            break;
        }
    }
    bytes
}

/// A refusal in the registry's words: `{"errors": [{"code": "DENIED", "message": "…"}]}`, else its status.
async fn words(answer: Response) -> String {
    let status = answer.status();
    let value: Value = serde_json::from_slice(&body(answer).await).unwrap_or_default();
    let first = &value["errors"][0];
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match (text(&first["code"]), text(&first["message"])) {
        (Some(code), Some(message)) => format!("{}: {message}", code.to_lowercase()),
        (one, other) => one.or(other).or_else(|| text(&value["details"])).unwrap_or_else(|| status.to_string()),
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let text = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.docker.io/token".into(),
            service: Some("registry.docker.io".into()),
            scope: Some("repository:a/b:pull,push".into()),
        };
        assert_eq!(Challenge::parse(text), expected);
        assert_eq!(Challenge::parse("Basic realm=\"x\""), Challenge::Basic);
        assert_eq!(Challenge::parse("Negotiate"), Challenge::Other("Negotiate".into()));
        assert_eq!(Challenge::parse("Bearer x"), Challenge::Other("Bearer without a realm".into()));
        let pairs: Vec<_> = parameters("a=1, b=\"x,y\",c=").collect();
        assert_eq!(pairs, [("a", "1"), ("b", "x,y"), ("c", "")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn this_machine_has_many_names() {
        for name in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.9.1", "[::1]:5000"] {
            assert!(is_loopback(name), "{name}");
        }
        for name in ["docker.io", "localhost.example.org:5000", "10.0.0.1:5000"] {
            assert!(!is_loopback(name), "{name}");
        }
    }
}
