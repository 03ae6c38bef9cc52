//! What to change.

use super::{
    case::Case,
    render::{Language, Rendered, Way, render},
};
use crate::{
    causes::shell,
    facts::ruleset::{Backend, Family, Match, Rule, Target},
    model::{explanation::Fix, hook::Hook},
    netfilter::Candidate,
};

/// The changes that end it, the one to take first.
pub(super) fn fixes(case: &Case<'_>) -> Vec<Fix> {
    // First what can be done at once, even where it reaches further than the queue: it says so.
    let mut fixes: Vec<Fix> = restore(case).into_iter().collect();
    fixes.push(mask(case));
    fixes[0].primary = true;
    fixes
}

/// A rule just before the one that looks at the mark, which gives the bits back the values that they were queued
/// with.
fn restore(case: &Case<'_>) -> Option<Fix> {
    let one = case.rule()?;
    let hook = one.base.base.as_ref()?.hook;
    let bits = case.deadly();
    let value = case.change.before & bits;
    let language = match one.chain.backend {
        Backend::Nft => Language::Nft,
        Backend::IptablesLegacy | Backend::IptablesNft => Language::Iptables,
    };
    let same = match &case.queue_rule {
        Some(queued) => queued_tests(case, queued, language, hook),
        None => Rendered::default(),
    };
    let first = one.path.first().map(|step| step.rule).or(one.rule)?;
    let command = match language {
        Language::Iptables => iptables(one, first, &same.text, bits, value)?,
        Language::Nft => nft(one, first, &same.text, bits, value)?,
    };
    let reach = if same.complete {
        "It touches what the queue's rule asks for, queued or not, and nothing else"
    } else {
        "What the queue's rule asks for could not be said in full: it also touches packets that were never queued"
    };
    Some(Fix {
        title: format!(
            "Give bits {bits:#x} back the value {value:#x} before the rule looks at them"
        ),
        commands: vec![shell::inside(case.netns, &command)],
        file: None,
        cost: Some(format!(
            "{reach}. Of those, what another rule marks with these bits before the queue is no longer dropped either. Add \
             it to what makes the rules at boot; the lasting cure is the program's mask."
        )),
        primary: false,
    })
}

/// What the rules ask for that lead to the queue.
fn queued_tests(case: &Case<'_>, queued: &Candidate<'_>, language: Language, to: Hook) -> Rendered {
    let at = queued.base.base.as_ref().map(|base| base.hook);
    let way = Way {
        language,
        to,
        translated: at != Some(to) && translates(case),
        changed: case.change.bits(),
        l3: case.drop.packet.as_ref().map_or(4, |p| p.l3),
    };
    let steps = queued.path.iter().map(|step| step.rule);
    let tests = steps.chain(queued.rule).flat_map(|rule| &rule.matches);
    let tests: Vec<&Match> = tests.collect();
    render(tests.into_iter(), way)
}

/// Whether any rule translates addresses.
fn translates(case: &Case<'_>) -> bool {
    let rules = case.set.chains.iter().flat_map(|chain| &chain.rules);
    let mut targets = rules.flat_map(|rule| &rule.targets);
    targets.any(|target| matches!(target, Target::Nat(_)))
}

fn iptables(
    one: &Candidate<'_>,
    first: &Rule,
    same: &str,
    bits: u32,
    value: u32,
) -> Option<String> {
    let table = one.base.table.rsplit(' ').next()?;
    let number = number(one, first)?;
    let same = spaced(same);
    Some(format!(
        "{} -w -t {table} -I {} {number} {same}-j MARK --set-xmark {value:#x}/{bits:#x}",
        one.chain.program(),
        one.base.name
    ))
}

/// The rule's number in its base chain, from 1.
fn number(one: &Candidate<'_>, first: &Rule) -> Option<usize> {
    let rules = &one.base.rules;
    let at = rules.iter().position(|rule| std::ptr::eq(rule, first))?;
    Some(at + 1)
}

fn nft(one: &Candidate<'_>, first: &Rule, same: &str, bits: u32, value: u32) -> Option<String> {
    let handle = first.handle?;
    let version = match one.chain.family {
        Family::Inet | Family::Ip | Family::Ip6 => spaced(same),
        _ => return None,
    };
    let keep = !bits;
    let set = match value {
        0 => format!("meta mark and {keep:#x}"),
        _ => format!("meta mark and {keep:#x} or {value:#x}"),
    };
    // Braces and quotes of nft's language are safe in a word of their own.
    let rule = format!(
        "insert rule {} {} handle {handle} {version}meta mark set {set}",
        one.base.table, one.base.name
    );
    Some(format!("nft {}", shell::quoted(&rule)))
}

fn spaced(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!("{text} "),
    }
}

/// What the program should do.
fn mask(case: &Case<'_>) -> Fix {
    let process = &case.change.back.process;
    // Of what could not be read nobody knows.
    let rules = if case.set.unreadable.is_empty() {
        "no rule here"
    } else {
        "none of the rules that could be read"
    };
    let title = match case.free_mask() {
        Some(free) => format!(
            "Let {} use bits that {rules} uses: mask {free:#x} instead of {:#x}, and leave the others as they came \
             (mark = old & {:#x} | value)",
            process.comm,
            case.change.bits(),
            !free
        ),
        None => format!(
            "Let {} leave the mark alone: the rules here use every bit",
            process.comm
        ),
    };
    Fix {
        title,
        commands: Vec::new(),
        file: None,
        cost: Some(
            "A change of the program's configuration or code (nfq_set_verdict2, NFQA_MARK). Rules that are loaded later \
             may use other bits."
                .into(),
        ),
        primary: false,
    }
}
