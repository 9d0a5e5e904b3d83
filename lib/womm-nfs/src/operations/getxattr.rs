//! GETXATTR (RFC 8276, 8.4.1).

use crate::compound::{Compound, Outcome};
use crate::limits::{MOST_MESSAGE, MOST_XATTR_NAME, MOST_XATTR_VALUE};
use crate::status::Status;
use crate::xdr::{Decoder, Encoder};
use bytes::Bytes;
use womm_vfs::Vfs;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let name = decode_name(from)?;
    let (export, node) = cx.node(Status::NoXattr)?;
    cx.turn(&export).await?;
    let object = cx.object()?.clone();
    cx.check_mode(&object, 4).await?;
    cx.hold_reply(cx.room.min(MOST_XATTR_VALUE)).await?;
    let context = cx.server.context(cx.client()?);
    to.opaque_bytes(export.vfs.getxattr(&context, node, &name).await?);
    Ok(())
}

/// xattrkey4.
///
/// # Errors
/// BADXDR, INVAL, NAMETOOLONG.
pub fn decode_name(from: &mut Decoder) -> Result<Bytes, Status> {
    let name = from.opaque(MOST_MESSAGE as usize)?;
    match name.len() {
        0 => Err(Status::Invalid),
        1..=MOST_XATTR_NAME if name.contains(&0) => Err(Status::Invalid),
        1..=MOST_XATTR_NAME => Ok(Bytes::copy_from_slice(&name)),
        _ => Err(Status::NameTooLong),
    }
}
