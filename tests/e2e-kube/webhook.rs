//! An admission webhook: a server on the workstation that the API server asks, and that refuses when it is told to.

use crate::cluster::workstation;
use harness::{Project, tool};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// It runs as long as this lives.
pub struct Webhook {
    address: SocketAddr,
    /// What the API server is to know it by, PEM.
    certificate: String,
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

struct Told {
    words: &'static str,
    refuse: AtomicBool,
    end: AtomicBool,
}

impl Webhook {
    /// Lets everything pass, until [`Webhook::refuse`].
    #[track_caller]
    pub fn new(project: &Project, words: &'static str) -> Self {
        let listener = TcpListener::bind((workstation(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (key, certificate) = (project.home().join("webhook.key"), project.home().join("webhook.crt"));
        let name = format!("subjectAltName=IP:{}", address.ip());
        let new = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN=webhook -addext";
        let paths = [key.to_str().unwrap(), certificate.to_str().unwrap()];
        tool("openssl", new.split(' ').chain([name.as_str(), "-keyout", paths[0], "-out", paths[1]]));

        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let chain = vec![CertificateDer::from_pem_file(&certificate).unwrap()];
        let config = Arc::new(config.with_single_cert(chain, PrivateKeyDer::from_pem_file(&key).unwrap()).unwrap());
        let told = Arc::new(Told { words, refuse: AtomicBool::new(false), end: AtomicBool::new(false) });
        let tells = told.clone();
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if tells.end.load(Ordering::SeqCst) {
                    return;
                }
                let (config, tells) = (config.clone(), tells.clone());
                // Beside each other: the API server keeps one open that it does not use.
                std::thread::spawn(move || connection.and_then(|stream| serve(stream, config, &tells)));
            }
        });
        let certificate = std::fs::read_to_string(&certificate).unwrap();
        Self { address, certificate, told, thread: Some(thread) }
    }

    /// From now on.
    pub fn refuse(&self) {
        self.told.refuse.store(true, Ordering::SeqCst);
    }

    /// Where it is, as a ValidatingWebhookConfiguration has it.
    pub fn client_config(&self, project: &Project) -> Value {
        let file = project.root().join("webhook.pem");
        std::fs::write(&file, &self.certificate).unwrap();
        let encoded = tool("base64", ["-w0", file.to_str().unwrap()]);
        json!({"url": format!("https://{}/", self.address), "caBundle": encoded})
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.told.end.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // wakes it
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request of HTTP/1.1: no other protocol was agreed on.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, told: &Told) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(session, stream));
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let review: Value = serde_json::from_slice(&body)?;
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    if told.refuse.load(Ordering::SeqCst) {
        response["allowed"] = false.into();
        response["status"] = json!({"code": 403, "message": told.words});
    }
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    let answer = answer.to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
    write!(stream.get_mut(), "{head} {}\r\n\r\n{answer}", answer.len())?;
    stream.get_mut().conn.send_close_notify();
    stream.get_mut().flush()
}
