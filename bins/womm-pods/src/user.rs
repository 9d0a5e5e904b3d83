//! Who the user is, whose jobs these are.

use std::fs;
use womm_wire::record::User;

/// The user who runs us. Name as `/etc/passwd` has it, else as `USER` says; home as `HOME` says, as in the image that
/// setup made, else as passwd has it.
pub fn current() -> User {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    user(uid, gid, &passwd, std::env::var("USER").ok(), std::env::var("HOME").ok())
}

fn user(uid: u32, gid: u32, passwd: &str, user: Option<String>, home: Option<String>) -> User {
    let number = uid.to_string();
    let entry = passwd.lines().find(|line| line.split(':').nth(2) == Some(&number));
    let field = |n: usize| entry.and_then(|line| line.split(':').nth(n)).filter(|f| !f.is_empty()).map(str::to_owned);
    // What couldn't stand in a passwd file is no name and no home.
    let fit = |text: &String| !text.is_empty() && !text.contains([':', '\n', '\0']);
    User {
        name: field(0).or_else(|| user.filter(fit)).unwrap_or_else(|| format!("u{uid}")),
        uid,
        gid,
        home: home.filter(fit).filter(|h| h.starts_with('/')).or_else(|| field(5)).unwrap_or_else(|| "/".into()),
        ..User::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_names_the_user_and_the_environment_stands_in() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000:Ada,,,:/home/ada:/bin/zsh\n";
        let ada = user(1000, 100, passwd, Some("eve".into()), None);
        assert_eq!(ada, User { name: "ada".into(), uid: 1000, gid: 100, home: "/home/ada".into(), ..User::default() });
        assert_eq!(user(1000, 100, passwd, None, Some("/data/ada".into())).home, "/data/ada");
        assert_eq!(user(1000, 100, passwd, None, Some("relative".into())).home, "/home/ada");
        let eve = user(7, 8, passwd, Some("eve".into()), Some("/e".into()));
        assert_eq!((eve.name.as_str(), eve.home.as_str()), ("eve", "/e"));
        let nobody = user(7, 8, "", Some("a:b".into()), None);
        assert_eq!((nobody.name.as_str(), nobody.home.as_str()), ("u7", "/"));
    }
}
