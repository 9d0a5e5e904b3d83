//! Records on stdin and stdout.

use crate::Failure;
use serde::Serialize;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use womm_wire::record::{KIND, Record};

/// A record is a few KiB; this stops a wrong pipe from filling memory.
const MOST: u64 = 16 << 20;

/// Reads the record that the stage before wrote on stdin. Not async: for the start of a program.
///
/// # Errors
/// Usage (2) if stdin is a terminal, is empty (the stage before failed), or is no record.
pub fn read_record() -> Result<Record, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::usage("stdin is a terminal, not a record")
            .help("this program reads a JSON record, see docs/wire.md and `womm help`"));
    }
    let mut text = Vec::new();
    stdin.take(MOST).read_to_end(&mut text).map_err(|e| Failure::usage(format!("read the record on stdin: {e}")))?;
    parse(&text)
}

fn parse(text: &[u8]) -> Result<Record, Failure> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::usage("stdin is empty where a record is due").help("the stage before this one failed"));
    }
    let record: Record =
        serde_json::from_slice(text).map_err(|e| Failure::usage(format!("read the record on stdin: {e}")))?;
    if record.kind != KIND {
        return Err(Failure::usage(format!("stdin holds a \"{}\", not a \"{KIND}\"", record.kind)));
    }
    Ok(record)
}

/// Writes the record for the next stage.
///
/// # Errors
/// Outside (3) if stdout can't be written to; a reader that went away included, since what was made is then not handed on.
pub fn write_record(record: &Record) -> Result<(), Failure> {
    write_line(record).and_then(|alive| {
        if alive { Ok(()) } else { Err(Failure::outside("write the record: the next stage is gone")) }
    })
}

/// Writes one JSON line; `false` if the reader went away.
///
/// # Errors
/// Outside (3) if stdout can't be written to for another reason, such as a full disk.
pub fn write_line<T: Serialize>(value: &T) -> Result<bool, Failure> {
    let mut line = serde_json::to_vec(value).map_err(|e| Failure::outside(format!("write JSON: {e}")))?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&line).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::outside(format!("write to stdout: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_stdin_has_an_error_of_its_own() {
        assert!(parse(b" \n").unwrap_err().to_string().contains("the stage before"));
        assert!(parse(b"{").unwrap_err().to_string().contains("EOF"));
        assert!(parse(br#"{"kind":"x","project":{"image":"i"}}"#).unwrap_err().to_string().contains("\"x\""));
        assert!(parse(br#"{"kind":"womm/record","project":{"image":"i"}}"#).is_ok());
    }
}
