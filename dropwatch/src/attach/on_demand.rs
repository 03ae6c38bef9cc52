//! A tracepoint that is loaded from the start, but attached only while there is need of it: being on the
//! way of every packet, it would cost traffic that is not dropped.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{
        BtfTracePoint, RawTracePoint, raw_trace_point::RawTracePointLinkId,
        tp_btf::BtfTracePointLinkId,
    },
};

use super::spec::Variant;

/// The switch.
pub struct OnDemand {
    variant: Variant,
    link: Option<Link>,
}

enum Link {
    Btf(BtfTracePointLinkId),
    Raw(RawTracePointLinkId),
}

impl OnDemand {
    /// A switch for a loaded program; off.
    #[must_use]
    pub fn new(variant: Variant) -> Self {
        Self {
            variant,
            link: None,
        }
    }

    /// Whether it is attached.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.link.is_some()
    }

    /// Attaches it.
    pub fn on(&mut self, ebpf: &mut Ebpf) -> Result<()> {
        let Variant {
            program, target, ..
        } = self.variant;
        let program = ebpf.program_mut(program).context("the program is gone")?;
        let link = if let Ok(program) = <&mut BtfTracePoint>::try_from(&mut *program) {
            Link::Btf(program.attach()?)
        } else {
            Link::Raw(<&mut RawTracePoint>::try_from(program)?.attach(target)?)
        };
        self.link = Some(link);
        Ok(())
    }

    /// Detaches it.
    pub fn off(&mut self, ebpf: &mut Ebpf) -> Result<()> {
        let program = ebpf
            .program_mut(self.variant.program)
            .context("the program is gone")?;
        match self.link.take() {
            Some(Link::Btf(link)) => <&mut BtfTracePoint>::try_from(program)?.detach(link)?,
            Some(Link::Raw(link)) => <&mut RawTracePoint>::try_from(program)?.detach(link)?,
            None => {}
        }
        Ok(())
    }
}
