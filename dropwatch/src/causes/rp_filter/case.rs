//! Everything that is known of one refusal: evidence from the kernel, facts from the live configuration.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;
use serde_json::json;

use super::{
    super::source_check::{self, Checked, Martian},
    facts::{Device, Facts, PeerEnd, PeerNetns, Writer},
    fixes,
    reverse::{Origin, ReverseRoute, Via, no_route, origin, reverse_route, via, via_peer},
    text,
};
use crate::{
    facts::{Link, Netns, SetBy, SysctlFiles, sysctl_files::dotted},
    judge::{Family, Key, View},
    model::{
        anchor::{Dev, Drop},
        evidence::{Mode, SysctlWrite},
        explanation::Explanation,
    },
};

/// Which of the filter's rules refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Strict: the route back leaves by another device.
    StrictMismatch,
    /// Loose, but the device has no IPv4 address, so only the last resort is left.
    LooseNoAddress,
    /// There is no route back at all, or one that says so (blackhole, unreachable, prohibit).
    NoRoute,
    /// The source is inside a local route, which is only asked for because the filter is on.
    LocalRoute,
    /// Which of them it was could not be read.
    Unknown,
}

/// Where the packet was going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// To this machine.
    Local,
    /// Through this machine.
    Forward,
}

/// The value of `rp_filter` in effect.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Effective {
    /// The larger of the two.
    pub(super) value: i32,
    /// The key that it comes from, in dot notation, or `both` when both are equal.
    pub(super) winning_key: String,
    /// Value of `conf/all`.
    pub(super) all: i32,
    /// The device's own value.
    pub(super) device: i32,
    /// The device's own key in dot notation: `net.ipv4.conf.eth0.rp_filter`.
    pub(super) device_key: String,
}

/// Everything that is known of one refusal.
pub(super) struct Case<'a> {
    pub(super) drop: &'a Drop,
    /// The device whose settings counted.
    pub(super) dev: Dev,
    pub(super) source: Ipv4Addr,
    pub(super) netns: Option<&'a Netns>,
    pub(super) link: Option<&'a Link>,
    pub(super) kind: Kind,
    pub(super) way: Option<Way>,
    pub(super) effective: Option<Effective>,
    /// Whether the kernel showed the values at the drop.
    pub(super) by_kernel: bool,
    pub(super) has_address: Option<bool>,
    pub(super) peer: Option<PeerEnd>,
    pub(super) reverse: Option<ReverseRoute>,
    /// Name of the VRF that the route was looked up in.
    pub(super) vrf: Option<String>,
    /// It came from outside although its route leads inside: forged, or on an asymmetric path.
    pub(super) spoof_suspected: bool,
    pub(super) origin: Origin,
    /// With the packet's mark the route back would leave by the right device.
    pub(super) mark_helps: bool,
    pub(super) via: Option<Via>,
    pub(super) files: Option<&'a SysctlFiles>,
    pub(super) set_by: Vec<&'a SetBy>,
    pub(super) written_by: Option<Writer>,
    /// Other devices that only `all` protects, with `all`'s value.
    pub(super) leaning_on_all: Vec<String>,
    /// What could not be found out, beyond the facts that could not be read.
    unknown: Vec<String>,
}

impl<'a> Case<'a> {
    /// Reads all facts; `None` when the drop cannot be about the filter, or while what it needs most is
    /// pending.
    pub(super) fn read(drop: &'a Drop, view: &View<'a>) -> Option<Self> {
        let packet = drop.packet.as_ref()?;
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (packet.src, packet.dst) else {
            return None;
        };
        let of_local_route = source_check::may_be_martian(drop);
        if of_local_route {
            match source_check::martian(drop, view) {
                Some(Martian::ByFilter(prefix)) if prefix.kind == "local" => {}
                _ => return None,
            }
        }
        let check = drop.source_check.clone().unwrap_or_default();
        // All questions first: they are answered side by side.
        let netns = view.netns(drop.netns);
        let settings = view.rp_filter(drop.netns);
        let defaults = view.default_routes(drop.netns);
        let Checked {
            dev,
            mode,
            by_kernel,
            vrf,
            unknown,
        } = source_check::checked(drop, view)?;
        let link = view.link(drop.netns, dev.ifindex);
        let vrf_link = vrf.and_then(|index| view.link(drop.netns, index));
        let oif = vrf.unwrap_or(0);
        let marked = on(settings.and_then(|s| s.src_valid_mark.as_ref()), &dev.name);
        let mark = if marked == Some(true) { drop.mark } else { 0 };
        let back = view.route_of(drop.netns, source, Some(destination), mark, 0, oif);
        let onward = view.route_of(drop.netns, destination, None, 0, 0, oif);
        let lookup = check.lookup.filter(|l| l.oif != 0);
        let back_link = lookup.and_then(|l| view.link(drop.netns, l.oif));
        // Files are applied to the host's namespace, which is the tracer's own.
        let files = match netns {
            Some(netns) if netns.own => view.sysctl_files(&dev.name),
            _ => None,
        };
        let marked_back = (drop.mark != 0 && marked == Some(false))
            .then(|| view.route_of(drop.netns, source, Some(destination), drop.mark, 0, oif))
            .flatten();
        let by_dev = view.route_of(drop.netns, source, None, drop.mark, 0, dev.ifindex);
        let neighbour = view.neighbour(drop.netns, dev.ifindex, source);

        let kind = if of_local_route {
            Kind::LocalRoute
        } else {
            kind(mode.as_ref(), no_route(&check, back))
        };
        let reverse = reverse_route(&check, back_link, back);
        let outside = defaults.is_some_and(|d| d.devices.contains(&dev.name));
        let elsewhere = reverse.as_ref().is_some_and(|r| {
            r.dev.as_ref().is_some_and(|d| *d != dev.name)
                && r.prefix.as_deref().is_some_and(|p| p != "0.0.0.0/0")
        });
        let spoof_suspected = outside && elsewhere && !of_local_route;
        let origin = if spoof_suspected {
            let back_index = lookup.map(|l| l.oif).or(back.and_then(|r| r.oif));
            origin(drop, view, source, dev.ifindex, back_index)
        } else {
            Origin::default()
        };
        let write = view.last_write(drop.netns, &[&dotted("all"), &dotted(&dev.name)]);
        let leaning_on_all = settings.map_or_else(Vec::new, |s| {
            s.devices
                .iter()
                .filter(|(name, own)| *name != dev.name && name != "lo" && *own < s.all)
                .map(|(name, _)| name.clone())
                .collect()
        });
        let mut unknown: Vec<_> = unknown.into_iter().collect();
        let now = settings.and_then(|s| Some((s.all, s.device(&dev.name)?)));
        if let (Some(mode), Some(now)) = (mode, now)
            && now != (mode.all, mode.device)
        {
            unknown.push(format!(
                "why rp_filter is another now: all = {}, {} = {}",
                now.0, dev.name, now.1
            ));
        }
        let beyond = link.and_then(|link| via_peer(link, source, view));
        let beyond = match neighbour {
            Some(neighbour) if neighbour.known => Some(Via::OnLink),
            _ => beyond,
        };
        Some(Self {
            drop,
            source,
            netns,
            link,
            kind,
            way: way(onward.map(|r| r.kind.as_str())),
            effective: mode.map(|mode| effective(&mode, &dev.name)),
            by_kernel,
            has_address: mode.map(|mode| mode.has_address),
            peer: link.and_then(peer_end),
            mark_helps: marked_back.is_some_and(|r| r.oif == Some(dev.ifindex)),
            via: beyond.or(via(by_dev)),
            reverse,
            vrf: vrf_link.map(|l| l.name.clone()),
            spoof_suspected,
            origin,
            set_by: files
                .zip(mode)
                .map_or_else(Vec::new, |(f, mode)| set_by(f, &mode)),
            files,
            written_by: write.map(|w| writer(w, drop.time_ns)),
            leaning_on_all,
            dev,
            unknown,
        })
    }

    /// Whether it is `all` that refuses: then it does so on every device.
    pub(super) fn of_all_devices(&self) -> bool {
        let of_all = |e: &Effective| e.all >= e.device && e.all > 0;
        self.kind != Kind::Unknown && self.effective.as_ref().is_some_and(of_all)
    }

    /// What makes two refusals one case: the same setting refused them for the same reason, and, where it is one device's,
    /// their answers leave by the same device.
    pub(super) fn key(&self) -> Key {
        let effective = self.effective.as_ref();
        let one_device = !self.of_all_devices();
        // Without a way back `all` refuses whoever sends, on every device.
        let by_source = match self.kind {
            Kind::NoRoute => one_device,
            Kind::LocalRoute | Kind::Unknown => true,
            Kind::StrictMismatch | Kind::LooseNoAddress => false,
        };
        Key::of(SameRefusal {
            kind: self.kind,
            values: effective.map(|e| (e.all, e.device)),
            device: one_device.then(|| self.dev.name.clone()),
            back: self.reverse.as_ref().map(|route| {
                let dev = route.dev.clone().filter(|_| one_device);
                // Blackholes and their like are told apart.
                let kind = route.kind.clone().filter(|_| route.dev.is_none());
                (dev, route.table, kind)
            }),
            vrf: self.vrf.clone(),
            spoof_suspected: self.spoof_suspected,
            mark_helps: self.mark_helps,
            source: by_source.then_some(self.source),
        })
    }

    /// Title for all of a case.
    pub(super) fn counted(&self) -> Option<String> {
        text::counted(self)
    }

    /// Cases that differ by their source may be very many: with forged ones there is one for each.
    pub(super) fn family(&self) -> Option<Family> {
        Some(Family {
            key: Key::of((self.kind, self.dev.name.clone())),
            title: format!(
                "refused by the reverse-path filter on {}, further sources",
                self.dev.name
            ),
        })
    }

    pub(super) fn explain(&self, mut unknown: Vec<String>) -> Explanation {
        unknown.extend(self.unknown.iter().cloned());
        if self.netns.is_some_and(|n| !n.own) {
            unknown.push(
                "which file set the value: sysctl.d files are applied to the host's namespace only"
                    .into(),
            );
        }
        if let Some(files) = self.files {
            unknown.extend(files.unknown.iter().cloned());
            let unread = files.unreadable.iter();
            unknown.extend(unread.map(|why| format!("what a sysctl.d file says: {why}")));
        }
        Explanation {
            title: text::title(self),
            summary: text::summary(self),
            facts: json!(self.facts()),
            evidence: text::evidence(self),
            fixes: fixes::fixes(self),
            unknown,
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            kind: self.kind,
            path: self.way,
            spoof_suspected: self.spoof_suspected,
            origin: &self.origin,
            vrf: self.vrf.as_deref(),
            effective: self.effective.as_ref(),
            device: Device {
                name: &self.dev.name,
                ifindex: self.dev.ifindex,
                kind: self.link.and_then(|l| l.kind.as_deref()),
                has_ipv4: self.has_address,
                ipv4: self.link.map(|l| l.ipv4.as_slice()),
            },
            peer: self.peer.as_ref(),
            reverse_route: self.reverse.as_ref(),
            set_by: &self.set_by,
            udev: self.files.and_then(|f| f.udev.as_ref()),
            written_by: self.written_by.as_ref(),
        }
    }
}

/// See [`Case::key`].
#[derive(Debug, PartialEq, Eq, Hash)]
struct SameRefusal {
    kind: Kind,
    /// Of `all` and of the device.
    values: Option<(i32, i32)>,
    device: Option<String>,
    /// Device and table of the route back; its kind, where it leads nowhere.
    back: Option<(Option<String>, Option<u32>, Option<String>)>,
    vrf: Option<String>,
    spoof_suspected: bool,
    mark_helps: bool,
    /// Where the advice is about the source.
    source: Option<Ipv4Addr>,
}

/// Which rule refused: net/ipv4/fib_frontend.c, `__fib_validate_source`.
fn kind(mode: Option<&Mode>, no_route: Option<bool>) -> Kind {
    match (no_route, mode.map(Mode::effective)) {
        (Some(true), _) => Kind::NoRoute,
        (Some(false), Some(1)) => Kind::StrictMismatch,
        // A route was found, so loose mode can only have refused for want of an address.
        (Some(false), Some(2..)) if mode.is_some_and(|m| !m.has_address) => Kind::LooseNoAddress,
        _ => Kind::Unknown,
    }
}

/// Whether a switch is on for a device: where one of the two is (`IN_DEV_ORCONF`, include/linux/inetdevice.h).
fn on(list: Option<&Vec<String>>, device: &str) -> Option<bool> {
    Some(list?.iter().any(|name| name == "all" || name == device))
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
        netns: PeerNetns {
            inum: peer.netns,
            name: owner.and_then(|o| o.name.clone()),
        },
        processes: owner.map_or_else(Vec::new, |o| o.processes.clone()),
        pod: owner.and_then(|o| o.pod.clone()),
    })
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
