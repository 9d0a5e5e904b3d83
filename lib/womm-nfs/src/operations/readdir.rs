//! READDIR (RFC 8881, 18.23).

use super::getattr::subject;
use crate::attributes;
use crate::compound::{Compound, Object, Outcome};
use crate::limits::MOST_TRANSFER;
use crate::status::Status;
use crate::wire::Bitmap;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;
use womm_vfs::vfs::{Entry, ListingBound};

/// The verifier, and what stands after the last entry, bytes.
const AROUND: usize = 8 + 4 + 4;
/// The least that an entry takes, bytes: that many are asked for at most.
const LEAST_ENTRY: usize = 48;
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
    let (mut whole, mut some) = (true, false);
    let mut one = Encoder::new();
    for entry in &listing.entries {
        one.clear();
        encode(cx, &Object::Node(export.clone(), entry.attributes.id), entry, &asked, &mut one);
        if to.len() + one.len() + 8 > most {
            whole = false;
            break;
        }
        to.append_copy(&one);
        some = true;
    }
    if !some && !listing.entries.is_empty() {
        return Err(Status::TooSmall.into());
    }
    to.bool(false).bool(whole && listing.end);
    Ok(())
}

fn encode<V: Vfs>(cx: &Compound<'_, V>, object: &Object<V>, entry: &Entry, asked: &Bitmap, to: &mut Encoder) {
    to.bool(true).u64(entry.cookie).opaque(entry.name.as_bytes());
    attributes::encode(asked, &subject(cx, object, &entry.attributes, asked), to);
}
