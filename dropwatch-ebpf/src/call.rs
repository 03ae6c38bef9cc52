//! One view of a hook's arguments, whatever flavour of program it runs as.

use aya_ebpf::programs::{
    BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RawTracePointContext,
};

use crate::kread::{Direct, Mem, Probe};

/// A hooked call: its arguments, and how memory behind them may be read.
pub trait Call {
    /// Typed pointers allow plain loads; untyped ones need a helper.
    type Mem: Mem;

    /// The `n`th argument as the register's value.
    fn arg(&self, n: usize) -> u64;
}

macro_rules! call {
    ($context:ty, $mem:ty) => {
        impl Call for $context {
            type Mem = $mem;

            #[inline(always)]
            fn arg(&self, n: usize) -> u64 {
                <$context>::arg(self, n)
            }
        }
    };
}

call!(BtfTracePointContext, Direct);
call!(FEntryContext, Direct);
call!(FExitContext, Direct);
call!(RawTracePointContext, Probe);

impl Call for ProbeContext {
    type Mem = Probe;

    #[inline(always)]
    fn arg(&self, n: usize) -> u64 {
        // Registers hold six arguments; no hooked function has more that are asked for.
        Self::arg(self, n).unwrap_or(0)
    }
}
