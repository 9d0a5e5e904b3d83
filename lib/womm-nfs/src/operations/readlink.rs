//! READLINK (RFC 8881, 18.24).

use crate::compound::{Compound, Outcome};
use crate::limits::MOST_TARGET;
use crate::status::Status;
use crate::xdr::Encoder;
use womm_vfs::{Kind, Vfs};

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, to: &mut Encoder) -> Outcome {
    let (export, node) = cx.node(Status::WrongType)?;
    if cx.current_attributes().await?.kind != Kind::Symlink {
        return Err(Status::WrongType.into());
    }
    cx.turn(&export).await?;
    cx.hold_reply(MOST_TARGET).await?;
    let context = cx.server.context(cx.client()?);
    to.opaque(&export.vfs.readlink(&context, node).await?);
    Ok(())
}
