//! LINK (RFC 8881, 18.9).

use super::create::CHANGE_NAMES;
use super::names;
use crate::compound::{Compound, Object, Outcome};
use crate::status::Status;
use crate::wire::encode_change;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::{Kind, Vfs};

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let source = cx.saved.clone().ok_or(Status::NoFileHandle)?;
    cx.object()?;
    let name = names::decode(from)?;
    let (export, folder) = cx.node_to_change()?;
    let Object::Node(of, node) = &source else { return Err(Status::CrossDevice.into()) };
    if of.number != export.number {
        return Err(Status::CrossDevice.into());
    }
    cx.turn(&export).await?;
    if cx.attributes(&source).await?.kind == Kind::Folder {
        return Err(Status::IsDirectory.into());
    }
    let object = cx.object()?.clone();
    cx.check_mode(&object, CHANGE_NAMES).await?;
    let context = cx.server.context(cx.client()?);
    match export.vfs.link(&context, *node, folder, &name).await {
        Ok(change) => encode_change(&change, to),
        Err(error) => return Err(cx.not_a_folder(&object, error.into()).await.into()),
    }
    Ok(())
}
