//! What is in an image, layer by layer, covered by a later one or not: nothing of the setup, nothing of the workstation,
//! nothing that is secret, and no program more that has powers of its own.

use crate::command::tool;
use serde_json::Value;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use tar::{Archive, EntryType};

/// What of setup's own is never in an image, nor in what is told of it.
const SETUP: &[&str] = &["/dev/womm", "womm-setup-", "HISTFILE"];

/// What an image may hold.
#[derive(Debug)]
pub struct Allowed<'a> {
    /// The folder of all that a test has on the workstation.
    pub root: &'a Path,
    /// In it: where the image's own jobs begin. As a folder that is empty.
    pub cwd: &'a Path,
    /// In it: HOME, with what was made there in the shell.
    pub home: &'a Path,
    /// What is nowhere.
    pub secrets: &'a [&'a str],
}

/// Asserts that an image has nothing on top of its base that is not for it.
///
/// # Panics
/// If it has, or Docker does not save it.
#[track_caller]
pub fn is_clean(image: &str, base: &str, allowed: &Allowed<'_>) {
    let layers = tool("docker", ["image", "inspect", "--format", "{{len .RootFS.Layers}}", base]);
    let saved = tempfile::NamedTempFile::new_in(allowed.root).expect("it is ours");
    tool("docker", ["save", "--output", saved.path().to_str().expect("UTF-8"), image]);
    let open = || BufReader::new(File::open(saved.path()).expect("it is ours"));
    let found = faults(open, layers.trim().parse().expect("a number"), allowed);
    assert!(found.is_empty(), "in image {image}:\n  {}", found.join("\n  "));
}

/// What an image has that is not allowed in it; in those of its layers that are its base's anything is. `archive` opens it, as
/// Docker saves one, anew each time.
fn faults<R: Read>(archive: impl Fn() -> R, of_base: usize, allowed: &Allowed<'_>) -> Vec<String> {
    let manifest = manifest(archive());
    let layers: Vec<_> = manifest["Layers"].as_array().expect("layers").iter().filter_map(Value::as_str).collect();
    assert!(layers.len() > of_base, "the image has no layer of its own: {manifest}");
    let (mut found, mut known, mut setuid) = (Vec::new(), HashSet::new(), Vec::new());
    let mut looked_at = 0;
    for entry in Archive::new(archive()).entries().expect("an archive") {
        let mut entry = entry.expect("an archive");
        let name = path(&entry);
        if Some(name.as_str()) == manifest["Config"].as_str() {
            found.extend(told(&content(&mut entry), allowed));
        }
        let Some(number) = layers.iter().position(|layer| *layer == name) else { continue };
        looked_at += 1;
        if entry.header().entry_type() == EntryType::Symlink {
            continue; // the same as another one
        }
        if number < of_base {
            known.extend(layer(entry, None, allowed));
        } else {
            setuid.extend(layer(entry, Some(&mut found), allowed));
        }
    }
    let distinct: HashSet<_> = layers.iter().collect();
    assert_eq!(looked_at, distinct.len(), "layers of {manifest}");
    let more = setuid.into_iter().filter(|path| !known.contains(path));
    found.extend(more.map(|path| format!("{path}: setuid or setgid, which the base has not")));
    found
}

fn manifest<R: Read>(archive: R) -> Value {
    for entry in Archive::new(archive).entries().expect("an archive") {
        let mut entry = entry.expect("an archive");
        if path(&entry) == "manifest.json" {
            let all: Value = serde_json::from_slice(&content(&mut entry)).expect("JSON");
            return all[0].clone();
        }
    }
    panic!("no manifest.json in what Docker saves");
}

/// Files of a layer that are setuid or setgid; and, if it is not the base's, what is not allowed in it.
fn layer<R: Read>(layer: R, mut found: Option<&mut Vec<String>>, allowed: &Allowed<'_>) -> Vec<String> {
    let mut setuid = Vec::new();
    for file in Archive::new(layer).entries().expect("an archive, not compressed") {
        let mut file = file.expect("an archive");
        let name = format!("/{}", path(&file));
        let is_file = matches!(file.header().entry_type(), EntryType::Regular | EntryType::Link);
        if is_file && file.header().mode().expect("a number") & 0o6000 != 0 {
            setuid.push(name.clone());
        }
        if let Some(found) = &mut found {
            found.extend(place(&name, allowed).map(|why| format!("{name}: {why}")));
            let secrets = secrets(&content(&mut file), allowed);
            found.extend(secrets.into_iter().map(|secret| format!("{name}: it holds {secret}")));
        }
    }
    setuid
}

/// Why a file may not be where it is.
fn place(name: &str, allowed: &Allowed<'_>) -> Option<&'static str> {
    let path = Path::new(name);
    if name.starts_with("/.womm") || name.starts_with("/dev/womm") {
        return Some("setup's own");
    }
    if path.starts_with("/mnt") && path != Path::new("/mnt") {
        return Some("a file of the workstation's");
    }
    if path.starts_with(allowed.cwd) && path != allowed.cwd {
        return Some("a file of the folder");
    }
    let leads_there = allowed.cwd.starts_with(path) || allowed.home.starts_with(path);
    let is_elsewhere = path.starts_with(allowed.root) && !leads_there && !path.starts_with(allowed.home);
    is_elsewhere.then_some("a path of the workstation's")
}

/// What must not be told of an image.
fn told(config: &[u8], allowed: &Allowed<'_>) -> Vec<String> {
    let text = String::from_utf8_lossy(config);
    let mut found: Vec<_> =
        SETUP.iter().chain(&["/mnt"]).filter(|word| text.contains(**word)).map(|w| (*w).to_owned()).collect();
    found.extend(secrets(config, allowed));
    // Where its jobs begin is told.
    let cwd = allowed.cwd.display().to_string();
    found.extend(Some(allowed.root.display().to_string()).filter(|root| text.replace(&cwd, "").contains(root)));
    found.into_iter().map(|word| format!("its configuration or history tells {word}")).collect()
}

fn secrets(bytes: &[u8], allowed: &Allowed<'_>) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    allowed.secrets.iter().filter(|secret| text.contains(**secret)).map(|secret| format!("{secret:?}")).collect()
}

fn path<R: Read>(entry: &tar::Entry<'_, R>) -> String {
    let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    path.trim_start_matches("./").trim_matches('/').to_owned()
}

fn content<R: Read>(entry: &mut tar::Entry<'_, R>) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).expect("an archive");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, mode, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(*mode);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, path, *bytes).unwrap();
        }
        archive.into_inner().unwrap()
    }

    /// Of an image whose upper layer has these files.
    fn of(config: &str, files: &[(&str, u32, &[u8])]) -> Vec<String> {
        let below = archive(&[("usr/bin/su", 0o4755, b""), ("etc/secret", 0o600, b"a secret")]);
        let above = archive(files);
        let manifest = br#"[{"Config":"c.json","Layers":["1/layer.tar","2/layer.tar"]}]"#;
        let layers: [(&str, u32, &[u8]); 4] = [
            ("1/layer.tar", 0o644, &below),
            ("2/layer.tar", 0o644, &above),
            ("c.json", 0o644, config.as_bytes()),
            ("manifest.json", 0o644, manifest),
        ];
        let saved = archive(&layers);
        let allowed = Allowed {
            root: Path::new("/tmp/t"),
            cwd: Path::new("/tmp/t/home/p"),
            home: Path::new("/tmp/t/home"),
            secrets: &["a secret"],
        };
        faults(|| &saved[..], 1, &allowed)
    }

    #[test]
    fn what_is_for_the_image_is_no_fault() {
        let files: &[(&str, u32, &[u8])] = &[
            ("tmp/t", 0o755, b""),
            ("tmp/t/home/p", 0o755, b""),
            ("tmp/t/home/.profile", 0o644, b"x"),
            ("mnt", 0o755, b""),
            ("usr/bin/su", 0o4755, b"a newer one"),
            ("usr/local/libexec/womm-agent", 0o755, b"\x7fELF"),
        ];
        assert_eq!(of("{\"WorkingDir\": \"/tmp/t/home/p\"}", files), [""; 0]);
    }

    #[test]
    fn each_fault_is_found() {
        for (name, mode, bytes) in [
            (".womm-setup/left", 0o644, &b""[..]),
            ("dev/womm/bin/sudo", 0o755, b""),
            ("mnt/etc", 0o755, b""),
            ("tmp/t/home/p/file", 0o644, b""),
            ("tmp/t/run", 0o755, b""),
            ("usr/bin/sudo", 0o4755, b""),
            ("usr/bin/wall", 0o2755, b""),
            ("root/.bash_history", 0o600, b"\xff\xfe: a secret\n"),
        ] {
            let found = of("{}", &[(name, mode, bytes)]);
            assert!(found.len() == 1 && found[0].contains(name), "{name}: {found:?}");
        }
        for config in ["a secret", "/tmp/t/run", "/dev/womm/bin", "--volume /:/mnt", "womm-setup-0123"] {
            assert_eq!(of(config, &[("x", 0o644, b"")]).len(), 1, "{config}");
        }
    }
}
