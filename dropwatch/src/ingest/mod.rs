//! From bytes to plain data: the live ring buffer or a capture file.

pub mod decode;
pub mod live;
mod wire;
