//! Fuzz targets for all that reads what another program sent: a function per target that takes any bytes and panics if a
//! promise is broken. They know nothing of a fuzzer: `main.rs` hands them to libFuzzer, the test below replays what is kept
//! in `corpus` and `findings`. `README.md` says how to use them.

use std::path::Path;

mod engine;
mod input;
mod json;
pub mod memory;
mod nfs;
mod programs;
mod resumable;
mod stream;
mod wire;

/// A target: its name, which is that of its folders too, and what it does with some bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("frame", wire::frame),
    ("open", wire::open),
    ("end", wire::end),
    ("quantity", wire::quantity),
    ("slot", wire::slot),
    ("line", json::line),
    ("record", json::record),
    ("greeting", resumable::greeting),
    ("sequence", resumable::sequence),
    ("link", resumable::link),
    ("wires", resumable::wires),
    ("session", stream::session),
    ("agent-spec", programs::agent_spec),
    ("agent-answer", programs::agent_answer),
    ("ssh-options", programs::ssh_options),
    ("image-name", programs::image_name),
    ("docker-exec", engine::docker_exec),
    ("kube-exec", engine::kube_exec),
    ("kube-socket", engine::kube_socket),
    ("reasons", engine::reasons),
    ("nfs-record", nfs::record),
    ("nfs-compound", nfs::compound),
];

/// The target of that name.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}

/// Runs a target on a file, or on all files of a folder; how many these were.
///
/// # Errors
/// If one can't be read.
///
/// # Panics
/// If the target does.
pub fn replay(run: fn(&[u8]), path: &Path) -> std::io::Result<usize> {
    if !path.is_dir() {
        run(&std::fs::read(path)?);
        return Ok(1);
    }
    let mut count = 0;
    for entry in std::fs::read_dir(path)? {
        count += replay(run, &entry?.path())?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept with a few bytes changed, always the same ones.
    #[test]
    fn what_is_near_it_holds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut state = 1u64;
        let mut below = |most: usize| {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize % most.max(1)
        };
        for (name, run) in TARGETS {
            let mut paths: Vec<_> = std::fs::read_dir(root.join("corpus").join(name))
                .expect("every target has a corpus")
                .map(|entry| entry.expect("readable").path())
                .collect();
            paths.sort();
            // As many again for a large corpus as for a small one: this is no fuzzer.
            for _ in 0..200 {
                let mut bytes = std::fs::read(&paths[below(paths.len())]).expect("readable");
                for _ in 0..=below(4) {
                    let at = below(bytes.len());
                    match below(3) {
                        0 => bytes.truncate(at),
                        1 => bytes.insert(at, below(256) as u8),
                        _ if at < bytes.len() => bytes[at] = below(256) as u8,
                        _ => {}
                    }
                }
                // So that a failure says which.
                let shown = bytes.escape_ascii().to_string();
                let outcome = std::panic::catch_unwind(|| run(&bytes));
                assert!(outcome.is_ok(), "{name} does not hold with \"{shown}\"");
            }
        }
    }

    /// Without a fuzzer, so on every machine and in every run of the unit tests.
    #[test]
    fn what_is_kept_holds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (name, run) in TARGETS {
            let corpus = replay(*run, &root.join("corpus").join(name)).expect("every target has a corpus");
            assert!(corpus > 0, "{name} has an empty corpus");
            let findings = root.join("findings").join(name);
            if findings.exists() {
                replay(*run, &findings).expect("readable");
            }
        }
    }
}
