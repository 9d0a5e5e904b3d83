//! REMOVEXATTR (RFC 8276, 8.4.4).

use super::getxattr::decode_name;
use super::setxattr::encode_change;
use crate::compound::{Compound, Outcome};
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let name = decode_name(from)?;
    let (export, node) = cx.node_to_change()?;
    cx.turn(&export).await?;
    let object = cx.object()?.clone();
    cx.check_mode(&object, 2).await?;
    let context = cx.server.context(cx.client()?);
    let change = export.vfs.removexattr(&context, node, &name).await?;
    encode_change(change, to);
    Ok(())
}
