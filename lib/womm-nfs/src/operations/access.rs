//! ACCESS (RFC 8881, 18.1; RFC 8276, 8.1).

use crate::compound::{Compound, Object, Outcome, permitted};
use crate::xdr::{Decoder, Encoder};
use womm_vfs::{Kind, Vfs};

const READ: u32 = 0x1;
const LOOKUP: u32 = 0x2;
const MODIFY: u32 = 0x4;
const EXTEND: u32 = 0x8;
const DELETE: u32 = 0x10;
const EXECUTE: u32 = 0x20;
const XATTR_READ: u32 = 0x40;
const XATTR_WRITE: u32 = 0x80;
const XATTR_LIST: u32 = 0x100;
const CHANGING: u32 = MODIFY | EXTEND | DELETE | XATTR_WRITE;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let asked = from.u32()?;
    let attributes = cx.current_attributes().await?;
    let xattrs = if cx.minor >= 2 { XATTR_READ | XATTR_WRITE | XATTR_LIST } else { 0 };
    let supported = xattrs
        | match attributes.kind {
            Kind::Folder => READ | LOOKUP | MODIFY | EXTEND | DELETE,
            Kind::File | Kind::Symlink => READ | MODIFY | EXTEND | EXECUTE,
        };
    let bits = permitted(&attributes, cx.caller.credentials.user);
    let mut granted = 0;
    for (bit, grants) in [(4, READ | XATTR_READ | XATTR_LIST), (2, CHANGING), (1, LOOKUP | EXECUTE)] {
        granted |= if bits & bit == bit { grants } else { 0 };
    }
    let unchangeable = match cx.object()? {
        Object::Folder(_) => true,
        Object::Node(export, _) => export.terms.read_only,
    };
    if unchangeable {
        granted &= !CHANGING;
    }
    to.u32(asked & supported).u32(asked & supported & granted);
    Ok(())
}
