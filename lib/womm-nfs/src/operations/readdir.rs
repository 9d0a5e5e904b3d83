//! READDIR (RFC 8881, 18.23).

use super::getattr::subject;
use crate::attributes::{self, Subject};
use crate::compound::{Compound, Object, Outcome};
use crate::exports::Export;
use crate::handle::Handle;
use crate::limits::MOST_TRANSFER;
use crate::status::Status;
use crate::wire::Bitmap;
use crate::xdr::{Decoder, Encoder};
use std::sync::Arc;
use womm_vfs::vfs::{Entry, ListingBound};
use womm_vfs::{Name, Vfs};

/// The verifier, and what stands after the last entry, bytes.
const AROUND: usize = 8 + 4 + 4;
/// The least that an entry takes, bytes: that many are asked for at most.
const LEAST_ENTRY: usize = 48;
/// The most that one takes, bytes, or little less.
const MOST_ENTRY: usize = 1024;
/// Entries asked for at once: an answer of 1 MiB has about 8000 with a Linux client's attributes.
const MOST_ENTRIES: usize = 8192;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let (cookie, _verifier) = (from.u64()?, from.array::<8>()?);
    let (names, most) = (from.u32()?, from.u32()?.min(MOST_TRANSFER) as usize);
    let asked = Bitmap::decode(from)?;
    // Cookies outlive everything but the folder: the verifier is always the same.
    to.u64(0);
    let object = cx.object()?.clone();
    let (export, folder) = match &object {
        Object::Folder(_) => {
            to.bool(false).bool(true);
            return Ok(());
        }
        Object::Node(export, folder) => (export.clone(), *folder),
    };
    if matches!(cookie, 1 | 2) {
        return Err(Status::BadCookie.into());
    }
    let most = most.min(cx.room);
    if most < AROUND {
        return Err(Status::TooSmall.into());
    }
    cx.turn(&export).await?;
    cx.check_mode(&object, 4).await?;
    cx.hold_reply(most).await?;
    let bound = ListingBound {
        entries: ((most - AROUND) / LEAST_ENTRY).clamp(1, MOST_ENTRIES),
        name_bytes: if names == 0 { most } else { (names as usize).min(most) },
    };
    let context = cx.server.context(cx.client()?);
    let listing = match export.vfs.readdir(&context, folder, cookie, bound).await {
        Ok(listing) => listing,
        Err(error) => return Err(cx.not_a_folder(&object, error.into()).await.into()),
    };
    let written = encode_all(cx, &export, &listing.entries, &asked, most - 8, to);
    if written == 0 && !listing.entries.is_empty() {
        return Err(Status::TooSmall.into());
    }
    to.bool(false).bool(written == listing.entries.len() && listing.end);
    Ok(())
}

/// Writes as many entries as so many bytes hold. What entries have in common is found out once.
fn encode_all<V: Vfs>(
    cx: &Compound<'_, V>,
    export: &Arc<Export<V>>,
    entries: &[Entry],
    asked: &Bitmap,
    most: usize,
    to: &mut Encoder,
) -> usize {
    let Some(first) = entries.first() else { return 0 };
    let common = subject(cx, &Object::Node(export.clone(), first.attributes.id), &first.attributes, asked);
    let key = common.handle.is_some().then_some(&cx.server.folder().key);
    let generation = export.vfs.generation();
    for (at, entry) in entries.iter().enumerate() {
        let before = to.len();
        let Entry { name, cookie, attributes } = entry;
        let handle = Handle { export: export.number, node: attributes.id, generation };
        let subject = Subject { attributes, handle: key.map(|key| key.seal(&handle)), ..common };
        to.bool(true).u64(*cookie).opaque(name.as_bytes());
        attributes::encode(asked, &subject, to);
        if to.len() > most {
            to.truncate(before);
            return at;
        }
        if at == 0 {
            let beside_name = to.len() - before - padded(name);
            let rest: usize = entries[1..].iter().map(|entry| beside_name + padded(&entry.name)).sum();
            to.reserve(rest.min(most - to.len()) + MOST_ENTRY);
        }
    }
    entries.len()
}

fn padded(name: &Name) -> usize {
    name.as_bytes().len().next_multiple_of(4)
}
