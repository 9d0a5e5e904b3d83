//! The layer that setup adds to a base image, as values: which files, and the build context that makes it. No I/O.
//!
//! The layer is an archive that the Dockerfile's ADD unpacks: owners and modes are then exactly those of the archive,
//! nothing is run in the image (a base without a shell will do), and since its times are all zero the same input makes
//! the same layer, which Docker then takes from its cache and a registry need not be sent again.

use crate::probe::Content;
use crate::user::Group;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use womm_wire::names;
use womm_wire::record::User;

/// A file or folder of the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Absolute path in the image.
    pub path: String,
    /// Its content; `None` for a folder.
    pub content: Option<Vec<u8>>,
    /// Permission bits, sticky bit included.
    pub mode: u32,
    /// Its owner.
    pub uid: u64,
    /// Its group.
    pub gid: u64,
}

impl Entry {
    /// A folder.
    pub fn folder(path: impl Into<String>, mode: u32, uid: u64, gid: u64) -> Self {
        Self { path: path.into(), content: None, mode, uid, gid }
    }

    /// A file of root's.
    pub fn file(path: impl Into<String>, content: Vec<u8>, mode: u32) -> Self {
        Self { path: path.into(), content: Some(content), mode, uid: 0, gid: 0 }
    }
}

/// `/etc/passwd` with the user in it; `None` if it need not change.
///
/// The user's line comes first, and what the image says stays behind it: looking up the uid finds the user as the
/// workstation names them, while other names that the image has for the uid still work.
pub fn passwd(old: Option<&Content>, user: &User, shell: &str) -> Option<Entry> {
    let lines = Lines(old.map_or(&[][..], |o| &o.bytes));
    let known = lines.iter().find(|fields| fields.get(2) == Some(&user.uid.to_string().as_bytes()));
    // Programs of the image know root by its own line, home folder included.
    if known.is_some_and(|fields| user.uid == 0 || fields.first() == Some(&user.name.as_bytes())) {
        return None;
    }
    let (uid, gid) = (user.uid, user.gid);
    Some(prepend("/etc/passwd", old, &format!("{}:x:{uid}:{gid}::{}:{shell}\n", user.name, user.home)))
}

/// The shell that the image has for a uid, if it has one.
pub fn shell_of(passwd: Option<&Content>, uid: u32) -> Option<String> {
    let lines = Lines(passwd.map_or(&[][..], |p| &p.bytes));
    let fields = lines.iter().find(|fields| fields.get(2) == Some(&uid.to_string().as_bytes()))?;
    let shell = String::from_utf8(fields.get(6)?.to_vec()).ok()?;
    let login = !["nologin", "false", "sync", "halt", "shutdown"].iter().any(|no| shell.ends_with(no));
    (shell.starts_with('/') && login).then_some(shell)
}

/// `/etc/group` with the user's groups in it, their own first; `None` if it need not change. A gid that the image knows
/// keeps its name, and a name that the image has for another gid is left to that. Of the others the user is a member.
pub fn group(old: Option<&Content>, user: &User, groups: &[Group]) -> Option<Entry> {
    let was = old.map_or(&[][..], |o| &o.bytes);
    let mut bytes = was.to_vec();
    for group in groups {
        let member = (group.gid != user.gid).then_some(user.name.as_str());
        let (gid, lines) = (group.gid.to_string(), Lines(&bytes));
        bytes = if lines.iter().any(|fields| fields.get(2) == Some(&gid.as_bytes())) {
            member.map_or_else(|| bytes.clone(), |member| with_member(&bytes, &gid, member))
        } else {
            let taken = lines.iter().any(|fields| fields.first() == Some(&group.name.as_bytes()));
            let name = if taken { format!("g{gid}") } else { group.name.clone() };
            [format!("{name}:x:{gid}:{}\n", member.unwrap_or_default()).as_bytes(), &bytes].concat()
        };
    }
    (bytes != was).then(|| rewritten("/etc/group", old, bytes))
}

/// The line of that gid with one member more, if it has not got them.
fn with_member(file: &[u8], gid: &str, member: &str) -> Vec<u8> {
    let line = |line: &[u8]| {
        let fields: Vec<_> = line.split(|b| *b == b':').collect();
        if fields.len() != 4
            || fields[2] != gid.as_bytes()
            || fields[3].split(|b| *b == b',').any(|m| m == member.as_bytes())
        {
            return line.to_vec();
        }
        let comma = if fields[3].is_empty() { "" } else { "," };
        [line, comma.as_bytes(), member.as_bytes()].concat()
    };
    file.split(|b| *b == b'\n').map(line).collect::<Vec<_>>().join(&b'\n')
}

/// Lines of passwd and group, cut at ":".
#[derive(Clone, Copy)]
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn iter(self) -> impl Iterator<Item = Vec<&'a [u8]>> {
        self.0.split(|b| *b == b'\n').map(|line| line.split(|b| *b == b':').collect())
    }
}

fn prepend(path: &str, old: Option<&Content>, line: &str) -> Entry {
    let content = [line.as_bytes(), old.map_or(&[][..], |o| &o.bytes)].concat();
    rewritten(path, old, content)
}

/// A file with another content, and as the image kept it.
fn rewritten(path: &str, old: Option<&Content>, content: Vec<u8>) -> Entry {
    let (mode, uid, gid) = old.map_or((0o644, 0, 0), |o| (o.mode, o.uid, o.gid));
    Entry { path: path.to_owned(), content: Some(content), mode, uid, gid }
}

/// What is run in an image while it is built.
pub struct Run {
    /// A line of a shell, run as root.
    pub line: String,
    /// Whose the image is, if it is not root's.
    pub user: Option<String>,
    /// The Docker network.
    pub network: Option<String>,
}

/// What an image is built from.
pub struct Recipe {
    /// The image it starts from; `scratch` for none.
    pub base: String,
    /// What is run first.
    pub run: Option<Run>,
    /// What the layer holds.
    pub entries: Vec<Entry>,
    /// Labels.
    pub labels: Vec<(&'static str, String)>,
    /// Variables of the environment.
    pub env: Vec<(String, String)>,
    /// What a container of it runs; `None`: as the base.
    pub entrypoint: Option<String>,
}

impl Recipe {
    /// Whether the base has it all but for the labels.
    pub fn adds_nothing(&self) -> bool {
        self.entries.is_empty() && self.env.is_empty() && self.run.is_none()
    }

    /// The build's context (a tar archive) and arguments.
    ///
    /// Values of variables travel as arguments: a Dockerfile can't hold a newline in one.
    ///
    /// # Errors
    /// If a path can't be put into an archive.
    pub fn context(&self) -> io::Result<(Vec<u8>, HashMap<String, String>)> {
        let mut arguments = HashMap::new();
        // The user stays as the base has it; ADD works as root all the same.
        let mut dockerfile = format!("FROM {}\n", self.base);
        if let Some(run) = &self.run {
            let user = run.user.as_deref().filter(|user| !user.is_empty());
            let (before, after) = user.map_or_else(Default::default, |u| ("USER 0\n", format!("USER {u}\n")));
            let _ = write!(dockerfile, "{before}RUN {}\n{after}", run.line);
        }
        if !self.entries.is_empty() {
            dockerfile.push_str("ADD layer.tar /\n");
        }
        if !self.labels.is_empty() {
            // Ours: versions and numbers, nothing to quote. One line: each is a step of the build.
            let labels: Vec<_> = self.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let _ = writeln!(dockerfile, "LABEL {}", labels.join(" "));
        }
        for (number, (name, value)) in self.env.iter().enumerate() {
            let argument = format!("womm_env_{number}");
            let _ = write!(dockerfile, "ARG {argument}\nENV {name}=\"${argument}\"\n");
            arguments.insert(argument, value.clone());
        }
        if let Some(program) = &self.entrypoint {
            let _ = writeln!(dockerfile, "ENTRYPOINT [\"{program}\"]");
        }
        let layer = archive(&self.entries)?;
        let files = [Entry::file("/Dockerfile", dockerfile.into(), 0o644), Entry::file("/layer.tar", layer, 0o644)];
        Ok((archive(&files)?, arguments))
    }
}

fn archive(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_uid(entry.uid);
        header.set_gid(entry.gid);
        header.set_mtime(0);
        let content = entry.content.as_deref().unwrap_or_default();
        header.set_size(content.len() as u64);
        header.set_entry_type(if entry.content.is_some() {
            tar::EntryType::Regular
        } else {
            tar::EntryType::Directory
        });
        archive.append_data(&mut header, entry.path.trim_start_matches('/'), content)?;
    }
    archive.into_inner()
}

/// Labels of an image with the agent.
pub fn labels(user: Option<&User>) -> Vec<(&'static str, String)> {
    let mut labels = vec![(names::IMAGE_LABEL_AGENT, names::VERSION.to_owned())];
    labels.extend(user.map(|u| (names::IMAGE_LABEL_USER, format!("{}:{}", u.uid, u.gid))));
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::first_file;

    fn user(uid: u32, name: &str) -> User {
        User { name: name.into(), uid, gid: 100, home: "/home/a b".into(), ..User::default() }
    }

    fn file(text: &str) -> Content {
        Content { bytes: text.into(), mode: 0o640, uid: 0, gid: 42 }
    }

    fn text(entry: Option<Entry>) -> String {
        String::from_utf8(entry.expect("a change").content.expect("a file")).expect("UTF-8")
    }

    #[test]
    fn the_user_comes_first_and_the_image_s_own_lines_stay() {
        let old = file("root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000::/home/ubuntu:/bin/dash\n");
        let entry = passwd(Some(&old), &user(1000, "audrey"), "/bin/bash").expect("a change");
        assert_eq!((entry.mode, entry.gid), (0o640, 42));
        assert_eq!(
            text(Some(entry)),
            "audrey:x:1000:100::/home/a b:/bin/bash\nroot:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000::/home/ubuntu:/bin/dash\n"
        );
        assert_eq!(passwd(Some(&old), &user(0, "toor"), "/bin/sh"), None);
        assert_eq!(passwd(Some(&old), &user(1000, "ubuntu"), "/bin/sh"), None);
        assert_eq!(text(passwd(None, &user(5, "a"), "/bin/sh")), "a:x:5:100::/home/a b:/bin/sh\n");
        assert_eq!(shell_of(Some(&old), 1000).as_deref(), Some("/bin/dash"));
        assert_eq!(shell_of(Some(&file("a:x:7:7::/:/usr/sbin/nologin")), 7), None);
    }

    #[test]
    fn a_group_is_added_once_and_takes_no_name() {
        let old = file("root:x:0:\nusers:x:100:\nstaff:x:50:a\n");
        let group = |groups: &[(u32, &str)]| {
            let groups: Vec<_> = groups.iter().map(|(gid, name)| Group { gid: *gid, name: (*name).into() }).collect();
            group(Some(&old), &user(1000, "audrey"), &groups)
        };
        assert_eq!(group(&[(100, "whatever")]), None);
        assert_eq!(
            text(group(&[(100, "users"), (7, "seven")])),
            "seven:x:7:audrey\nroot:x:0:\nusers:x:100:\nstaff:x:50:a\n"
        );
        assert!(text(group(&[(7, "staff")])).starts_with("g7:x:7:audrey\nroot:x:0:\n"));
        assert!(text(group(&[(50, "x"), (0, "y")])).contains("root:x:0:audrey\nusers:x:100:\nstaff:x:50:a,audrey\n"));
        let again = file("staff:x:50:audrey");
        assert_eq!(super::group(Some(&again), &user(7, "audrey"), &[Group { gid: 50, name: "s".into() }]), None);
        let own = [Group { gid: 100, name: "audrey".into() }];
        assert_eq!(text(super::group(None, &user(7, "audrey"), &own)), "audrey:x:100:\n");
    }

    #[test]
    fn what_is_run_is_run_as_root_and_the_user_stays() {
        let dockerfile = |user: Option<&str>| {
            let run = Run { line: "a && b".into(), user: user.map(str::to_owned), network: None };
            let (entries, labels, env) = (Vec::new(), Vec::new(), Vec::new());
            let recipe = Recipe { base: "b:1".into(), run: Some(run), entries, labels, env, entrypoint: None };
            let (context, _) = recipe.context().expect("an archive");
            let file = first_file(&context).expect("an archive").expect("a file");
            String::from_utf8(file.bytes).expect("UTF-8")
        };
        assert_eq!(dockerfile(Some("www")), "FROM b:1\nUSER 0\nRUN a && b\nUSER www\n");
        assert_eq!(dockerfile(Some("")), "FROM b:1\nRUN a && b\n");
        assert_eq!(dockerfile(None), "FROM b:1\nRUN a && b\n");
    }

    #[test]
    fn the_context_is_the_same_each_time_and_values_are_arguments() {
        let recipe = Recipe {
            base: "b:1".into(),
            run: None,
            entries: vec![Entry::folder("/tmp", 0o1777, 0, 0)],
            labels: labels(Some(&user(7, "a"))),
            env: vec![("A".into(), "x\n\"$y\\".into())],
            entrypoint: None,
        };
        let (one, arguments) = recipe.context().expect("an archive");
        let (two, _) = recipe.context().expect("an archive");
        assert_eq!(one, two);
        assert_eq!(arguments["womm_env_0"], "x\n\"$y\\");
        let text = String::from_utf8_lossy(&one);
        assert!(text.contains("ENV A=\"$womm_env_0\"\n"));
        assert!(text.contains(&format!("LABEL womm.agent=\"{}\" womm.uid=\"7:100\"\n", names::VERSION)), "{text}");
        let mut names = Vec::new();
        for entry in tar::Archive::new(&one[..]).entries().expect("an archive") {
            names.push(entry.expect("an entry").path().expect("a path").display().to_string());
        }
        assert_eq!(names, ["Dockerfile", "layer.tar"]);
    }
}
