//! Plain data that everything right of `ingest` works on.

pub mod anchor;
pub mod counts;
pub mod coverage;
pub mod evidence;
pub mod explanation;
pub mod hook;
pub mod ipvs;
pub mod packet;
pub mod proto;
pub mod tcp_flags;
pub mod tuple;
