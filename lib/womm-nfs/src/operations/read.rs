//! READ (RFC 8881, 18.22).

use super::setattr::file;
use crate::compound::{Compound, Outcome};
use crate::limits::MOST_TRANSFER;
use crate::status::Status;
use crate::wire::Stateid;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Around the data in a result, bytes.
const AROUND: usize = 12;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let stateid = cx.resolve(Stateid::decode(from)?)?;
    let (offset, count) = (from.u64()?, from.u32()?.min(MOST_TRANSFER));
    let (export, node) = cx.node(Status::IsDirectory)?;
    cx.turn(&export).await?;
    check(cx, &stateid).await?;
    // Less than was asked for is good, if that is what fits.
    let room = u32::try_from(cx.room.saturating_sub(AROUND) & !3).unwrap_or(u32::MAX);
    if room == 0 && count > 0 {
        return Err(cx.too_big().into());
    }
    let count = count.min(room);
    cx.hold_reply(count as usize).await?;
    let context = cx.server.context(cx.client()?);
    let read = export.vfs.read(&context, node, offset, count).await?;
    to.bool(read.end).opaque_bytes(read.data);
    Ok(())
}

/// Whether the stateid lets the caller read the current file.
///
/// # Errors
/// As for the stateid; for the special ones ISDIR, SYMLINK, ACCESS.
pub async fn check<V: Vfs>(cx: &mut Compound<'_, V>, stateid: &Stateid) -> Result<(), Status> {
    if *stateid == Stateid::ANONYMOUS || *stateid == Stateid::BYPASS {
        cx.check_file(Status::Symlink).await?;
        let object = cx.object()?.clone();
        cx.check_mode(&object, 4).await?;
    }
    let (client, file) = (cx.client()?, file(cx)?);
    cx.server.with_state(|state, now| state.check_io(client, stateid, file, false, now))
}
