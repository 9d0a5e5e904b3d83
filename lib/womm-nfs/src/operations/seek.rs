//! SEEK (RFC 7862, 15.11).

use super::read;
use crate::compound::{Compound, Outcome};
use crate::status::Status;
use crate::wire::Stateid;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;
use womm_vfs::vfs::Seek;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let stateid = cx.resolve(Stateid::decode(from)?)?;
    let offset = from.u64()?;
    let what = match from.u32()? {
        0 => Seek::Data,
        1 => Seek::Hole,
        _ => return Err(Status::UnionNotSupported.into()),
    };
    let (export, node) = cx.node(Status::IsDirectory)?;
    cx.turn(&export).await?;
    read::check(cx, &stateid).await?;
    let size = cx.current_attributes().await?.size;
    if offset >= size {
        return Err(Status::NoAddress.into());
    }
    let context = cx.server.context(cx.client()?);
    let found = match export.vfs.seek(&context, node, offset, what).await.map_err(Status::from) {
        Ok(found) => found,
        // No data from there to the end.
        Err(Status::NoAddress) => size,
        Err(status) => return Err(status.into()),
    };
    to.bool(found >= size).u64(found);
    Ok(())
}
