//! Getting the eBPF programs into the kernel: what there is ([`spec`]), what to try on this kernel
//! ([`plan`], pure), and doing it ([`load`]; [`module`] for functions of modules).

mod cgroup;
mod globals;
pub mod info;
pub mod late;
pub mod load;
pub mod module;
pub mod on_demand;
mod perf;
pub mod plan;
pub mod prototypes;
pub mod spec;
mod sys;
