//! File handles. PUTFH passes by all paths, so that none can be made up is what keeps one team's folder from another's.

use bytes::Buf;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use womm_vfs::NodeId;

/// How it is laid out; another version's is refused.
const VERSION: u8 = 1;
/// Bytes of one.
pub const LENGTH: usize = 36;

/// The key that file handles are signed with: who knows it can make them up.
#[derive(Clone)]
pub struct HandleKey([u8; 16]);

/// What a handle names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    /// 0 is the pseudo file system.
    pub export: u64,
    /// The node in it.
    pub node: NodeId,
    /// The file system's ([`womm_vfs::Vfs::generation`]): numbers of nodes from before it are gone.
    pub generation: u64,
}

impl HandleKey {
    /// From 16 random bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of a handle: version, export, node, generation, MAC.
    pub fn seal(&self, handle: &Handle) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0] = VERSION;
        bytes[4..12].copy_from_slice(&handle.export.to_be_bytes());
        bytes[12..20].copy_from_slice(&handle.node.0.to_be_bytes());
        bytes[20..28].copy_from_slice(&handle.generation.to_be_bytes());
        let mac = self.mac(&bytes[..28]);
        bytes[28..].copy_from_slice(&mac.to_be_bytes());
        bytes
    }

    /// What a handle names, if it is one of ours.
    pub fn open(&self, bytes: &[u8]) -> Option<Handle> {
        let (signed, mut mac) = bytes.split_at_checked(LENGTH - 8)?;
        if mac.len() != 8 || signed[..4] != [VERSION, 0, 0, 0] {
            return None;
        }
        // Not compared byte by byte: how long it takes says nothing of how much of it was right.
        if mac.get_u64() ^ self.mac(signed) != 0 {
            return None;
        }
        let mut rest = &signed[4..];
        Some(Handle { export: rest.get_u64(), node: NodeId(rest.get_u64()), generation: rest.get_u64() })
    }

    /// A number for a name, which without the key nobody can tell.
    pub fn number(&self, name: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(b"name");
        hasher.write(name);
        hasher.finish()
    }

    fn mac(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(bytes);
        hasher.finish()
    }
}

impl std::fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandleKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_are_taken() {
        let key = HandleKey::new([7; 16]);
        let handle = Handle { export: 3, node: NodeId(99), generation: 12 };
        let bytes = key.seal(&handle);
        assert!(bytes.len() <= crate::limits::MOST_HANDLE);
        assert_eq!(key.open(&bytes), Some(handle));
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.to_vec();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(&forged), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(key.open(&bytes[..length]), None);
        }
        assert_eq!(key.open(&[&bytes[..], b"x"].concat()), None);
        assert_eq!(HandleKey::new([8; 16]).open(&bytes), None);
        assert!(!format!("{key:?}").contains('7'));
    }
}
