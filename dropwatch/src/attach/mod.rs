//! Getting the eBPF programs into the kernel: what there is ([`spec`]), what to try on this kernel
//! ([`plan`], pure), and doing it ([`load`]).

mod cgroup;
pub mod load;
pub mod on_demand;
pub mod plan;
pub mod spec;
