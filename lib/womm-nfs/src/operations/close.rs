//! CLOSE (RFC 8881, 18.2): needs nothing of the file system, so it is done also when that is away or its task is over.

use super::setattr::file;
use crate::compound::{Compound, Outcome};
use crate::wire::Stateid;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    from.u32()?; // seqid
    let stateid = cx.resolve(Stateid::decode(from)?)?;
    let (client, file) = (cx.client()?, file(cx)?);
    cx.server.with_state(|state, _| state.close(client, &stateid, file))?;
    Stateid::INVALID.encode(to);
    cx.stateid = None;
    Ok(())
}
