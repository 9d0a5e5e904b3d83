//! SETATTR (RFC 8881, 18.30).

use crate::attributes::{self, MODE, Wanted};
use crate::compound::{Compound, Failure, Outcome, key};
use crate::status::Status;
use crate::wire::{Bitmap, Stateid};
use crate::xdr::{Decoder, Encoder};
use womm_vfs::{Kind, Vfs};

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let set = set(cx, from).await.map_err(|status| {
        // What was set is said also of one that failed: nothing.
        let mut body = Encoder::new();
        Bitmap::default().encode(&mut body);
        Failure { status, body: Some(body) }
    })?;
    set.encode(to);
    Ok(())
}

async fn set<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder) -> Result<Bitmap, Status> {
    let stateid = cx.resolve(Stateid::decode(from)?)?;
    let wanted = attributes::decode(from, cx.owner())?;
    let (export, node) = cx.node_to_change()?;
    cx.turn(&export).await?;
    if wanted.set.size.is_some() {
        check_size(cx, &stateid).await?;
    }
    let Wanted { mut set, mut asked } = wanted;
    if set.mode.is_some() && cx.current_attributes().await?.kind == Kind::Symlink {
        // A symlink's mode means nothing: it is passed over, and the answer does not say that it was set.
        set.mode = None;
        asked.remove(MODE);
    }
    if set != womm_vfs::SetAttributes::default() {
        let context = cx.server.context(cx.client()?);
        export.vfs.setattr(&context, node, &set).await?;
    }
    Ok(asked)
}

/// To set the size is to write.
async fn check_size<V: Vfs>(cx: &mut Compound<'_, V>, stateid: &Stateid) -> Result<(), Status> {
    match cx.current_attributes().await?.kind {
        Kind::File => {}
        Kind::Folder => return Err(Status::IsDirectory),
        Kind::Symlink => return Err(Status::Invalid),
    }
    super::write::check(cx, stateid).await
}

/// So that other operations name files the same way.
pub fn file<V: Vfs>(cx: &Compound<'_, V>) -> Result<crate::state::FileKey, Status> {
    let (export, node) = cx.node(Status::IsDirectory)?;
    Ok(key(&export, node))
}
