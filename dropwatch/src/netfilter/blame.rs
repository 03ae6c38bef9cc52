//! Whether a packet was dropped because its mark was changed.

use super::{
    answer::Answer,
    candidates::{Candidate, Candidates},
    chains::Chains,
    judge::judge,
    packet::Packet,
    suspects::suspects,
};
use crate::facts::ruleset::{Rule, Ruleset, Subsystem, Test};

/// Rules that can have dropped a packet, by what its changed mark has to do with it.
#[derive(Clone, Debug, PartialEq)]
pub struct MarkBlame<'a> {
    /// They, or rules that jump to them, ask for a mark which it would not have had without the change.
    pub direct: Vec<Candidate<'a>>,
    /// Without the change another rule would have kept the packet from them.
    pub indirect: Vec<Candidate<'a>>,
    /// They can have dropped it without the change as well.
    pub independent: Vec<Candidate<'a>>,
    /// Whether all rules could be read and looked at.
    pub complete: bool,
}

impl<'a> MarkBlame<'a> {
    /// The rule that dropped it because of the change, if nothing else can have dropped it.
    #[must_use]
    pub fn certain(&self) -> Option<&Candidate<'a>> {
        let others = self.indirect.len() + self.independent.len();
        match self.direct.as_slice() {
            [one] if self.complete && others == 0 && one.matches == Answer::Yes => Some(one),
            _ => None,
        }
    }
}

/// What the mark of a packet that was dropped has to do with it, had its mark been `without_change`. As in
/// [`suspects`], `packet` is what it was at the drop.
#[must_use]
pub fn because_of_mark<'a>(
    set: &'a Ruleset,
    packet: &Packet,
    without_change: u32,
    only: Option<Subsystem>,
) -> MarkBlame<'a> {
    let unchanged = Packet {
        mark: Some(without_change),
        ..packet.clone()
    };
    let Candidates { list, complete } = suspects(set, packet, only);
    let otherwise = suspects(set, &unchanged, only);
    let chains = Chains::new(set);
    let mut blame = MarkBlame {
        direct: Vec::new(),
        indirect: Vec::new(),
        independent: Vec::new(),
        complete: complete && otherwise.complete,
    };
    for one in list {
        let same = otherwise.list.iter().any(|other| other.is_same(&one));
        if same {
            blame.independent.push(one);
        } else if refused(&one, &unchanged, &chains) {
            blame.direct.push(one);
        } else {
            blame.indirect.push(one);
        }
    }
    blame
}

/// Whether the rule, or one that jumps to it, asks for another mark than the packet's.
fn refused(one: &Candidate<'_>, packet: &Packet, chains: &Chains<'_>) -> bool {
    let bases = chains.bases(packet).into_iter();
    let mut same = bases.filter(|(at, _)| std::ptr::eq(chains.get(*at), one.base));
    let changed = same
        .next()
        .map_or(u32::MAX, |(at, _)| chains.changed_bits(at, packet));
    let refuses = |rule: &Rule, known| {
        let marks = rule
            .matches
            .iter()
            .filter(|one| matches!(one.test, Test::Mark(_)));
        marks
            .map(|one| judge(one, packet, known))
            .any(|answer| answer == Answer::No)
    };
    let on_path = one.path.iter().any(|step| refuses(step.rule, !changed));
    on_path || one.rule.is_some_and(|rule| refuses(rule, u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{KUBE_FIREWALL, legacy, tcp};
    use super::*;
    use crate::facts::ruleset::Hook;

    /// Brief lists of direct, indirect and independent ones, and whether one is certain.
    fn judged(rules: &str, mark: u32, without: u32) -> ([Vec<String>; 3], bool) {
        let set = legacy(rules);
        let packet = Packet {
            mark: Some(mark),
            ..tcp(Hook::Input)
        };
        let blame = because_of_mark(&set, &packet, without, None);
        let names = |list: &[Candidate<'_>]| -> Vec<String> {
            let texts = list
                .iter()
                .map(|one| one.rule.map_or("policy", |rule| &rule.text));
            texts
                .map(|text| text.rsplit("-A ").next().unwrap_or_default().to_owned())
                .collect()
        };
        let lists = [&blame.direct, &blame.indirect, &blame.independent].map(|list| names(list));
        (lists, blame.certain().is_some())
    }

    fn filter(lines: &str) -> String {
        format!("*filter\n:INPUT ACCEPT [0:0]\n:SUB - [0:0]\n{lines}COMMIT\n")
    }

    #[test]
    fn the_firewall_of_kubernetes_drops_because_of_the_mark() {
        let (lists, certain) = judged(KUBE_FIREWALL, 0x8000, 0);
        assert_eq!([lists[0].len(), lists[1].len(), lists[2].len()], [1, 0, 0]);
        assert!(lists[0][0].contains("dropping marked packets"));
        assert!(certain);
        let (lists, certain) = judged(KUBE_FIREWALL, 0x8001, 0x8000);
        assert_eq!(lists[2].len(), 1, "other bits were changed");
        assert!(!certain);
        assert_eq!(
            judged(KUBE_FIREWALL, 1, 0).0,
            [vec![], vec![], vec![]] as [Vec<String>; 3]
        );
    }

    #[test]
    fn a_mark_that_led_to_the_rule_counts() {
        let rules = filter("-A INPUT -m mark --mark 0x10/0x10 -j SUB\n-A SUB -j DROP\n");
        let (lists, certain) = judged(&rules, 0x10, 0);
        assert_eq!(lists, [vec!["SUB -j DROP".to_owned()], vec![], vec![]]);
        assert!(certain);
        let two_ways = filter(
            "-A INPUT -m mark --mark 0x10/0x10 -j SUB\n-A INPUT -m limit --limit 1/s -j SUB\n-A SUB -j DROP\n",
        );
        assert_eq!(
            judged(&two_ways, 0x10, 0).0[2].len(),
            1,
            "it may have come the other way"
        );
    }

    #[test]
    fn other_rules_that_can_have_dropped_it_leave_it_open() {
        let rules = filter(
            "-A INPUT -m limit --limit 1/s -j DROP\n-A INPUT -m mark --mark 0x10/0x10 -j DROP\n",
        );
        let (lists, certain) = judged(&rules, 0x10, 0);
        assert_eq!([lists[0].len(), lists[1].len(), lists[2].len()], [1, 0, 1]);
        assert!(!certain);
    }

    #[test]
    fn a_mark_that_no_longer_saves_is_indirect() {
        let rules = filter("-A INPUT -m mark --mark 0x1/0x1 -j ACCEPT\n-A INPUT -j DROP\n");
        let (lists, certain) = judged(&rules, 0, 1);
        assert_eq!(lists[1], ["INPUT -j DROP"]);
        assert!(!certain);
        let cleared = filter("-A INPUT -m mark ! --mark 0x1/0x1 -j DROP\n");
        assert!(
            judged(&cleared, 0, 1).1,
            "the rule asks for the bit that is gone"
        );
    }

    #[test]
    fn a_mark_set_by_a_rule_on_the_way_is_not_the_change() {
        let rules = filter(
            "-A INPUT -j MARK --set-xmark 0x10/0x10\n-A INPUT -m mark --mark 0x10/0x10 -j SUB\n-A SUB -j DROP\n",
        );
        let (lists, certain) = judged(&rules, 0x10, 0);
        assert_eq!(lists[0], [""; 0]);
        assert_eq!(lists[2], ["SUB -j DROP"]);
        assert!(!certain);
    }
}
