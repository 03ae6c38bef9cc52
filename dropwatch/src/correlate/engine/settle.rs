//! Puts what was judged into its case, or into one for what is counted together.

use super::{
    super::{
        case::{CaseKey, NetnsId, Report, Seen},
        cases::New,
        pending::Pending,
    },
    Engine, Output,
    together::{beyond, rest},
};
use crate::{
    judge::{Answer, PLAIN},
    model::{anchor::Anchor, explanation::Explanation},
};

impl Engine {
    /// Puts what was judged into its case.
    pub(super) fn settle(
        &mut self,
        pending: Pending,
        cause: &'static str,
        answer: Answer,
        netns_name: Option<String>,
        now_ns: u64,
        out: &mut Vec<Output>,
    ) {
        let netns = netns_id(&pending.anchor);
        let mut explanation = answer.explanation;
        let mut counted = answer.counted;
        let mut key = CaseKey::Answer {
            netns,
            cause,
            key: answer.key,
        };
        let family = answer.family.map(|f| ((netns, f.key), f.title));
        if let Some((family, title)) = &family
            && self.cases.of_key(&key).is_none()
            && self.cases.is_large(family)
        {
            key = CaseKey::Rest {
                netns,
                family: family.1.clone(),
            };
            explanation = rest(title.clone());
            counted = None;
        }
        if let Some(case) = self.cases.of_key(&key) {
            let number = case.number;
            self.join(number, pending, now_ns, out);
            return;
        }
        let mut repeats = Vec::new();
        let room = self.cases.make_room(now_ns, &self.losses, &mut repeats);
        out.extend(repeats.into_iter().map(Output::Repeat));
        if !room {
            self.overflow(pending, now_ns, out);
            return;
        }
        let of_family = matches!(key, CaseKey::Answer { .. });
        let new = New {
            key,
            family: family.map(|(family, _)| family).filter(|_| of_family),
            cause: (cause != PLAIN).then_some(cause),
            title: counted.unwrap_or_else(|| explanation.title.clone()),
            of_drops: pending.anchor.drop().is_some(),
            seen: Seen::default(),
        };
        self.open(new, pending, explanation, netns_name, now_ns, out);
    }

    /// What there is no room for: counted under words that are true of everything, and judged by nobody.
    pub(super) fn overflow(&mut self, pending: Pending, now_ns: u64, out: &mut Vec<Output>) {
        if let Some(case) = self.cases.of_key(&CaseKey::Overflow) {
            case.last_ns = now_ns;
            case.seen.merge(pending.seen);
            return;
        }
        let explanation = beyond();
        let new = New {
            key: CaseKey::Overflow,
            family: None,
            cause: None,
            title: explanation.title.clone(),
            of_drops: true,
            seen: Seen::default(),
        };
        self.open(new, pending, explanation, None, now_ns, out);
    }

    fn open(
        &mut self,
        new: New,
        pending: Pending,
        explanation: Explanation,
        netns_name: Option<String>,
        now_ns: u64,
        out: &mut Vec<Output>,
    ) {
        let cause = new.cause;
        let blind = if cause.is_some() {
            Vec::new()
        } else {
            self.blind()
        };
        let number = self.cases.open(new, now_ns);
        out.push(Output::Report(Box::new(Report {
            case: number,
            cause,
            anchor: pending.anchor.clone(),
            netns_name,
            explanation,
            blind,
        })));
        self.join(number, pending, now_ns, out);
    }

    /// Adds what was seen to a case.
    pub(super) fn join(
        &mut self,
        number: u32,
        pending: Pending,
        now_ns: u64,
        out: &mut Vec<Output>,
    ) {
        let Some(case) = self.cases.get(number) else {
            return;
        };
        let Pending {
            class,
            anchor,
            mut seen,
            losses,
            not_followed,
            ..
        } = pending;
        if case.of_drops != anchor.drop().is_some() {
            // Drops that belong to an anomaly's case are no anomalies.
            seen.total = 0;
        }
        case.last_ns = case.last_ns.max(now_ns);
        case.seen.merge(seen);
        case.fates.not_followed(not_followed);
        for loss in losses {
            out.extend(self.following.lost(case, loss).map(Output::Ask));
        }
        if case.key != CaseKey::Overflow {
            self.memo.insert(class, number, now_ns);
        }
    }
}

fn netns_id(anchor: &Anchor) -> NetnsId {
    NetnsId {
        inum: anchor.netns(),
        cookie: anchor.netns_cookie(),
    }
}
