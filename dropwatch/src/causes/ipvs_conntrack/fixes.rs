//! What to change.

use super::{SYSCTL, case::Case};
use crate::{
    causes::shell,
    model::{
        explanation::{File, Fix},
        proto::Proto,
    },
};

/// Sorts behind what distributions bring.
const FILE: &str = "/etc/sysctl.d/90-ipvs-conntrack.conf";

/// The changes that end it, the one to take first.
pub(super) fn fixes(case: &Case<'_>) -> Vec<Fix> {
    let mut fixes = Vec::new();
    if case.older_entry() {
        fixes.push(wait(case));
    } else {
        fixes.push(sysctl(case));
    }
    let asked = case.asked();
    let c = case.connection();
    let own = format!(
        "ipvsadm -A {} {asked}{}",
        if c.proto == 17 { "-u" } else { "-t" },
        case.service()
            .map_or_else(String::new, |s| format!(" -s {}", s.scheduler))
    );
    fixes.push(Fix {
        title: format!(
            "A virtual service for {asked} itself, with the same real servers (`{own}`), in place of the rule"
        ),
        commands: Vec::new(),
        file: None,
        cost: Some("One service per public port; no conntrack entries for it.".into()),
        primary: false,
    });
    fixes.push(Fix {
        title: format!(
            "A fwmark service: mark {} to {asked} in mangle PREROUTING and give IPVS a service of that mark (`ipvsadm -A -f`), in \
             place of the rule",
            Proto(c.proto)
        ),
        commands: Vec::new(),
        file: None,
        cost: Some("Real servers must listen on the public port: nothing translates it any more.".into()),
        primary: false,
    });
    fixes
}

fn sysctl(case: &Case<'_>) -> Fix {
    let own = case.netns.is_some_and(|n| n.own);
    Fix {
        title: "Let IPVS keep conntrack entries".into(),
        commands: vec![shell::inside(
            case.netns,
            &format!("sysctl -w {SYSCTL}=1"),
        )],
        file: own.then(|| File {
            path: FILE.into(),
            content: format!(
                "# Replies of translated connections need the conntrack entry that IPVS throws away otherwise.\n\
                 # The key exists only once ip_vs is loaded: list ip_vs in /etc/modules-load.d as well.\n\
                 {SYSCTL} = 1\n"
            ),
        }),
        cost: Some(
            "Every connection through IPVS gets a conntrack entry: mind the table size (net.netfilter.nf_conntrack_max). \
             Connections that IPVS knows already stay as they are until they expire."
                .into(),
        ),
        primary: true,
    }
}

/// The sysctl is right; only time helps the entries from before.
fn wait(case: &Case<'_>) -> Fix {
    let when = case.expires_s().map_or_else(
        || "when it has expired".into(),
        |s| format!("in {s} s, if the client stays quiet: every packet starts the time anew"),
    );
    Fix {
        title: format!(
            "Nothing more: the entry goes {when}; until then the client has to use another source port"
        ),
        commands: Vec::new(),
        file: None,
        cost: Some(
            "`ipvsadm -Lnc` lists such entries; deleting the service does not remove them.".into(),
        ),
        primary: true,
    }
}
