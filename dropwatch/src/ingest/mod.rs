//! From bytes to plain data: the live ring buffer or a capture file.

pub mod decode;
mod evidence;
mod ipvs;
pub mod live;
mod wire;
