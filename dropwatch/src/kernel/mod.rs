//! The only place that knows which kernel is running: BTF, offsets, reasons, symbols, privileges.

pub mod btf;
pub mod builtin;
pub mod caps;
pub mod layout;
pub mod lockdown;
pub mod modules;
pub mod reasons;
pub mod symbols;
