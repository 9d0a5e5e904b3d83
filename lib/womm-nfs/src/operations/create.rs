//! CREATE (RFC 8881, 18.4): folders and symlinks. Files are made by OPEN, and there are no devices, FIFOs and sockets in a
//! share.

use super::names;
use crate::attributes;
use crate::compound::{Compound, Object, Outcome};
use crate::limits::MOST_MESSAGE;
use crate::status::Status;
use crate::wire::{Bitmap, encode_change};
use crate::xdr::{Decoder, Encoder};
use bytes::Bytes;
use womm_vfs::Vfs;
use womm_vfs::vfs::New;

const FOLDER: u32 = 2;
const BLOCK_DEVICE: u32 = 3;
const CHARACTER_DEVICE: u32 = 4;
const SYMLINK: u32 = 5;
const SOCKET: u32 = 6;
const FIFO: u32 = 7;

/// To make or remove a name in a folder: to write and to search.
pub const CHANGE_NAMES: u32 = 3;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    cx.object()?;
    let target = match from.u32()? {
        FOLDER => None,
        SYMLINK => Some(Bytes::copy_from_slice(&from.opaque(MOST_MESSAGE as usize)?)),
        // EPERM is what mknod(2) says of a file system that has no such node; Linux has no errno for BADTYPE.
        BLOCK_DEVICE | CHARACTER_DEVICE | SOCKET | FIFO => return Err(Status::Permission.into()),
        _ => return Err(Status::BadType.into()),
    };
    let name = names::decode(from)?;
    let wanted = attributes::decode(from, cx.owner())?;
    if wanted.set.size.is_some() {
        return Err(Status::Invalid.into());
    }
    let (export, folder) = cx.node_to_change()?;
    let object = cx.object()?.clone();
    cx.turn(&export).await?;
    cx.check_mode(&object, CHANGE_NAMES).await?;
    let (new, set) = match target {
        None => (New::Folder { set: wanted.set }, wanted.asked),
        Some(target) if target.is_empty() => return Err(Status::Invalid.into()),
        Some(target) => (New::Symlink { target }, Bitmap::default()),
    };
    let context = cx.server.context(cx.client()?);
    let created = match export.vfs.create(&context, folder, &name, &new).await {
        Ok(created) => created,
        Err(error) => return Err(cx.not_a_folder(&object, error.into()).await.into()),
    };
    encode_change(&created.folder, to);
    set.encode(to);
    cx.set_current(Object::Node(export, created.attributes.id));
    Ok(())
}
