//! GETATTR (RFC 8881, 18.7).

use crate::attributes::{self, Subject};
use crate::compound::{Compound, Object, Outcome, key};
use crate::exports::{Owner, PSEUDO};
use crate::wire::Bitmap;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::vfs::Statfs;
use womm_vfs::{Attributes, Kind, Vfs};

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let asked = Bitmap::decode(from)?;
    let found = cx.current_attributes().await?;
    let object = cx.object()?.clone();
    if let (Object::Node(export, node), Kind::File) = (&object, found.kind) {
        cx.server.appends().seen(cx.client()?, key(export, *node));
    }
    let subject = subject(cx, &object, &found, &asked);
    attributes::encode(&asked, &subject, to);
    Ok(())
}

/// All about an object that its attributes are made of.
pub fn subject<'a, V: Vfs>(
    cx: &'a Compound<'_, V>,
    object: &Object<V>,
    attributes: &'a Attributes,
    asked: &Bitmap,
) -> Subject<'a> {
    let (filesystem, mounted_on, room, owner) = match object {
        Object::Folder(_) => (PSEUDO, None, Statfs::default(), Owner::default()),
        Object::Node(export, node) => {
            // The folder that a root covers has no number of its own in a listing: that of the name is as good.
            let root = *node == export.vfs.root();
            let room = if attributes::want_statfs(asked) { export.vfs.statfs() } else { Statfs::default() };
            (export.number, root.then_some(export.number), room, export.terms.owner)
        }
    };
    Subject {
        attributes,
        handle: attributes::want_handle(asked).then(|| cx.seal(object)),
        filesystem,
        mounted_on,
        room,
        lease: cx.server.lease(),
        owner,
        minor: cx.minor,
    }
}
