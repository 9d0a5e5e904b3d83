//! Names in arguments (component4; RFC 8881, 14 and 2.5). They are bytes: a Linux client sends what its users typed.

use crate::limits::MOST_MESSAGE;
use crate::status::Status;
use crate::xdr::Decoder;
use bytes::Bytes;
use womm_vfs::Name;
use womm_vfs::node::MOST_NAME;

/// Reads one.
///
/// # Errors
/// BADXDR; INVAL if it is empty, NAMETOOLONG, BADNAME for the dots, BADCHAR for a slash or NUL.
pub fn decode(from: &mut Decoder) -> Result<Name, Status> {
    let bytes = from.opaque(MOST_MESSAGE as usize)?;
    match &bytes[..] {
        b"" => return Err(Status::Invalid),
        b"." | b".." => return Err(Status::BadName),
        _ if bytes.len() > MOST_NAME => return Err(Status::NameTooLong),
        _ if bytes.iter().any(|byte| matches!(byte, b'/' | 0)) => return Err(Status::BadCharacter),
        _ => {}
    }
    // A copy: a slice would keep the whole call in memory.
    Ok(Name::new(Bytes::copy_from_slice(&bytes))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::Encoder;

    fn read(name: &[u8]) -> Result<Vec<u8>, Status> {
        let mut to = Encoder::new();
        to.opaque(name);
        decode(&mut Decoder::new(to.into_bytes())).map(|name| name.as_bytes().to_vec())
    }

    #[test]
    fn names() {
        assert_eq!(read(b"\xff\xfe x"), Ok(b"\xff\xfe x".to_vec()));
        assert_eq!(read(b""), Err(Status::Invalid));
        assert_eq!(read(b".."), Err(Status::BadName));
        assert_eq!(read(b"a/b"), Err(Status::BadCharacter));
        assert_eq!(read(b"a\0"), Err(Status::BadCharacter));
        assert_eq!(read(&[b'a'; 256]), Err(Status::NameTooLong));
        assert!(read(&[b'a'; 255]).is_ok());
    }
}
