//! Programs on functions of modules: attached when their module is there, at the start or whenever it comes.

use anyhow::Result;

use super::{
    load::chain,
    module::{self, Modules},
    plan::Step,
};
use crate::{
    kernel::btf::{KernelBtf, vmlinux_path},
    model::coverage::ProbeStatus,
};

/// The programs, and what waits.
pub struct Late {
    modules: Modules,
    waiting: Vec<(&'static str, Step)>,
}

impl Late {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(modules: Modules) -> Self {
        Self {
            modules,
            waiting: Vec::new(),
        }
    }

    /// Adds a step of the plan that belongs to a module.
    pub fn add(&mut self, module: &'static str, step: Step) {
        self.waiting.push((module, step));
    }

    /// Attaches what waits for a module that is there now; how that went. Costs a look at a few paths when there
    /// is nothing to do. `vmlinux` is opened if it is not given.
    pub fn advance(&mut self, vmlinux: Option<&KernelBtf>) -> Vec<ProbeStatus> {
        let waiting = std::mem::take(&mut self.waiting);
        let (here, away): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|(module, _)| module::is_ready(module));
        self.waiting = away;
        if here.is_empty() {
            return Vec::new();
        }
        let opened = match vmlinux {
            Some(_) => None,
            None => Some(KernelBtf::open(&vmlinux_path())),
        };
        let vmlinux = match (vmlinux, &opened) {
            (Some(btf), _) | (None, Some(Ok(btf))) => Ok(btf),
            (None, Some(Err(e))) => Err(chain(e)),
            (None, None) => Err("no BTF".to_owned()),
        };
        let mut statuses = Vec::new();
        for steps in here.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((module, _)) = steps.first() else {
                continue;
            };
            let prepared = match &vmlinux {
                Ok(btf) => self.modules.prepare(btf, module).map_err(|e| chain(&e)),
                Err(why) => Err(why.clone()),
            };
            for (module, step) in steps {
                let attached = match &prepared {
                    Ok(prepared) => {
                        let tried = step
                            .variants
                            .iter()
                            .map(|v| self.modules.attach(prepared, v).map_err(|e| chain(&e)));
                        first_good(tried)
                    }
                    Err(why) => Err(why.clone()),
                };
                statuses.push(status(module, step, attached));
            }
        }
        statuses
    }

    /// What waits for its module.
    pub fn awaited(&self) -> impl Iterator<Item = ProbeStatus> {
        self.waiting.iter().map(|(module, step)| ProbeStatus {
            why: Some(match module::lacks_btf(module) {
                true => format!("module {module} is loaded, but has no BTF"),
                false => format!("waits for module {module}"),
            }),
            awaits: (!module::lacks_btf(module)).then(|| (*module).into()),
            ..status(module, step, Err(String::new()))
        })
    }

    /// The loaded programs.
    #[must_use]
    pub fn modules(&self) -> &Modules {
        &self.modules
    }
}

/// Index of the first that worked; all complaints when none did.
fn first_good(tried: impl Iterator<Item = Result<(), String>>) -> Result<usize, String> {
    let mut refused = Vec::new();
    for (at, result) in tried.enumerate() {
        match result {
            Ok(()) => return Ok(at),
            Err(why) => refused.push(why),
        }
    }
    Err(refused.join("; "))
}

fn status(module: &str, step: &Step, attached: Result<usize, String>) -> ProbeStatus {
    let variant = attached.as_ref().map_or(0, |at| *at);
    let variant = step.variants.get(variant);
    ProbeStatus {
        hook: step.probe.hook.into(),
        probe: step.probe.name.into(),
        symbol: variant.map_or("", |v| v.target).into(),
        flavour: attached
            .is_ok()
            .then(|| variant.map_or("", |v| v.flavour.name()).into()),
        attached: attached.is_ok(),
        why: attached.err().map(|why| format!("module {module}: {why}")),
        awaits: None,
    }
}
