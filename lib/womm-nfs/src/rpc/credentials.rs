//! Who asks: AUTH_NONE and AUTH_SYS (RFC 5531, 8 and appendix A). There is nothing to believe in them: what protects a folder
//! is that its path and handles can't be guessed.

use crate::xdr::{Decoder, Encoder, Malformed};

/// AUTH_NONE.
pub const NONE: u32 = 0;
/// AUTH_SYS.
pub const SYS: u32 = 1;
/// The body of credentials or a verifier, bytes.
const MOST_BODY: usize = 400;
/// Who it is that has no name.
const NOBODY: u32 = 65534;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// As whom state is kept.
    pub principal: Principal,
    /// The user's number: to it, files are its own.
    pub user: u32,
    /// The group's number.
    pub group: u32,
}

/// To whom state belongs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// AUTH_NONE's.
    Nobody,
    /// A user of AUTH_SYS.
    User(u32),
}

/// Why credentials are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// They are not what they say.
    Broken,
    /// We don't know the flavor.
    Unknown,
}

impl Principal {
    /// Writes it.
    pub fn encode(&self, to: &mut Encoder) {
        match self {
            Self::Nobody => to.u32(NONE),
            Self::User(user) => to.u32(SYS).u32(*user),
        };
    }

    /// # Errors
    /// There is none.
    pub fn decode(from: &mut Decoder) -> Result<Self, Malformed> {
        match from.u32()? {
            NONE => Ok(Self::Nobody),
            SYS => from.u32().map(Self::User),
            _ => Err(Malformed),
        }
    }
}

/// Reads credentials and verifier.
///
/// # Errors
/// They are not there, or too long.
pub fn read(from: &mut Decoder) -> Result<Result<Credentials, Refusal>, Malformed> {
    let (flavor, body) = (from.u32()?, from.opaque(MOST_BODY)?);
    let (_verifier_flavor, _verifier) = (from.u32()?, from.opaque(MOST_BODY)?);
    Ok(match flavor {
        NONE => Ok(Credentials { principal: Principal::Nobody, user: NOBODY, group: NOBODY }),
        SYS => system(&mut Decoder::new(body)).map_err(|_| Refusal::Broken),
        _ => Err(Refusal::Unknown),
    })
}

fn system(body: &mut Decoder) -> Result<Credentials, Malformed> {
    let (_stamp, _machine) = (body.u32()?, body.opaque(255)?);
    let (user, group) = (body.u32()?, body.u32()?);
    body.list(16, Decoder::u32)?;
    body.end()?;
    Ok(Credentials { principal: Principal::User(user), user, group })
}
