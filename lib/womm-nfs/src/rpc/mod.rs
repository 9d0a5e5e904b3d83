//! ONC RPC version 2 (RFC 5531): the header of a call, the header of a reply.

pub mod credentials;
mod large;
pub mod record;

pub use credentials::{Credentials, Principal};

use crate::xdr::{Decoder, Encoder, Malformed};
use bytes::Bytes;

/// The program of NFS, and the one version of it that we speak.
pub const PROGRAM: u32 = 100_003;
/// See [`PROGRAM`].
pub const VERSION: u32 = 4;

const CALL: u32 = 0;
const REPLY: u32 = 1;
const RPC_VERSION: u32 = 2;
/// AUTH_ERROR's reasons.
const BAD_CREDENTIALS: u32 = 1;
const TOO_WEAK: u32 = 5;

/// A call.
#[derive(Debug)]
pub struct Call {
    /// xid, which its reply repeats.
    pub id: u32,
    /// Who asks.
    pub credentials: Credentials,
    /// What for.
    pub procedure: Procedure,
}

/// A procedure of NFSv4.
#[derive(Debug)]
pub enum Procedure {
    /// NULL.
    Null,
    /// COMPOUND, and its arguments.
    Compound(Decoder),
}

/// What to do with a message.
#[derive(Debug)]
pub enum Message {
    /// Answer it.
    Call(Call),
    /// Send this: it can't be done.
    Refuse(Bytes),
    /// Nothing: it is a reply, and we have asked nothing.
    Ignore,
}

/// Reads a message.
///
/// # Errors
/// It is no message of RPC: whoever sent it can't be told so.
pub fn read(message: Bytes) -> Result<Message, Malformed> {
    let mut from = Decoder::new(message);
    let id = from.u32()?;
    match from.u32()? {
        CALL => {}
        REPLY => return Ok(Message::Ignore),
        _ => return Err(Malformed),
    }
    if from.u32()? != RPC_VERSION {
        // MSG_DENIED, RPC_MISMATCH, lowest, highest
        return Ok(Message::Refuse(words(&[id, REPLY, 1, 0, RPC_VERSION, RPC_VERSION])));
    }
    let (program, version, procedure) = (from.u32()?, from.u32()?, from.u32()?);
    let credentials = match credentials::read(&mut from)? {
        Ok(credentials) => credentials,
        Err(refusal) => {
            let why = match refusal {
                credentials::Refusal::Broken => BAD_CREDENTIALS,
                credentials::Refusal::Unknown => TOO_WEAK,
            };
            // MSG_DENIED, AUTH_ERROR, why
            return Ok(Message::Refuse(words(&[id, REPLY, 1, 1, why])));
        }
    };
    if program != PROGRAM {
        return Ok(Message::Refuse(accepted(id, 1, &[])));
    }
    if version != VERSION {
        return Ok(Message::Refuse(accepted(id, 2, &[VERSION, VERSION])));
    }
    let procedure = match procedure {
        0 => Procedure::Null,
        1 => Procedure::Compound(from),
        _ => return Ok(Message::Refuse(accepted(id, 3, &[]))),
    };
    Ok(Message::Call(Call { id, credentials, procedure }))
}

/// The header of a reply that says SUCCESS: the results come after it.
pub fn success(id: u32) -> Encoder {
    let mut to = Encoder::new();
    to.u32(id).u32(REPLY).u32(0).u32(0).u32(0).u32(0);
    to
}

/// The length of [`success`], bytes.
pub const SUCCESS_BYTES: usize = 24;

/// A reply that says that the arguments can't be read (GARBAGE_ARGS).
pub fn garbage(id: u32) -> Bytes {
    accepted(id, 4, &[])
}

/// MSG_ACCEPTED, a verifier of AUTH_NONE, why.
fn accepted(id: u32, why: u32, more: &[u32]) -> Bytes {
    words(&[&[id, REPLY, 0, 0, 0, why], more].concat())
}

fn words(words: &[u32]) -> Bytes {
    let mut to = Encoder::new();
    for word in words {
        to.u32(*word);
    }
    to.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &[u32]) -> Message {
        read(super::words(words)).expect("a message")
    }

    fn refused(sent: &[u32]) -> Vec<u32> {
        let Message::Refuse(bytes) = call(sent) else { panic!("it is refused") };
        bytes.chunks(4).map(|word| u32::from_be_bytes(word.try_into().expect("four bytes"))).collect()
    }

    #[test]
    fn calls() {
        assert!(matches!(call(&[7, CALL, 2, PROGRAM, 4, 0, 0, 0, 0, 0]), Message::Call(Call { id: 7, .. })));
        assert!(matches!(call(&[7, REPLY]), Message::Ignore));
        assert_eq!(read(words(&[7, 2])).map(|_| ()), Err(Malformed));
        assert_eq!(read(words(&[7, CALL, 2, PROGRAM])).map(|_| ()), Err(Malformed));
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(refused(&[7, CALL, 3]), [7, 1, 1, 0, 2, 2]);
        assert_eq!(refused(&[7, CALL, 2, 9, 4, 0, 0, 0, 0, 0]), [7, 1, 0, 0, 0, 1]);
        assert_eq!(refused(&[7, CALL, 2, PROGRAM, 3, 0, 0, 0, 0, 0]), [7, 1, 0, 0, 0, 2, 4, 4]);
        assert_eq!(refused(&[7, CALL, 2, PROGRAM, 4, 2, 0, 0, 0, 0]), [7, 1, 0, 0, 0, 3]);
        assert_eq!(refused(&[7, CALL, 2, PROGRAM, 4, 1, 6, 0, 0, 0]), [7, 1, 1, 1, TOO_WEAK]);
        assert_eq!(refused(&[7, CALL, 2, PROGRAM, 4, 1, 1, 4, 9, 0, 0]), [7, 1, 1, 1, BAD_CREDENTIALS]);
    }
}
