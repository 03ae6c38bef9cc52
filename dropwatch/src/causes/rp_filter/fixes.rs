//! What to change.

use super::{
    case::{Case, Effective, Kind},
    reverse::Via,
};
use crate::{
    causes::shell,
    model::explanation::{File, Fix},
};

/// The changes that stop the drops, the first choice first.
pub fn fixes(case: &Case<'_>) -> Vec<Fix> {
    let mut fixes = Vec::new();
    if case.spoof_suspected {
        let origin = &case.origin;
        match &origin.owner {
            Some(owner) if origin.owner_sends_back && !origin.is_asymmetric() => {
                fixes.push(right(format!(
                    "Nothing: the filter kept a source out that belongs to {owner}"
                )));
                return fixes;
            }
            _ if origin.is_asymmetric() => {}
            _ => fixes.push(right(format!(
                "Decide first. If {} is no machine that is reached by {}: nothing, the filter kept a forged source out",
                case.source, case.dev.name
            ))),
        }
    }
    if let Some(refusing) = refusing_route(case) {
        fixes.push(right(format!(
            "Decide first. If {refusing} is there to keep {} out: nothing, the filter does what the route is for",
            case.source
        )));
    }
    match (&case.effective, case.kind) {
        // Without the values nothing can be said of what to set them to.
        (None, _) | (_, Kind::Unknown) => {
            fixes.push(by_hand(case));
        }
        (Some(_), Kind::NoRoute) => {
            fixes.push(route(case));
            fixes.extend(src_valid_mark(case));
        }
        (Some(_), kind) => {
            fixes.extend(src_valid_mark(case));
            if kind == Kind::StrictMismatch && case.has_address == Some(true) {
                fixes.push(loosen(case));
            }
        }
    }
    if let Some(effective) = &case.effective
        && case.kind != Kind::Unknown
    {
        if !matches!(case.kind, Kind::NoRoute | Kind::LocalRoute) {
            // From outside a route of its own is safer than no check.
            if !case.spoof_suspected {
                fixes.push(switch_off(case, effective));
                fixes.extend(persist(case));
            }
            // The table of local addresses is looked at first, so that no other route to one of them counts.
            let is_local = case
                .reverse
                .as_ref()
                .is_some_and(|r| r.kind.as_deref() == Some("local"));
            if !is_local {
                fixes.push(route(case));
            }
        } else {
            fixes.push(switch_off(case, effective));
            // For good it would only hide that the answers have no way either.
            if case.kind != Kind::NoRoute {
                fixes.extend(persist(case));
            }
        }
    }
    if let Some(first) = fixes.first_mut() {
        first.primary = true;
    }
    fixes
}

/// The route back, if it is one that somebody made to refuse: together with the filter it keeps sources out as well as
/// destinations (remotely triggered blackholing, RFC 5635).
fn refusing_route(case: &Case<'_>) -> Option<String> {
    let route = case
        .reverse
        .as_ref()
        .filter(|_| case.kind == Kind::NoRoute)?;
    let kind = route.kind.as_deref()?;
    let prefix = route.prefix.as_deref()?;
    // A last one for all that has no other route keeps nobody in particular out.
    (matches!(kind, "blackhole" | "unreachable" | "prohibit") && prefix != "0.0.0.0/0")
        .then(|| format!("the {kind} route {prefix}"))
}

fn right(title: String) -> Fix {
    Fix {
        title,
        commands: Vec::new(),
        file: None,
        cost: None,
        primary: false,
    }
}

/// Where the values are not known: what to look at, in words.
fn by_hand(case: &Case<'_>) -> Fix {
    let what = match &case.vrf {
        Some(vrf) if *vrf == case.dev.name => format!(
            "Find the device of VRF {vrf} that the packet came in by: its rp_filter counts, and the route back to {} \
             in the table of the VRF",
            case.source
        ),
        _ => format!(
            "Compare rp_filter of {} with the route back to {}",
            case.dev.name, case.source
        ),
    };
    right(what)
}

/// The packet's mark chooses the table on its way; this lets it do so for the way back as well.
fn src_valid_mark(case: &Case<'_>) -> Option<Fix> {
    case.mark_helps.then(|| Fix {
        title: format!(
            "Let the filter look up with the packet's mark ({:#x}), by whose rule the route back leaves by {}",
            case.drop.mark, case.dev.name
        ),
        commands: vec![case.inside(&set_key(&case.dev.name, "src_valid_mark", 1))],
        file: None,
        cost: Some("Lost at reboot.".into()),
        primary: false,
    })
}

/// The device has an address, so loose mode accepts any source with a route, and 2 wins over `all` = 1.
fn loosen(case: &Case<'_>) -> Fix {
    let title = match (case.spoof_suspected, case.origin.is_asymmetric()) {
        (true, false) => format!(
            "If {} really sends by {} (asymmetric path): use loose mode on {}",
            case.source, case.dev.name, case.dev.name
        ),
        _ => format!("Use loose mode on {}", case.dev.name),
    };
    Fix {
        title,
        commands: vec![case.inside(&set(&case.dev.name, 2))],
        file: None,
        cost: Some(format!(
            "Sources without any route are still refused; forged ones that have a route no longer are. Lost at reboot.{}",
            if case.of_all_devices() {
                " Another device of this case needs it too."
            } else {
                ""
            }
        )),
        primary: false,
    }
}

fn switch_off(case: &Case<'_>, e: &Effective) -> Fix {
    let mut commands = Vec::new();
    if e.all != 0 {
        // `all` cannot be lowered for one device: give the others a value of their own first.
        for device in case
            .leaning_on_all
            .iter()
            .map(String::as_str)
            .chain(["default"])
        {
            commands.push(case.inside(&set(device, e.all)));
        }
        commands.push(case.inside(&set("all", 0)));
    }
    if e.device != 0 {
        commands.push(case.inside(&set(&case.dev.name, 0)));
    }
    let keys = match (e.all != 0, e.device != 0) {
        (true, true) => format!(
            "all and {}: the larger counts, so one alone changes nothing",
            case.dev.name
        ),
        (true, false) => format!("all, as {} itself is 0 already", case.dev.name),
        _ => case.dev.name.clone(),
    };
    let mut cost = "Sources on this device are no longer checked. Lost at reboot.".to_owned();
    if case.kind == Kind::NoRoute {
        cost += &format!(
            " Take care: this alone lets the packet in, but what answers {} has no route either.",
            case.source
        );
    }
    if case.kind == Kind::LocalRoute {
        cost += " It helps as long as there are no policy rules and no local routes made by hand: with those the \
                 kernel asks for local routes always.";
    }
    if e.all != 0 && !case.leaning_on_all.is_empty() {
        cost += " The other devices keep their protection by values of their own";
        cost += if case.of_all_devices() {
            ": leave those of this case out."
        } else {
            "."
        };
    }
    Fix {
        title: format!("Switch the check off ({keys})"),
        commands,
        file: None,
        cost: Some(cost),
        primary: false,
    }
}

/// A sysctl.d file, for the host's own namespace.
fn persist(case: &Case<'_>) -> Option<Fix> {
    let remedy = case.files?.remedy.as_ref()?;
    let mut cost = "For the host's namespace; udev applies it to new devices too.".to_owned();
    if remedy.apply.is_none() {
        cost +=
            " There is no systemd-sysctl here to apply it now; what reads such files at boot will.";
    }
    for warning in &remedy.warnings {
        cost += &format!(" {warning}");
    }
    Some(Fix {
        title: "Keep it off for good".into(),
        commands: remedy.apply.iter().cloned().collect(),
        file: Some(File {
            path: remedy.path.clone(),
            content: remedy.content.clone(),
        }),
        cost: Some(cost),
        primary: false,
    })
}

/// A route that leads back by the device. It is a command only where it is known how the source is reached there.
fn route(case: &Case<'_>) -> Fix {
    let Case { dev, source, .. } = case;
    let table = match case.reverse.as_ref().and_then(|r| r.table) {
        // Routes that this look-up did not use would not be looked at before it.
        Some(table) if !matches!(table, 253..=255) => format!(" table {table}"),
        _ => String::new(),
    };
    let named = shell::quoted(&dev.name);
    let command = match case.via {
        _ if case.vrf.is_some() && table.is_empty() => None,
        Some(Via::OnLink) => Some(format!("ip route replace {source}/32 dev {named}{table}")),
        Some(Via::Gateway(gateway)) => Some(format!(
            "ip route replace {source}/32 via {gateway} dev {named}{table}"
        )),
        None => None,
    };
    let title = match (&command, case.spoof_suspected) {
        (Some(_), false) => format!("Give {source} a route of its own by {}", dev.name),
        (Some(_), true) => format!(
            "If {source} really is behind {}: give it a route of its own there",
            dev.name
        ),
        (None, _) => format!(
            "A route to {source} (or to its network) by {}, `via` the router there that sends its packets: which one \
             that is, is not known here",
            dev.name
        ),
    };
    Fix {
        title,
        commands: command.iter().map(|c| case.inside(c)).collect(),
        file: None,
        cost: command.is_some().then(|| {
            "One route per endpoint; in Cilium this is endpointRoutes.enabled. Traffic to it then takes that way too. \
             Lost at reboot."
                .into()
        }),
        primary: false,
    }
}

/// A dot in a device's name would be taken for a separator, so such keys are written with slashes.
fn set(device: &str, value: i32) -> String {
    set_key(device, "rp_filter", value)
}

fn set_key(device: &str, key: &str, value: i32) -> String {
    let word = if device.contains('.') {
        format!("net/ipv4/conf/{device}/{key}={value}")
    } else {
        format!("net.ipv4.conf.{device}.{key}={value}")
    };
    format!("sysctl -w {}", shell::quoted(&word))
}

impl Case<'_> {
    fn inside(&self, command: &str) -> String {
        shell::inside(self.netns, command)
    }
}
