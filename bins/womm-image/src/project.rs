//! `.womm`: found from any subfolder, read with words about what is wrong with it, written without a half-written state.

use crate::reference::Reference;
use serde_json::{Map, Value};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use womm_cli::Failure;
use womm_wire::record::Project;

/// The file's name.
pub const FILE: &str = ".womm";
/// What a user reads who has none yet; 0.1.6 said the same.
pub const NO_PROJECT: &str = "please run `womm setup` to initialize the current directory";

/// Keys that setup writes and that are no part of [`Project`]: in `extra` there.
pub mod key {
    /// The version of the agent in the image.
    pub const IMAGE_AGENT: &str = "image_agent";
    /// The image's architecture.
    pub const IMAGE_ARCH: &str = "image_arch";
    /// An image that holds nothing but the agent.
    pub const AGENT_IMAGE: &str = "agent_image";
    /// How names of images begin.
    pub const PREFIX: &str = "prefix";
    /// The base image.
    pub const BASE: &str = "base";
}

const ENGINES: &[&str] = &["kube", "docker"];
const SHARES: &[&str] = &["lazy", "eager", "eager-back", "bind", "none"];
const TEXTS: &[&str] = &[
    "image",
    "share_kind",
    "share_path",
    "cwd",
    "hostname",
    "namespace",
    "secret_name",
    "context",
    "engine",
    key::IMAGE_AGENT,
    key::IMAGE_ARCH,
    key::AGENT_IMAGE,
    key::PREFIX,
    key::BASE,
];
/// A `.womm` has a dozen lines; this stops another file of that name from filling memory.
const MOST_BYTES: u64 = 1 << 20;

/// The nearest `.womm`, from `folder` upwards.
///
/// # Errors
/// Usage (2) if one is there and can't be looked at.
pub fn find(folder: &Path) -> Result<Option<PathBuf>, Failure> {
    for folder in folder.ancestors() {
        let path = folder.join(FILE);
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => {} // somebody's folder of that name is none of ours
            Ok(_) => return Ok(Some(path)),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {}
            Err(e) => return Err(Failure::usage(format!("read \"{}\": {e}", path.display()))),
        }
    }
    Ok(None)
}

/// The folder we stand in, links resolved.
///
/// # Errors
/// Outside (3) if it is gone.
fn current() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|e| Failure::outside(format!("find the current directory: {e}")))
}

/// The same as text, for a project's folder. A folder below that need not be UTF-8.
///
/// # Errors
/// As [`current`], and usage (2) if its path is not UTF-8.
pub fn here() -> Result<String, Failure> {
    text_of(&current()?)
}

/// A path as text.
///
/// # Errors
/// Usage (2) if it is not UTF-8: JSON and container engines can't name it.
pub fn text_of(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::usage(format!("the path of the folder \"{}\" is not UTF-8", path.display()))
            .help("rename it: neither Docker nor Kubernetes can mount it")
    })
}

/// Reads the project of `file`, else of the nearest `.womm`; `cwd` becomes its real folder. `None` if there is none.
///
/// # Errors
/// Usage (2), naming the file and what is wrong in it.
pub fn load(file: Option<&Path>) -> Result<Option<Project>, Failure> {
    let (object, name, folder) = match file {
        Some(path) if path == Path::new("-") => {
            let mut text = Vec::new();
            io::stdin()
                .take(MOST_BYTES)
                .read_to_end(&mut text)
                .map_err(|e| Failure::usage(format!("read the project on stdin: {e}")))?;
            (object(&text, "stdin")?, "stdin".to_owned(), here()?)
        }
        given => {
            let path = match given {
                Some(path) => path.to_owned(),
                None => match find(&current()?)? {
                    Some(path) => path,
                    None => return Ok(None),
                },
            };
            let name = path.display().to_string();
            let text = read(&path)?.ok_or_else(|| Failure::usage(format!("read \"{name}\": there is no such file")))?;
            let folder = folder_of(&path).map_err(|e| Failure::usage(format!("find the folder of \"{name}\": {e}")))?;
            (object(&text, &name)?, name, text_of(&folder)?)
        }
    };
    let mut project = project(object, &name)?;
    project.cwd = folder;
    Ok(Some(project))
}

fn folder_of(path: &Path) -> io::Result<PathBuf> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::canonicalize(parent)
}

/// The content of a file; `None` if there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let failed = |e: io::Error| Failure::usage(format!("read \"{}\": {e}", path.display()));
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let mut text = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(foreign(&path.display().to_string(), "is longer than 1 MiB"));
    }
    Ok(Some(text))
}

fn foreign(name: &str, what: &str) -> Failure {
    Failure::usage(format!("{name} {what}")).help("correct it, or remove it and run `womm setup`")
}

/// A `.womm` as an object with values that this version understands; unknown keys are let through.
///
/// # Errors
/// Usage (2) with line and column if it is no JSON, else with the key.
fn object(text: &[u8], name: &str) -> Result<Map<String, Value>, Failure> {
    let value: Value = serde_json::from_slice(text).map_err(|e| foreign(name, &format!("is no JSON: {e}")))?;
    let Value::Object(mut object) = value else {
        return Err(foreign(name, "is no file of WOMM: not a JSON object"));
    };
    for key in TEXTS {
        match object.get(*key) {
            Some(Value::Null) => {
                object.remove(*key);
            }
            Some(Value::String(text)) => {
                let known: &[&str] = match *key {
                    "engine" => ENGINES,
                    "share_kind" => SHARES,
                    _ => continue,
                };
                if !known.contains(&text.as_str()) {
                    let known = known.join(", ");
                    return Err(foreign(name, &format!("has {key} \"{text}\", which is none of {known}")));
                }
            }
            Some(_) => return Err(foreign(name, &format!("has a key \"{key}\" that is no text"))),
            None => {}
        }
    }
    let Some(image) = object.get("image").and_then(Value::as_str).filter(|image| !image.is_empty()) else {
        return Err(foreign(name, "is no file of WOMM: it has no key \"image\""));
    };
    // Said here, by key: an engine would say that there is no such image, and a cluster only once pods wait for it.
    if let Err(bad) = Reference::parse(image) {
        return Err(foreign(name, &format!("has a bad \"image\": {}", bad.message)));
    }
    Ok(object)
}

fn project(object: Map<String, Value>, name: &str) -> Result<Project, Failure> {
    serde_json::from_value(Value::Object(object)).map_err(|e| foreign(name, &format!("is no file of WOMM: {e}")))
}

/// The `.womm` of exactly this folder, for setup to start from; `None` if there is none.
///
/// # Errors
/// As [`load`].
pub fn existing(folder: &Path) -> Result<Option<Project>, Failure> {
    let path = folder.join(FILE);
    let name = path.display().to_string();
    match read(&path)? {
        Some(text) => object(&text, &name).and_then(|object| project(object, &name)).map(Some),
        None => Ok(None),
    }
}

/// A `.womm` in the making: nothing is seen of it until [`Draft::keep`].
pub struct Draft {
    file: NamedTempFile,
    path: PathBuf,
}

impl Draft {
    /// Proves early that the folder can be written to.
    ///
    /// # Errors
    /// Outside (3) if it can't.
    pub fn new(folder: &Path) -> Result<Self, Failure> {
        let file = tempfile::Builder::new().prefix(".womm.").tempfile_in(folder);
        let path = folder.join(FILE);
        // Its kind alone: the words would name the temporary file, which means nothing to the user.
        let file = file.map_err(|e| write_failed(&path, &e.kind().into()))?;
        Ok(Self { file, path })
    }

    /// Writes the project: at once or, if that fails, not at all.
    ///
    /// # Errors
    /// Outside (3), a full disk for one.
    pub fn keep(mut self, project: &Project) -> Result<(), Failure> {
        let path = self.path;
        let mut text = serde_json::to_string_pretty(&file_of(project))
            .map_err(|e| Failure::outside(format!("write \"{}\": {e}", path.display())))?;
        text.push('\n');
        // Setup is for everybody who may read the folder: a temporary file's 0600 would keep a team's other users out.
        let mode = io::Result::Ok(()).and_then(|()| {
            use std::os::unix::fs::PermissionsExt;
            let mode = 0o666 & !umask();
            self.file.as_file().set_permissions(fs::Permissions::from_mode(mode))
        });
        mode.and_then(|()| self.file.write_all(text.as_bytes()))
            .and_then(|()| self.file.as_file().sync_all())
            .map_err(|e| write_failed(&path, &e))?;
        self.file.persist(&path).map_err(|e| write_failed(&path, &e.error))?;
        Ok(())
    }
}

// Reading the umask is setting it; this program has one thread that makes files.
fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::process::umask(mask);
    mask.as_raw_mode()
}

fn write_failed(path: &Path, e: &io::Error) -> Failure {
    let failure = Failure::outside(format!("write \"{}\": {e}", path.display()));
    match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => failure.help("free some space there"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => failure.help("run setup in a folder of yours"),
        _ => failure,
    }
}

/// All keys that 0.1.6 wrote, null where it wrote null, then ours and what we don't know.
fn file_of(project: &Project) -> Value {
    let known = serde_json::to_value(project).unwrap_or_default(); // plain data: can't fail
    let mut object = Map::new();
    for key in ["share_kind", "share_path", "image", "cwd", "hostname", "namespace", "secret_name", "context", "engine"]
    {
        object.insert(key.into(), known.get(key).cloned().unwrap_or(Value::Null));
    }
    object.extend(project.extra.iter().map(|(key, value)| (key.clone(), value.clone())));
    Value::Object(object)
}

/// `~/.womm_prefix`.
///
/// # Errors
/// Usage (2) without HOME.
fn prefix_file() -> Result<PathBuf, Failure> {
    let home = std::env::var_os("HOME").filter(|h| !h.is_empty());
    let home = home.ok_or_else(|| Failure::usage("find ~/.womm_prefix: HOME is not set"))?;
    Ok(PathBuf::from(home).join(".womm_prefix"))
}

/// The prefix that was kept; `None` if none was.
///
/// # Errors
/// Usage (2) if the file can't be read or holds no prefix.
pub fn kept_prefix() -> Result<Option<String>, Failure> {
    let Ok(path) = prefix_file() else { return Ok(None) };
    let Some(text) = read(&path)? else { return Ok(None) };
    let wrong = || Failure::usage(format!("{} holds no prefix", path.display())).help("run `womm clear-prefix`");
    let text = String::from_utf8(text).map_err(|_| wrong())?;
    crate::reference::prefix(&text).map_err(|_| wrong()).map(|prefix| Some(prefix).filter(|p| !p.is_empty()))
}

/// Keeps a prefix for the next setup.
///
/// # Errors
/// Outside (3) if it can't be written.
pub fn keep_prefix(prefix: &str) -> Result<(), Failure> {
    let path = prefix_file()?;
    fs::write(&path, format!("{prefix}\n")).map_err(|e| write_failed(&path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        object(text.as_bytes(), "/p/.womm").expect_err(text).to_string()
    }

    #[test]
    fn what_is_wrong_is_named() {
        let remedy = ": correct it, or remove it and run `womm setup`";
        for (text, expected) in [
            ("{\n \"image\": x}", "/p/.womm is no JSON: expected value at line 2 column 11"),
            ("", "/p/.womm is no JSON: EOF while parsing a value at line 1 column 0"),
            ("[]", "/p/.womm is no file of WOMM: not a JSON object"),
            ("{}", "/p/.womm is no file of WOMM: it has no key \"image\""),
            (r#"{"image":""}"#, "/p/.womm is no file of WOMM: it has no key \"image\""),
            (r#"{"image":7}"#, "/p/.womm has a key \"image\" that is no text"),
            (
                r#"{"image":"Not:A:Name"}"#,
                "/p/.womm has a bad \"image\": \"Not:A:Name\" is no name of an image: a tag has at most 128 of A-Z a-z 0-9 _ . -, and \
                 does not begin with . or -",
            ),
            (r#"{"image":"i","cwd":[]}"#, "/p/.womm has a key \"cwd\" that is no text"),
            (r#"{"image":"i","engine":"podman"}"#, "/p/.womm has engine \"podman\", which is none of kube, docker"),
        ] {
            assert_eq!(wrong(text), format!("{expected}{remedy}"));
        }
        assert!(wrong(r#"{"image":"i","share_kind":"nfs"}"#).contains("share_kind \"nfs\""));
    }

    #[test]
    fn a_file_of_0_1_6_with_nulls_is_read() {
        let text = br#"{"share_kind":"lazy","share_path":"/x","image":"i","cwd":"/c","hostname":null,"namespace":null,
            "secret_name":null}"#;
        let project = object(text, "f").and_then(|o| project(o, "f")).expect("valid");
        assert_eq!(project.hostname, "");
        assert_eq!(project.engine, womm_wire::record::EngineKind::Kube);
    }

    #[test]
    fn the_nearest_file_wins_and_a_folder_of_that_name_is_passed_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let deep = dir.path().join("a/b/c");
        fs::create_dir_all(deep.join(FILE)).expect("a folder");
        fs::write(dir.path().join("a").join(FILE), "{}").expect("a file");
        assert_eq!(find(&deep).expect("readable"), Some(dir.path().join("a").join(FILE)));
    }

    #[test]
    fn unknown_keys_stay_and_every_known_one_is_written() {
        let text = br#"{"image":"i","later":{"a":1},"image_agent":"0.2.0"}"#;
        let project = object(text, "f").and_then(|o| project(o, "f")).expect("valid");
        let value = file_of(&project);
        assert_eq!(value["later"]["a"], 1);
        assert_eq!(value["image_agent"], "0.2.0");
        assert_eq!(value["secret_name"], Value::Null);
        assert_eq!(value["engine"], "kube");
    }

    #[test]
    fn a_draft_that_is_not_kept_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        drop(Draft::new(dir.path()).expect("writable"));
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
        let project = Project { image: "i".into(), ..Default::default() };
        Draft::new(dir.path()).and_then(|draft| draft.keep(&project)).expect("writable");
        assert_eq!(existing(dir.path()).expect("valid").expect("there").image, "i");
        assert!(Draft::new(Path::new("/nowhere/at/all")).is_err());
    }
}
