//! LOOKUPP (RFC 8881, 18.14).

use crate::compound::{Compound, Object, Outcome};
use crate::status::Status;
use womm_vfs::{Kind, Vfs};

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>) -> Outcome {
    let object = cx.object()?.clone();
    let parent = match &object {
        Object::Folder(folder) => Object::Folder(cx.tree.parent(*folder).ok_or(Status::NoEntry)?),
        Object::Node(export, node) if *node == export.vfs.root() => {
            Object::Folder(cx.tree.above(export.number).ok_or(Status::Stale)?)
        }
        Object::Node(export, node) => {
            match cx.current_attributes().await?.kind {
                Kind::Folder => {}
                Kind::File => return Err(Status::NotDirectory.into()),
                Kind::Symlink => return Err(Status::Symlink.into()),
            }
            cx.check_mode(&object, 1).await?;
            cx.turn(export).await?;
            let context = cx.server.context(cx.client()?);
            let parent = export.vfs.parent(&context, *node).await.map_err(Status::from)?;
            Object::Node(export.clone(), parent.id)
        }
    };
    cx.set_current(parent);
    Ok(())
}
