//! The explanation in words.

use super::{
    SYSCTL,
    case::{Case, flag_names},
};
use crate::model::{
    explanation::{Line, Source},
    hook::Hook,
    proto::Proto,
};

/// Reads well after a count.
pub(super) fn title(case: &Case<'_>) -> String {
    format!(
        "answered from {} by IPVS although {} was asked",
        case.connection().service,
        case.asked()
    )
}

/// What happened, in this instance.
pub(super) fn summary(case: &Case<'_>) -> String {
    let c = case.connection();
    let why = if case.older_entry() {
        format!(
            "{SYSCTL} is on by now, but IPVS asks for it only when it makes its entry for a connection, and this \
             entry is older"
        )
    } else {
        // Its entry tells what it was then: IPVS asks for it when it makes one.
        let value = match case.sysctl() {
            Some(value) => format!("{SYSCTL} = {value}"),
            None => format!("{SYSCTL} off when it made its entry for the connection"),
        };
        format!(
            "IPVS, with {value}, threw away the conntrack entry that the translation needs for the way back"
        )
    };
    let came = match (case.reset, case.client_drop) {
        (Some(_), _) => "; the client knows no such connection and reset it".into(),
        (None, Some(drop)) => match drop.reason.name.as_deref() {
            Some("NO_SOCKET") => "; the client has no socket for it and dropped it".into(),
            Some(reason) => format!("; it was dropped on its way ({reason})"),
            None => format!("; it was dropped on its way ({})", drop.reason.number),
        },
        (None, None) => String::new(),
    };
    format!(
        "{} asked for {}, which was translated to the IPVS service {}. The reply of real server {} leaves from {}: \
         {why}{came}.",
        c.client,
        case.asked(),
        c.service,
        c.real_server,
        c.service
    )
}

/// The lines of proof.
pub(super) fn evidence(case: &Case<'_>) -> Vec<Line> {
    let c = case.connection();
    let mut lines = Vec::new();
    let mut line = |label: &str, text: String, source| {
        lines.push(Line {
            label: label.into(),
            text,
            source,
        });
    };
    let proto = Proto(c.proto);
    line(
        "asked",
        format!("{proto} {} -> {}", c.client, case.asked()),
        Source::Kernel,
    );
    line(
        "answered",
        format!(
            "{proto} {} -> {}, at hook {}; expected from {}",
            c.service,
            c.client,
            case.reply.hook.map_or("?", Hook::name),
            case.asked()
        ),
        Source::Kernel,
    );
    line(
        "verdict",
        format!(
            "IPVS connection without IP_VS_CONN_F_NFCT (flags {:#x}: {}): its conntrack entry, with a destination \
             translation on it, was detached",
            c.flags,
            flag_names(c.flags).join(", ")
        ),
        Source::Kernel,
    );
    if let Some(reset) = case.reset {
        line(
            "reset",
            format!(
                "the client's RST for {} came {:.1} ms after the reply",
                c.service,
                case.after_ms(reset.time_ns)
            ),
            Source::Kernel,
        );
    }
    if let Some(drop) = case.client_drop {
        line(
            "at client",
            format!(
                "the reply was dropped in netns {}: {} in {}, {:.1} ms after it",
                drop.netns,
                drop.reason.text(),
                drop.location.text(),
                case.after_ms(drop.time_ns)
            ),
            Source::Kernel,
        );
    }
    if let Some(rule) = &case.rule {
        line("rule", rule.words(), Source::Config);
    }
    let scheduler = case
        .service()
        .map_or(String::new(), |s| format!(", scheduler {}", s.scheduler));
    let mark = match c.fwmark {
        0 => String::new(),
        mark => format!(", fwmark {mark}"),
    };
    line(
        "service",
        format!(
            "{proto} {}{mark}{scheduler}; real server {}",
            c.service, c.real_server
        ),
        Source::Config,
    );
    if let Some(value) = case.sysctl() {
        line("in effect", format!("{SYSCTL} = {value}"), Source::Config);
    }
    if let Some(seconds) = case.expires_s() {
        line(
            "entry",
            format!("IPVS keeps the connection for another {seconds} s"),
            Source::Config,
        );
    }
    lines
}
