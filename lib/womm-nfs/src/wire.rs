//! Types of the protocol that several operations have in common.

use crate::limits::{MOST_HANDLE, MOST_OWNER};
use crate::xdr::{Decoder, Encoder, Malformed};
use bytes::Bytes;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use womm_vfs::node::FolderChange;

/// Names a client while the server runs (clientid4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Names a session (sessionid4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// # Errors
    /// It is not there.
    pub fn decode(from: &mut Decoder) -> Result<Self, Malformed> {
        from.array().map(Self)
    }

    /// Writes it.
    pub fn encode(&self, to: &mut Encoder) {
        to.fixed_opaque(&self.0);
    }
}

/// stateid4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stateid {
    /// Counts its changes; 0 from a client means the newest.
    pub seqid: u32,
    /// Names the state.
    pub other: [u8; 12],
}

impl Stateid {
    /// For READ, WRITE and SETATTR without an open (RFC 8881, 8.2.3).
    pub const ANONYMOUS: Self = Self { seqid: 0, other: [0; 12] };
    /// The same; READ passes by share reservations.
    pub const BYPASS: Self = Self { seqid: u32::MAX, other: [0xff; 12] };
    /// That which an operation before it in the compound has answered.
    pub const CURRENT: Self = Self { seqid: 1, other: [0; 12] };
    /// Never good: what CLOSE answers.
    pub const INVALID: Self = Self { seqid: u32::MAX, other: [0; 12] };

    /// # Errors
    /// It is not there.
    pub fn decode(from: &mut Decoder) -> Result<Self, Malformed> {
        Ok(Self { seqid: from.u32()?, other: from.array()? })
    }

    /// Writes it.
    pub fn encode(&self, to: &mut Encoder) {
        to.u32(self.seqid).fixed_opaque(&self.other);
    }
}

/// Who opens or locks, within a client (open_owner4, lock_owner4).
pub type Owner = Bytes;

/// The clientid in it is not looked at: the session says it (RFC 8881, 18.16.3).
///
/// # Errors
/// It is not there, or too long.
pub fn decode_owner(from: &mut Decoder) -> Result<Owner, Malformed> {
    from.u64()?;
    from.opaque(MOST_OWNER)
}

/// # Errors
/// It is not there, or too long.
pub fn decode_handle(from: &mut Decoder) -> Result<Bytes, Malformed> {
    from.opaque(MOST_HANDLE)
}

/// change_info4.
pub fn encode_change(change: &FolderChange, to: &mut Encoder) {
    to.bool(change.atomic).u64(change.before).u64(change.after);
}

/// nfstime4.
pub fn encode_time(time: SystemTime, to: &mut Encoder) {
    let (seconds, nanoseconds) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
        Err(before) => {
            // Nanoseconds count upwards on either side of 1970.
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            match before.subsec_nanos() {
                0 => (-whole, 0),
                nanoseconds => (-whole - 1, 1_000_000_000 - nanoseconds),
            }
        }
    };
    to.i64(seconds).u32(nanoseconds);
}

/// # Errors
/// It is not there, or has a whole second in its nanoseconds; `None` is one that this machine can't hold.
pub fn decode_time(from: &mut Decoder) -> Result<Option<SystemTime>, Malformed> {
    let (seconds, nanoseconds) = (from.i64()?, from.u32()?);
    if nanoseconds >= 1_000_000_000 {
        return Err(Malformed);
    }
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    Ok(time.and_then(|time| time.checked_add(Duration::from_nanos(nanoseconds.into()))))
}

/// bitmap4, of which we know the first three words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bitmap {
    words: [u32; 3],
    /// Whether a bit was set in a word that we don't know.
    beyond: bool,
}

impl Bitmap {
    /// Of these numbers.
    pub const fn of(numbers: &[u32]) -> Self {
        let mut words = [0; 3];
        let mut i = 0;
        while i < numbers.len() {
            words[(numbers[i] / 32) as usize] |= 1 << (numbers[i] % 32);
            i += 1;
        }
        Self { words, beyond: false }
    }

    /// # Errors
    /// It is not there, or much too long.
    pub fn decode(from: &mut Decoder) -> Result<Self, Malformed> {
        let all = from.list(64, Decoder::u32)?;
        let mut bitmap = Self::default();
        for (i, word) in all.into_iter().enumerate() {
            match bitmap.words.get_mut(i) {
                Some(place) => *place = word,
                None => bitmap.beyond |= word != 0,
            }
        }
        Ok(bitmap)
    }

    /// Writes it, without empty words at the end.
    pub fn encode(&self, to: &mut Encoder) {
        let words = self.words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        to.count(words);
        for word in &self.words[..words] {
            to.u32(*word);
        }
    }

    /// Whether the number is in it.
    pub const fn has(&self, number: u32) -> bool {
        self.words[(number / 32) as usize] & (1 << (number % 32)) != 0
    }

    /// Adds a number below 96.
    pub fn insert(&mut self, number: u32) {
        self.words[(number / 32) as usize] |= 1 << (number % 32);
    }

    /// Takes a number below 96 away.
    pub fn remove(&mut self, number: u32) {
        self.words[(number / 32) as usize] &= !(1 << (number % 32));
    }

    /// What is in both.
    pub fn and(&self, other: &Self) -> Self {
        let [a, b, c] = self.words;
        let [d, e, f] = other.words;
        Self { words: [a & d, b & e, c & f], beyond: false }
    }

    /// Whether all of it is in the other.
    pub fn within(&self, other: &Self) -> bool {
        !self.beyond && self.and(other).words == self.words
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.words == [0; 3] && !self.beyond
    }

    /// What is in it and not in the other.
    pub const fn without(&self, other: &Self) -> Self {
        let ([a, b, c], [d, e, f]) = (self.words, other.words);
        Self { words: [a & !d, b & !e, c & !f], beyond: self.beyond }
    }

    /// Its numbers, rising.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<> {
        let mut words = self.words;
        let mut at = 0;
        std::iter::from_fn(move || {
            while words[at] == 0 {
                at = if at == 2 { return None } else { at + 1 };
            }
            let bit = words[at].trailing_zeros();
            words[at] &= words[at] - 1;
            Some(u32::try_from(at).unwrap_or(0) * 32 + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps() {
        let mut to = Encoder::new();
        Bitmap::of(&[1, 33]).encode(&mut to);
        assert_eq!(to.len(), 12);
        to.u32(4).u32(0).u32(0).u32(0).u32(1);
        let mut from = Decoder::new(to.into_bytes());
        let bitmap = Bitmap::decode(&mut from).expect("it was written");
        assert_eq!(bitmap.iter().collect::<Vec<_>>(), [1, 33]);
        assert!(bitmap.within(&Bitmap::of(&[1, 2, 33])));
        let many = [0, 31, 32, 63, 64, 95];
        assert_eq!(Bitmap::of(&many).iter().collect::<Vec<_>>(), many);
        assert_eq!(Bitmap::of(&many).without(&Bitmap::of(&many[1..])).iter().collect::<Vec<_>>(), [0]);
        let unknown = Bitmap::decode(&mut from).expect("it was written");
        assert!(!unknown.is_empty() && !unknown.within(&Bitmap::of(&[1])));
    }

    #[test]
    fn times_before_1970_count_nanoseconds_upwards() {
        for (seconds, nanoseconds) in [(-2_i64, 750_000_000_u32), (-2, 0), (0, 1), (1 << 33, 5)] {
            let mut to = Encoder::new();
            to.i64(seconds).u32(nanoseconds);
            let bytes = to.into_bytes();
            let time = decode_time(&mut Decoder::new(bytes.clone())).expect("a time").expect("it fits");
            let mut again = Encoder::new();
            encode_time(time, &mut again);
            assert_eq!(again.into_bytes(), bytes, "{seconds}.{nanoseconds}");
        }
        let mut to = Encoder::new();
        to.i64(i64::MAX).u32(0).i64(0).u32(1_000_000_000);
        let mut from = Decoder::new(to.into_bytes());
        assert!(decode_time(&mut from).is_ok(), "whether it fits is the machine's word");
        assert_eq!(decode_time(&mut from), Err(Malformed));
    }
}
