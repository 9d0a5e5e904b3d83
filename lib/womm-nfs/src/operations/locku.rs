//! LOCKU (RFC 8881, 18.12): like CLOSE, it needs nothing of the file system.

use super::lock::decode_type;
use super::setattr::file;
use crate::compound::{Compound, Outcome};
use crate::state::locks::Range;
use crate::status::Status;
use crate::wire::Stateid;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    decode_type(from)?;
    from.u32()?; // seqid
    let stateid = cx.resolve(Stateid::decode(from)?)?;
    let range = Range::new(from.u64()?, from.u64()?).ok_or(Status::Invalid)?;
    let (client, file) = (cx.client()?, file(cx)?);
    let unlocked = cx.server.with_state(|state, _| state.unlock(client, &stateid, file, range))?;
    unlocked.encode(to);
    cx.stateid = Some(unlocked);
    Ok(())
}
