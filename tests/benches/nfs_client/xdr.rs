//! XDR (RFC 4506).

/// What is sent.
#[derive(Default)]
pub struct Request(Vec<u8>);

impl Request {
    pub fn u32(&mut self, value: u32) {
        self.0.extend(value.to_be_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.0.extend(value.to_be_bytes());
    }

    /// A multiple of four.
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    pub fn opaque(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    pub fn list(&mut self, values: &[u32]) {
        self.u32(values.len() as u32);
        values.iter().for_each(|value| self.u32(*value));
    }

    pub fn set_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What is received. It panics where there is less than is asked for.
pub struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn fixed<const N: usize>(&mut self) -> [u8; N] {
        let value = self.bytes[self.at..self.at + N].try_into().expect("so many");
        self.at += N;
        value
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.fixed())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.fixed())
    }

    pub fn opaque(&mut self) -> &[u8] {
        let length = self.u32() as usize;
        let from = self.at;
        self.at += length.next_multiple_of(4);
        &self.bytes[from..from + length]
    }
}
