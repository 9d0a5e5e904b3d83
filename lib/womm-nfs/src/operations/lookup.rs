//! LOOKUP (RFC 8881, 18.13).

use super::names;
use crate::compound::{Compound, Object, Outcome};
use crate::exports::Found;
use crate::status::Status;
use crate::xdr::Decoder;
use womm_vfs::{Attributes, Name, Vfs};

/// Search permission of a folder.
const SEARCH: u32 = 1;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder) -> Outcome {
    cx.object()?;
    let name = names::decode(from)?;
    let (found, attributes) = find(cx, name).await?;
    cx.set_current(found);
    cx.fresh = attributes;
    Ok(())
}

/// What a name in the current folder is.
///
/// # Errors
/// NOFILEHANDLE, NOTDIR, SYMLINK, NOENT, ACCESS; of the file system.
pub async fn find<V: Vfs>(cx: &mut Compound<'_, V>, name: Name) -> Result<(Object<V>, Option<Attributes>), Status> {
    let object = cx.object()?.clone();
    let (export, folder) = match &object {
        Object::Folder(folder) => {
            let found = match cx.tree.lookup(*folder, name.as_bytes()).ok_or(Status::NoEntry)? {
                Found::Folder(node) => Object::Folder(node),
                Found::Export(export) => {
                    let root = export.vfs.root();
                    Object::Node(export, root)
                }
            };
            return Ok((found, None));
        }
        Object::Node(export, folder) => (export.clone(), *folder),
    };
    cx.turn(&export).await?;
    cx.check_mode(&object, SEARCH).await?;
    let context = cx.server.context(cx.client()?);
    let walk = export.vfs.walk(&context, folder, &[name]).await;
    match walk.found.into_iter().next() {
        Some(attributes) => Ok((Object::Node(export, attributes.id), Some(attributes))),
        None => {
            let status = walk.stopped.map_or(Status::ServerFault, Status::from);
            Err(cx.not_a_folder(&object, status).await)
        }
    }
}
