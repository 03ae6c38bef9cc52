//! Everything that is known of one refusal: evidence from the kernel, facts from the live configuration.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;
use serde_json::json;

use super::{fixes, text};
use crate::{
    facts::{Link, Netns, Process, SetBy, SysctlFiles, sysctl_files::dotted},
    judge::{Key, View},
    model::{
        anchor::{Dev, Drop},
        evidence::{Mode, SourceCheck, SysctlWrite},
        explanation::Explanation,
    },
};

/// Which of the filter's rules refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
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
pub(super) enum Way {
    Local,
    Forward,
}

/// The value that counts.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Effective {
    pub(super) value: i32,
    /// The key that it comes from, or `both`.
    pub(super) winning_key: String,
    pub(super) all: i32,
    pub(super) device: i32,
    pub(super) device_key: String,
}

/// The other end of the device.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PeerEnd {
    pub(super) name: Option<String>,
    pub(super) ifindex: u32,
    pub(super) netns: serde_json::Value,
    pub(super) processes: Vec<Process>,
    pub(super) pod: Option<String>,
}

/// The route back to the source.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ReverseRoute {
    pub(super) dev: Option<String>,
    pub(super) table: Option<u32>,
    pub(super) prefix: Option<String>,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) source: Option<Ipv4Addr>,
    /// `kernel`: device and table are those of the look-up that refused the packet; `config`: asked after.
    pub(super) from: &'static str,
}

/// A process that wrote the value.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Writer {
    pub(super) pid: u32,
    pub(super) comm: String,
    pub(super) key: String,
    pub(super) old: String,
    pub(super) new: String,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub(super) time_ns: u64,
    /// How long before the drop, in milliseconds.
    pub(super) before_ms: u64,
}

/// Everything that is known of one refusal.
pub(super) struct Case<'a> {
    pub(super) drop: &'a Drop,
    pub(super) dev: &'a Dev,
    pub(super) source: Ipv4Addr,
    pub(super) netns: Option<&'a Netns>,
    pub(super) link: Option<&'a Link>,
    pub(super) kind: Kind,
    pub(super) way: Option<Way>,
    pub(super) effective: Effective,
    pub(super) has_address: Option<bool>,
    pub(super) peer: Option<PeerEnd>,
    pub(super) reverse: Option<ReverseRoute>,
    pub(super) spoof_suspected: bool,
    pub(super) files: Option<&'a SysctlFiles>,
    pub(super) set_by: Vec<&'a SetBy>,
    pub(super) written_by: Option<Writer>,
    /// Other devices that only `all` protects, with `all`'s value.
    pub(super) leaning_on_all: Vec<String>,
}

impl<'a> Case<'a> {
    /// Reads all facts; `None` when the drop cannot be about the filter, or while what it needs most is
    /// pending.
    pub(super) fn read(drop: &'a Drop, view: &View<'a>) -> Option<Self> {
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
            way: way(onward.map(|r| r.kind.as_str())),
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

    /// What makes two refusals one case: the same setting refused them for the same reason, and their answers leave
    /// by the same device.
    pub(super) fn key(&self) -> Key {
        // Where `all` is as large as the device's own value, it is `all` that concerns every device.
        let of_all = self.effective.all >= self.effective.device;
        Key::of(SameRefusal {
            kind: self.kind,
            value: self.effective.value,
            device: (!of_all).then(|| self.dev.name.clone()),
            own_value: self.effective.device,
            back: self.reverse.as_ref().and_then(|route| route.dev.clone()),
            spoof_suspected: self.spoof_suspected,
        })
    }

    pub(super) fn explain(&self, mut unknown: Vec<String>) -> Explanation {
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

/// See [`Case::key`].
#[derive(Debug, PartialEq, Eq, Hash)]
struct SameRefusal {
    kind: Kind,
    value: i32,
    device: Option<String>,
    own_value: i32,
    back: Option<String>,
    spoof_suspected: bool,
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

/// Where it was going, from the routing tables.
fn way(onward: Option<&str>) -> Option<Way> {
    match onward? {
        "local" | "broadcast" => Some(Way::Local),
        "unicast" => Some(Way::Forward),
        _ => None,
    }
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
