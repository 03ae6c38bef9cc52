//! Loads the programs that the plan names and attaches them. Dropping [`Attached`] detaches everything.

use std::{
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf, Ebpf, EbpfLoader, include_bytes_aligned,
    programs::{CgroupAttachMode, Program, ProgramError},
};
use dropwatch_common::names;

use super::{
    cgroup,
    globals::Globals,
    late::Late,
    module::{self, Modules},
    on_demand::OnDemand,
    plan::{Forced, Step, View, plan},
    spec::{LOOKUP, Need, Variant},
};
use crate::{
    exit::{self, Failure},
    kernel::{btf::KernelBtf, caps, reasons::Reasons, symbols},
    model::coverage::{Coverage, ProbeStatus},
};

/// The eBPF object.
pub(super) static OBJECT: &[u8] =
    include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dropwatch-ebpf.o"));

/// Settings of the kernel side.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Size of the ring buffer in bytes: a power of two, a multiple of the page size.
    pub ring_bytes: u32,
    /// Detailed events per drop key, CPU and epoch; 0 = no limit.
    pub budget: u32,
    /// Only this network namespace (inode number).
    pub netns: Option<u32>,
    /// Only devices with this name; a trailing `*` stands for any rest.
    pub dev: Option<String>,
    /// Last parts of the names of sysctls to watch: [`dropwatch_common::config::SYSCTLS`] at most, of 15 bytes at most.
    pub sysctls: Vec<&'static str>,
    /// Flavours to insist on.
    pub forced: Forced,
}

/// Programs in the kernel.
pub struct Attached {
    /// Owner of programs, links and maps.
    pub ebpf: Ebpf,
    /// What is attached, and how.
    pub coverage: Coverage,
    /// The watch on route look-ups, where it could be loaded.
    pub lookups: Option<OnDemand>,
    /// Programs on functions of modules, and those that wait for their module. Others load them.
    pub late: Arc<Mutex<Late>>,
}

impl Attached {
    /// Names and descriptors of all programs in the kernel.
    #[must_use]
    pub fn programs(&self) -> Vec<(String, RawFd)> {
        let of_aya = self.ebpf.programs().filter_map(|(name, program)| {
            let fd = program.fd().ok()?.as_fd().as_raw_fd();
            Some((name.to_owned(), fd))
        });
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        of_aya.chain(late.programs()).collect()
    }
}

/// What is to be tried on this kernel, and with which settings.
pub struct Prepared {
    steps: Vec<Step>,
    globals: Globals,
    rp_filter_reason: bool,
}

/// Makes the plan and looks everything up in BTF that the programs need.
///
/// # Errors
///
/// [`Failure::Unsupported`] when a member of a structure that the drop anchor needs is not there.
pub fn prepare(btf: &KernelBtf, reasons: &Reasons, settings: &Settings) -> Result<Prepared> {
    let view = View::new(
        btf,
        reasons,
        caps::has_kprobes(),
        module::supported(),
        |module| module::btf_path(module).exists(),
    );
    let steps = plan(&view, &settings.forced);
    Ok(Prepared {
        globals: Globals::new(btf, reasons, settings, &steps)?,
        steps,
        rp_filter_reason: view.rp_filter_reason,
    })
}

/// Attaches everything that this kernel offers.
///
/// # Errors
///
/// [`Failure::Permission`] or [`Failure::Unsupported`] when the drop anchor cannot be attached; what else
/// fails is told in [`Coverage`].
pub fn attach(
    btf: &KernelBtf,
    aya_btf: &Btf,
    prepared: Prepared,
    settings: &Settings,
) -> Result<Attached> {
    let Prepared {
        steps,
        globals,
        rp_filter_reason,
    } = prepared;
    raise_memlock();
    let mut ebpf = create(aya_btf, &globals, settings.ring_bytes)?;
    log::debug!("maps created");
    let mut late = Late::new(Modules::new(&ebpf, globals)?);
    let mut coverage = Coverage {
        rp_filter_reason,
        symbols: symbols::readable(),
        ..Coverage::default()
    }
    .of_release(&caps::release());
    let mut lookups = None;
    let (anchors, evidence): (Vec<_>, Vec<_>) = steps
        .into_iter()
        .partition(|step| step.probe.need == Need::Required);
    for step in evidence {
        let Tried {
            status, variant, ..
        } = attach_step(&mut ebpf, aya_btf, &step);
        if let (false, Some(module)) = (status.attached, step.module()) {
            late.add(module, step, status.why.filter(|why| !why.is_empty()));
            continue;
        }
        if step.probe.name == LOOKUP.name {
            lookups = variant.map(OnDemand::new);
        }
        coverage.probes.push(status);
    }
    coverage.probes.extend(late.advance(Some(btf)));
    coverage.probes.extend(late.awaited());
    // Last, so that no drop comes before its evidence.
    for step in anchors {
        let Tried {
            status, failure, ..
        } = attach_step(&mut ebpf, aya_btf, &step);
        if !status.attached {
            let why = status
                .why
                .unwrap_or_else(|| "no way of attaching is known".into());
            return Err(failure.because(format!(
                "attaching to the {} tracepoint: {why}",
                status.symbol
            )));
        }
        coverage.probes.push(status);
    }
    Ok(Attached {
        ebpf,
        coverage,
        lookups,
        late: Arc::new(Mutex::new(late)),
    })
}

/// The ring buffer for what programs themselves have to say, as aya-log names it.
const LOGS: &str = "AYA_LOGS";

/// Its size. They have next to nothing to say, and ring buffers are resident twice over: aya-log would take 128 KiB.
const LOG_BYTES: u32 = 1 << 13;

/// Creates the maps and fills the globals.
fn create(aya_btf: &Btf, globals: &Globals, ring_bytes: u32) -> Result<Ebpf> {
    EbpfLoader::new()
        .btf(Some(aya_btf))
        .override_global(names::OFFSETS, &globals.offsets, true)
        .override_global(names::CONFIG, &globals.config, true)
        .override_global(names::DEV_FILTER, &globals.dev, true)
        .override_global(names::SYSCTLS, globals.sysctls.as_flattened(), true)
        .map_max_entries(names::EVENTS, ring_bytes)
        .map_max_entries(LOGS, LOG_BYTES)
        .load(OBJECT)
        .map_err(|e| {
            let error = anyhow!(e);
            exit::class(&error, Failure::Unsupported)
                .because(format!("creating the eBPF maps: {}", chain(&error)))
        })
}

/// What became of a probe.
struct Tried {
    status: ProbeStatus,
    /// The one that is in the kernel.
    variant: Option<Variant>,
    /// What it is when none is.
    failure: Failure,
}

/// Tries a probe's variants in order.
fn attach_step(ebpf: &mut Ebpf, btf: &Btf, step: &Step) -> Tried {
    let mut refused: Vec<String> = Vec::new();
    let mut failure = Failure::Unsupported;
    for variant in &step.variants {
        let on_demand = step.probe.on_demand();
        let attached = load_variant(ebpf, btf, variant).and_then(|()| match on_demand {
            Some(_) => Ok(()),
            None => attach_variant(ebpf, variant),
        });
        match attached {
            Ok(()) => {
                let status = ProbeStatus {
                    hook: step.probe.hook.into(),
                    probe: step.probe.name.into(),
                    symbol: variant.target.into(),
                    flavour: Some(variant.flavour.name().into()),
                    attached: true,
                    why: on_demand.map(Into::into),
                    awaits: None,
                };
                return Tried {
                    status,
                    variant: Some(*variant),
                    failure,
                };
            }
            Err(e) => {
                log::debug!("{} {}: {e:#}", step.probe.name, variant.flavour.name());
                // What one way lacks may be what all lack; that a way is not known here says the least.
                failure = exit::class(&e, failure);
                refused.push(format!("{}: {}", variant.flavour.name(), chain(&e)));
            }
        }
    }
    // What was not even tried, after what was.
    let skipped = step.skipped.iter();
    refused.extend(skipped.map(|(variant, why)| format!("{}: {why}", variant.flavour.name())));
    let target = step
        .variants
        .iter()
        .chain(step.skipped.iter().map(|(v, _)| v))
        .next();
    let status = ProbeStatus {
        hook: step.probe.hook.into(),
        probe: step.probe.name.into(),
        symbol: target.map_or("", |v| v.target).into(),
        flavour: None,
        attached: false,
        why: Some(refused.join("; ")),
        awaits: None,
    };
    Tried {
        status,
        variant: None,
        failure,
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, variant: &Variant) -> Result<&'a mut Program> {
    let name = variant.program;
    ebpf.program_mut(name)
        .with_context(|| format!("the eBPF object has no program {name}"))
}

fn load_variant(ebpf: &mut Ebpf, btf: &Btf, variant: &Variant) -> Result<()> {
    match program(ebpf, variant)? {
        Program::BtfTracePoint(program) => program.load(variant.target, btf)?,
        Program::RawTracePoint(program) => program.load()?,
        Program::FEntry(program) => program.load(variant.target, btf)?,
        Program::FExit(program) => program.load(variant.target, btf)?,
        Program::KProbe(program) => program.load()?,
        Program::CgroupSysctl(program) => program.load()?,
        _ => bail!("{} is of no known flavour", variant.program),
    }
    Ok(())
}

fn attach_variant(ebpf: &mut Ebpf, variant: &Variant) -> Result<()> {
    match program(ebpf, variant)? {
        Program::BtfTracePoint(program) => {
            program.attach()?;
        }
        Program::RawTracePoint(program) => {
            program.attach(variant.target)?;
        }
        Program::FEntry(program) => {
            program.attach()?;
        }
        Program::FExit(program) => {
            program.attach()?;
        }
        Program::KProbe(program) => {
            program.attach(variant.target, 0)?;
        }
        Program::CgroupSysctl(program) => {
            let root = cgroup::root().context("opening the root of the cgroup2 tree")?;
            // No flags: a link always shares the cgroup with other programs, and kernels refuse the flag.
            program.attach(root, CgroupAttachMode::Single)?;
        }
        _ => bail!("{} is of no known flavour", variant.program),
    }
    Ok(())
}

/// An error with its causes on one line, without a verifier log (that goes to the debug log).
pub(super) fn chain(error: &anyhow::Error) -> String {
    if let Some(ProgramError::LoadError { io_error, .. }) = error.downcast_ref::<ProgramError>() {
        return format!("BPF_PROG_LOAD: {io_error}");
    }
    let mut parts: Vec<String> = error.chain().map(ToString::to_string).collect();
    parts.dedup_by(|next, before| before.contains(next.as_str()));
    parts.join(": ").replace('\n', " ")
}

/// Kernels before 5.11 charge BPF memory to RLIMIT_MEMLOCK; later ones do not care, so failing is fine.
fn raise_memlock() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    if let Err(e) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        log::debug!("raising RLIMIT_MEMLOCK: {e}");
    }
}
