//! Real packets, sent and received by sockets inside the namespaces.

pub mod flow;
pub mod ipvs;
pub mod nat;
pub mod packet;
pub mod queue;
pub mod volley;
