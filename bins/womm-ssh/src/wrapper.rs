//! What GNU parallel wraps around a job for a host: perl, with a script in hexadecimal digits. For the sake of csh it can't
//! write `pack "H*"`, and has as many digits unpacked as no script has, 10,000,000: perl fills up with zeros, and parses
//! them. That is most of the wrapper's CPU, and 10 MB for as long as the job runs. Here it is said how many there are.

const BEFORE: &[u8] = b"exec perl -X -e GNU_Parallel_worker,eval+pack+q/H";
const COUNT: &[u8] = b"10000000";
const AFTER: &[u8] = b"/,join+q//,@ARGV ";

/// The same command, cheaper. Whatever is not to the letter what versions 20221122 and 20240222 write stays as it is.
pub fn trimmed(command: Vec<u8>) -> Vec<u8> {
    let digits = || command.strip_prefix(BEFORE)?.strip_prefix(COUNT)?.strip_prefix(AFTER);
    match digits() {
        Some(digits) if digits.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b' ') => {
            let count = digits.iter().filter(|byte| **byte != b' ').count();
            [BEFORE, count.to_string().as_bytes(), AFTER, digits].concat()
        }
        _ => command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GNU parallel's words for a script.
    fn wrapped(digits: &str) -> String {
        format!("exec perl -X -e GNU_Parallel_worker,eval+pack+q/H10000000/,join+q//,@ARGV {digits}")
    }

    fn after(command: &str) -> String {
        String::from_utf8(trimmed(command.into())).unwrap()
    }

    #[test]
    fn as_many_digits_are_unpacked_as_there_are() {
        let expected = "exec perl -X -e GNU_Parallel_worker,eval+pack+q/H12/,join+q//,@ARGV 6578697420 23";
        assert_eq!(after(&wrapped("6578697420 23")), expected);
    }

    #[test]
    fn perl_runs_the_same_script() {
        // As GNU parallel does it: a comment sign at the end, a blank after each 1000 digits.
        let script = format!("print \"{}\"; exit 7#", "0123456789".repeat(200));
        let digits: String = script.bytes().map(|byte| format!("{byte:02x}")).collect();
        let words: Vec<&str> =
            (0..digits.len()).step_by(1000).map(|at| &digits[at..digits.len().min(at + 1000)]).collect();
        let run = |command: &str| std::process::Command::new("sh").args(["-c", command]).output().unwrap();
        let (theirs, ours) = (run(&wrapped(&words.join(" "))), run(&after(&wrapped(&words.join(" ")))));
        assert_eq!((ours.status.code(), ours.stdout.len()), (Some(7), 2000));
        assert_eq!(ours, theirs);
    }

    #[test]
    fn other_commands_stay() {
        let longer = wrapped("23; echo $HOME");
        let quoted = format!("echo '{}'", wrapped("23"));
        let other = wrapped("23").replace("H10000000", "H20000000");
        for command in [longer.as_str(), &quoted, &other, "true", "exec perl", ""] {
            assert_eq!(after(command), command);
        }
    }
}
