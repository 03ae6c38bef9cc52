//! What to try on this kernel. Pure: the same view gives the same plan.

use std::collections::BTreeMap;

use super::spec::{Flavour, PROBES, Probe, REFUSAL, Variant};

/// What the planner knows of the kernel.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Number of arguments of the known tracepoints.
    pub tracepoints: BTreeMap<&'static str, u32>,
    /// Known functions.
    pub functions: Vec<&'static str>,
    /// Whether kprobes exist.
    pub kprobes: bool,
    /// Whether the kernel can load modules, which then have the functions that it does not have itself.
    pub modules: bool,
    /// Whether the drop reason tells the reverse-path filter from other source checks.
    pub rp_filter_reason: bool,
}

/// Flavours that the user insists on, by probe name.
pub type Forced = BTreeMap<String, String>;

/// What to try for one probe.
#[derive(Clone, Debug)]
pub struct Step {
    /// The probe.
    pub probe: &'static Probe,
    /// Variants to try in this order.
    pub variants: Vec<Variant>,
    /// The module that they are to be attached in, once it is there; `None` when they are in the kernel.
    pub module: Option<&'static str>,
    /// Variants left out, and why.
    pub skipped: Vec<(Variant, String)>,
}

/// Makes the plan.
#[must_use]
pub fn plan(view: &View, forced: &Forced) -> Vec<Step> {
    PROBES
        .iter()
        .map(|probe| step(probe, view, forced))
        .collect()
}

fn step(probe: &'static Probe, view: &View, forced: &Forced) -> Step {
    let mut step = Step {
        probe,
        variants: Vec::new(),
        module: None,
        skipped: Vec::new(),
    };
    for variant in ordered(probe, view) {
        let refused = match forced.get(probe.name) {
            Some(wanted) if wanted != variant.flavour.name() => {
                Some(format!("{wanted} was asked for"))
            }
            _ => unavailable(&variant, view),
        };
        match refused {
            Some(why) => step.skipped.push((variant, why)),
            None => step.variants.push(variant),
        }
    }
    let first = step.variants.first();
    step.module = first
        .filter(|v| !view.functions.contains(&v.target))
        .and_then(|v| v.module);
    step
}

/// The order to try: as listed, but where reasons do not tell the checks apart, what does comes first,
/// although it runs for every routed packet.
fn ordered(probe: &'static Probe, view: &View) -> Vec<Variant> {
    let mut variants = probe.variants.to_vec();
    if probe.name == REFUSAL.name && !view.rp_filter_reason {
        variants.sort_by_key(|v| v.flavour != Flavour::Fexit);
    }
    variants
}

fn unavailable(variant: &Variant, view: &View) -> Option<String> {
    let Variant {
        flavour,
        target,
        module,
        ..
    } = variant;
    match flavour {
        Flavour::Btf | Flavour::Raw => (!view.tracepoints.contains_key(target))
            .then(|| format!("this kernel has no tracepoint {target}")),
        Flavour::Fentry | Flavour::Fexit => {
            let may_come = module.is_some() && view.modules;
            (!may_come && !view.functions.contains(target))
                .then(|| format!("this kernel's BTF has no function {target}"))
        }
        Flavour::Kprobe if !view.kprobes => Some("this kernel has no kprobes".into()),
        Flavour::Kprobe => None,
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
            functions: vec!["ip_handle_martian_source", "fib_validate_source"],
            kprobes: true,
            modules: true,
            rp_filter_reason: true,
        }
    }

    fn flavours(steps: &[Step], probe: &str) -> Vec<Flavour> {
        let step = steps
            .iter()
            .find(|s| s.probe.name == probe)
            .expect("a known probe");
        step.variants.iter().map(|v| v.flavour).collect()
    }

    #[test]
    fn the_narrow_function_comes_first_where_reasons_tell_the_checks_apart() {
        let steps = plan(&modern(), &Forced::new());
        assert_eq!(
            flavours(&steps, "refusal"),
            [Flavour::Fentry, Flavour::Kprobe, Flavour::Fexit]
        );
        assert_eq!(steps.last().map(|s| s.probe.name), Some("drop"));
    }

    #[test]
    fn the_return_value_comes_first_without_reasons() {
        let view = View {
            rp_filter_reason: false,
            ..modern()
        };
        assert_eq!(
            flavours(&plan(&view, &Forced::new()), "refusal")[0],
            Flavour::Fexit
        );
    }

    #[test]
    fn what_is_missing_is_left_out_with_a_reason() {
        let view = View {
            kprobes: false,
            functions: vec![],
            ..modern()
        };
        let steps = plan(&view, &Forced::new());
        assert!(flavours(&steps, "refusal").is_empty());
        assert_eq!(steps[0].skipped.len(), 3);
        assert_eq!(
            steps[0].skipped[0].1,
            "this kernel's BTF has no function ip_handle_martian_source"
        );
    }

    #[test]
    fn a_forced_flavour_is_the_only_one_tried() {
        let forced = Forced::from([("refusal".into(), "fexit".into())]);
        assert_eq!(
            flavours(&plan(&modern(), &forced), "refusal"),
            [Flavour::Fexit]
        );
    }

    #[test]
    fn a_function_is_looked_for_in_its_module_unless_the_kernel_has_it() {
        let module = |view: &View| {
            let steps = plan(view, &Forced::new());
            let step = steps.iter().find(|s| s.probe.name == "reinject");
            step.map(|s| (s.variants.len(), s.module))
        };
        assert_eq!(module(&modern()), Some((1, Some("nfnetlink_queue"))));
        let mut built_in = modern();
        built_in.functions.push("nfqnl_reinject");
        assert_eq!(module(&built_in), Some((1, None)));
        let none = View {
            modules: false,
            ..modern()
        };
        assert_eq!(module(&none), Some((0, None)));
    }
}
