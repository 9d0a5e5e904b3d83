//! Many jobs over one byte stream.
