//! What a rule that iptables-save printed does.

use super::words::{masked, number};
use crate::facts::ruleset::{MarkChange, Nat, NatAction, Target};

/// Targets that let every packet go on, and that change nothing rules are judged by.
const HARMLESS: [&str; 21] = [
    "LOG",
    "NFLOG",
    "ULOG",
    "TRACE",
    "AUDIT",
    "CT",
    "NOTRACK",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TOS",
    "DSCP",
    "TTL",
    "HL",
    "CLASSIFY",
    "CHECKSUM",
    "SET",
    "LED",
    "RATEEST",
    "SECMARK",
    "CONNSECMARK",
    "TEE",
];

/// What the words from `-j` or `-g` on do. `is_chain` says whether the table has a chain of a name.
pub(super) fn targets(words: &[String], is_chain: impl Fn(&str) -> bool) -> Vec<Target> {
    let [option, name, options @ ..] = words else {
        return Vec::new();
    };
    if option == "-g" {
        return vec![Target::Goto(name.clone())];
    }
    if is_chain(name) {
        return vec![Target::Jump(name.clone())];
    }
    if HARMLESS.contains(&name.as_str()) {
        return Vec::new();
    }
    let options = Options(options);
    let unknown = || Target::Unknown(words.join(" "));
    if let Some(action) = NatAction::by_name(name) {
        return vec![Target::Nat(nat(action, &options))];
    }
    vec![match name.as_str() {
        "ACCEPT" => Target::Accept,
        "DROP" => Target::Drop,
        "REJECT" => Target::Reject,
        "RETURN" => Target::Return,
        "QUEUE" | "NFQUEUE" => queue(&options).unwrap_or_else(unknown),
        "MARK" => Target::SetMark(mark(&options)),
        "HMARK" => Target::SetMark(ANYTHING),
        "CONNMARK" => connmark(&options),
        // It marks what has a listener and drops the rest.
        "TPROXY" => {
            let change = options.masked("--tproxy-mark").map(xor);
            let mark = Target::SetMark(change.unwrap_or_default());
            return vec![mark, unknown()];
        }
        _ => unknown(),
    }]
}

const ANYTHING: MarkChange = MarkChange {
    clear: u32::MAX,
    flip: 0,
    unknown: u32::MAX,
};

/// A target's options.
struct Options<'a>(&'a [String]);

impl Options<'_> {
    fn has(&self, option: &str) -> bool {
        self.0.iter().any(|word| word == option)
    }

    fn value(&self, option: &str) -> Option<&str> {
        let place = self.0.iter().position(|word| word == option)?;
        self.0.get(place + 1).map(String::as_str)
    }

    fn masked(&self, option: &str) -> Option<(u32, u32)> {
        masked(self.value(option)?)
    }
}

/// `--set-xmark`: clears the mask, then flips the value.
fn xor((value, mask): (u32, u32)) -> MarkChange {
    MarkChange {
        clear: mask,
        flip: value,
        unknown: 0,
    }
}

/// The options of MARK and of CONNMARK that give a value (libxt_MARK.c: all are a mask and a value).
fn mark(options: &Options<'_>) -> MarkChange {
    let number = |option| options.value(option).and_then(number);
    let change = options
        .masked("--set-xmark")
        .map(xor)
        // Clears the bits of both.
        .or_else(|| {
            options
                .masked("--set-mark")
                .map(|(value, mask)| xor((value, mask | value)))
        })
        .or_else(|| number("--or-mark").map(|bits| xor((bits, bits))))
        .or_else(|| number("--and-mark").map(|bits| xor((0, !bits))))
        .or_else(|| number("--xor-mark").map(|bits| xor((bits, 0))));
    change.unwrap_or(ANYTHING)
}

fn connmark(options: &Options<'_>) -> Target {
    if options.has("--save-mark") {
        return Target::SaveMark;
    }
    if !options.has("--restore-mark") {
        return Target::SetConntrackMark(mark(options));
    }
    let mask = |option| {
        let given = options.value(option).or_else(|| options.value("--mask"));
        given.map_or(Some(u32::MAX), number).unwrap_or(u32::MAX)
    };
    // The bits of the conntrack mark come in by exclusive or.
    Target::RestoreMark(MarkChange {
        clear: mask("--nfmask"),
        flip: 0,
        unknown: mask("--ctmask"),
    })
}

fn queue(options: &Options<'_>) -> Option<Target> {
    let (first, last) = match options.value("--queue-balance") {
        Some(span) => {
            let (first, last) = span.split_once(':')?;
            (first.parse().ok()?, last.parse().ok()?)
        }
        None => {
            let number = options.value("--queue-num").unwrap_or("0").parse().ok()?;
            (number, number)
        }
    };
    Some(Target::Queue {
        first,
        last,
        bypass: options.has("--queue-bypass"),
    })
}

fn nat(action: NatAction, options: &Options<'_>) -> Nat {
    let to = ["--to-source", "--to-destination", "--to"];
    let addresses = to.iter().find_map(|option| options.value(option));
    let ports = options.value("--to-ports").map(|ports| format!(":{ports}"));
    Nat {
        action,
        to: addresses.map(str::to_owned).or(ports),
        fully_random: options.has("--random-fully"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    fn read(text: &str) -> Vec<Target> {
        targets(&words(text), |name| name == "KUBE-FIREWALL")
    }

    fn change(clear: u32, flip: u32, unknown: u32) -> MarkChange {
        MarkChange {
            clear,
            flip,
            unknown,
        }
    }

    #[test]
    fn marks_are_one_formula() {
        for (text, expected) in [
            ("--set-xmark 0x8000/0x8000", change(0x8000, 0x8000, 0)),
            ("--set-xmark 0x7/0xffffffff", MarkChange::to(7)),
            ("--set-xmark 0x4/0x0", change(0, 4, 0)),
            ("--set-mark 0x4/0x3", change(7, 4, 0)),
            ("--or-mark 0x4", change(4, 4, 0)),
            ("--and-mark 0xff", change(0xffff_ff00, 0, 0)),
            ("--xor-mark 0x4", change(0, 4, 0)),
            ("--new-option", ANYTHING),
        ] {
            let expected = vec![Target::SetMark(expected)];
            assert_eq!(read(&format!("-j MARK {text}")), expected, "{text}");
        }
    }

    #[test]
    fn conntrack_marks_are_set_saved_and_restored() {
        let restored = |clear, unknown| vec![Target::RestoreMark(change(clear, 0, unknown))];
        let all = u32::MAX;
        assert_eq!(
            read("-j CONNMARK --restore-mark --nfmask 0xff --ctmask 0x0f"),
            restored(0xff, 0xf)
        );
        assert_eq!(read("-j CONNMARK --restore-mark"), restored(all, all));
        assert_eq!(
            read("-j CONNMARK --restore-mark --mask 0x3"),
            restored(3, 3)
        );
        assert_eq!(
            read("-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff"),
            [Target::SaveMark]
        );
        assert_eq!(
            read("-j CONNMARK --set-xmark 0x3/0x3"),
            [Target::SetConntrackMark(change(3, 3, 0))]
        );
    }

    #[test]
    fn verdicts_queues_and_chains() {
        let queue = |first, last, bypass| {
            vec![Target::Queue {
                first,
                last,
                bypass,
            }]
        };
        assert_eq!(read("-j NFQUEUE --queue-num 80"), queue(80, 80, false));
        assert_eq!(
            read("-j NFQUEUE --queue-balance 80:83 --queue-bypass"),
            queue(80, 83, true)
        );
        assert_eq!(read("-j QUEUE"), queue(0, 0, false));
        assert_eq!(
            read("-j KUBE-FIREWALL"),
            [Target::Jump("KUBE-FIREWALL".into())]
        );
        assert_eq!(
            read("-g KUBE-FIREWALL"),
            [Target::Goto("KUBE-FIREWALL".into())]
        );
        assert_eq!(read("-j REJECT --reject-with tcp-reset"), [Target::Reject]);
        assert_eq!(read("-j LOG --log-prefix \"x -j DROP \""), []);
        assert_eq!(
            read("-j SYNPROXY --mss 1"),
            [Target::Unknown("-j SYNPROXY --mss 1".into())]
        );
        let tproxy = read("-j TPROXY --on-port 1 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1");
        assert_eq!(tproxy[0], Target::SetMark(change(1, 1, 0)));
        assert!(matches!(tproxy[1], Target::Unknown(_)));
        assert_eq!(read(""), []);
    }

    #[test]
    fn translations() {
        let nat = |text: &str| match read(text).pop() {
            Some(Target::Nat(nat)) => (nat.action, nat.to, nat.fully_random),
            other => panic!("{other:?}"),
        };
        let to = |text: &str| Some(text.to_owned());
        assert_eq!(
            nat("-j MASQUERADE --random-fully"),
            (NatAction::Masquerade, None, true)
        );
        assert_eq!(
            nat("-j MASQUERADE --to-ports 1-2"),
            (NatAction::Masquerade, to(":1-2"), false)
        );
        assert_eq!(
            nat("-j SNAT --to-source 192.0.2.1:4-5 --random-fully --persistent"),
            (NatAction::Snat, to("192.0.2.1:4-5"), true)
        );
        assert_eq!(
            nat("-j DNAT --to-destination 10.0.0.5:8080"),
            (NatAction::Dnat, to("10.0.0.5:8080"), false)
        );
        assert_eq!(
            nat("-j NETMAP --to 10.0.0.0/24"),
            (NatAction::Netmap, to("10.0.0.0/24"), false)
        );
    }
}
