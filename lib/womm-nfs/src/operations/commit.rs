//! COMMIT (RFC 8881, 18.3).

use crate::compound::{Compound, Outcome};
use crate::status::Status;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Does it: of the whole file, whatever part is meant.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let (_offset, _count) = (from.u64()?, from.u32()?);
    let (export, node) = cx.node(Status::IsDirectory)?;
    if export.is_drained() {
        return Err(Status::Stale.into());
    }
    cx.turn(&export).await?;
    cx.check_file(Status::Symlink).await?;
    let context = cx.server.context(cx.client()?);
    export.verifiers.attempt(node, export.vfs.commit(&context, node)).await?;
    // After it: what was lost before it began, or while it went on, is then told.
    to.fixed_opaque(&export.write_verifier(node));
    Ok(())
}
