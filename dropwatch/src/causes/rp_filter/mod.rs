//! `rp_filter`: the reverse-path filter refused a packet's source address.
//!
//! `__fib_validate_source` (net/ipv4/fib_frontend.c, 5.10 to 7.2) looks up the route back to the source.
//! With 1 (strict) that route must leave by the device the packet came in on. With 2 (loose) any route
//! will do, but a device without an IPv4 address of its own is only given the last resort, which refuses
//! whenever the value in effect, the larger of `all` and the device's own, is not 0.
//!
//! Mine is only what the kernel itself calls so, by drop reason or by return value: martian sources are
//! refused at the same place by other checks.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;
use serde_json::json;

use super::{Cause, Subject, Verdict};
use crate::{
    attach::spec,
    correlate::view::View,
    facts::{Link, Netns, Process, SetBy, SysctlFiles, sysctl_files::dotted},
    model::{
        anchor::{Dev, Drop},
        coverage::Coverage,
        evidence::{Mode, Refused, SourceCheck, SysctlWrite},
        explanation::Explanation,
    },
};

mod fixes;
mod text;

/// The cause.
pub struct RpFilter;

impl Cause for RpFilter {
    fn id(&self) -> &'static str {
        "rp_filter"
    }

    fn blind(&self, coverage: &Coverage) -> Option<String> {
        let returns = coverage
            .status(spec::REFUSAL.name)
            .is_some_and(|p| p.attached && p.symbol == "fib_validate_source");
        (!coverage.rp_filter_reason && !returns).then(|| {
            "this kernel gives no drop reasons, and the return value of fib_validate_source cannot \
             be seen"
                .into()
        })
    }

    fn subject(&self, drop: &Drop) -> Option<Subject> {
        if !refused_by_reverse_path(drop) {
            return None;
        }
        let check = drop.source_check.clone().unwrap_or_default();
        let route = match (&check.mode, &check.lookup) {
            (_, Some(lookup)) => Route::of(lookup.oif == 0),
            // With an address, loose mode refuses for nothing else.
            (Some(mode), None) if mode.effective() > 1 && mode.has_address => Route::None,
            (_, None) => Route::Unknown,
        };
        Some(subject(drop, route))
    }

    fn aliases(&self, drop: &Drop, explanation: &Explanation) -> Vec<Subject> {
        // The first drops of a case come before route look-ups are watched, later ones may come after
        // that: they are the same case as those of which it is known.
        let known = Route::of(explanation.facts["kind"] == json!(Kind::NoRoute));
        vec![subject(drop, known), subject(drop, Route::Unknown)]
    }

    fn judge(&self, drop: &Drop, view: &View<'_>) -> Verdict {
        let Some(case) = Case::read(drop, view) else {
            return if view.pending() {
                Verdict::Wait
            } else {
                Verdict::NotMine
            };
        };
        if view.pending() {
            return Verdict::Wait;
        }
        Verdict::Mine(Box::new(case.explain(view.unknown())))
    }
}

/// What is known of the route back at the drop.
#[derive(Clone, Copy)]
enum Route {
    Unknown,
    Found,
    None,
}

impl Route {
    fn of(none: bool) -> Self {
        if none { Self::None } else { Self::Found }
    }
}

/// A case: device, values, and whether there was a route.
fn subject(drop: &Drop, route: Route) -> Subject {
    let mode = drop
        .source_check
        .as_ref()
        .and_then(|c| c.mode)
        .map_or(0, |m| {
            (m.all as u64 & 0xff) << 16 | (m.device as u64 & 0xff) << 8 | u64::from(m.has_address)
        });
    let ifindex = drop.dev.as_ref().map_or(0, |d| d.ifindex);
    [
        u64::from(drop.netns),
        u64::from(ifindex),
        mode,
        route as u64,
        0,
    ]
}

/// Whether the kernel itself named the reverse-path filter.
fn refused_by_reverse_path(drop: &Drop) -> bool {
    let returned = drop.source_check.as_ref().and_then(|c| c.returned.as_ref());
    drop.reason.name.as_deref() == Some("IP_RPFILTER")
        || returned.is_some_and(|r| r.verdict == Refused::ReversePath)
}

/// Which of the filter's rules refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Strict: the route back leaves by another device.
    StrictMismatch,
    /// Loose, but the device has no IPv4 address, so only the last resort is left.
    LooseNoAddress,
    /// There is no route back at all.
    NoRoute,
}

/// Where the packet was going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    Local,
    Forward,
}

/// The value that counts.
#[derive(Clone, Debug, Serialize)]
struct Effective {
    value: i32,
    /// The key that it comes from, or `both`.
    winning_key: String,
    all: i32,
    device: i32,
    device_key: String,
}

/// The other end of the device.
#[derive(Clone, Debug, Serialize)]
struct PeerEnd {
    name: Option<String>,
    ifindex: u32,
    netns: serde_json::Value,
    processes: Vec<Process>,
    pod: Option<String>,
}

/// The route back to the source.
#[derive(Clone, Debug, Default, Serialize)]
struct ReverseRoute {
    dev: Option<String>,
    table: Option<u32>,
    prefix: Option<String>,
    gateway: Option<Ipv4Addr>,
    source: Option<Ipv4Addr>,
    /// `kernel`: device and table are those of the look-up that refused the packet; `config`: asked after.
    from: &'static str,
}

/// A process that wrote the value.
#[derive(Clone, Debug, Serialize)]
struct Writer {
    pid: u32,
    comm: String,
    key: String,
    old: String,
    new: String,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    time_ns: u64,
    /// How long before the drop, in milliseconds.
    before_ms: u64,
}

/// Everything that is known of one refusal.
struct Case<'a> {
    drop: &'a Drop,
    dev: &'a Dev,
    source: Ipv4Addr,
    netns: Option<&'a Netns>,
    link: Option<&'a Link>,
    kind: Kind,
    way: Option<Way>,
    effective: Effective,
    has_address: Option<bool>,
    peer: Option<PeerEnd>,
    reverse: Option<ReverseRoute>,
    spoof_suspected: bool,
    files: Option<&'a SysctlFiles>,
    set_by: Vec<&'a SetBy>,
    written_by: Option<Writer>,
    /// Other devices that only `all` protects, with `all`'s value.
    leaning_on_all: Vec<String>,
}

impl<'a> Case<'a> {
    /// Reads all facts; `None` when the drop cannot be about the filter, or while what it needs most is
    /// pending.
    fn read(drop: &'a Drop, view: &View<'a>) -> Option<Self> {
        let dev = drop.dev.as_ref()?;
        let packet = drop.packet.as_ref()?;
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (packet.src, packet.dst) else {
            return None;
        };
        let check = drop.source_check.clone().unwrap_or_default();
        // All questions first: they are answered side by side.
        let netns = view.netns(drop.netns);
        let settings = view.rp_filter(drop.netns);
        let link = view.link(drop.netns, dev.ifindex);
        let back = view.route(drop.netns, source, Some(destination));
        let onward = view.route(drop.netns, destination, None);
        let defaults = view.default_routes(drop.netns);
        let by_kernel = check.lookup.filter(|l| l.oif != 0);
        let back_link = by_kernel.and_then(|l| view.link(drop.netns, l.oif));
        // Files are applied to the host's namespace, which is the tracer's own.
        let files = match netns {
            Some(netns) if netns.own => view.sysctl_files(&dev.name),
            _ => None,
        };

        let of_device = |name: &str| {
            settings.and_then(|s| s.devices.iter().find(|(n, _)| n == name).map(|(_, v)| *v))
        };
        let mode = check.mode.or_else(|| {
            let has_address = link.is_some_and(|l| !l.ipv4.is_empty());
            Some(Mode {
                all: settings?.all,
                device: of_device(&dev.name)?,
                has_address,
            })
        })?;
        let reverse = reverse_route(&check, back_link, back);
        let no_route = match (&check.lookup, back) {
            (Some(lookup), _) => lookup.oif == 0,
            (None, Some(back)) => back.oif.is_none(),
            (None, None) => false,
        };
        let outside = defaults.is_some_and(|d| d.devices.contains(&dev.name));
        let elsewhere = reverse.as_ref().is_some_and(|r| {
            r.dev.as_ref().is_some_and(|d| *d != dev.name)
                && r.prefix.as_deref().is_some_and(|p| p != "0.0.0.0/0")
        });
        let write = view.last_write(drop.netns, &[&dotted("all"), &dotted(&dev.name)]);
        let leaning_on_all = settings.map_or_else(Vec::new, |s| {
            s.devices
                .iter()
                .filter(|(name, own)| *name != dev.name && name != "lo" && *own < s.all)
                .map(|(name, _)| name.clone())
                .collect()
        });
        Some(Self {
            drop,
            dev,
            source,
            netns,
            link,
            kind: kind(&mode, no_route),
            way: way(&check, onward.map(|r| r.kind.as_str())),
            effective: effective(&mode, &dev.name),
            has_address: Some(mode.has_address),
            peer: link.and_then(peer_end),
            reverse,
            spoof_suspected: outside && elsewhere,
            set_by: files.map_or_else(Vec::new, |f| set_by(f, &mode)),
            files,
            written_by: write.map(|w| writer(w, drop.time_ns)),
            leaning_on_all,
        })
    }

    fn explain(&self, mut unknown: Vec<String>) -> Explanation {
        if self.netns.is_some_and(|n| !n.own) {
            unknown.push(
                "which file set the value: sysctl.d files are applied to the host's namespace only"
                    .into(),
            );
        }
        Explanation {
            title: text::title(self),
            summary: text::summary(self),
            facts: self.facts(),
            evidence: text::evidence(self),
            fixes: fixes::fixes(self),
            unknown,
        }
    }

    fn facts(&self) -> serde_json::Value {
        json!({
            "kind": self.kind,
            "path": self.way,
            "spoof_suspected": self.spoof_suspected,
            "effective": self.effective,
            "device": {
                "name": self.dev.name,
                "ifindex": self.dev.ifindex,
                "kind": self.link.and_then(|l| l.kind.as_ref()),
                "has_ipv4": self.has_address,
                "ipv4": self.link.map(|l| &l.ipv4),
            },
            "peer": self.peer,
            "reverse_route": self.reverse,
            "set_by": self.set_by,
            "udev": self.files.and_then(|f| f.udev.as_ref()),
            "written_by": self.written_by,
        })
    }
}

/// Which rule refused: net/ipv4/fib_frontend.c, `__fib_validate_source`.
fn kind(mode: &Mode, no_route: bool) -> Kind {
    if no_route {
        Kind::NoRoute
    } else if mode.effective() == 1 {
        Kind::StrictMismatch
    } else {
        // A route was found, so loose mode can only have refused for want of an address.
        Kind::LooseNoAddress
    }
}

/// Where it was going: from the kernel's own argument, else from the routing tables.
fn way(check: &SourceCheck, onward: Option<&str>) -> Option<Way> {
    let of_kernel = check
        .returned
        .as_ref()
        .map(|r| if r.oif == 0 { Way::Local } else { Way::Forward });
    of_kernel.or(match onward? {
        "local" | "broadcast" => Some(Way::Local),
        "unicast" => Some(Way::Forward),
        _ => None,
    })
}

fn effective(mode: &Mode, device: &str) -> Effective {
    let device_key = dotted(device);
    let winning_key = match mode.all.cmp(&mode.device) {
        std::cmp::Ordering::Greater => dotted("all"),
        std::cmp::Ordering::Less => device_key.clone(),
        std::cmp::Ordering::Equal => "both".into(),
    };
    Effective {
        value: mode.effective(),
        winning_key,
        all: mode.all,
        device: mode.device,
        device_key,
    }
}

fn peer_end(link: &Link) -> Option<PeerEnd> {
    let peer = link.peer.as_ref()?;
    let owner = peer.owner.as_ref();
    Some(PeerEnd {
        name: peer.name.clone(),
        ifindex: peer.ifindex,
        netns: json!({ "inum": peer.netns, "name": owner.and_then(|o| o.name.as_ref()) }),
        processes: owner.map_or_else(Vec::new, |o| o.processes.clone()),
        pod: owner.and_then(|o| o.pod.clone()),
    })
}

/// Device and table from the kernel's look-up where it was seen; the rest from the tables, if they still
/// agree with it.
fn reverse_route(
    check: &SourceCheck,
    link: Option<&Link>,
    asked: Option<&crate::facts::Route>,
) -> Option<ReverseRoute> {
    let of_config = asked.filter(|r| r.oif.is_some()).map(|r| ReverseRoute {
        dev: r.dev.clone(),
        table: r.table,
        prefix: r.prefix.clone(),
        gateway: r.gateway,
        source: r.source,
        from: "config",
    });
    let Some(lookup) = &check.lookup else {
        return of_config;
    };
    if lookup.oif == 0 {
        return None;
    }
    let agrees = asked.is_some_and(|r| r.oif == Some(lookup.oif));
    let mut route = of_config.filter(|_| agrees).unwrap_or_default();
    route.from = "kernel";
    route.table = Some(lookup.table);
    route.dev = route.dev.or_else(|| link.map(|l| l.name.clone()));
    Some(route)
}

/// The lines that set what is in effect.
fn set_by<'a>(files: &'a SysctlFiles, mode: &Mode) -> Vec<&'a SetBy> {
    let says = |by: &&SetBy, value: i32| by.value.parse() == Ok(value);
    let effective = mode.effective();
    let all = files
        .all
        .as_ref()
        .filter(|by| mode.all == effective && says(by, mode.all));
    let device = files
        .device
        .as_ref()
        .filter(|by| mode.device == effective && says(by, mode.device));
    all.into_iter().chain(device).collect()
}

fn writer(write: &SysctlWrite, drop_ns: u64) -> Writer {
    Writer {
        pid: write.process.pid,
        comm: write.process.comm.clone(),
        key: write.key.clone(),
        old: write.old.clone(),
        new: write.new.clone(),
        time_ns: write.time_ns,
        before_ms: drop_ns.saturating_sub(write.time_ns) / 1_000_000,
    }
}
