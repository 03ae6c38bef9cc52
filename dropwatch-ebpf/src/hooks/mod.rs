//! One file per hook: a generic body and thin entry points, one per flavour and shape.

mod ct_insert;
mod ipvs;
mod nfqueue;
mod rp_filter;
mod skb_drop;
mod sysctl_write;
