//! A token server: the part of a registry's login that large ones have apart. It signs what the registry verifies, so both
//! ends of the flow are real but this. Source: docs.docker.com, "Token Authentication Specification" and "Token
//! Authentication Implementation"; RFC 7515 (JWS).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use harness::registry::{PASSWORD, USER};
use harness::{Project, tool};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `docker login` would have been given by it, and who may push by it.
pub const IDENTITY: &str = "an identity token";
const ISSUER: &str = "tests";
const SERVICE: &str = "registry of the tests";

/// It runs as long as this lives.
pub struct TokenServer {
    address: SocketAddr,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    certificate: PathBuf,
}

struct Keys {
    key: PathBuf,
    /// As a JWS header has it (RFC 7515, 4.1.6).
    certificate: String,
}

impl TokenServer {
    #[track_caller]
    pub fn start(project: &Project) -> Self {
        let (key, certificate) = (project.home().join("token.key"), project.home().join("token.crt"));
        let new = "req -x509 -nodes -newkey rsa:2048 -days 2 -subj /CN=tokens";
        let paths = ["-keyout", key.to_str().unwrap(), "-out", certificate.to_str().unwrap()];
        tool("openssl", new.split(' ').chain(paths));
        let pem = std::fs::read_to_string(&certificate).unwrap();
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let keys = Arc::new(Keys { key, certificate: body });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let ends = end.clone();
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let keys = keys.clone();
                std::thread::spawn(move || connection.and_then(|stream| serve(&stream, &keys)));
            }
        });
        Self { address, end, thread: Some(thread), certificate }
    }

    /// The registry's `auth`.
    pub fn auth(&self) -> String {
        format!(
            "token: {{realm: \"http://{}/token\", service: \"{SERVICE}\", issuer: {ISSUER}, rootcertbundle: {}}}",
            self.address,
            self.certificate.display()
        )
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // so that it looks
        let _ = self.thread.take().map(JoinHandle::join); // if it panicked, that has been printed
    }
}

/// One request, then the end of the connection.
fn serve(stream: &TcpStream, keys: &Keys) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length, mut authorization) = (String::new(), 0, None);
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or_default(),
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let (status, answer) = answer(query, &body, authorization.as_deref(), keys);
    let text = answer.to_string();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}

fn answer(query: &str, body: &str, authorization: Option<&str>, keys: &Keys) -> (&'static str, Value) {
    let given = |text: &str, key: &str| -> Option<String> {
        text.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == key).map(|(_, v)| decoded(v))
    };
    let refused = ("401 Unauthorized", json!({"details": "incorrect username or password"}));
    let by_token = given(body, "refresh_token");
    let known = match (&by_token, authorization) {
        (Some(token), _) if token == IDENTITY => true,
        (None, Some(header)) if header == format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}"))) => true,
        (None, None) => false,
        _ => return refused,
    };
    let scope = given(query, "scope").or_else(|| given(body, "scope")).unwrap_or_default();
    let token = token(&scope, known, keys);
    ("200 OK", json!({"token": token, "access_token": token, "expires_in": 300}))
}

/// A token for what the scope asks for; strangers may pull only.
fn token(scope: &str, known: bool, keys: &Keys) -> String {
    let access: Vec<_> = scope
        .split(' ')
        .filter_map(|one| {
            let (kind, rest) = one.split_once(':')?;
            let (name, actions) = rest.rsplit_once(':')?;
            let actions: Vec<_> = actions.split(',').filter(|action| known || *action == "pull").collect();
            Some(json!({"type": kind, "name": name, "actions": actions}))
        })
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [keys.certificate]});
    let claims = json!({
        "iss": ISSUER, "aud": SERVICE, "sub": if known { USER } else { "" }, "jti": now.to_string(),
        "iat": now - 60, "nbf": now - 60, "exp": now + 300, "access": access,
    });
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature(&signed, keys)))
}

fn signature(text: &str, keys: &Keys) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, text).unwrap();
    let output = Command::new("openssl").args(["dgst", "-sha256", "-sign"]).arg(&keys.key).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Percent-encoding and "+" undone.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let hex = |at: usize| after.get(at).and_then(|b| (*b as char).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            (b'+', ..) => bytes.push(b' '),
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
