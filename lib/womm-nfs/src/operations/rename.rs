//! RENAME (RFC 8881, 18.26).

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
    let target = cx.object()?.clone();
    let (old, new) = (names::decode(from)?, names::decode(from)?);
    let (export, folder) = cx.node_to_change()?;
    let Object::Node(of, out_of) = &source else { return Err(Status::CrossDevice.into()) };
    if of.number != export.number {
        return Err(Status::CrossDevice.into());
    }
    cx.turn(&export).await?;
    for object in [&source, &target] {
        match cx.attributes(object).await?.kind {
            Kind::Folder => cx.check_mode(object, CHANGE_NAMES).await?,
            Kind::File => return Err(Status::NotDirectory.into()),
            Kind::Symlink => return Err(Status::Symlink.into()),
        }
    }
    let context = cx.server.context(cx.client()?);
    let renamed = export.vfs.rename(&context, (*out_of, &old), (folder, &new)).await?;
    encode_change(&renamed.from, to);
    encode_change(&renamed.to, to);
    Ok(())
}
