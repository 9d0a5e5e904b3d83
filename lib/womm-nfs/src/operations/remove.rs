//! REMOVE (RFC 8881, 18.25).

use super::create::CHANGE_NAMES;
use super::names;
use crate::compound::{Compound, Outcome};
use crate::wire::encode_change;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    cx.object()?;
    let name = names::decode(from)?;
    let (export, folder) = cx.node_to_change()?;
    let object = cx.object()?.clone();
    cx.turn(&export).await?;
    cx.check_mode(&object, CHANGE_NAMES).await?;
    let context = cx.server.context(cx.client()?);
    match export.vfs.remove(&context, folder, &name).await {
        Ok(change) => encode_change(&change, to),
        Err(error) => return Err(cx.not_a_folder(&object, error.into()).await.into()),
    }
    Ok(())
}
