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
    /// What became of it in the kernel itself, and what was not tried.
    before: Option<String>,
    state: State,
}

enum State {
    Waiting,
    /// Attached in the module that was present then.
    Good(Presence, Loaded),
    /// Refused there, and how often.
    Refused(Presence, u32),
}

impl State {
    /// Whether something is to be tried: a module that is just starting, or a kernel short of memory, may refuse once.
    fn is_open(&self) -> bool {
        match self {
            Self::Waiting => true,
            Self::Good(..) => false,
            Self::Refused(_, tries) => *tries < TRIES,
        }
    }

    fn presence(&self) -> Option<&Presence> {
        match self {
            Self::Waiting => None,
            Self::Good(presence, _) | Self::Refused(presence, _) => Some(presence),
        }
    }
}

/// How often it is tried in a module.
const TRIES: u32 = 2;

impl Late {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(modules: Modules) -> Self {
        Self {
            modules,
            entries: Vec::new(),
        }
    }

    /// Adds a step of the plan that belongs to a module; `before` tells what became of it outside of that.
    pub fn add(&mut self, module: &'static str, step: Step, before: Option<String>) {
        self.entries.push(Entry {
            module,
            step,
            before,
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
                let before = entry.state.presence();
                if before.is_some() && before != present.as_ref() {
                    entry.state = State::Waiting;
                    statuses.push(awaited(entry));
                }
            }
            let is_open = |entry: &Entry| entry.state.is_open();
            let Some(present) = present.filter(|_| entries.iter().any(is_open)) else {
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
            for entry in entries.iter_mut().filter(|entry| is_open(entry)) {
                let tried = match &prepared {
                    Ok(prepared) => first_good(entry.step.in_module.iter().map(|variant| {
                        prepared
                            .attach(variant)
                            .map_err(|e| format!("{}: {}", variant.flavour.name(), chain(&e)))
                    })),
                    Err(why) => Err(why.clone()),
                };
                let tries = match &entry.state {
                    State::Refused(_, tries) => *tries,
                    State::Waiting | State::Good(..) => 0,
                };
                let (state, which) = match tried {
                    Ok((at, loaded)) => (State::Good(present.clone(), loaded), Ok(at)),
                    Err(why) => (
                        State::Refused(present.clone(), tries + 1),
                        Err(format!("module {name}: {why}")),
                    ),
                };
                entry.state = state;
                // A second refusal is no news.
                if which.is_ok() || tries == 0 {
                    statuses.push(status(entry, which));
                }
            }
        }
        statuses
    }

    /// Whether [`Late::advance`] has something to do: a module came or went. Costs a look at a few paths.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let mut modules = self
            .entries
            .chunk_by(|one, other| one.module == other.module);
        modules.any(|entries| {
            let present = entries
                .first()
                .and_then(|entry| module::presence(entry.module));
            entries.iter().any(|entry| {
                let before = entry.state.presence();
                let moved = before.is_some() && before != present.as_ref();
                moved || (present.is_some() && entry.state.is_open())
            })
        })
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
            State::Good(_, loaded) => Some((loaded.name().to_owned(), loaded.program())),
            State::Refused(..) | State::Waiting => None,
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
        ..status(entry, Err(format!("waits for module {}", entry.module)))
    }
}

fn status(entry: &Entry, attached: Result<usize, String>) -> ProbeStatus {
    let step = &entry.step;
    let attached = attached.map_err(|why| match &entry.before {
        Some(before) => format!("{why}; {before}"),
        None => why,
    });
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
