//! Programs on functions of modules: attached when their module is there, at the start or whenever it comes, and
//! again when it was away in between.

use std::os::fd::RawFd;

use anyhow::Result;

use super::{
    load::chain,
    module::{self, Loaded, Modules, Presence},
    plan::Step,
};
use crate::{
    kernel::btf::{KernelBtf, vmlinux_path},
    model::coverage::ProbeStatus,
};

/// The programs, and what waits.
pub struct Late {
    modules: Modules,
    entries: Vec<Entry>,
}

/// A step of the plan that belongs to a module.
struct Entry {
    module: &'static str,
    step: Step,
    state: State,
}

enum State {
    Waiting,
    /// Tried with the module that was present then; the program, if that went well.
    Tried(Presence, Option<Loaded>),
}

impl Late {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(modules: Modules) -> Self {
        Self {
            modules,
            entries: Vec::new(),
        }
    }

    /// Adds a step of the plan that belongs to a module.
    pub fn add(&mut self, module: &'static str, step: Step) {
        self.entries.push(Entry {
            module,
            step,
            state: State::Waiting,
        });
    }

    /// Attaches what waits for a module that is there now, and lets go what belonged to one that is gone; how that
    /// went. Costs a look at a few paths when there is nothing to do. `vmlinux` is opened if it is not given.
    pub fn advance(&mut self, vmlinux: Option<&KernelBtf>) -> Vec<ProbeStatus> {
        let mut statuses = Vec::new();
        let mut opened = None;
        // Steps of one module stand together.
        for entries in self
            .entries
            .chunk_by_mut(|one, other| one.module == other.module)
        {
            let Some(name) = entries.first().map(|entry| entry.module) else {
                continue;
            };
            let present = module::presence(name);
            for entry in entries.iter_mut() {
                if let State::Tried(before, _) = &entry.state
                    && present.as_ref() != Some(before)
                {
                    entry.state = State::Waiting;
                    statuses.push(awaited(entry));
                }
            }
            let waits = |entry: &Entry| matches!(entry.state, State::Waiting);
            let Some(present) = present.filter(|_| entries.iter().any(waits)) else {
                continue;
            };
            let vmlinux = match vmlinux {
                Some(btf) => Ok(btf),
                None => opened
                    .get_or_insert_with(|| KernelBtf::open(&vmlinux_path()))
                    .as_ref()
                    .map_err(chain),
            };
            let prepared =
                vmlinux.and_then(|btf| self.modules.prepare(btf, name).map_err(|e| chain(&e)));
            for entry in entries.iter_mut().filter(|entry| waits(entry)) {
                let tried = match &prepared {
                    Ok(prepared) => first_good(entry.step.in_module.iter().map(|variant| {
                        prepared
                            .attach(variant)
                            .map_err(|e| format!("{}: {}", variant.flavour.name(), chain(&e)))
                    })),
                    Err(why) => Err(why.clone()),
                };
                let (loaded, which) = match tried {
                    Ok((at, loaded)) => (Some(loaded), Ok(at)),
                    Err(why) => (None, Err(format!("module {name}: {why}"))),
                };
                statuses.push(status(&entry.step, which));
                entry.state = State::Tried(present.clone(), loaded);
            }
        }
        statuses
    }

    /// What waits for its module.
    pub fn awaited(&self) -> impl Iterator<Item = ProbeStatus> {
        let waiting = self
            .entries
            .iter()
            .filter(|entry| matches!(entry.state, State::Waiting));
        waiting.map(awaited)
    }

    /// What loads them.
    #[must_use]
    pub fn modules(&self) -> &Modules {
        &self.modules
    }

    /// Names and descriptors of the loaded programs.
    pub fn programs(&self) -> impl Iterator<Item = (String, RawFd)> {
        self.entries.iter().filter_map(|entry| match &entry.state {
            State::Tried(_, Some(loaded)) => Some((loaded.name().to_owned(), loaded.program())),
            State::Tried(_, None) | State::Waiting => None,
        })
    }
}

/// The first that worked, and its index; all complaints when none did.
fn first_good<T>(tried: impl Iterator<Item = Result<T, String>>) -> Result<(usize, T), String> {
    let mut refused = Vec::new();
    for (at, result) in tried.enumerate() {
        match result {
            Ok(good) => return Ok((at, good)),
            Err(why) => refused.push(why),
        }
    }
    Err(refused.join("; "))
}

fn awaited(entry: &Entry) -> ProbeStatus {
    ProbeStatus {
        awaits: Some(entry.module.into()),
        ..status(
            &entry.step,
            Err(format!("waits for module {}", entry.module)),
        )
    }
}

fn status(step: &Step, attached: Result<usize, String>) -> ProbeStatus {
    let variant = attached.as_ref().map_or(0, |at| *at);
    let variant = step.in_module.get(variant);
    ProbeStatus {
        hook: step.probe.hook.into(),
        probe: step.probe.name.into(),
        symbol: variant.map_or("", |v| v.target).into(),
        flavour: attached
            .is_ok()
            .then(|| variant.map_or("", |v| v.flavour.name()).into()),
        attached: attached.is_ok(),
        why: attached.err(),
        awaits: None,
    }
}
