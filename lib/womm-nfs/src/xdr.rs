//! XDR (RFC 4506), the part of it that NFS uses. Opaque data is sliced out of what came and put into what goes, not copied.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What came is not what its type says: too short, too long, or a value that there is none of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed XDR")]
pub struct Malformed;

/// Reads values off the front.
#[derive(Debug, Clone)]
pub struct Decoder {
    rest: Bytes,
}

impl Decoder {
    /// Of these bytes.
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }

    /// Bytes that have not been read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// # Errors
    /// Nothing left.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.rest.try_get_u32().map_err(|_| Malformed)
    }

    /// # Errors
    /// Nothing left.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.rest.try_get_u64().map_err(|_| Malformed)
    }

    /// # Errors
    /// Nothing left.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.rest.try_get_i64().map_err(|_| Malformed)
    }

    /// # Errors
    /// Nothing left, or neither 0 nor 1.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// So many bytes, and what pads them to a multiple of four.
    ///
    /// # Errors
    /// Less than that is left.
    pub fn fixed_opaque(&mut self, length: usize) -> Result<Bytes, Malformed> {
        let padded = length.checked_next_multiple_of(4).ok_or(Malformed)?;
        if self.rest.len() < padded {
            return Err(Malformed);
        }
        let mut data = self.rest.split_to(padded);
        data.truncate(length);
        Ok(data)
    }

    /// # Errors
    /// Less than that is left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(&self.fixed_opaque(N)?);
        Ok(array)
    }

    /// Bytes that their length goes before, at most so many.
    ///
    /// # Errors
    /// There are more, or less than was said.
    pub fn opaque(&mut self, most: usize) -> Result<Bytes, Malformed> {
        let length = self.u32()? as usize;
        if length > most {
            return Err(Malformed);
        }
        self.fixed_opaque(length)
    }

    /// Values that their number goes before, at most so many. Memory is taken as they come, not as they are announced.
    ///
    /// # Errors
    /// There are more, or one of them is malformed.
    pub fn list<T>(
        &mut self,
        most: usize,
        mut one: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.u32()? as usize;
        if count > most {
            return Err(Malformed);
        }
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(one(self)?);
        }
        Ok(values)
    }

    /// # Errors
    /// Something is left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Writes values to the end. Long opaque data stays where it is, as a piece of its own.
#[derive(Debug, Default, Clone)]
pub struct Encoder {
    pieces: Vec<Bytes>,
    last: BytesMut,
    length: usize,
}

/// From here, a copy costs more than a piece of its own.
const PIECE_BYTES: usize = 4096;

impl Encoder {
    /// With nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Writes one.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.last.put_u32(value);
        self.length += 4;
        self
    }

    /// Writes one.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.last.put_u64(value);
        self.length += 8;
        self
    }

    /// Writes one.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.last.put_i64(value);
        self.length += 8;
        self
    }

    /// Writes one.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u32(value.into())
    }

    /// Bytes whose number is known to the reader, padded.
    pub fn fixed_opaque(&mut self, data: &[u8]) -> &mut Self {
        self.last.put_slice(data);
        self.pad(data.len())
    }

    /// Their number, then bytes, padded. At most 2^32 - 1 of them.
    pub fn opaque(&mut self, data: &[u8]) -> &mut Self {
        self.count(data.len()).fixed_opaque(data)
    }

    /// The same, without a copy if it is long.
    pub fn opaque_bytes(&mut self, data: Bytes) -> &mut Self {
        if data.len() < PIECE_BYTES {
            return self.opaque(&data);
        }
        self.count(data.len());
        self.end_piece();
        let length = data.len();
        self.pieces.push(data);
        self.pad(length)
    }

    /// The same, of what is written meanwhile: without long pieces, in multiples of four bytes.
    pub fn opaque_of(&mut self, write: impl FnOnce(&mut Self)) -> &mut Self {
        let (at, before) = (self.last.len(), self.pieces.len());
        self.u32(0);
        write(self);
        debug_assert_eq!(self.pieces.len(), before, "it is in one piece");
        let length = self.last.len() - at - 4;
        if let Some(place) = self.last.get_mut(at..at + 4) {
            place.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
        self
    }

    /// A number of things.
    pub fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX))
    }

    fn pad(&mut self, length: usize) -> &mut Self {
        let padding = length.next_multiple_of(4) - length;
        self.last.put_bytes(0, padding);
        self.length += length + padding;
        self
    }

    /// What another has written: if it is long, as pieces of its own.
    pub fn append(&mut self, other: Self) -> &mut Self {
        self.length += other.length;
        if !other.pieces.is_empty() || other.last.len() >= PIECE_BYTES {
            self.end_piece();
            self.pieces.extend(other.pieces);
        }
        if other.last.len() < PIECE_BYTES {
            self.last.put_slice(&other.last);
        } else {
            self.pieces.push(other.last.freeze());
        }
        self
    }

    fn end_piece(&mut self) {
        if !self.last.is_empty() {
            self.pieces.push(self.last.split().freeze());
        }
    }

    /// Takes memory for so many bytes at once.
    pub fn reserve(&mut self, length: usize) {
        self.last.reserve(length);
    }

    /// Takes back what came after so many bytes, which no long piece did.
    pub fn truncate(&mut self, length: usize) {
        let back = self.length - length;
        debug_assert!(back <= self.last.len(), "it is in one piece");
        self.last.truncate(self.last.len().saturating_sub(back));
        self.length = length;
    }

    /// All of it, in order.
    pub fn into_pieces(mut self) -> Vec<Bytes> {
        if !self.last.is_empty() {
            self.pieces.push(self.last.freeze());
        }
        self.pieces
    }

    /// All of it in one.
    pub fn into_bytes(self) -> Bytes {
        if self.pieces.is_empty() {
            return self.last.freeze();
        }
        let mut all = BytesMut::with_capacity(self.length);
        for piece in self.into_pieces() {
            all.put_slice(&piece);
        }
        all.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut encoder = Encoder::new();
        encoder.opaque_of(|to| {
            to.u64(5);
        });
        assert_eq!(encoder.clone().into_bytes()[..], [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5]);
        let mut encoder = Encoder::new();
        encoder.u32(7).u64(1 << 40).i64(-3).bool(true).opaque(b"abcde").fixed_opaque(&[1, 2, 3]);
        assert_eq!(encoder.len(), 4 + 8 + 8 + 4 + 12 + 4);
        let mut decoder = Decoder::new(encoder.into_bytes());
        assert_eq!(decoder.u32(), Ok(7));
        assert_eq!(decoder.u64(), Ok(1 << 40));
        assert_eq!(decoder.i64(), Ok(-3));
        assert_eq!(decoder.bool(), Ok(true));
        assert_eq!(decoder.opaque(5).as_deref(), Ok(&b"abcde"[..]));
        assert_eq!(decoder.array::<3>(), Ok([1, 2, 3]));
        assert_eq!(decoder.end(), Ok(()));
        assert_eq!(decoder.u32(), Err(Malformed));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let mut decoder = Decoder::new(Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 1]));
        assert_eq!(decoder.clone().opaque(usize::MAX), Err(Malformed));
        assert_eq!(decoder.clone().list(usize::MAX, Decoder::u64), Err(Malformed));
        assert_eq!(decoder.opaque(8), Err(Malformed));
        assert_eq!(Decoder::new(Bytes::new()).fixed_opaque(usize::MAX), Err(Malformed));
        assert_eq!(Decoder::new(Bytes::from_static(&[0, 0, 0, 2])).bool(), Err(Malformed));
    }

    #[test]
    fn long_data_is_not_copied() {
        let data = Bytes::from(vec![9; PIECE_BYTES + 1]);
        let mut encoder = Encoder::new();
        encoder.u32(1).opaque_bytes(data.clone()).u32(2);
        let mut whole = Encoder::new();
        whole.u32(0).append(encoder);
        let length = whole.len();
        let pieces = whole.clone().into_pieces();
        assert!(pieces.iter().any(|piece| piece.as_ptr() == data.as_ptr()));
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), length);
        let mut decoder = Decoder::new(whole.into_bytes());
        assert_eq!((decoder.u32(), decoder.u32()), (Ok(0), Ok(1)));
        assert_eq!(decoder.opaque(1 << 20), Ok(data));
        assert_eq!(decoder.u32(), Ok(2));
    }

    #[test]
    fn what_is_long_is_appended_as_it_is() {
        let mut long = Encoder::new();
        long.fixed_opaque(&[9; PIECE_BYTES]);
        let at = long.last.as_ptr();
        let (mut results, mut reply) = (Encoder::new(), Encoder::new());
        results.u32(1).append(long).u32(2);
        reply.u32(0).append(results).u32(3);
        assert_eq!(reply.len(), PIECE_BYTES + 16);
        assert!(reply.clone().into_pieces().iter().any(|piece| piece.as_ptr() == at));
        let mut decoder = Decoder::new(reply.into_bytes());
        assert_eq!((decoder.u32(), decoder.u32()), (Ok(0), Ok(1)));
        assert_eq!(decoder.array(), Ok([9; PIECE_BYTES]));
        assert_eq!((decoder.u32(), decoder.u32(), decoder.end()), (Ok(2), Ok(3), Ok(())));
    }

    #[test]
    fn what_was_written_last_is_taken_back() {
        let mut encoder = Encoder::new();
        encoder.u32(1).opaque_bytes(Bytes::from(vec![9; PIECE_BYTES])).u32(2);
        let length = encoder.len();
        encoder.opaque(b"abcde").truncate(length);
        assert_eq!(encoder.len(), length);
        encoder.u32(3);
        let bytes = encoder.into_bytes();
        assert_eq!((bytes.len(), &bytes[length - 4..]), (length + 4, &[0, 0, 0, 2, 0, 0, 0, 3][..]));
    }
}
