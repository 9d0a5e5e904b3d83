//! Who the user is, as the workstation's own tools would say.

use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;
use womm_cli::Failure;
use womm_wire::record::User;

/// A directory service that is down must not hang us.
const LOOKUP: Duration = Duration::from_secs(5);

/// One of the user's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub gid: u32,
    /// Its name.
    pub name: String,
}

/// The user who runs us, and their groups, their own first.
///
/// # Errors
/// Usage (2) if name or home folder can't be written into a passwd file.
pub async fn current() -> Result<(User, Vec<Group>), Failure> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let line = lookup("passwd", uid).await;
    let field = |number: usize| line.as_ref().and_then(|l| l.split(':').nth(number)).filter(|f| !f.is_empty());
    let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let name = field(0).map(str::to_owned).or_else(|| env("USER")).unwrap_or_else(|| format!("u{uid}"));
    let home = env("HOME").or_else(|| field(5).map(str::to_owned)).unwrap_or_else(|| "/".to_owned());
    let mut groups: Vec<Group> = Vec::new();
    let others = rustix::process::getgroups().unwrap_or_default();
    for gid in [gid].into_iter().chain(others.into_iter().map(|gid| gid.as_raw())) {
        if groups.iter().any(|known| known.gid == gid) {
            continue;
        }
        let found = lookup("group", gid).await.and_then(|l| l.split(':').next().map(str::to_owned));
        let stand_in = || if groups.is_empty() { name.clone() } else { format!("g{gid}") };
        groups.push(Group { gid, name: found.unwrap_or_else(stand_in) });
    }
    let texts = [("the user's name", &name), ("the home folder", &home), ("the group's name", &groups[0].name)];
    for (what, text) in texts {
        if text.contains([':', '\n', '\0']) {
            return Err(Failure::usage(format!("{what} \"{text}\" can't be written into the image's /etc/passwd")));
        }
    }
    if !home.starts_with('/') {
        return Err(Failure::usage(format!("HOME is \"{home}\", no absolute path")).help("set it to your home folder"));
    }
    Ok((User { name, uid, gid, home, ..User::default() }, groups))
}

/// A line of the database, by number: from the file, else from wherever the name service has it.
async fn lookup(database: &str, number: u32) -> Option<String> {
    let number = number.to_string();
    let text = std::fs::read_to_string(format!("/etc/{database}")).unwrap_or_default();
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(&number));
    if let Some(line) = line {
        return Some(line.to_owned());
    }
    let mut getent = Command::new("getent");
    getent.args([database, &number]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = timeout(LOOKUP, getent.output()).await.ok()?.ok()?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}
