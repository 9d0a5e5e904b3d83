//! IO_ADVISE (RFC 7862, 15.5): no advice is followed, which is said.

use super::setattr::file;
use crate::compound::{Compound, Outcome};
use crate::wire::{Bitmap, Stateid};
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let stateid = cx.resolve(Stateid::decode(from)?)?;
    let (_offset, _count, _hints) = (from.u64()?, from.u64()?, Bitmap::decode(from)?);
    let (client, file) = (cx.client()?, file(cx)?);
    cx.server.with_state(|state, now| state.check_io(client, &stateid, file, false, now))?;
    Bitmap::default().encode(to);
    Ok(())
}
