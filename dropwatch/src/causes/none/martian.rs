//! Sources that were refused for what they are, in words.

use crate::{
    causes::source_check::{self, Martian, MartianKind, Prefix},
    judge::View,
    model::{
        anchor::Drop,
        explanation::{Line, Source},
    },
};

/// What there is to say.
pub struct Said {
    /// What kind of source it is.
    pub kind: MartianKind,
    /// What happened.
    pub what: String,
    /// Where to look next, for [`crate::reasons::hint::fill`].
    pub look: Option<String>,
    /// Proof.
    pub lines: Vec<Line>,
}

const SENDER: &str = "who sends it: a forged or looped packet (`tcpdump -e -nn -i {dev|any} src host {src}` shows its MAC address)";
const TWICE: &str = "who sends it: a packet that came back, or an address configured twice \
                     (`tcpdump -e -nn -i {dev|any} src host {src}` shows its MAC address); \
                     `sysctl net.ipv4.conf.{dev|all}.accept_local` allows it where rp_filter is not strict (1)";

/// Explains the source of a drop; `None` when it was not the matter, or while facts are pending.
pub fn explain(drop: &Drop, view: &View<'_>) -> Option<Said> {
    let martian = source_check::martian(drop, view)?;
    let source = drop.packet.as_ref()?.src;
    let mode = drop.source_check.as_ref().and_then(|check| check.mode);
    let always = "the kernel refuses it as martian, whatever rp_filter says. This is not the reverse-path filter.";
    let value = mode.map_or(0, |mode| mode.effective());
    let (what, look) = match &martian {
        Martian::Loopback => (
            format!("is a loopback address, which must not come from a wire: {always}"),
            SENDER,
        ),
        Martian::Multicast => (
            format!("is a multicast address, which no packet may come from: {always}"),
            SENDER,
        ),
        Martian::LimitedBroadcast => (
            format!("is a broadcast address, which no packet may come from: {always}"),
            SENDER,
        ),
        Martian::Zero => (
            format!("is in 0.0.0.0/8, which may only be sent to all (255.255.255.255) or to groups: {always}"),
            SENDER,
        ),
        Martian::OwnAddress(dev) => (
            format!("is an own address of this host (on {dev}): {always}"),
            TWICE,
        ),
        Martian::LocalRoute(route) => (
            format!(
                "is {}. With the policy rules or local routes that were made by hand here, the kernel asks for such \
                 routes whatever rp_filter says.",
                inside(route)
            ),
            TWICE,
        ),
        Martian::ByFilter(route) => (
            format!(
                "is {}. The kernel only asks for such routes because rp_filter = {value} here.",
                inside(route)
            ),
            SENDER,
        ),
        Martian::Unclear(route) => (
            format!(
                "is {}. Whether the kernel would let it in with rp_filter = 0 is not known.",
                inside(route)
            ),
            TWICE,
        ),
        Martian::OfLocalRoute(route) => (
            format!(
                "is covered by a route of type {}{}: the kernel takes it for its own. Whether it is an address of this \
                 host, and what rp_filter has to do with it, is not known.",
                route.kind,
                match &route.prefix {
                    Some(prefix) => format!(" ({prefix})"),
                    None => String::new(),
                }
            ),
            TWICE,
        ),
        Martian::Unknown => (
            "was refused as an address of this host or one that no packet may come from; what it is could not be \
             found out, or has changed since."
                .to_owned(),
            TWICE,
        ),
    };
    let asked = matches!(
        martian,
        Martian::Loopback
            | Martian::Multicast
            | Martian::LimitedBroadcast
            | Martian::Zero
            | Martian::OwnAddress(_)
            | Martian::LocalRoute(_)
    );
    let lines = mode.filter(|_| asked).map(|mode| Line {
        label: "rp_filter".into(),
        text: format!("{} in effect, and no part of this check", mode.effective()),
        source: Source::Kernel,
    });
    Some(Said {
        kind: martian.kind(),
        what: format!("The source {source} {what}"),
        look: Some(look.to_owned()),
        lines: lines.into_iter().collect(),
    })
}

/// Where the source lies.
fn inside(route: &Prefix) -> String {
    let prefix = route
        .prefix
        .as_deref()
        .unwrap_or("a prefix that is not known");
    let dev = match &route.dev {
        Some(dev) => format!(" by {dev}"),
        None => String::new(),
    };
    match route.kind.as_str() {
        "broadcast" => {
            format!("a broadcast address (route {prefix}{dev}), which no packet may come from")
        }
        "local" => format!(
            "no address of this host, but inside {prefix}, a route of type local{dev}: the kernel takes all of it for \
             its own"
        ),
        other => format!("inside {prefix}, a route of type {other}{dev}"),
    }
}
