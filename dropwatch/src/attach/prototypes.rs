//! The functions that are hooked, and what the programs take their arguments for: one list, which is compared with
//! the running kernel's BTF before anything is attached.

use crate::kernel::btf::{Argument, KernelBtf};

/// What an argument has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// A pointer to this structure.
    To(&'static str),
    /// A number in a register.
    Number,
    /// It is not looked at.
    Any,
}

use Wanted::{Any, Number, To};

/// A function and its arguments, all of them: behind the last one is the return value.
type Prototype = (&'static str, &'static [Wanted]);

/// As of 5.10 to 7.2, where they exist.
const PROTOTYPES: &[Prototype] = &[
    // net/ipv4/route.c
    (
        "ip_handle_martian_source",
        &[Any, Any, To("sk_buff"), Number, Number],
    ),
    ("ip_route_input_noref", &[To("sk_buff"), Any, Any, Any, Any]),
    // net/netfilter/nf_conntrack_core.c
    (
        "nf_ct_resolve_clash",
        &[To("sk_buff"), To("nf_conntrack_tuple_hash"), Any],
    ),
    // net/netfilter/nf_queue.c
    (
        "nf_queue",
        &[To("sk_buff"), To("nf_hook_state"), Any, Number],
    ),
    ("nf_queue_entry_get_refs", &[To("nf_queue_entry")]),
    ("nf_reinject", &[To("nf_queue_entry"), Number]),
    // net/netfilter/nfnetlink_queue.c
    ("nfqnl_reinject", &[To("nf_queue_entry"), Number]),
    // net/netfilter/ipvs/ip_vs_xmit.c
    (
        "ip_vs_nat_xmit",
        &[To("sk_buff"), To("ip_vs_conn"), Any, Any],
    ),
    (
        "ip_vs_nat_xmit_v6",
        &[To("sk_buff"), To("ip_vs_conn"), Any, Any],
    ),
    // net/netfilter/ipvs/ip_vs_core.c
    (
        "handle_response",
        &[Number, To("sk_buff"), Any, To("ip_vs_conn"), Any, Number],
    ),
];

/// Whether a function is there as the programs expect it.
///
/// # Errors
///
/// Why not, in words: it is in no BTF, as the compiler changed or inlined it, or its arguments are others.
pub fn check(btf: &KernelBtf, function: &str) -> Result<(), String> {
    let Some(found) = btf.arguments(function) else {
        return Err(format!("BTF has no function {function}"));
    };
    let Some((_, wanted)) = PROTOTYPES.iter().find(|(name, _)| *name == function) else {
        return Err(format!("the arguments of {function} are not known"));
    };
    let fits = |(found, wanted): (&Argument, &Wanted)| match wanted {
        To(name) => matches!(found, Argument::Pointer(to) if to == name),
        Number => *found == Argument::Number,
        Any => true,
    };
    if found.len() == wanted.len() && found.iter().zip(*wanted).all(fits) {
        Ok(())
    } else {
        Err(format!(
            "{function} has other arguments here than are known"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::spec::{Flavour, MODULES, PROBES};

    /// Arguments in registers: rdi, rsi, rdx, rcx, r8, r9 on x86-64 (arch/x86/kernel/ptrace.c), x0 to x7 on aarch64
    /// (arch/arm64/kernel/ptrace.c, v6.12). Kprobes read those, and trampolines take no more than six before 6.12.
    #[test]
    fn all_arguments_are_in_registers_on_every_architecture() {
        let fewest = [("x86_64", 6), ("aarch64", 8)]
            .iter()
            .map(|(_, registers)| *registers)
            .min();
        for (name, arguments) in PROTOTYPES {
            assert!(Some(arguments.len()) <= fewest, "{name}");
        }
    }

    #[test]
    fn every_module_is_listed() {
        let variants = PROBES.iter().flat_map(|probe| probe.variants);
        for module in variants.filter_map(|variant| variant.module) {
            assert!(MODULES.iter().any(|(name, _)| *name == module), "{module}");
        }
    }

    #[test]
    fn every_hooked_function_is_listed() {
        for variant in PROBES.iter().flat_map(|probe| probe.variants) {
            let function = !matches!(
                variant.flavour,
                Flavour::Btf | Flavour::Raw | Flavour::CgroupSysctl
            );
            let listed = PROTOTYPES.iter().any(|(name, _)| *name == variant.target);
            assert_eq!(function, listed, "{}", variant.target);
        }
    }
}
