//! Look-ups in the kernel's type information.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs::File,
    io::Write as _,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use btf_rs::{Backend, Btf, BtfType, Type};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Where the kernel offers its BTF (5.4 and later, with CONFIG_DEBUG_INFO_BTF).
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's BTF.
pub struct KernelBtf {
    btf: Btf,
    /// Types by name: a look-up by name searches everything, and most names are asked several times.
    named: RefCell<HashMap<String, Vec<Type>>>,
}

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Offset in bytes.
    pub offset: u32,
    /// Size in bytes; 0 where BTF does not say (flexible arrays).
    pub size: u32,
}

/// What a function's argument is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// An integer or a member of an enum.
    Number,
    /// A pointer to a structure of this name.
    Pointer(String),
    /// Something else.
    Other,
}

/// Path of the vmlinux BTF; `DROPWATCH_BTF` names another one, to try out a kernel without.
#[must_use]
pub fn vmlinux_path() -> PathBuf {
    std::env::var_os("DROPWATCH_BTF").map_or_else(|| VMLINUX.into(), PathBuf::from)
}

impl KernelBtf {
    /// Reads BTF from a file. It is mapped and read where it is asked, which takes a third of the time that
    /// parsing it whole does (30 instead of 90 ms); the programs' loader parses it on its own.
    pub fn open(path: &Path) -> Result<Self> {
        let btf = Btf::from_file_with_backend(path, Backend::Mmap)
            // Before 6.16 the kernel's file cannot be mapped: map a copy.
            .or_else(|e| copied(path).map_err(|copying| anyhow!("{e}; {copying:#}")))
            .with_context(|| format!("reading BTF from {}", path.display()))?;
        Ok(Self {
            btf,
            named: RefCell::default(),
        })
    }

    /// The BTF of a loaded module, which builds on this one. Look-ups by name see the module's own types only.
    pub fn module(&self, path: &Path) -> Result<Self> {
        let btf = Btf::from_split_file(path, &self.btf)
            .map_err(|e| anyhow!("{e}"))
            .with_context(|| format!("reading BTF from {}", path.display()))?;
        Ok(Self {
            btf,
            named: RefCell::default(),
        })
    }

    /// All types of a name.
    fn types(&self, name: &str) -> Vec<Type> {
        let mut named = self.named.borrow_mut();
        if let Some(types) = named.get(name) {
            return types.clone();
        }
        let types = match self.btf.split() {
            Some(own) => own.resolve_types_by_name(name),
            None => self.btf.resolve_types_by_name(name),
        };
        let types = types.unwrap_or_default();
        named.insert(name.to_owned(), types.clone());
        types
    }

    /// Offset and size of `path` (members joined by dots) in a structure; members of anonymous structures
    /// and unions are found as in C. `None` when this kernel has no such member.
    #[must_use]
    pub fn member(&self, structure: &str, path: &str) -> Option<Member> {
        // A name can stand for several types (and, in split BTF, for copies): the first structure that
        // has the member decides.
        self.types(structure)
            .into_iter()
            .filter(|t| matches!(t, Type::Struct(_) | Type::Union(_)))
            .find_map(|t| self.member_of(t, path))
    }

    fn member_of(&self, structure: Type, path: &str) -> Option<Member> {
        let mut kind = structure;
        let mut bits = 0;
        for name in path.split('.') {
            let (at, next) = self.step(&kind, name)?;
            bits += at;
            kind = next;
        }
        Some(Member {
            offset: bits / 8,
            size: self.size(&kind),
        })
    }

    /// One member: its bit offset and its type without modifiers.
    fn step(&self, kind: &Type, name: &str) -> Option<(u32, Type)> {
        let (Type::Struct(structure) | Type::Union(structure)) = kind else {
            return None;
        };
        for member in &structure.members {
            let found = self.btf.resolve_name(member).unwrap_or_default();
            if found == name {
                return Some((member.bit_offset(), self.strip(member)?));
            }
            if found.is_empty()
                && let Some(inner) = self.strip(member)
                && let Some((at, next)) = self.step(&inner, name)
            {
                return Some((member.bit_offset() + at, next));
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn strip(&self, of: &dyn BtfType) -> Option<Type> {
        let mut kind = self.btf.resolve_chained_type(of).ok()?;
        loop {
            kind = match &kind {
                Type::Typedef(t) => self.btf.resolve_chained_type(t).ok()?,
                Type::Volatile(t) | Type::Const(t) | Type::Restrict(t) => {
                    self.btf.resolve_chained_type(t).ok()?
                }
                Type::TypeTag(t) => self.btf.resolve_chained_type(t).ok()?,
                _ => return Some(kind),
            };
        }
    }

    fn size(&self, kind: &Type) -> u32 {
        match kind {
            Type::Int(t) => t.size() as u32,
            Type::Ptr(_) => 8,
            Type::Struct(t) | Type::Union(t) => t.size() as u32,
            Type::Enum(t) => t.size() as u32,
            Type::Array(t) => {
                let element = self.strip(t).map_or(0, |e| self.size(&e));
                element * t.len() as u32
            }
            _ => 0,
        }
    }

    /// Members of an enum as (name, value); empty when this kernel has no such enum.
    #[must_use]
    pub fn enumeration(&self, name: &str) -> Vec<(String, u32)> {
        let types = self.types(name);
        let Some(Type::Enum(found)) = types.into_iter().find(|t| matches!(t, Type::Enum(_))) else {
            return Vec::new();
        };
        found
            .members
            .iter()
            .filter_map(|m| Some((self.btf.resolve_name(m).ok()?, m.val())))
            .collect()
    }

    /// Number of arguments of a tracepoint, from its `btf_trace_NAME` typedef; `None` when there is none.
    #[must_use]
    pub fn tracepoint_args(&self, name: &str) -> Option<u32> {
        let types = self.types(&format!("btf_trace_{name}"));
        let Some(Type::Typedef(typedef)) =
            types.into_iter().find(|t| matches!(t, Type::Typedef(_)))
        else {
            return None;
        };
        let Some(Type::Ptr(pointer)) = self.strip(&typedef) else {
            return None;
        };
        let Some(Type::FuncProto(proto)) = self.strip(&pointer) else {
            return None;
        };
        // The first one is the tracepoint's private data.
        (proto.parameters.len() as u32).checked_sub(1)
    }

    /// The arguments of a function; `None` when there is none of this name.
    #[must_use]
    pub fn arguments(&self, function: &str) -> Option<Vec<Argument>> {
        let types = self.types(function);
        let func = types.into_iter().find(|t| matches!(t, Type::Func(_)))?;
        let Type::Func(func) = func else { return None };
        let Type::FuncProto(proto) = self.strip(&func)? else {
            return None;
        };
        Some(proto.parameters.iter().map(|p| self.argument(p)).collect())
    }

    fn argument(&self, parameter: &dyn BtfType) -> Argument {
        match self.strip(parameter) {
            Some(Type::Int(_) | Type::Enum(_)) => Argument::Number,
            Some(Type::Ptr(pointer)) => match self.strip(&pointer) {
                Some(Type::Struct(to)) => {
                    Argument::Pointer(self.btf.resolve_name(&to).unwrap_or_default())
                }
                Some(Type::Fwd(to)) => {
                    Argument::Pointer(self.btf.resolve_name(&to).unwrap_or_default())
                }
                _ => Argument::Other,
            },
            _ => Argument::Other,
        }
    }

    /// Id of a function or typedef of the kernel itself; `None` when it has none of the name.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<u32> {
        let ids = self.btf.base().resolve_ids_by_name(name).ok()?;
        ids.into_iter().find(|id| {
            matches!(
                self.btf.resolve_type_by_id(*id),
                Ok(Type::Func(_) | Type::Typedef(_))
            )
        })
    }

    /// Id of a function of a module, counted on from the ids of vmlinux; `None` when it has none of the name.
    #[must_use]
    pub fn function_id(&self, name: &str) -> Option<u32> {
        let ids = self.btf.split()?.resolve_ids_by_name(name).ok()?;
        ids.into_iter()
            .find(|id| matches!(self.btf.resolve_type_by_id(*id), Ok(Type::Func(_))))
    }
}

/// Maps a copy of a file; where that cannot be made, parses it whole.
fn copied(path: &Path) -> Result<Btf> {
    let bytes = std::fs::read(path)?;
    // The limit of file sizes holds for files in memory too, and a file in memory is only reached by /proc.
    map_copy(&bytes).or_else(|_| Btf::from_bytes(&bytes).map_err(|e| anyhow!("{e}")))
}

fn map_copy(bytes: &[u8]) -> Result<Btf> {
    let mut copy = File::from(memfd_create(c"btf", MFdFlags::MFD_CLOEXEC)?);
    copy.write_all(bytes)?;
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Btf::from_file_with_backend(path, Backend::Mmap).map_err(|e| anyhow!("{e}"))
}
