//! ALLOCATE and DEALLOCATE (RFC 7862, 15.1, 15.4).

use super::write;
use crate::compound::{Compound, Outcome};
use crate::status::Status;
use crate::wire::Stateid;
use crate::xdr::Decoder;
use womm_vfs::Vfs;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, punch: bool) -> Outcome {
    let stateid = cx.resolve(Stateid::decode(from)?)?;
    let (offset, length) = (from.u64()?, from.u64()?);
    let (export, node) = cx.node_to_change()?;
    cx.turn(&export).await?;
    write::check(cx, &stateid).await?;
    let end = offset.checked_add(length).filter(|end| i64::try_from(*end).is_ok());
    if length == 0 {
        return Err(Status::Invalid.into());
    }
    let context = cx.server.context(cx.client()?);
    match (punch, end) {
        (true, end) => {
            let length = end.map_or(i64::MAX as u64 - offset.min(i64::MAX as u64), |_| length);
            export.vfs.deallocate(&context, node, offset, length).await?;
        }
        (false, Some(_)) => export.vfs.allocate(&context, node, offset, length).await?,
        (false, None) => return Err(Status::FileTooBig.into()),
    }
    Ok(())
}
