//! Real packets, sent and received by sockets inside the namespaces.

pub mod flow;
pub mod packet;
