//! WRITE (RFC 8881, 18.32).

use super::setattr::file;
use crate::compound::{Compound, Outcome};
use crate::limits::MOST_MESSAGE;
use crate::status::Status;
use crate::wire::Stateid;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;
use womm_vfs::vfs::Stable;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let stateid = cx.resolve(Stateid::decode(from)?)?;
    let offset = from.u64()?;
    let stable = match from.u32()? {
        0 => Stable::Unstable,
        1 => Stable::Data,
        2 => Stable::File,
        _ => return Err(Status::BadXdr.into()),
    };
    let data = from.opaque(MOST_MESSAGE as usize)?;
    let (export, node) = cx.node_to_change()?;
    cx.turn(&export).await?;
    check(cx, &stateid).await?;
    let count = data.len();
    if offset.checked_add(count as u64).is_none_or(|end| end > i64::MAX as u64) {
        return Err(Status::FileTooBig.into());
    }
    let context = cx.server.context(cx.client()?);
    let written = export.vfs.write(&context, node, offset, data, stable).await?;
    to.count(count).u32(number(written.stable)).fixed_opaque(&export.vfs.write_verifier());
    Ok(())
}

/// stable_how4.
pub fn number(stable: Stable) -> u32 {
    match stable {
        Stable::Unstable => 0,
        Stable::Data => 1,
        Stable::File => 2,
    }
}

/// Whether the stateid lets the caller write the current file.
///
/// # Errors
/// As for the stateid; for the special ones ISDIR, SYMLINK, ACCESS.
pub async fn check<V: Vfs>(cx: &mut Compound<'_, V>, stateid: &Stateid) -> Result<(), Status> {
    if *stateid == Stateid::ANONYMOUS || *stateid == Stateid::BYPASS {
        cx.check_file(Status::Symlink).await?;
        let object = cx.object()?.clone();
        cx.check_mode(&object, 2).await?;
    }
    let (client, file) = (cx.client()?, file(cx)?);
    cx.server.with_state(|state, now| state.check_io(client, stateid, file, true, now))
}
