//! Names of images: `registry:5000/path/name:tag@sha256:…`.
//!
//! Source: github.com/distribution/reference, `reference.go` (grammar) and `normalize.go` (what a missing registry means).

use serde::{Deserialize, Serialize};
use std::fmt;
use womm_cli::Failure;

/// The registry that a name without one means, as credentials and refusals name it.
pub const DOCKER_HUB: &str = "docker.io";

/// A name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    /// All before tag and digest.
    pub repository: String,
    /// `latest`, if neither tag nor digest were given; `None` for a digest alone.
    pub tag: Option<String>,
    /// `sha256:…`.
    pub digest: Option<String>,
}

impl Reference {
    /// Reads a name.
    ///
    /// # Errors
    /// Usage (2) if Docker would not take it as one.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let bad = |why: &str| {
            Failure::usage(format!("\"{text}\" is no name of an image: {why}"))
                .help("such names look like ubuntu:22.04 or docker.io/me/tools:1")
        };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|d| !is_digest(d)) {
            return Err(bad("what follows \"@\" is no digest"));
        }
        let path = name.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match name[path..].find(':') {
            Some(colon) => (&name[..path + colon], Some(&name[path + colon + 1..])),
            None => (name, None),
        };
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(bad("a tag has at most 128 of A-Z a-z 0-9 _ . -, and does not begin with . or -"));
        }
        let (registry, rest) = split_registry(repository);
        if registry.is_some_and(|r| !is_registry(r)) {
            return Err(bad("what is before the first \"/\" is no registry"));
        }
        if rest.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(bad("capital letters are not allowed"));
        }
        if repository.len() > 255 || !rest.split('/').all(is_component) {
            return Err(bad("parts between \"/\" have a-z 0-9 and, between those, . _ or -"));
        }
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { repository: repository.to_owned(), tag, digest: digest.map(str::to_owned) })
    }

    /// The host of its registry; [`DOCKER_HUB`] if it names none.
    pub fn registry(&self) -> &str {
        match split_registry(&self.repository).0 {
            None | Some("index.docker.io") => DOCKER_HUB,
            Some(registry) => registry,
        }
    }

    /// What the registry itself calls the repository: without the registry's name, and at Docker Hub with the one that
    /// official images leave out.
    pub fn path(&self) -> String {
        match split_registry(&self.repository).1 {
            name if self.registry() == DOCKER_HUB && !name.contains('/') => format!("library/{name}"),
            name => name.to_owned(),
        }
    }
}

impl TryFrom<String> for Reference {
    type Error = Failure;

    fn try_from(text: String) -> Result<Self, Failure> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// A prefix as it was given, with the "/" that people leave out.
///
/// # Errors
/// Usage (2) if no name of an image can begin so.
pub fn prefix(given: &str) -> Result<String, Failure> {
    let given = given.trim();
    let slash = if given.ends_with(|c: char| c.is_ascii_alphanumeric()) { "/" } else { "" };
    let prefix = format!("{given}{slash}");
    Reference::parse(&format!("{prefix}womm-image")).map_err(|_| {
        Failure::usage(format!("\"{given}\" can't begin the name of an image")).help("such as docker.io/me/")
    })?;
    Ok(prefix)
}

// The first part is a registry if it can't be the name of a user at Docker Hub.
fn split_registry(repository: &str) -> (Option<&str>, &str) {
    match repository.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first.starts_with('[') => {
            (Some(first), rest)
        }
        _ => (None, repository),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rfind(':').filter(|colon| !text[*colon..].contains(']')) {
        Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
        None => (text, None),
    };
    let named = host.split('.').all(|label| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    });
    let numbered = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let numbered = numbered.is_some_and(|h| h.chars().all(|c| c.is_ascii_hexdigit() || c == ':'));
    (named || numbered) && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

fn is_component(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    // The grammar's separators are one ".", one or two "_", any number of "-".
    edge(text.chars().next())
        && edge(text.chars().last())
        && text.chars().all(inner)
        && !["..", "___", "._", "_.", ".-", "-.", "_-", "-_"].iter().any(|pair| text.contains(pair))
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128 && text.starts_with(word) && text.chars().all(|c| word(c) || c == '.' || c == '-')
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(kind, hex)| {
        !kind.is_empty()
            && kind.chars().all(|c| c.is_ascii_alphanumeric() || "+._-".contains(c))
            && hex.len() >= 32
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_as_docker_does() {
        for (text, repository, tag, registry) in [
            ("ubuntu", "ubuntu", Some("latest"), "docker.io"),
            ("ubuntu:22.04", "ubuntu", Some("22.04"), "docker.io"),
            ("docker.io/me/x", "docker.io/me/x", Some("latest"), "docker.io"),
            ("localhost:5000/womm-image-abc:1", "localhost:5000/womm-image-abc", Some("1"), "localhost:5000"),
            (
                "us-west4-docker.pkg.dev/a-b/c/d__e",
                "us-west4-docker.pkg.dev/a-b/c/d__e",
                Some("latest"),
                "us-west4-docker.pkg.dev",
            ),
            ("[::1]:5000/x", "[::1]:5000/x", Some("latest"), "[::1]:5000"),
        ] {
            let got = Reference::parse(text).expect(text);
            assert_eq!(
                (got.repository.as_str(), got.tag.as_deref(), got.registry()),
                (repository, tag, registry),
                "{text}"
            );
        }
        for (text, path) in [("ubuntu", "library/ubuntu"), ("docker.io/me/x", "me/x"), ("localhost:5000/x:1", "x")] {
            assert_eq!(Reference::parse(text).expect(text).path(), path);
        }
        let digest = format!("a@sha256:{}", "0".repeat(64));
        let got = Reference::parse(&digest).expect("a digest");
        assert_eq!(got.tag, None);
        assert_eq!(got.to_string(), digest);
    }

    #[test]
    fn what_is_no_name() {
        for text in ["", "A", "a b", "a\nRUN x", "a:", "a:-x", "/a", "a/", "a//b", "-a", "a..b", "x@y", "a.b:x/c", "$a"]
        {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_prefix_gets_its_slash() {
        assert_eq!(prefix("docker.io/me").expect("valid"), "docker.io/me/");
        assert_eq!(prefix("docker.io/me/\n").expect("valid"), "docker.io/me/");
        assert_eq!(prefix("docker.io/me/team-").expect("valid"), "docker.io/me/team-");
        assert_eq!(prefix("").expect("valid"), "");
        assert!(prefix("Me/").is_err());
    }
}
