//! Where a name stands in the listing of its folder.
//!
//! A cookie is a 62-bit hash of the name. Of names with the same hash, the later one takes the next free number; who keeps a folder
//! keeps the cookies with it, so that a name has the same one as long as it is there. The hash is keyed: nobody can choose names
//! that meet.

use crate::node::Name;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// 0 is the start; 1 and 2 are `.` and `..` to some clients, and are kept from use (RFC 8881, 18.23.3).
const FIRST: u64 = 3;
const LAST: u64 = (1 << 62) - 1;

/// Gives cookies. The same key gives the same ones.
#[derive(Debug, Clone)]
pub struct Cookies {
    key: [u8; 16],
    mask: u64,
}

impl Cookies {
    /// With a random key that is kept as long as the listings are.
    pub fn new(key: [u8; 16]) -> Self {
        Self { key, mask: LAST }
    }

    /// Only so many different ones before names meet: for tests.
    #[must_use]
    pub fn with_bits(self, bits: u32) -> Self {
        Self { mask: LAST >> 62u32.saturating_sub(bits), ..self }
    }

    /// The first free one for a name.
    ///
    /// # Errors
    /// What `taken` says.
    pub fn place<E>(&self, name: &Name, mut taken: impl FnMut(u64) -> Result<bool, E>) -> Result<u64, E> {
        let mut cookie = self.first(name);
        while taken(cookie)? {
            cookie = if cookie >= LAST { FIRST } else { cookie + 1 };
        }
        Ok(cookie)
    }

    fn first(&self, name: &Name) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(name.as_bytes());
        (hasher.finish() & self.mask).max(FIRST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::convert::Infallible;

    fn place(cookies: &Cookies, name: &str, taken: &HashSet<u64>) -> u64 {
        let name = Name::new(name.as_bytes().to_vec()).unwrap();
        cookies.place(&name, |cookie| Ok::<_, Infallible>(taken.contains(&cookie))).unwrap()
    }

    #[test]
    fn names_that_meet_stand_beside_each_other() {
        let cookies = Cookies::new([7; 16]).with_bits(1);
        let mut taken = HashSet::new();
        for name in ["a", "b", "c"] {
            let cookie = place(&cookies, name, &taken);
            assert!(taken.insert(cookie));
        }
        assert_eq!(taken, HashSet::from([3, 4, 5]));
    }

    #[test]
    fn a_cookie_is_decided_by_key_and_name() {
        let taken = HashSet::new();
        let first = place(&Cookies::new([7; 16]), "a", &taken);
        assert_eq!(first, place(&Cookies::new([7; 16]), "a", &taken));
        assert_ne!(first, place(&Cookies::new([8; 16]), "a", &taken));
        assert_ne!(first, place(&Cookies::new([7; 16]), "b", &taken));
        assert!((FIRST..=LAST).contains(&first));
    }

    #[test]
    fn after_the_last_comes_the_first() {
        let cookies = Cookies::new([7; 16]);
        let name = Name::new("a").unwrap();
        let mut asked = vec![];
        let placed = cookies.place(&name, |cookie| {
            asked.push(cookie);
            Ok::<_, Infallible>(asked.len() < 3)
        });
        assert_eq!(placed, Ok(asked[2]));
        assert_eq!(asked[1], asked[0] + 1);
    }
}
