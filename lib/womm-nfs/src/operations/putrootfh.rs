//! PUTROOTFH and PUTPUBFH (RFC 8881, 18.20, 18.21): the root of the pseudo file system.

use crate::compound::{Compound, Object, Outcome};
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>) -> Outcome {
    cx.set_current(Object::Folder(cx.tree.root()));
    Ok(())
}
