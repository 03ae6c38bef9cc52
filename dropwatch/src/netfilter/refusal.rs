//! What a queue had to do with a drop: a packet that it did not take, or that it lost.

use crate::{
    facts::queues::{Queue, Queues},
    model::anchor::Drop,
};

/// Why a queue's packet came back to be dropped although no program said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The queue was taken down: its program ended or unbound it.
    Queue,
    /// That is likely: nobody listens on the queue now.
    LikelyQueue,
    /// A device that the packet concerned went down.
    Device,
}

impl Gone {
    /// Of a packet that came back from queue `number` to be dropped; `None` where the program wanted it so, as far as is
    /// known. The functions are those of net/netfilter/nfnetlink_queue.c, 5.10 to 7.2.
    #[must_use]
    pub fn of(drop: &Drop, number: Option<u16>, queues: Option<&Queues>) -> Option<Self> {
        let called = |names: &[&str]| {
            let mut stack = drop.stack.iter();
            stack.any(|frame| names.iter().any(|name| frame.starts_with(name)))
        };
        if called(&["nfqnl_recv_verdict"]) {
            return None;
        }
        if called(&["nfqnl_dev_drop", "nfqnl_rcv_dev_event"]) {
            return Some(Self::Device);
        }
        let down = [
            "nfqnl_flush",
            "instance_destroy",
            "__instance_destroy",
            "nfqnl_rcv_nl_event",
        ];
        if called(&down) {
            return Some(Self::Queue);
        }
        let bound = queues?
            .queues
            .iter()
            .any(|queue| Some(queue.number) == number);
        (number.is_some() && !bound).then_some(Self::LikelyQueue)
    }
}

/// Why a packet could not be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// No program listens.
    NoListener,
    /// The program that listens has not said how much of a packet it wants, so it gets none.
    NoCopyMode(&'a Queue),
    /// As many packets wait as may.
    Full(&'a Queue),
    /// The program's socket has no room.
    SocketFull(&'a Queue),
    /// It was one of these, or another thing: nothing shows which.
    Unknown,
}

impl<'a> Refusal<'a> {
    /// Of the queues with these numbers.
    #[must_use]
    pub fn of(numbers: &[u16], queues: Option<&'a Queues>) -> Self {
        let Some(queues) = queues else {
            return Self::Unknown;
        };
        let named = |queue: &&Queue| numbers.contains(&queue.number);
        let bound: Vec<&Queue> = queues.queues.iter().filter(named).collect();
        if numbers.is_empty() {
            return Self::Unknown;
        }
        if bound.is_empty() {
            return Self::NoListener;
        }
        // It may have been one that nobody listens on.
        if !numbers
            .iter()
            .all(|number| bound.iter().any(|queue| queue.number == *number))
        {
            return Self::Unknown;
        }
        let deaf = |queue: &&Queue| queue.copy_mode == Some(0);
        if let Some(queue) = bound.iter().copied().find(deaf) {
            return match bound.iter().all(deaf) {
                true => Self::NoCopyMode(queue),
                false => Self::Unknown,
            };
        }
        let most = |count: fn(&Queue) -> u64| {
            let found = bound.iter().copied().max_by_key(|queue| count(queue));
            found.filter(|queue| count(queue) > 0)
        };
        let full = most(|queue| queue.dropped);
        let socket = most(|queue| queue.user_dropped);
        match (full, socket) {
            (Some(queue), _) => Self::Full(queue),
            (None, Some(queue)) => Self::SocketFull(queue),
            (None, None) => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(number: u16, copy_mode: u8, dropped: u64, user_dropped: u64) -> Queue {
        Queue {
            number,
            port: 1,
            holder: None,
            waiting: 0,
            copy_mode: Some(copy_mode),
            dropped,
            user_dropped,
        }
    }

    fn refused(queues: Vec<Queue>, numbers: &[u16]) -> &'static str {
        let queues = Queues { queues };
        match Refusal::of(numbers, Some(&queues)) {
            Refusal::NoListener => "no listener",
            Refusal::NoCopyMode(_) => "no copy mode",
            Refusal::Full(_) => "full",
            Refusal::SocketFull(_) => "socket full",
            Refusal::Unknown => "unknown",
        }
    }

    #[test]
    fn a_queue_is_full_only_if_its_counters_say_so() {
        for (queues, numbers, expected) in [
            (vec![], &[80][..], "no listener"),
            (vec![queue(81, 2, 5, 0)], &[80], "no listener"),
            (vec![queue(80, 2, 5, 1)], &[80], "full"),
            (vec![queue(80, 2, 0, 1)], &[80], "socket full"),
            (vec![queue(80, 2, 0, 0)], &[80], "unknown"),
            (vec![queue(80, 0, 0, 0)], &[80], "no copy mode"),
            (
                vec![queue(80, 0, 0, 0), queue(81, 2, 7, 0)],
                &[80, 81],
                "unknown",
            ),
            (vec![queue(80, 2, 7, 0)], &[80, 81], "unknown"),
            (vec![queue(80, 2, 7, 0)], &[], "unknown"),
        ] {
            assert_eq!(refused(queues, numbers), expected, "{numbers:?}");
        }
        assert_eq!(Refusal::of(&[80], None), Refusal::Unknown);
    }

    #[test]
    fn packets_that_a_queue_lost_are_told_from_the_programs_verdict() {
        let gone = |stack: &[&str], queues: Option<&Queues>| {
            let mut drop = crate::model::anchor::tests::drop();
            drop.stack = stack.iter().map(ToString::to_string).collect();
            Gone::of(&drop, Some(80), queues)
        };
        let bound = Queues {
            queues: vec![queue(80, 2, 0, 0)],
        };
        let none = Queues::default();
        // A program that ends right after its verdict gave one.
        let verdict = ["nfqnl_reinject", "nfqnl_recv_verdict", "nfnetlink_rcv_msg"];
        assert_eq!(gone(&verdict, Some(&none)), None);
        let down = ["nfqnl_reinject", "nfqnl_flush", "instance_destroy_rcu"];
        assert_eq!(gone(&down, None), Some(Gone::Queue));
        let inlined = [
            "nfqnl_reinject",
            "instance_destroy_work",
            "process_one_work",
        ];
        assert_eq!(gone(&inlined, Some(&bound)), Some(Gone::Queue));
        let device = ["nfqnl_reinject", "nfqnl_flush", "nfqnl_dev_drop"];
        assert_eq!(gone(&device, Some(&bound)), Some(Gone::Device));
        assert_eq!(gone(&[], Some(&bound)), None);
        assert_eq!(gone(&[], Some(&none)), Some(Gone::LikelyQueue));
        assert_eq!(gone(&[], None), None);
    }
}
