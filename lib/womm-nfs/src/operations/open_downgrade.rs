//! OPEN_DOWNGRADE (RFC 8881, 18.18).

use super::setattr::file;
use crate::compound::{Compound, Outcome};
use crate::status::Status;
use crate::wire::Stateid;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let stateid = cx.resolve(Stateid::decode(from)?)?;
    let (_seqid, access, deny) = (from.u32()?, from.u32()? & 0xff, from.u32()?);
    if !(1..=3).contains(&access) || deny > 3 {
        return Err(Status::Invalid.into());
    }
    let (client, file) = (cx.client()?, file(cx)?);
    let less = cx.server.with_state(|state, _| state.downgrade(client, &stateid, file, access, deny))?;
    less.encode(to);
    cx.stateid = Some(less);
    Ok(())
}
