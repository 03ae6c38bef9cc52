//! What to try on this kernel. Pure: the same view gives the same plan.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    prototypes,
    spec::{Flavour, MODULES, Need, PROBES, Probe, Variant},
};
use crate::kernel::{btf::KernelBtf, reasons::Reasons};

/// What the planner knows of the kernel.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Number of arguments of the known tracepoints.
    pub tracepoints: BTreeMap<&'static str, u32>,
    /// Functions that the kernel itself has as the programs expect them; of the others, why not.
    pub functions: BTreeMap<&'static str, Result<(), String>>,
    /// Whether kprobes exist.
    pub kprobes: bool,
    /// Whether the kernel can load modules, which then have the functions that it does not have itself.
    pub modules: bool,
    /// The modules whose code the kernel itself has: what it lacks of them does not come.
    pub built_in: BTreeSet<&'static str>,
    /// Whether the drop reason tells the reverse-path filter from other source checks.
    pub rp_filter_reason: bool,
}

impl View {
    /// What a kernel's BTF says; whether there are kprobes and modules, it does not. `has_btf` tells of a module whether it
    /// is loaded and has BTF.
    #[must_use]
    pub fn new(
        btf: &KernelBtf,
        reasons: &Reasons,
        kprobes: bool,
        modules: bool,
        has_btf: impl Fn(&str) -> bool,
    ) -> Self {
        let mut view = Self {
            kprobes,
            modules,
            built_in: MODULES
                .into_iter()
                .filter(|(_, function)| btf.arguments(function).is_some())
                .map(|(module, _)| module)
                .collect(),
            rp_filter_reason: reasons.number("IP_RPFILTER").is_some(),
            ..Self::default()
        };
        for variant in PROBES.iter().flat_map(|p| p.variants) {
            match variant.flavour {
                Flavour::Btf | Flavour::Raw => {
                    if let Some(args) = btf.tracepoint_args(variant.target) {
                        view.tracepoints.insert(variant.target, args);
                    }
                }
                // Of a module that is loaded, nothing is in the kernel itself.
                Flavour::Fentry | Flavour::Fexit | Flavour::Kprobe | Flavour::Kretprobe
                    if !variant.module.is_some_and(&has_btf) =>
                {
                    let found = prototypes::check(btf, variant.target);
                    view.functions.insert(variant.target, found);
                }
                Flavour::Fentry
                | Flavour::Fexit
                | Flavour::Kprobe
                | Flavour::Kretprobe
                | Flavour::CgroupSysctl => {}
            }
        }
        view
    }

    /// Whether the kernel itself has a function.
    fn has(&self, function: &str) -> bool {
        matches!(self.functions.get(function), Some(Ok(())))
    }
}

/// Flavours that the user insists on, by probe name.
pub type Forced = BTreeMap<String, String>;

/// What to try for one probe.
#[derive(Clone, Debug)]
pub struct Step {
    /// The probe.
    pub probe: &'static Probe,
    /// Variants to try in this order, now.
    pub variants: Vec<Variant>,
    /// Variants to try in this order, if none of those works, once their module is there.
    pub in_module: Vec<Variant>,
    /// Variants left out, and why.
    pub skipped: Vec<(Variant, String)>,
}

impl Step {
    /// Whether there is anything to try.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        !self.variants.is_empty() || !self.in_module.is_empty()
    }

    /// The module that it is to be attached in, unless that succeeds in the kernel itself.
    #[must_use]
    pub fn module(&self) -> Option<&'static str> {
        self.in_module.first().and_then(|variant| variant.module)
    }
}

/// Makes the plan. Probes that this kernel makes needless are left out, unless they are asked for.
#[must_use]
pub fn plan(view: &View, forced: &Forced) -> Vec<Step> {
    PROBES
        .iter()
        .filter(|probe| {
            let needless = probe.need == Need::WithoutReasons && view.rp_filter_reason;
            !needless || forced.contains_key(probe.name)
        })
        .map(|probe| step(probe, view, forced))
        .collect()
}

fn step(probe: &'static Probe, view: &View, forced: &Forced) -> Step {
    let mut step = Step {
        probe,
        variants: Vec::new(),
        in_module: Vec::new(),
        skipped: Vec::new(),
    };
    for variant in probe.variants {
        let refused = match forced.get(probe.name) {
            Some(wanted) if wanted != variant.flavour.name() => {
                Some(format!("{wanted} was asked for"))
            }
            _ => unavailable(variant, view),
        };
        let own = variant.module.is_none() || view.has(variant.target);
        match refused {
            Some(why) => step.skipped.push((*variant, why)),
            None if own => step.variants.push(*variant),
            None => step.in_module.push(*variant),
        }
    }
    step
}

fn unavailable(variant: &Variant, view: &View) -> Option<String> {
    let Variant {
        flavour,
        target,
        module,
        ..
    } = variant;
    let no_function = || {
        let may_come = module.is_some_and(|module| view.modules && !view.built_in.contains(module));
        match view.functions.get(target) {
            _ if may_come => None,
            Some(Ok(())) => None,
            Some(Err(why)) => Some(why.clone()),
            None => Some(format!("BTF has no function {target}")),
        }
    };
    match flavour {
        Flavour::Btf | Flavour::Raw => (!view.tracepoints.contains_key(target))
            .then(|| format!("this kernel has no tracepoint {target}")),
        Flavour::Fentry | Flavour::Fexit => no_function(),
        Flavour::Kprobe | Flavour::Kretprobe if !view.kprobes => {
            Some("this kernel has no kprobes".into())
        }
        Flavour::Kprobe | Flavour::Kretprobe => no_function(),
        // Whether the kernel has it shows when it is tried.
        Flavour::CgroupSysctl => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modern() -> View {
        View {
            tracepoints: [("kfree_skb", 4), ("fib_table_lookup", 4)].into(),
            functions: [
                ("ip_handle_martian_source", Ok(())),
                ("ip_route_input_noref", Ok(())),
            ]
            .into(),
            kprobes: true,
            modules: true,
            built_in: BTreeSet::new(),
            rp_filter_reason: true,
        }
    }

    fn step<'a>(steps: &'a [Step], probe: &str) -> Option<&'a Step> {
        steps.iter().find(|s| s.probe.name == probe)
    }

    fn flavours(steps: &[Step], probe: &str) -> Vec<Flavour> {
        let step = step(steps, probe).expect("a planned probe");
        step.variants.iter().map(|v| v.flavour).collect()
    }

    #[test]
    fn the_narrow_function_alone_is_taken_where_reasons_tell_the_checks_apart() {
        let steps = plan(&modern(), &Forced::new());
        assert_eq!(
            flavours(&steps, "refusal"),
            [Flavour::Fentry, Flavour::Kprobe]
        );
        assert!(step(&steps, "verdict").is_none());
        assert_eq!(steps.last().map(|s| s.probe.name), Some("drop"));
    }

    #[test]
    fn the_return_value_is_asked_for_without_reasons() {
        let view = View {
            rp_filter_reason: false,
            ..modern()
        };
        assert_eq!(
            flavours(&plan(&view, &Forced::new()), "verdict"),
            [Flavour::Fexit, Flavour::Kretprobe]
        );
    }

    #[test]
    fn what_is_missing_is_left_out_with_a_reason() {
        let view = View {
            kprobes: false,
            functions: BTreeMap::new(),
            ..modern()
        };
        let steps = plan(&view, &Forced::new());
        let refusal = step(&steps, "refusal").expect("planned");
        assert!(!refusal.is_possible());
        let why: Vec<_> = refusal
            .skipped
            .iter()
            .map(|(_, why)| why.as_str())
            .collect();
        assert_eq!(
            why,
            [
                "BTF has no function ip_handle_martian_source",
                "this kernel has no kprobes"
            ]
        );
    }

    #[test]
    fn a_forced_flavour_is_the_only_one_tried() {
        let forced = Forced::from([("refusal".into(), "kprobe".into())]);
        assert_eq!(
            flavours(&plan(&modern(), &forced), "refusal"),
            [Flavour::Kprobe]
        );
        let forced = Forced::from([("verdict".into(), "fexit".into())]);
        assert_eq!(
            flavours(&plan(&modern(), &forced), "verdict"),
            [Flavour::Fexit]
        );
    }

    #[test]
    fn a_function_is_looked_for_in_its_module_unless_the_kernel_has_it() {
        let counts = |view: &View| {
            let steps = plan(view, &Forced::new());
            let step = step(&steps, "reinject").expect("planned");
            (step.variants.len(), step.in_module.len(), step.module())
        };
        assert_eq!(counts(&modern()), (0, 2, Some("nfnetlink_queue")));
        let mut built_in = modern();
        built_in.functions.insert("nfqnl_reinject", Ok(()));
        assert_eq!(counts(&built_in), (2, 0, None));
        let mut older = modern();
        older.functions.insert("nf_reinject", Ok(()));
        assert_eq!(counts(&older), (2, 2, Some("nfnetlink_queue")));
        let none = View {
            modules: false,
            ..modern()
        };
        assert_eq!(counts(&none), (0, 0, None));
        // The compiler inlined it, say: no module will bring it.
        let inlined = View {
            built_in: ["nfnetlink_queue"].into(),
            ..modern()
        };
        assert_eq!(counts(&inlined), (0, 0, None));
    }
}
