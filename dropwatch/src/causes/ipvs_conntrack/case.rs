//! Everything that is known of one wrong reply.

use dropwatch_common::record::ipvs::flag;
use serde_json::json;

use super::{
    SYSCTL,
    facts::{self, ClientDrop, ClientNetns, Facts, Reset, Service},
    fixes,
    memory::Memory,
    text,
};
use crate::{
    facts::{
        Netns,
        ipvs::{IpvsService, IpvsState},
        ruleset::Ruleset,
    },
    judge::View,
    model::{
        anchor::Drop,
        explanation::Explanation,
        ipvs::{Endpoint, IpvsConnection, IpvsReply, IpvsReset},
        proto::Proto,
    },
    netfilter::{self, NatRule, NatRuleFacts},
};

/// How long a client's reset is waited for: it comes a round trip after the reply.
const RESET_NS: u64 = 300_000_000;

/// How long a drop at a client on this machine is waited for.
const DROP_NS: u64 = 100_000_000;

/// `IPPROTO_TCP`.
const TCP: u8 = 6;

/// `IP_VS_CONN_F_*` (include/uapi/linux/ip_vs.h), those that say something about a connection here.
const FLAGS: [(u32, &str); 6] = [
    (0x0020, "sync"),
    (0x0040, "hashed"),
    (0x0100, "inactive"),
    (0x0800, "no_cport"),
    (0x2000, "one_packet"),
    (flag::NFCT, "nfct"),
];

/// Forwarding methods (`IP_VS_CONN_F_FWD_MASK`).
const METHODS: [&str; 5] = ["masq", "local", "tunnel", "direct_route", "bypass"];

/// A wrong reply, with what led to it and what came of it.
pub(super) struct Case<'a> {
    pub(super) reply: &'a IpvsReply,
    pub(super) netns: Option<&'a Netns>,
    pub(super) state: Option<&'a IpvsState>,
    pub(super) rule: Option<NatRule<'a>>,
    /// Whether the rules were read, and what of them could not be.
    rules: Option<&'a Ruleset>,
    pub(super) reset: Option<&'a IpvsReset>,
    pub(super) client_drop: Option<&'a Drop>,
}

impl<'a> Case<'a> {
    /// Reads all facts; what is pending is `None` for now.
    pub(super) fn read(reply: &'a IpvsReply, memory: &'a Memory, view: &View<'a>) -> Self {
        let c = &reply.connection;
        let netns = view.netns(reply.netns);
        let state = view.ipvs(reply.netns, c.client, c.service);
        let rules = view.ruleset(reply.netns);
        let reset = memory.reset_of(c, reply.time_ns);
        // The reply's own, not that of the reset which it earned.
        let client_drop = memory.drop_at_client(c);
        if c.proto == TCP && reset.is_none() {
            view.wait(RESET_NS);
        } else if c.proto != TCP && client_drop.is_none() {
            view.wait(DROP_NS);
        }
        Self {
            reply,
            netns,
            state,
            rule: rules.and_then(|set| netfilter::destination_rule(set, &reply.asked)),
            rules,
            reset,
            client_drop,
        }
    }

    pub(super) fn connection(&self) -> &IpvsConnection {
        &self.reply.connection
    }

    /// What the client asked for.
    pub(super) fn asked(&self) -> Endpoint {
        Endpoint {
            addr: self.reply.asked.dst,
            port: self.reply.asked.dport,
        }
    }

    /// The sysctl is on, but this connection is from before that: IPVS asks for it when it makes the entry.
    pub(super) fn older_entry(&self) -> bool {
        self.sysctl().is_some_and(|value| value != 0)
    }

    pub(super) fn sysctl(&self) -> Option<i32> {
        self.state.and_then(|s| s.conntrack)
    }

    pub(super) fn expires_s(&self) -> Option<u32> {
        self.state?.entry.as_ref()?.expires_s
    }

    /// The service's own settings.
    pub(super) fn service(&self) -> Option<&'a IpvsService> {
        let c = self.connection();
        let proto = Proto(c.proto).to_string();
        self.state?.services.iter().find(|s| {
            if c.fwmark != 0 {
                s.fwmark == c.fwmark
            } else {
                s.proto == proto && s.endpoint == Some(c.service)
            }
        })
    }

    pub(super) fn explain(&self, mut unknown: Vec<String>) -> Explanation {
        if self.rule.is_none() {
            unknown.push(format!("which rule translated it: {}", self.no_rule()));
            let unreadable = self.rules.into_iter().flat_map(|set| &set.unreadable);
            unknown.extend(unreadable.map(|one| one.why.clone()));
        }
        if self.sysctl().is_none() {
            unknown.push(format!("what {SYSCTL} is set to by now"));
        }
        if self.connection().proto == TCP && self.reset.is_none() {
            unknown.push(format!(
                "what the client makes of it: no reset came back within {} ms",
                RESET_NS / 1_000_000
            ));
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

    /// Why the rule is not known.
    fn no_rule(&self) -> &'static str {
        match self.rules {
            None => "the rules could not be read, or not in time",
            Some(set) if !set.unreadable.is_empty() => "not all rules could be read",
            Some(_) => "none of those that are loaded fits for sure",
        }
    }

    fn facts(&self) -> Facts {
        let c = self.connection();
        Facts {
            kind: facts::Kind::WrongSource,
            proto: Proto(c.proto),
            client: c.client,
            asked: self.asked(),
            answered: c.service,
            service: Service {
                addr: c.service.addr,
                port: c.service.port,
                fwmark: c.fwmark,
                scheduler: self.service().map(|s| s.scheduler.clone()),
            },
            real_server: c.real_server,
            flags: c.flags,
            flag_names: flag_names(c.flags),
            vs_conntrack: self.sysctl(),
            older_entry: self.older_entry(),
            expires_s: self.expires_s(),
            rule: self.rule.as_ref().map(NatRuleFacts::of),
            reset: self.reset.map(|r| Reset {
                after_ms: self.after_ms(r.time_ns),
            }),
            client_drop: self.client_drop.map(|d| ClientDrop {
                netns: ClientNetns { inum: d.netns },
                reason: d.reason.text(),
                location: d.location.text(),
                after_ms: self.after_ms(d.time_ns),
            }),
        }
    }

    /// Milliseconds after the reply.
    pub(super) fn after_ms(&self, time_ns: u64) -> f64 {
        time_ns.saturating_sub(self.reply.time_ns) as f64 / 1e6
    }
}

/// Names of a connection's flags, the forwarding method first.
pub(super) fn flag_names(flags: u32) -> Vec<&'static str> {
    let method = METHODS.get((flags & flag::METHOD) as usize).copied();
    let rest = FLAGS
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| *name);
    method.into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        facts::{
            Fact, FactKey,
            ruleset::{Subsystem, Unreadable},
        },
        judge::store::Store,
        model::{coverage::Coverage, tuple::Tuple},
    };

    fn reply() -> IpvsReply {
        let end = |last: u8, port: u16| Endpoint {
            addr: std::net::Ipv4Addr::new(192, 0, 2, last).into(),
            port,
        };
        IpvsReply {
            time_ns: 1,
            cpu: 0,
            netns: 7,
            hook: None,
            connection: IpvsConnection {
                proto: 17,
                client: end(1, 4000),
                service: end(2, 1000),
                real_server: end(3, 1000),
                flags: 0,
                fwmark: 0,
            },
            asked: Tuple {
                proto: 17,
                src: end(1, 4000).addr,
                dst: end(2, 1010).addr,
                sport: 4000,
                dport: 1010,
            },
        }
    }

    /// What is said when there is no more waiting.
    fn told(rules: Option<Ruleset>) -> Explanation {
        let mut store = Store::default();
        if let Some(set) = rules {
            store.insert(FactKey::Ruleset { netns: 7 }, Fact::Ruleset(set), 2);
        }
        let coverage = Coverage::default();
        let view = View::new(&store, &coverage, 1, 3, true);
        let reply = reply();
        let memory = Memory::default();
        let case = Case::read(&reply, &memory, &view);
        case.explain(view.unknown())
    }

    #[test]
    fn rules_that_were_not_read_are_not_said_to_be_none() {
        let unreadable = Ruleset {
            unreadable: vec![Unreadable {
                subsystem: Subsystem::NfTables,
                why: "nft is not installed".into(),
            }],
            ..Ruleset::default()
        };
        for (rules, why) in [
            (None, "the rules could not be read, or not in time"),
            (Some(unreadable), "not all rules could be read"),
            (
                Some(Ruleset::default()),
                "none of those that are loaded fits for sure",
            ),
        ] {
            let unknown = told(rules).unknown;
            let said = format!("which rule translated it: {why}");
            assert!(unknown.contains(&said), "{unknown:?}");
        }
    }

    #[test]
    fn a_sysctl_that_was_not_read_is_unknown_and_no_question_mark() {
        let told = told(None);
        let now = format!("what {SYSCTL} is set to by now");
        assert!(told.unknown.contains(&now), "{:?}", told.unknown);
        assert!(!told.summary.contains('?'), "{}", told.summary);
        // Nor is a scheduler made up.
        assert!(told.fixes.iter().all(|fix| !fix.title.contains(" -s ")));
    }

    #[test]
    fn the_method_is_a_number_and_the_rest_are_bits() {
        assert_eq!(flag_names(0x0100), ["masq", "inactive"]);
        assert_eq!(flag_names(0x1_0003), ["direct_route", "nfct"]);
        assert_eq!(flag_names(0x7), [""; 0]);
    }
}
