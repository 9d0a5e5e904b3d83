//! `womm-server`: its words and refusals. What it answers to NFS clients is tested in lib/womm-nfs and tests/nfs.

use crate::common::{OUTSIDE, USAGE, explains_itself};
use harness::{Cmd, Project, Running};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

#[test]
fn it_explains_itself() {
    explains_itself("womm-server", &["serve", "Exit codes"]);
    let project = Project::without_engine();
    let help = project.cmd("womm-server").words("serve --help").run();
    help.succeeds();
    for word in
        ["--listen", "--export", "--state", "--lease", "--max-memory", "--owner", "--read-only", "1Gi", "[default: 60]"]
    {
        help.holds(word, help.text().contains(word));
    }
}

/// A folder to export, and a server of it that is not started yet.
fn serve(project: &Project) -> Cmd {
    fs::create_dir_all(project.at("shared")).unwrap();
    serve_at(project, &format!("/export={}", project.at("shared").display()))
}

fn serve_at(project: &Project, export: &str) -> Cmd {
    let state = project.root().join("state");
    project.cmd("womm-server").words("serve --listen 127.0.0.1:0").arg("--export").arg(export).arg("--state").arg(state)
}

/// Started, and where it listens.
fn started(cmd: Cmd) -> (Running, String) {
    let mut server = cmd.start();
    let address = server.until("the line that it listens", |server| {
        let text = String::from_utf8(server.stdout()).unwrap();
        text.strip_prefix("listening on ").and_then(|rest| rest.strip_suffix('\n')).map(str::to_owned)
    });
    (server, address)
}

/// NULL of NFSv4 is answered.
fn answers(address: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    let words = [0x8000_0028u32, 9, 0, 2, 100_003, 4, 0, 0, 0, 0, 0];
    let call: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    stream.write_all(&call).unwrap();
    let mut reply = [0; 28];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..12], [0x80, 0, 0, 24, 0, 0, 0, 9, 0, 0, 0, 1]);
}

#[test]
fn from_start_to_end() {
    let project = Project::without_engine();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let (server, address) = started(serve(&project));
        answers(&address);
        // A client that stays connected does not keep it.
        let mut client = TcpStream::connect(&address).unwrap();
        server.signal(signal);
        let ended = server.finish();
        ended.exits(0).holds("stderr is empty", ended.stderr.is_empty());
        assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0, "it closed the connection");
    }
}

#[test]
fn it_comes_back_after_sigkill() {
    let project = Project::without_engine();
    let (server, _) = started(serve(&project));
    server.signal(Signal::KILL);
    server.finish();
    let (server, address) = started(serve(&project));
    answers(&address);
    server.signal(Signal::TERM);
    server.finish().exits(0);
}

#[test]
fn wrong_words() {
    let project = Project::without_engine();
    let server = |words: &str| project.cmd("womm-server").words(words).run();
    server("").refuses(USAGE, &["serve"]);
    server("mount").refuses(USAGE, &["mount"]);
    server("serve --state /s").refuses(USAGE, &["--export", "missing"]);
    server("serve --export /e=/f").refuses(USAGE, &["--state", "missing"]);
    let with = |words: &str| server(&format!("serve --state /s --export /e=/f {words}"));
    with("--listen here").refuses(USAGE, &["here", "127.0.0.1:20490"]);
    with("--owner me").refuses(USAGE, &["1000:1000"]);
    with("--lease 1").refuses(USAGE, &["5 to 3600"]);
    with("--max-memory 1Mi").refuses(USAGE, &["16Mi"]);
    with("--max-memory lots").refuses(USAGE, &["lots"]);
    with("--export e=/f").refuses(USAGE, &["/export=FOLDER"]);
    with("--snapshot /l").refuses(USAGE, &["--upper"]);
    with("--snapshot /l --upper /u").refuses(USAGE, &["--snapshot"]);
    with("--export /x").refuses(USAGE, &["/x", "--snapshot"]);
}

#[test]
fn paths_that_clash() {
    let project = Project::without_engine();
    fs::create_dir_all(project.at("a")).unwrap();
    let folder = project.at("a");
    let clash = |path: &str| serve(&project).arg("--export").arg(format!("{path}={}", folder.display())).run();
    for path in ["/export", "/export/below"] {
        clash(path).refuses(USAGE, &[path, "beside"]);
    }
    clash("/a/../b").refuses(USAGE, &["/a/../b"]);
}

#[test]
fn a_port_in_use() {
    let project = Project::without_engine();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = serve(&project).arg("--listen").arg(&address).run();
    // Given twice is refused as well, by the command line.
    refused.refuses(USAGE, &["--listen"]);
    let state = project.root().join("state");
    let export = format!("/export={}", project.at("shared").display());
    let cmd = project.cmd("womm-server").words("serve --listen").arg(&address).arg("--export").arg(export);
    cmd.arg("--state").arg(state).run().refuses(OUTSIDE, &[&address, "in use", "--listen"]);
}

#[test]
fn a_state_folder_that_another_holds() {
    let project = Project::without_engine();
    let (server, _) = started(serve(&project));
    let state = project.root().join("state").display().to_string();
    serve(&project).run().refuses(OUTSIDE, &[&state, "another server", "--state"]);
    server.signal(Signal::TERM);
    server.finish().exits(0);
}

#[test]
fn folders_that_can_not_be_used() {
    let project = Project::without_engine();
    let missing = project.at("missing").display().to_string();
    serve_at(&project, &format!("/export={missing}")).run().refuses(OUTSIDE, &[&missing, "No such file"]);
    let file = project.write("file", "").display().to_string();
    serve_at(&project, &format!("/export={file}")).run().refuses(OUTSIDE, &[&file, "no folder"]);
    let state = serve(&project).arg("--max-memory").arg("64Mi");
    let key = project.root().join("state/key");
    let (server, _) = started(state.clone());
    server.signal(Signal::TERM);
    server.finish().exits(0);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    state.clone().run().refuses(OUTSIDE, &[&key.display().to_string(), "other users", "chmod"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "short").unwrap();
    state.run().refuses(OUTSIDE, &[&key.display().to_string(), "broken"]);
}

#[test]
fn a_snapshot_and_what_is_written_over_it() {
    let project = Project::without_engine();
    fs::create_dir_all(project.at("snapshot")).unwrap();
    let cmd = serve_at(&project, "/export").arg("--snapshot").arg(project.at("snapshot"));
    let (server, address) = started(cmd.arg("--upper").arg(project.at("upper")));
    answers(&address);
    server.signal(Signal::TERM);
    server.finish().exits(0);
}
