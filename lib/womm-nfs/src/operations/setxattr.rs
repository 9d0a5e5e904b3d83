//! SETXATTR (RFC 8276, 8.4.2).

use super::getxattr::decode_name;
use crate::compound::{Compound, Outcome};
use crate::limits::{MOST_MESSAGE, MOST_XATTR_VALUE};
use crate::status::Status;
use crate::xdr::{Decoder, Encoder};
use bytes::Bytes;
use womm_vfs::Vfs;
use womm_vfs::vfs::{NodeChange, SetXattr};

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let how = match from.u32()? {
        0 => SetXattr::Either,
        1 => SetXattr::Create,
        2 => SetXattr::Replace,
        _ => return Err(Status::BadXdr.into()),
    };
    let name = decode_name(from)?;
    let value = from.opaque(MOST_MESSAGE as usize)?;
    if value.len() > MOST_XATTR_VALUE {
        return Err(Status::XattrTooBig.into());
    }
    let (export, node) = cx.node_to_change()?;
    cx.turn(&export).await?;
    let object = cx.object()?.clone();
    cx.check_mode(&object, 2).await?;
    let context = cx.server.context(cx.client()?);
    let change = export.vfs.setxattr(&context, node, &name, Bytes::copy_from_slice(&value), how).await?;
    encode_change(change, to);
    Ok(())
}

/// change_info4: another client may have changed it in between.
pub fn encode_change(change: NodeChange, to: &mut Encoder) {
    to.bool(false).u64(change.before).u64(change.after);
}
