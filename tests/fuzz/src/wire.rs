//! `womm_wire` but for its JSON.

use crate::input::{Input, Pieces, at_once, pieces};
use crate::memory::at_most;
use std::io::ErrorKind;
use womm_wire::frame::{
    Decoder, End, HEADER, How, Kind, MOST_DATA, MOST_OPEN, MOST_SIGNAL, Malformed, Open, Size, encode, header,
};
use womm_wire::{quantity as parse, slot as slots};

type Frames = Vec<(Kind, Vec<u8>)>;

fn by_decoder<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Frames, Result<(), Malformed>) {
    let (mut decoder, mut frames) = (Decoder::default(), Frames::new());
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some((kind, payload))) => frames.push((kind, payload.to_vec())),
                Ok(None) => break,
                Err(e) => return (frames, Err(e)),
            }
        }
    }
    (frames, Ok(()))
}

fn by_reader(stream: &[u8], seed: u64) -> (Frames, Option<std::io::Error>) {
    let mut reader = Pieces::new(stream, seed);
    let (mut frame, mut frames) = (Vec::new(), Frames::new());
    loop {
        match at_once(womm_stream::frames::read(&mut reader, &mut frame)) {
            Ok(Some(kind)) => frames.push((kind, frame[HEADER..].to_vec())),
            Ok(None) => return (frames, None),
            Err(e) => return (frames, Some(e)),
        }
    }
}

/// Frames, in any pieces, by both of our readers.
pub fn frame(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let seed = input.number(2);
    let stream = input.rest();

    let whole = at_most(16 * stream.len() + 4096, || by_decoder([stream]));
    let cut = pieces(stream, seed);
    assert_eq!(whole, at_most(16 * stream.len() + 4096, || by_decoder(cut)), "it depends on the pieces");
    // What a header announces is reserved before it comes, but no more than it may.
    let (read, end) = at_most(16 * stream.len() + 2 * MOST_OPEN + 4096, || by_reader(stream, seed));
    let (frames, verdict) = whole;
    assert_eq!(frames, read, "the two readers differ");

    let mut again = Vec::new();
    for (kind, payload) in &frames {
        assert!(payload.len() <= if *kind == Kind::Open { MOST_OPEN } else { MOST_DATA });
        again.extend_from_slice(&encode(*kind, payload));
    }
    let rest = stream.strip_prefix(again.as_slice()).expect("frames are what came");
    match (rest.first_chunk::<HEADER>(), verdict, end) {
        (Some(head), Err(malformed), Some(end)) => {
            assert_eq!(header(*head), Err(malformed));
            assert_eq!(end.kind(), ErrorKind::InvalidData);
        }
        (Some(head), Ok(()), Some(end)) => {
            assert!(header(*head).expect("well formed").1 > rest.len() - HEADER);
            assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
        }
        (None, Ok(()), Some(end)) => {
            assert!(!rest.is_empty());
            assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
        }
        (None, Ok(()), None) => assert!(rest.is_empty()),
        other => panic!("{other:?} after {} frames", frames.len()),
    }
}

/// Jobs, as bytes and as made from bytes.
pub fn open(bytes: &[u8]) {
    // A variable of 6 bytes is two vectors, and a vector of them grows by doubling: up to 24 times as much.
    let decoded = at_most(32 * bytes.len() + 4096, || Open::decode(bytes));
    if let Ok(open) = decoded {
        survives(&open);
    }

    let mut input = Input::new(bytes);
    let mut open = Open {
        host: input.bytes().to_vec(),
        command: input.maybe(),
        cwd: input.maybe(),
        subsystem: input.maybe(),
        of_run: input.flag(),
        attempt: input.bytes().to_vec(),
        ..Open::default()
    };
    if input.flag() {
        let size = Size { rows: input.number(2) as u16, columns: input.number(2) as u16 };
        open.terminal = Some((input.bytes().to_vec(), size));
    }
    let unknown = input.byte();
    let passed_over = input.bytes();
    while !input.is_empty() {
        let name = input.bytes().iter().copied().filter(|b| *b != b'=').collect();
        open.env.push((name, input.bytes().to_vec()));
    }
    survives(&open);
    // A field of a later version changes nothing.
    if !b"hcdetsra".contains(&unknown) {
        let mut later = vec![unknown];
        later.extend_from_slice(&(passed_over.len() as u32).to_be_bytes());
        later.extend_from_slice(passed_over);
        later.extend_from_slice(&open.encode());
        assert_eq!(Open::decode(&later).as_ref(), Ok(&open));
    }
}

fn survives(open: &Open) {
    let bytes = open.encode();
    assert_eq!(Open::decode(&bytes).as_ref(), Ok(open));
    if bytes.len() > 300 {
        return; // what follows takes the square of it
    }
    // Cut off anywhere but between two fields, it is no job.
    let fields = (0..bytes.len()).filter(|at| Open::decode(&bytes[..*at]).is_ok()).count();
    let terms = usize::from(open.command.is_some()) + usize::from(open.cwd.is_some()) + open.env.len();
    let more = [open.subsystem.is_some(), open.terminal.is_some(), open.of_run, !open.attempt.is_empty()];
    assert_eq!(fields, 1 + terms + more.into_iter().filter(|is_there| *is_there).count());
}

/// Ends of jobs, and sizes of terminals.
pub fn end(bytes: &[u8]) {
    if let Ok(end) = at_most(16 * bytes.len() + 4096, || End::decode(bytes)) {
        let again = at_most(16 * bytes.len() + 4096, || end.encode());
        // It fits into a frame, whatever the reason.
        assert!(again.len() <= 18 + 4096);
        let again = End::decode(&again).expect("what we wrote");
        assert!(end.reason.starts_with(&again.reason));
        assert!(end.reason.len() <= 4096 || again.reason.len() > 4092);
        if end.reason.len() <= 4096 {
            assert_eq!(end, again);
        }
        assert_eq!((end.how, end.stdout_bytes, end.stderr_bytes), (again.how, again.stdout_bytes, again.stderr_bytes));
    } else {
        let is_end = |bytes: &[u8]| match bytes[0] {
            b's' => (1..=MOST_SIGNAL).contains(&bytes[1]),
            how => b"erdl".contains(&how),
        };
        assert!(bytes.len() < 18 || !is_end(bytes));
    }
    match Size::decode(bytes) {
        Ok(size) => assert_eq!(size.encode(), bytes),
        Err(_) => assert_ne!(bytes.len(), 4),
    }

    let mut input = Input::new(bytes);
    let how = match input.byte() % 5 {
        0 => How::Exited(input.byte()),
        1 => How::Signalled(1 + input.byte() % MOST_SIGNAL),
        2 => How::Refused,
        3 => How::Denied,
        _ => How::Lost,
    };
    let (stdout_bytes, stderr_bytes) = (input.number(8), input.number(8));
    let end = End { how, stdout_bytes, stderr_bytes, reason: String::from_utf8_lossy(input.take(1000)).into_owned() };
    assert_eq!(End::decode(&end.encode()).as_ref(), Ok(&end));
}

/// Kubernetes quantities against a slower reading of the same grammar.
pub fn quantity(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let (bytes, milli) = at_most(16 * text.len() + 4096, || (parse::bytes(text), parse::milli(text)));
        // Both round up, so one follows from the other where that fits.
        if let Ok(milli) = milli {
            assert_eq!(bytes, Ok(milli.div_ceil(1000)), "{text}");
        }
        match expected(text) {
            Some(nano) => {
                let whole = i64::try_from(nano.div_ceil(1_000_000_000)).ok().map(|n| n as u64);
                assert_eq!(bytes.ok(), whole, "{text}");
            }
            None => assert!(bytes.is_err() && milli.is_err(), "{text} is read as {bytes:?}"),
        }
    }
    // What we print, we read.
    let number = Input::new(bytes).number(8) >> 1;
    assert_eq!(parse::bytes(&womm_engine::kube::fuzz::quantity(number)), Ok(number));
    assert_eq!(parse::milli(&womm_engine::kube::fuzz::cpus(number)), Ok(number));
}

/// In thousand-millionths, rounded up; None if it is no quantity, or so long or large that ours need not read it.
fn expected(text: &str) -> Option<u128> {
    const SUFFIXES: [(&str, u128, u32); 16] = [
        ("Ki", 1 << 10, 9),
        ("Mi", 1 << 20, 9),
        ("Gi", 1 << 30, 9),
        ("Ti", 1 << 40, 9),
        ("Pi", 1 << 50, 9),
        ("Ei", 1 << 60, 9),
        ("n", 1, 0),
        ("u", 1, 3),
        ("m", 1, 6),
        ("k", 1, 12),
        ("M", 1, 15),
        ("G", 1, 18),
        ("T", 1, 21),
        ("P", 1, 24),
        ("E", 1, 27),
        ("", 1, 9),
    ];
    let text = text.strip_prefix('+').unwrap_or(text);
    let (number, factor, power) = match text.find(['e', 'E']).filter(|at| text[at + 1..].parse::<u32>().is_ok()) {
        Some(at) => (&text[..at], 1, text[at + 1..].parse::<u32>().ok().filter(|power| *power <= 18)? + 9),
        None => SUFFIXES.iter().find_map(|(suffix, factor, power)| {
            let number = text.strip_suffix(suffix)?;
            (!number.ends_with(|c: char| c.is_ascii_alphabetic())).then_some((number, *factor, *power))
        })?,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{part}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) || whole.len() > 20 || part.len() > 9 {
        return None;
    }
    let scaled = digits.parse::<u128>().ok()?.checked_mul(factor)?.checked_mul(10u128.pow(power));
    // Too large for this reading is too large for ours: 10^38 thousand-millionths are far above 2^63.
    scaled.map(|scaled| scaled.div_ceil(10u128.pow(part.len() as u32)))
}

/// Hosts and the pods they lead to.
pub fn slot(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(place) = at_most(4096, || slots::place(text))
    {
        assert!(text.starts_with('w') && place < usize::MAX);
        assert_eq!(slots::place(&format!("w{:03}", place + 1)), Some(place));
    }

    let mut input = Input::new(bytes);
    let (pods, procs) = (input.number(2) % if input.flag() { 1100 } else { 12 }, input.number(2) % 40);
    let all = slots::slots(pods as u32, procs as u32);
    assert_eq!(all.iter().map(|slot| u64::from(slot.jobs)).sum::<u64>(), pods * procs);
    assert!(all.iter().all(|slot| (1..=slots::JOBS_PER_HOST).contains(&slot.jobs)));
    assert!(all.iter().all(|slot| slots::place(&slot.host) == Some(slot.place)));
    let mut hosts: Vec<_> = all.iter().map(|slot| &slot.host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    assert_eq!(hosts.len(), all.len(), "two slots of one name");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::peak;

    #[test]
    fn a_flood_takes_no_more_than_its_largest_frame() {
        let frames = [encode(Kind::Open, &[b'x'; MOST_OPEN]), encode(Kind::Stdout, &[7; MOST_DATA])].concat();
        let (count, memory) = peak(|| {
            let (mut decoder, mut count) = (Decoder::default(), 0);
            for piece in std::iter::repeat_n(frames.as_slice(), 20).flat_map(|all| all.chunks(MOST_DATA + HEADER)) {
                decoder.feed(piece);
                while decoder.next_frame().expect("well formed").is_some() {
                    count += 1;
                }
            }
            count
        });
        assert_eq!(count, 40);
        // A vector grows by doubling, and for a moment both are there.
        assert!(memory <= 3 * (MOST_OPEN + 2 * MOST_DATA), "{memory} bytes");
    }
}
