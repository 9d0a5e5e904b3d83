//! VERIFY and NVERIFY (RFC 8881, 18.31, 18.15).

use super::getattr::subject;
use crate::attributes;
use crate::compound::{Compound, Outcome};
use crate::status::Status;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, differs: bool) -> Outcome {
    let (asked, values) = attributes::decode_raw(from)?;
    cx.object()?;
    attributes::check_comparable(&asked, cx.minor)?;
    let found = cx.current_attributes().await?;
    let object = cx.object()?.clone();
    let mut own = Encoder::new();
    attributes::encode(&asked, &subject(cx, &object, &found, &asked), &mut own);
    let mut theirs = Encoder::new();
    asked.encode(&mut theirs);
    theirs.opaque(&values);
    match (own.into_bytes() == theirs.into_bytes(), differs) {
        (true, false) | (false, true) => Ok(()),
        (true, true) => Err(Status::Same.into()),
        (false, false) => Err(Status::NotSame.into()),
    }
}
