//! PUTFH (RFC 8881, 18.19).

use crate::compound::{Compound, Object, Outcome};
use crate::exports::PSEUDO;
use crate::status::Status;
use crate::wire::decode_handle;
use crate::xdr::Decoder;
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder) -> Outcome {
    let bytes = decode_handle(from)?;
    let handle = cx.server.folder().key.open(&bytes).ok_or(Status::BadHandle)?;
    if handle.export == PSEUDO {
        if !cx.tree.has_folder(handle.node) {
            return Err(Status::Stale.into());
        }
        cx.set_current(Object::Folder(handle.node));
        return Ok(());
    }
    let export = cx.tree.export(handle.export).ok_or(Status::Stale)?;
    if export.vfs.generation() != handle.generation {
        return Err(Status::Stale.into());
    }
    cx.set_current(Object::Node(export, handle.node));
    Ok(())
}
