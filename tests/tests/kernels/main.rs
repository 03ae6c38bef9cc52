//! What dropwatch relies on, checked against the types and symbols of every kernel, without booting one.
//!
//! `tests/fixtures/kernels/KERNEL/` has the trimmed BTF of the kernel and of the modules that are hooked, and the symbols.
//! `cargo xtask types` takes them anew; `BLESS=1` accepts another plan, which is reviewed like code.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use dropwatch::attach::plan::{Forced, View, plan};
use dropwatch::attach::prototypes;
use dropwatch::attach::spec::{Flavour, PROBES, Variant};
use dropwatch::kernel::btf::KernelBtf;
use dropwatch::kernel::reasons::Reasons;
use dropwatch::kernel::{builtin, layout};
use dropwatch_common::config::ABSENT;
use dropwatch_common::fields::FIELDS;

mod trim;

/// The modules that are hooked.
const MODULES: [&str; 3] = ["nf_conntrack", "nfnetlink_queue", "ip_vs"];

/// The enums that name drop reasons.
const ENUMS: [&str; 3] = [
    "skb_drop_reason",
    "skb_drop_reason_subsys",
    "qdisc_drop_reason",
];

/// Members that a kernel has not, and that the programs do without.
const MISSING: [(&str, &str, &str); 2] = [
    // The namespace of the packet's device stands in.
    ("5.10", "ip_vs_conn", "ipvs"),
    ("5.10", "netns_ipvs", "net"),
];

/// A kernel with tracepoints only: no modules, no kprobes, no IPVS.
const BUILT_IN: &str = "6.18-tracepoints";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/kernels")
}

fn blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}

/// A kernel's data.
struct Kernel {
    name: String,
    folder: PathBuf,
    release: String,
    vmlinux: KernelBtf,
}

impl Kernel {
    fn open(folder: PathBuf) -> Self {
        let name = folder.file_name().expect("a name").to_string_lossy();
        let release = fs::read_to_string(folder.join("release")).expect("a release");
        Self {
            name: name.into_owned(),
            release: release.trim().to_owned(),
            vmlinux: KernelBtf::open(&folder.join("vmlinux.btf")).expect("BTF"),
            folder,
        }
    }

    fn built_in(&self) -> bool {
        self.name == BUILT_IN
    }

    fn module(&self, name: &str) -> Option<KernelBtf> {
        let path = self.folder.join(format!("{name}.btf"));
        path.exists().then(|| KernelBtf::open(&path).expect("BTF"))
    }

    fn has_module_btf(&self) -> bool {
        MODULES.iter().any(|m| self.module(m).is_some())
    }

    fn symbols(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("symbols")).expect("symbols");
        text.lines().map(str::to_owned).collect()
    }

    fn view(&self) -> View {
        let reasons = Reasons::from_btf(&self.vmlinux);
        let modules = !self.built_in();
        View::new(&self.vmlinux, &reasons, modules, modules, |module| {
            self.module(module).is_some()
        })
    }
}

fn kernels() -> Vec<Kernel> {
    let mut folders: Vec<PathBuf> = fs::read_dir(fixtures())
        .expect("fixtures")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.sort();
    assert_eq!(
        folders.len(),
        6,
        "five kernels of Debian and one without modules"
    );
    folders.into_iter().map(Kernel::open).collect()
}

/// Functions that are hooked, with their modules.
fn functions() -> impl Iterator<Item = &'static Variant> {
    PROBES.iter().flat_map(|probe| probe.variants).filter(|v| {
        !matches!(
            v.flavour,
            Flavour::Btf | Flavour::Raw | Flavour::CgroupSysctl
        )
    })
}

fn tracepoints() -> impl Iterator<Item = &'static str> {
    let all = PROBES.iter().flat_map(|probe| probe.variants);
    all.filter(|v| v.flavour == Flavour::Btf).map(|v| v.target)
}

/// The functions that are hooked, once each; for `cargo xtask types`, which keeps their symbols.
fn targets() -> Vec<&'static str> {
    let mut targets: Vec<&str> = functions().map(|v| v.target).collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}

/// Trims what `cargo xtask types` has put into `target/types/`, which it names.
#[test]
#[ignore = "a part of `cargo xtask types`"]
fn types_are_taken() {
    let raw = std::env::var_os("DROPWATCH_TYPES").expect("a folder of kernels");
    let targets = targets();
    let wanted = trim::Wanted {
        members: FIELDS.iter().map(|f| (f.structure, f.member)).collect(),
        functions: targets.clone(),
        tracepoints: tracepoints().collect(),
        enums: ENUMS.to_vec(),
    };
    for entry in fs::read_dir(raw).expect("a folder of kernels") {
        let from = entry.expect("an entry").path();
        let to = fixtures().join(from.file_name().expect("a name"));
        // Modules of an older kernel must not stay; what tests write there is written again.
        if to.is_dir() {
            fs::remove_dir_all(&to).expect("removing");
        }
        fs::create_dir_all(&to).expect("a folder");
        let vmlinux = fs::read(from.join("vmlinux")).expect("BTF");
        let write = |name: &str, module: Option<Vec<u8>>| {
            let mut btf = trim::Btf::default();
            btf.add(&vmlinux);
            if let Some(module) = module {
                btf.add(&module);
            }
            let path = to.join(format!("{name}.btf"));
            fs::write(path, btf.trim(&wanted)).expect("writing");
        };
        write("vmlinux", None);
        for module in MODULES {
            if let Ok(bytes) = fs::read(from.join(module)) {
                write(module, Some(bytes));
            }
        }
        fs::copy(from.join("release"), to.join("release")).expect("a release");
        let symbols = fs::read_to_string(from.join("symbols")).expect("symbols");
        let ours = |symbol: &&str| {
            let plain = symbol.split('.').next().unwrap_or_default();
            targets.contains(&plain)
        };
        let mut kept: Vec<&str> = symbols.lines().filter(ours).collect();
        kept.sort_unstable();
        fs::write(to.join("symbols"), kept.join("\n") + "\n").expect("writing");
    }
}

/// Offsets and the ways of attaching, as text.
fn told(kernel: &Kernel) -> String {
    let mut text = String::new();
    let reasons = Reasons::from_btf(&kernel.vmlinux);
    let arguments = kernel.vmlinux.tracepoint_args("kfree_skb");
    let mut line = |label: &str, value: &str| {
        writeln!(text, "{label:<32} {value}").expect("memory");
    };
    line("arguments of kfree_skb", &format!("{arguments:?}"));
    line(
        "drop reasons",
        &format!(
            "{}, IP_RPFILTER {:?}",
            reasons.count(),
            reasons.number("IP_RPFILTER")
        ),
    );
    for step in plan(&kernel.view(), &Forced::new()) {
        let ways = step.variants.iter().chain(&step.in_module);
        let ways: Vec<String> = ways
            .map(|v| {
                let place = step.in_module.contains(v).then_some(v.module).flatten();
                let place = place.map_or(String::new(), |module| format!(" in {module}"));
                format!("{} {}{place}", v.flavour.name(), v.target)
            })
            .collect();
        let skipped = step.skipped.iter();
        let skipped = skipped.map(|(v, why)| format!("not {}: {why}", v.flavour.name()));
        let all: Vec<String> = ways.into_iter().chain(skipped).collect();
        line(step.probe.name, &all.join("; "));
    }
    let offsets = offsets(kernel);
    for (field, offset) in FIELDS.iter().zip(offsets) {
        let value = match offset {
            ABSENT => "absent".to_owned(),
            offset => offset.to_string(),
        };
        line(&format!("{}.{}", field.structure, field.member), &value);
    }
    text
}

fn offsets(kernel: &Kernel) -> Vec<u32> {
    let mut offsets = layout::offsets(&kernel.vmlinux).expect("what the anchor needs");
    for module in MODULES {
        match kernel.module(module) {
            Some(btf) => layout::complete(&mut offsets, &btf),
            None => layout::complete_without_btf(&mut offsets, &kernel.release, "x86_64"),
        }
    }
    offsets.to_vec()
}

#[test]
fn every_kernel_is_planned_for_as_blessed() {
    for kernel in kernels() {
        let told = told(&kernel);
        let path = kernel.folder.join("plan.txt");
        if blessing() {
            fs::write(&path, told).expect("writing");
            continue;
        }
        let blessed = fs::read_to_string(&path).expect("a blessed plan");
        assert_eq!(told, blessed, "{}: BLESS=1 accepts it", kernel.name);
    }
}

#[test]
fn every_member_is_somewhere() {
    for kernel in kernels() {
        for (field, offset) in FIELDS.iter().zip(offsets(&kernel)) {
            let (structure, member) = (field.structure, field.member);
            let no_ipvs = kernel.built_in() && matches!(structure, "ip_vs_conn" | "netns_ipvs");
            let known = no_ipvs || MISSING.contains(&(&kernel.name, structure, member));
            assert_eq!(
                offset == ABSENT,
                known,
                "{} {structure}.{member}",
                kernel.name
            );
        }
    }
}

/// Every probe has a function with the arguments that are known, in the kernel or in a module.
#[test]
fn every_probe_has_a_function_with_known_arguments() {
    for kernel in kernels() {
        for probe in PROBES {
            let mut functions = probe.variants.iter().filter(|v| {
                let tracepoint = matches!(
                    v.flavour,
                    Flavour::Btf | Flavour::Raw | Flavour::CgroupSysctl
                );
                !tracepoint
            });
            if functions.clone().next().is_none() || kernel.built_in() && probe.hook == "ipvs" {
                continue;
            }
            let good = functions.any(|v| {
                let of_module = v.module.and_then(|module| kernel.module(module));
                let in_module =
                    of_module.is_some_and(|btf| prototypes::check(&btf, v.target).is_ok());
                in_module || prototypes::check(&kernel.vmlinux, v.target).is_ok()
            });
            // Without BTF of modules, the symbol has to do for what is theirs.
            let symbol = || {
                let symbols = kernel.symbols();
                probe.variants.iter().any(|v| {
                    let of_module =
                        v.module.is_some() && kernel.vmlinux.arguments(v.target).is_none();
                    of_module && symbols.iter().any(|s| s == v.target)
                })
            };
            let known = good || !kernel.has_module_btf() && symbol();
            assert!(known, "{} {}", kernel.name, probe.name);
        }
    }
}

/// A function that the compiler changed would have a dot in its name.
#[test]
fn no_hooked_function_is_a_changed_one() {
    for kernel in kernels() {
        let symbols = kernel.symbols();
        assert!(!symbols.is_empty(), "{}", kernel.name);
        for symbol in symbols {
            let (plain, changed) = symbol.split_once('.').unwrap_or((&symbol, ""));
            // Cold parts are the rare branches of a function that is there in full as well.
            assert!(
                changed.is_empty() || changed == "cold",
                "{}: {plain} is there as {symbol}",
                kernel.name
            );
        }
    }
}

/// `struct ip_vs_conn` is the same in 5.10 and 6.1, whose BTF confirms what the table for 5.10 says.
#[test]
fn the_table_for_kernels_without_module_btf_agrees_with_later_btf() {
    let later = Kernel::open(fixtures().join("6.1"));
    let ip_vs = later.module("ip_vs").expect("BTF of ip_vs");
    for (field, offset) in builtin::offsets("5.10.0", "x86_64") {
        let field = FIELDS[*field as usize];
        let found = ip_vs.member(field.structure, field.member);
        assert_eq!(
            found.map(|m| m.offset),
            Some(*offset),
            "{}.{}",
            field.structure,
            field.member
        );
    }
}
