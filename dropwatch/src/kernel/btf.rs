//! Look-ups in the kernel's type information.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use btf_rs::{Btf, BtfType, Type};

/// Where the kernel offers its BTF (5.4 and later, with CONFIG_DEBUG_INFO_BTF).
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's BTF.
pub struct KernelBtf {
    btf: Btf,
}

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Offset in bytes.
    pub offset: u32,
    /// Size in bytes; 0 where BTF does not say (flexible arrays).
    pub size: u32,
}

/// Path of the vmlinux BTF; `DROPWATCH_BTF` names another one, to try out a kernel without.
#[must_use]
pub fn vmlinux_path() -> PathBuf {
    std::env::var_os("DROPWATCH_BTF").map_or_else(|| VMLINUX.into(), PathBuf::from)
}

impl KernelBtf {
    /// Reads BTF from a file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let btf = Btf::from_bytes(&bytes)
            .map_err(|e| anyhow!("{e}"))
            .with_context(|| format!("parsing {}", path.display()))?;
        Ok(Self { btf })
    }

    /// Offset and size of `path` (members joined by dots) in a structure; members of anonymous structures
    /// and unions are found as in C. `None` when this kernel has no such member.
    #[must_use]
    pub fn member(&self, structure: &str, path: &str) -> Option<Member> {
        // A name can stand for several types (and, in split BTF, for copies): the first structure that
        // has the member decides.
        self.btf
            .resolve_types_by_name(structure)
            .ok()?
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
        let types = self.btf.resolve_types_by_name(name).unwrap_or_default();
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
        let types = self.btf.resolve_types_by_name(&format!("btf_trace_{name}")).ok()?;
        let Some(Type::Typedef(typedef)) = types.into_iter().find(|t| matches!(t, Type::Typedef(_)))
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

    /// Whether a function of this name is known.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.btf
            .resolve_types_by_name(name)
            .is_ok_and(|types| types.iter().any(|t| matches!(t, Type::Func(_))))
    }

    /// Whether a function returns an enum (as opposed to an int or nothing known).
    #[must_use]
    pub fn returns_enum(&self, function: &str) -> bool {
        let types = self.btf.resolve_types_by_name(function).unwrap_or_default();
        let Some(Type::Func(func)) = types.into_iter().find(|t| matches!(t, Type::Func(_))) else {
            return false;
        };
        let Some(Type::FuncProto(proto)) = self.strip(&func) else {
            return false;
        };
        matches!(
            self.btf.resolve_type_by_id(proto.return_type_id()),
            Ok(Type::Enum(_))
        )
    }
}
