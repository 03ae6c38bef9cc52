//! Programs on functions of kernel modules, which may be loaded long after the start.
//!
//! The kernel wants the module's BTF object and the function's id in it; aya 0.14 has no way to give both. So
//! the object is parsed again, its map references are pointed at the maps that aya made, and the programs of
//! that one module are loaded by hand. The read-only globals are written anew for each module: structures of
//! modules have their offsets only there. An attached program holds its module: it cannot be unloaded until
//! [`Modules`] is dropped.

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::{Object, generated::bpf_attach_type};
use dropwatch_common::names;

use super::{
    globals::Globals,
    load::OBJECT,
    spec::{Flavour, Variant},
    sys,
};
use crate::kernel::{btf::KernelBtf, layout};

/// Where the kernel offers its modules' BTF.
const FOLDER: &str = "/sys/kernel/btf";

/// The section of the read-only globals.
const RODATA: &str = ".rodata";

/// What is needed to load programs later, and those that are.
pub struct Modules {
    /// Maps by name, to be shared with what is loaded already.
    maps: HashMap<String, OwnedFd>,
    globals: Globals,
    /// Programs and their links; closing them detaches.
    attached: Vec<Loaded>,
}

/// A module whose programs can be loaded.
pub struct Prepared {
    btf: KernelBtf,
    /// The module's BTF object.
    fd: OwnedFd,
    object: Object,
    /// Loaded programs hold the map; until then this does.
    _globals: MapData,
}

struct Loaded {
    program: OwnedFd,
    _link: OwnedFd,
}

/// Path of a module's BTF, which is there while the module is loaded.
#[must_use]
pub fn btf_path(module: &str) -> PathBuf {
    Path::new(FOLDER).join(module)
}

/// Whether programs can be put on a module's functions now. While it is still starting, its BTF is there
/// already, but the kernel takes no programs for it (`btf_try_get_module`, kernel/bpf/btf.c, v6.12).
#[must_use]
pub fn is_ready(module: &str) -> bool {
    btf_path(module).exists() && is_live(module)
}

/// Whether a module is loaded for good, but without BTF (`CONFIG_DEBUG_INFO_BTF_MODULES`, 5.11).
#[must_use]
pub fn lacks_btf(module: &str) -> bool {
    is_live(module) && !btf_path(module).exists()
}

fn is_live(module: &str) -> bool {
    std::fs::read_to_string(format!("/sys/module/{module}/initstate"))
        .is_ok_and(|state| state.trim() == "live")
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
                maps.insert(name.to_owned(), fd.try_clone_to_owned()?);
            }
        }
        Ok(Self {
            maps,
            globals,
            attached: Vec::new(),
        })
    }

    /// Gets ready to load programs for a module. `vmlinux` is what the module's BTF builds on.
    ///
    /// # Errors
    ///
    /// What was tried and what went wrong.
    pub fn prepare(&self, vmlinux: &KernelBtf, module: &str) -> Result<Prepared> {
        let btf = vmlinux.module(&btf_path(module))?;
        let fd = sys::module_btf(module)
            .with_context(|| format!("finding the BTF of {module} (takes CAP_SYS_ADMIN)"))?;
        let (object, globals) = self.object(&btf)?;
        Ok(Prepared {
            btf,
            fd,
            object,
            _globals: globals,
        })
    }

    /// Loads and attaches one program.
    ///
    /// # Errors
    ///
    /// What was tried and what the kernel said.
    pub fn attach(&mut self, prepared: &Prepared, variant: &Variant) -> Result<()> {
        let id = prepared
            .btf
            .function_id(variant.target)
            .with_context(|| format!("the module has no function {}", variant.target))?;
        let object = &prepared.object;
        let function = object
            .programs
            .get(variant.program)
            .and_then(|program| object.functions.get(&program.function_key()))
            .with_context(|| format!("the eBPF object has no program {}", variant.program))?;
        let attach_type = match variant.flavour {
            Flavour::Fentry => bpf_attach_type::BPF_TRACE_FENTRY,
            Flavour::Fexit => bpf_attach_type::BPF_TRACE_FEXIT,
            other => bail!("{} programs cannot be put on modules", other.name()),
        };
        let program = sys::load(&sys::Program {
            name: variant.program,
            license: &object.license,
            instructions: &function.instructions,
            attach_type: attach_type as u32,
            btf_id: id,
            btf: prepared.fd.as_fd(),
        })
        .context("BPF_PROG_LOAD")?;
        let link = sys::attach(program.as_fd()).context("BPF_RAW_TRACEPOINT_OPEN")?;
        self.attached.push(Loaded {
            program,
            _link: link,
        });
        Ok(())
    }

    /// Descriptors of the loaded programs.
    pub fn programs(&self) -> impl Iterator<Item = RawFd> {
        self.attached.iter().map(|l| l.program.as_raw_fd())
    }

    /// The object with all references resolved, its globals those of a module.
    fn object(&self, btf: &KernelBtf) -> Result<(Object, MapData)> {
        let mut object = Object::parse(OBJECT).context("parsing the eBPF object")?;
        let mut globals = self.globals.clone();
        layout::complete(&mut globals.offsets, btf);
        let offsets = bytes(&globals.offsets);
        let config = bytes(&globals.config);
        let dev: Vec<u8> = globals.dev.iter().flat_map(|w| w.to_ne_bytes()).collect();
        object
            .patch_map_data(HashMap::from([
                (names::OFFSETS, (offsets.as_slice(), true)),
                (names::CONFIG, (config.as_slice(), true)),
                (names::DEV_FILTER, (dev.as_slice(), true)),
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
