//! What to change.

use super::case::{Case, Kind};
use crate::{
    causes::shell,
    model::explanation::{File, Fix},
};

/// The changes that stop the drops, the first choice first.
pub fn fixes(case: &Case<'_>) -> Vec<Fix> {
    let mut fixes = Vec::new();
    if case.spoof_suspected {
        fixes.push(Fix {
            title: "Nothing: the filter kept a forged source out".into(),
            commands: Vec::new(),
            file: None,
            cost: Some(format!(
                "If {} really receives traffic from {} by design (asymmetric routing), accept it with \
                 rp_filter = 2 (loose) there.",
                case.dev.name, case.source
            )),
            primary: true,
        });
        return fixes;
    }
    if case.kind == Kind::StrictMismatch && case.has_address == Some(true) {
        fixes.push(loosen(case));
    }
    fixes.push(switch_off(case));
    if let Some(fix) = persist(case) {
        fixes.push(fix);
    }
    fixes.push(route(case));
    fixes[0].primary = true;
    fixes
}

/// The device has an address, so loose mode accepts any source with a route, and 2 wins over `all` = 1.
fn loosen(case: &Case<'_>) -> Fix {
    Fix {
        title: format!("Use loose mode on {}", case.dev.name),
        commands: vec![case.inside(&set(&case.dev.name, 2))],
        file: None,
        cost: Some("Sources without any route are still refused. Lost at reboot.".into()),
        primary: false,
    }
}

fn switch_off(case: &Case<'_>) -> Fix {
    let mut commands = Vec::new();
    let e = &case.effective;
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
    if e.all != 0 && !case.leaning_on_all.is_empty() {
        cost += " The other devices keep their protection by values of their own.";
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
        cost += " There is no systemd-sysctl here: it takes effect at the next boot.";
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

fn route(case: &Case<'_>) -> Fix {
    let command = format!(
        "ip route replace {}/32 dev {}",
        case.source,
        shell::quoted(&case.dev.name)
    );
    Fix {
        title: format!("Give {} a route of its own by {}", case.source, case.dev.name),
        commands: vec![case.inside(&command)],
        file: None,
        cost: Some(
            "One route per endpoint; in Cilium this is endpointRoutes.enabled. Traffic to it then takes \
             that way too."
                .into(),
        ),
        primary: false,
    }
}

/// A dot in a device's name would be taken for a separator, so such keys are written with slashes.
fn set(device: &str, value: i32) -> String {
    let word = if device.contains('.') {
        format!("net/ipv4/conf/{device}/rp_filter={value}")
    } else {
        format!("net.ipv4.conf.{device}.rp_filter={value}")
    };
    format!("sysctl -w {}", shell::quoted(&word))
}

impl Case<'_> {
    fn inside(&self, command: &str) -> String {
        shell::inside(self.netns, command)
    }
}
