//! Which bits of the mark the rules use.

use crate::facts::ruleset::{Chain, MarkChange, Rule, Ruleset, Target, Test};

/// Every bit of the mark that a rule asks for or sets, policy routing's included. A conntrack mark's bits count where rules copy them
/// to the mark. A rule that asks for something about the mark which is not understood uses all of them.
#[must_use]
pub fn used_mark_bits(set: &Ruleset) -> u32 {
    let rules = || set.chains.iter().flat_map(|chain: &Chain| &chain.rules);
    let of_entries = rules().fold(0, |bits, rule| bits | of_entry(rule));
    rules().fold(set.routing_marks, |bits, rule| {
        bits | of_packet(rule, of_entries)
    })
}

/// As many bits outside `used` as wanted: the lowest that are side by side, else the lowest ones. `None`
/// where there are not enough.
#[must_use]
pub fn propose_mask(used: u32, wanted: u32) -> Option<u32> {
    let free = !used;
    if wanted == 0 || free.count_ones() < wanted {
        return None;
    }
    let block = u32::MAX >> (32 - wanted);
    let mut places = (0..=32 - wanted).map(|shift| block << shift);
    if let Some(together) = places.find(|mask| mask & used == 0) {
        return Some(together);
    }
    let bits = (0..u32::BITS)
        .map(|bit| 1 << bit)
        .filter(|bit| free & bit != 0);
    Some(bits.take(wanted as usize).fold(0, |mask, bit| mask | bit))
}

/// Bits of the packet's mark that a rule uses, given those that are used of conntrack marks.
fn of_packet(rule: &Rule, of_entries: u32) -> u32 {
    let tests = rule.matches.iter().map(|one| match &one.test {
        Test::Mark(wanted) => wanted.mask,
        Test::Other(text) if text.contains("mark") => u32::MAX,
        _ => 0,
    });
    let targets = rule.targets.iter().map(|target| match target {
        Target::SetMark(change) => change.bits(),
        // What comes from the entry may be nothing.
        Target::RestoreMark(change) => {
            let MarkChange {
                clear,
                flip,
                unknown,
            } = *change;
            (clear & !unknown) | flip | (unknown & of_entries)
        }
        Target::Unknown(text) if text.contains("mark") => u32::MAX,
        _ => 0,
    });
    tests.chain(targets).fold(0, |bits, one| bits | one)
}

/// Bits of conntrack marks that a rule uses.
fn of_entry(rule: &Rule) -> u32 {
    let tests = rule.matches.iter().map(|one| match &one.test {
        Test::ConntrackMark(wanted) => wanted.mask,
        _ => 0,
    });
    let targets = rule.targets.iter().map(|target| match target {
        Target::SetConntrackMark(change) => change.bits(),
        _ => 0,
    });
    tests.chain(targets).fold(0, |bits, one| bits | one)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::samples::{KUBE_FIREWALL, legacy, nft, rule};
    use super::*;

    fn used(lines: &str) -> u32 {
        let chains = "*mangle\n:PREROUTING ACCEPT [0:0]\n";
        used_mark_bits(&legacy(&format!("{chains}{lines}COMMIT\n")))
    }

    #[test]
    fn what_rules_ask_for_and_set_is_used() {
        assert_eq!(used_mark_bits(&legacy(KUBE_FIREWALL)), 0xc000);
        assert_eq!(used("-A PREROUTING -m mark --mark 0x1/0xf -j DROP\n"), 0xf);
        assert_eq!(used("-A PREROUTING -m mark --mark 0x1 -j DROP\n"), u32::MAX);
        assert_eq!(used("-A PREROUTING -j MARK --set-xmark 0x4/0x0\n"), 4);
        assert_eq!(used("-A PREROUTING -j MARK --set-xmark 0x0/0xf0\n"), 0xf0);
        assert_eq!(used("-A PREROUTING -j LOG --log-prefix mark\n"), 0);
        assert_eq!(
            used("-A PREROUTING -m bpf --object-pinned /x/mark -j DROP\n"),
            u32::MAX
        );
    }

    #[test]
    fn rules_in_parts_use_no_more_than_they_say() {
        let mark = json!({"meta": {"key": "mark"}});
        let key = json!({"payload": {"protocol": "tcp", "field": "dport"}});
        let expressions = json!([
            {"match": {"op": "==", "left": {"&": [mark, 1]}, "right": 1}},
            {"mangle": {"key": mark, "value": {"|": [mark, 2]}}},
            {"match": {"op": "==", "left": key, "right": 80}},
            {"vmap": {"key": key, "data": "@ports"}}]);
        let chains = [("in", Some(("filter", "input", 0, "accept")))];
        let set = nft("inet", &chains, &[rule("in", 1, expressions)]);
        assert_eq!(used_mark_bits(&set), 3);
        let map = json!([{"vmap": {"key": mark, "data": "@marks"}}]);
        let set = nft("inet", &chains, &[rule("in", 1, map)]);
        assert_eq!(used_mark_bits(&set), u32::MAX);
    }

    #[test]
    fn conntrack_marks_count_where_they_are_restored() {
        let entry = "-A PREROUTING -j CONNMARK --set-xmark 0x3/0x3\n\
            -A PREROUTING -m connmark --mark 0x10/0x10 -j DROP\n\
            -A PREROUTING -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff\n";
        assert_eq!(used(entry), 0);
        let all =
            "-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff\n";
        assert_eq!(used(&format!("{entry}{all}")), 0x13);
        let some = "-A PREROUTING -j CONNMARK --restore-mark --nfmask 0x1 --ctmask 0x1\n";
        assert_eq!(used(&format!("{entry}{some}")), 1);
        assert_eq!(used(all), 0);
    }

    #[test]
    fn masks_are_the_lowest_that_are_free() {
        assert_eq!(propose_mask(0xc000, 1), Some(1));
        assert_eq!(propose_mask(0x3, 1), Some(4));
        assert_eq!(propose_mask(0b101, 2), Some(0b11000));
        assert_eq!(
            propose_mask(0x5555_5555, 2),
            Some(0b1010),
            "none are side by side"
        );
        assert_eq!(propose_mask(0, 32), Some(u32::MAX));
        assert_eq!(propose_mask(0x7fff_ffff, 1), Some(0x8000_0000));
        assert_eq!(propose_mask(u32::MAX, 1), None);
        assert_eq!(propose_mask(1, 32), None);
        assert_eq!(propose_mask(0, 0), None);
    }
}
