//! Arguments and commands of any bytes: a job gets what the user gave.

use harness::Engine;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What file names may be.
const NAMES: [&[u8]; 24] = [
    b"plain",
    b"two  words",
    b" begin and end ",
    b"it's",
    b"\"quoted\"",
    b"'single'",
    b"back\\slash",
    b"ends in \\",
    b"new\nline",
    b"\n",
    b"tab\there",
    b"$HOME `id` $(id) ${x}",
    b"*",
    b"?[a]!",
    b"~",
    b"-n",
    b"--help",
    b"#not a comment",
    b"; exit 9",
    b"a|b&c<d>e",
    "ünï 日本 🦀".as_bytes(),
    b"\xff\xfe no text \x80",
    b"\x01\x1b\x7f",
    b"{x} {} {#} %",
];

fn separated(names: &[&[u8]]) -> Vec<u8> {
    names.iter().flat_map(|name| [name, &b"\0"[..]].concat()).collect()
}

#[test]
fn arguments_of_all_kinds() {
    let project = Engine::under_test().project();
    let input = separated(&NAMES);
    let job = ["-0", "-k", "--", "printf", "'%s\\0'", "{}"];
    project.parallel_by_ssh().args(job).stdin(&input).run().succeeds().writes(&input);
    project.parallel(2).args(job).stdin(&input).run().succeeds().writes(&input).quiet_task();
}

#[test]
fn files_of_all_kinds() {
    let project = Engine::under_test().project();
    if !project.engine().shares_files() {
        // Nothing of the folder is in pods of this engine, and that is what the jobs see.
        project.write("file", "there");
        project.parallel(1).words("-- ls -A {} ::: .").run().succeeds().writes("");
        return;
    }
    let names: Vec<&[u8]> = NAMES.into_iter().filter(|name| !name.contains(&b'/')).collect();
    fs::create_dir(project.at("files")).expect("ours");
    for name in &names {
        project.write(OsString::from_vec([b"files/", *name].concat()), [name, &b"\0"[..]].concat());
    }
    let paths: Vec<Vec<u8>> = names.iter().map(|name| [b"files/", *name].concat()).collect();
    let paths: Vec<&[u8]> = paths.iter().map(Vec::as_slice).collect();
    let job = ["-0", "-k", "--", "cat", "{}"];
    project.parallel(2).args(job).stdin(separated(&paths)).run().succeeds().writes(separated(&names));
}

#[test]
fn a_command_of_all_kinds() {
    let project = Engine::under_test().project();
    for command in [
        r#"printf 'a\\b\n'; echo "c:\temp" 'it'"'"'s' \\ \$HOME"#,
        "echo one\necho two # and a comment",
        "echo \"ünï 日本 🦀\" $((1 + 1)) `echo back` ; (exit 3) || echo {}",
        "cat <<'END'\nhere $HOME\nEND",
    ] {
        let real = project.parallel_by_ssh().args(["--", command, ":::", "x"]).run();
        assert!(!real.succeeds().stdout.is_empty(), "what is compared with has run");
        project.parallel(1).args(["--", command, ":::", "x"]).run().succeeds().writes(&real.stdout);
    }
    let bytes = OsStr::from_bytes(b"printf '\xff\xfe\\n'");
    project.parallel(1).arg("-n0").arg("--").arg(bytes).words("::: x").run().succeeds().writes(b"\xff\xfe\n");
}

/// GNU parallel 20221122 itself refuses a command whose base64 is longer than 63,664 bytes ("Command line too long"), so
/// this is about the longest; 100 KB are in `ssh.rs`, without parallel between.
#[test]
fn a_long_command() {
    let project = Engine::under_test().project();
    let long = "x".repeat(45_000);
    let input = format!("{long}\n");
    project.parallel_by_ssh().words("-- echo {}").stdin(&input).run().succeeds().writes(&input);
    project.parallel(1).words("-- echo {}").stdin(&input).run().succeeds().writes(&input).quiet_task();
    // Together more than one argument of execve() may be.
    let many: Vec<String> = (0..4000).map(|n| format!("argument-number-{n:06}")).collect();
    let input = many.iter().map(|word| format!("{word}\n")).collect::<String>();
    let run = project.parallel(1).words("-k -m --").arg("printf '%s\\n' {}").stdin(&input).run();
    run.succeeds().writes(&input);
}
