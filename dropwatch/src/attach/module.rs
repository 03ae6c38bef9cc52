//! Programs on functions of kernel modules, which may be loaded long after the start.
//!
//! For trampolines the kernel wants the module's BTF object and the function's id in it; aya 0.14 has no way to give
//! both. So the object is parsed again, its map references are pointed at the maps that aya made, and the programs
//! of that one module are loaded by hand. The read-only globals are written anew for each module: structures of
//! modules have their offsets only there. A trampoline holds its module: it cannot be unloaded until
//! [`Loaded`] is dropped. A kprobe does not, and is dead once the module is gone.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Error, Result, anyhow, bail};
use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::{Object, generated::bpf_attach_type};
use dropwatch_common::names;

use super::{
    globals::Globals,
    load::OBJECT,
    perf, prototypes,
    spec::{Flavour, Variant},
    sys,
};
use crate::kernel::{btf::KernelBtf, caps, layout};

/// Where the kernel offers its modules' BTF.
const FOLDER: &str = "/sys/kernel/btf";

/// The section of the read-only globals.
const RODATA: &str = ".rodata";

/// What is needed to load programs later.
pub struct Modules {
    /// Maps by name, to be shared with what is loaded already.
    maps: HashMap<String, OwnedFd>,
    globals: Globals,
}

/// A module whose programs can be loaded.
pub struct Prepared {
    name: String,
    /// Its types; `None` where modules have none (`CONFIG_DEBUG_INFO_BTF_MODULES`, 5.11).
    btf: Option<KernelBtf>,
    /// Its BTF object, which only trampolines need, or why it could not be had.
    btf_object: Result<OwnedFd>,
    /// Members of its structures that no BTF tells, of those that the programs on it cannot do without.
    missing: Vec<&'static str>,
    object: Object,
    /// Loaded programs hold the map; until then this does.
    _globals: MapData,
}

/// A program and its link; closing them detaches.
pub struct Loaded {
    name: &'static str,
    program: OwnedFd,
    _link: OwnedFd,
}

impl Loaded {
    /// The program's name in the eBPF object.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The program's descriptor.
    #[must_use]
    pub fn program(&self) -> RawFd {
        self.program.as_raw_fd()
    }
}

/// One stay of a module in the kernel: it differs from that before and the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence(u64);

/// Path of a module's BTF, which is there while the module is loaded.
#[must_use]
pub fn btf_path(module: &str) -> PathBuf {
    Path::new(FOLDER).join(module)
}

/// Whether programs can be put on a module's functions now; `None` when not. While a module is still starting, its
/// BTF is there already, but the kernel takes no programs for it (`btf_try_get_module`, kernel/bpf/btf.c, v6.12).
#[must_use]
pub fn presence(module: &str) -> Option<Presence> {
    let folder = Path::new("/sys/module").join(module);
    let state = fs::read_to_string(folder.join("initstate")).ok()?;
    // The folder is made anew with every loading.
    let made = fs::metadata(folder).ok()?.ino();
    (state.trim() == "live").then_some(Presence(made))
}

/// Whether the running kernel can load modules.
#[must_use]
pub fn supported() -> bool {
    Path::new("/proc/modules").exists()
}

impl Modules {
    /// Keeps hold of the maps of what aya loaded.
    ///
    /// # Errors
    ///
    /// When a descriptor cannot be duplicated.
    pub fn new(ebpf: &Ebpf, globals: Globals) -> Result<Self> {
        let mut maps = HashMap::new();
        for (name, map) in ebpf.maps() {
            if let Some(fd) = descriptor(map) {
                let kept = fd.try_clone_to_owned();
                maps.insert(name.to_owned(), kept.context("keeping hold of the maps")?);
            }
        }
        Ok(Self { maps, globals })
    }

    /// Gets ready to load programs for a module. `vmlinux` is what the module's BTF builds on.
    ///
    /// # Errors
    ///
    /// What was tried and what went wrong.
    pub fn prepare(&self, vmlinux: &KernelBtf, module: &str) -> Result<Prepared> {
        let path = btf_path(module);
        let btf = path
            .exists()
            .then(|| vmlinux.module(&path))
            .transpose()
            .with_context(|| format!("reading {}", path.display()))?;
        self.prepared(module, btf)
    }

    /// Gets ready to load programs by kprobe, or for the kernel itself.
    ///
    /// # Errors
    ///
    /// What was tried and what went wrong.
    pub fn prepare_without_btf(&self, module: Option<&str>) -> Result<Prepared> {
        self.prepared(module.unwrap_or("vmlinux"), None)
    }

    fn prepared(&self, module: &str, btf: Option<KernelBtf>) -> Result<Prepared> {
        let btf_object = match btf {
            Some(_) => sys::module_btf(module)
                .with_context(|| format!("finding the BTF of {module} (takes CAP_SYS_ADMIN)")),
            None => Err(anyhow!("the module has no BTF")),
        };
        let mut globals = self.globals.clone();
        match &btf {
            Some(btf) => layout::complete(&mut globals.offsets, btf),
            None => {
                layout::complete_without_btf(
                    &mut globals.offsets,
                    &caps::release(),
                    std::env::consts::ARCH,
                );
            }
        }
        let missing = layout::missing(&globals.offsets, layout::needed_in(module));
        let (object, globals) = self.object(&globals)?;
        Ok(Prepared {
            name: module.to_owned(),
            btf,
            btf_object,
            missing,
            object,
            _globals: globals,
        })
    }

    /// The object with all references resolved, with these globals.
    fn object(&self, globals: &Globals) -> Result<(Object, MapData)> {
        let mut object = Object::parse(OBJECT).context("parsing the eBPF object")?;
        let offsets = bytes(&globals.offsets);
        let config = bytes(&globals.config);
        let words =
            |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|w| w.to_ne_bytes()).collect() };
        let (dev, sysctls) = (words(&globals.dev), words(globals.sysctls.as_flattened()));
        object
            .patch_map_data(HashMap::from([
                (names::OFFSETS, (offsets.as_slice(), true)),
                (names::CONFIG, (config.as_slice(), true)),
                (names::DEV_FILTER, (dev.as_slice(), true)),
                (names::SYSCTLS, (sysctls.as_slice(), true)),
            ]))
            .context("writing the globals")?;
        let rodata = object
            .maps
            .get(RODATA)
            .context("the eBPF object has no read-only globals")?;
        let frozen = MapData::create(rodata.clone(), RODATA, None)?;
        sys::write_and_freeze(frozen.fd().as_fd(), rodata.data())
            .context("freezing the globals")?;
        let text: HashSet<usize> = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect();
        let maps = object.maps.clone();
        let mut references = Vec::with_capacity(maps.len());
        for (name, map) in &maps {
            let fd = if name == RODATA {
                frozen.fd().as_fd().as_raw_fd()
            } else {
                let shared = self.maps.get(name);
                shared
                    .with_context(|| format!("no map {name}"))?
                    .as_raw_fd()
            };
            references.push((name.as_str(), fd, map));
        }
        object.relocate_maps(references.into_iter(), &text)?;
        object.relocate_calls(&text)?;
        Ok((object, frozen))
    }
}

impl Prepared {
    /// Loads and attaches one program.
    ///
    /// # Errors
    ///
    /// What was tried and what the kernel said.
    pub fn attach(&self, variant: &Variant) -> Result<Loaded> {
        let load = |kind| sys::load(&self.program(variant, kind)?).context("BPF_PROG_LOAD");
        if !self.missing.is_empty() {
            bail!(
                "no BTF tells where these are on this kernel: {}",
                self.missing.join(", ")
            );
        }
        let traced = |attach_type: bpf_attach_type| -> Result<Loaded> {
            let btf = self.btf.as_ref().context("the module has no BTF")?;
            let fd = self.btf_object.as_ref().map_err(|e| anyhow!("{e:#}"))?;
            let program = load(sys::Kind::Tracing {
                attach_type: attach_type as u32,
                btf_id: self.function_id(btf, variant)?,
                btf: Some(fd.as_fd()),
            })?;
            let link = sys::attach(program.as_fd()).context("BPF_RAW_TRACEPOINT_OPEN")?;
            Ok(Loaded {
                name: variant.program,
                program,
                _link: link,
            })
        };
        match variant.flavour {
            Flavour::Fentry => traced(bpf_attach_type::BPF_TRACE_FENTRY),
            Flavour::Fexit => traced(bpf_attach_type::BPF_TRACE_FEXIT),
            Flavour::Kprobe => {
                if let Some(btf) = &self.btf {
                    self.function_id(btf, variant)?;
                }
                let program = load(sys::Kind::Kprobe)?;
                let symbol = format!("{}:{}", self.name, variant.target);
                let link = perf::attach_kprobe(program.as_fd(), &symbol)
                    .with_context(|| format!("perf_event_open of a kprobe on {symbol}"))?;
                Ok(Loaded {
                    name: variant.program,
                    program,
                    _link: link,
                })
            }
            other => bail!("{} programs cannot be put on modules", other.name()),
        }
    }

    /// How many instructions the verifier goes through for a program that is not on a function of a module, or is there
    /// by kprobe.
    ///
    /// # Errors
    ///
    /// What was tried and what the kernel said.
    pub fn verified(&self, variant: &Variant, vmlinux: &KernelBtf) -> Result<u64> {
        let target = variant.target;
        let tracing = |attach_type: bpf_attach_type, name: &str| -> Result<sys::Kind<'_>> {
            Ok(sys::Kind::Tracing {
                attach_type: attach_type as u32,
                btf_id: vmlinux.id(name).context("not in BTF")?,
                btf: None,
            })
        };
        let kind = match variant.flavour {
            Flavour::Btf => tracing(
                bpf_attach_type::BPF_TRACE_RAW_TP,
                &format!("btf_trace_{target}"),
            )?,
            Flavour::Fentry => tracing(bpf_attach_type::BPF_TRACE_FENTRY, target)?,
            Flavour::Fexit => tracing(bpf_attach_type::BPF_TRACE_FEXIT, target)?,
            Flavour::Kprobe | Flavour::Kretprobe => sys::Kind::Kprobe,
            Flavour::CgroupSysctl => sys::Kind::CgroupSysctl,
            Flavour::Raw => bail!("not known for raw tracepoints"),
        };
        let log = sys::statistics(&self.program(variant, kind)?).context("BPF_PROG_LOAD")?;
        let words: Vec<&str> = log.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "processed");
        let number = at.and_then(|at| words.get(at + 1)?.parse().ok());
        number.with_context(|| format!("the verifier says {log:?}"))
    }

    fn program<'a>(&'a self, variant: &Variant, kind: sys::Kind<'a>) -> Result<sys::Program<'a>> {
        let function = self
            .object
            .programs
            .get(variant.program)
            .and_then(|program| self.object.functions.get(&program.function_key()))
            .with_context(|| format!("the eBPF object has no program {}", variant.program))?;
        Ok(sys::Program {
            name: variant.program,
            license: &self.object.license,
            instructions: &function.instructions,
            kind,
        })
    }

    /// What the compiler changed is in no BTF: then its arguments are not known, whatever the flavour.
    fn function_id(&self, btf: &KernelBtf, variant: &Variant) -> Result<u32> {
        prototypes::check(btf, variant.target).map_err(Error::msg)?;
        btf.function_id(variant.target).with_context(|| {
            format!(
                "the BTF of {} has no function {}",
                self.name, variant.target
            )
        })
    }
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

/// The descriptor of a map of the kinds that the programs use.
fn descriptor(map: &Map) -> Option<BorrowedFd<'_>> {
    let data = match map {
        Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::LruHashMap(data)
        | Map::RingBuf(data)
        | Map::PerfEventArray(data) => data,
        _ => return None,
    };
    Some(data.fd().as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `BPF_JMP | BPF_CALL`, and what its source register says when it calls another program of the object.
    const CALL: u8 = 0x85;
    const PSEUDO_CALL: u8 = 1;

    /// In kernels before 6.5 that lack 0108a4e9f358 ("bpf: ensure main program has an extable"; Debian's 5.10 is one), a
    /// program that calls another one takes the kernel down when one of its loads faults, as loads through NULL may. The
    /// other one need not be written: memset and memmove are such.
    #[test]
    fn no_program_calls_another() {
        let object = Object::parse(OBJECT).expect("the eBPF object");
        assert!(object.programs.len() > 20);
        for (name, program) in &object.programs {
            let function = &object.functions[&program.function_key()];
            let calls = |insn: &aya_obj::generated::bpf_insn| {
                insn.code == CALL && insn.src_reg() == PSEUDO_CALL
            };
            assert!(!function.instructions.iter().any(calls), "{name}");
        }
    }
}
