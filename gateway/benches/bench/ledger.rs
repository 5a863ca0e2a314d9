//! The books of one phase: what was sent, what was accepted, what arrived and when.
//!
//! The load and the sink run on one thread, so they share one ledger and one clock, and a message
//! needs to carry no more than its number. Messages of an earlier phase that arrive late are
//! recognised by the phase in their number, and counted apart.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::histogram::Histogram;

/// The ledger as the load and the sink hold it.
pub(crate) type Shared = Rc<RefCell<Ledger>>;

/// What happened to every message of a phase.
pub(crate) struct Ledger {
    phase: u16,
    endpoints: usize,
    pub(crate) began: Instant,
    /// By message number.
    sent: Vec<Sent>,
    /// How often each message reached each endpoint: by message number, then endpoint.
    arrivals: Vec<u8>,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) delivered: u64,
    pub(crate) duplicated: u64,
    /// Arrivals that belong to no message of this phase.
    pub(crate) strays: u64,
    last_arrival: Instant,
    pub(crate) accept: Histogram,
    pub(crate) arrival: Histogram,
}

struct Sent {
    /// `None` when it was sent before the books were opened: its way is not timed.
    at: Option<Instant>,
    accepted: bool,
}

impl Ledger {
    /// Empty books for messages that should reach `endpoints` each.
    pub(crate) fn new(phase: u16, endpoints: usize) -> Self {
        let now = Instant::now();
        Self {
            phase,
            endpoints,
            began: now,
            sent: Vec::new(),
            arrivals: Vec::new(),
            accepted: 0,
            refused: 0,
            delivered: 0,
            duplicated: 0,
            strays: 0,
            last_arrival: now,
            accept: Histogram::default(),
            arrival: Histogram::default(),
        }
    }

    pub(crate) fn phase(&self) -> u16 {
        self.phase
    }

    /// Enters a message about to be sent; its number.
    pub(crate) fn send(&mut self, at: Instant) -> usize {
        self.enter(Sent { at: Some(at), accepted: false })
    }

    /// Enters a message that waits somewhere already, and that a gateway is certain to accept.
    pub(crate) fn expect(&mut self) {
        self.enter(Sent { at: None, accepted: true });
        self.accepted += 1;
    }

    fn enter(&mut self, sent: Sent) -> usize {
        self.sent.push(sent);
        self.arrivals.resize(self.sent.len() * self.endpoints, 0);
        self.sent.len() - 1
    }

    /// Enters the gateway's answer to a message.
    pub(crate) fn answer(&mut self, number: usize, accepted: bool, at: Instant) {
        if !accepted {
            self.refused += 1;
            return;
        }
        let sent = &mut self.sent[number];
        sent.accepted = true;
        self.accepted += 1;
        if let Some(since) = sent.at {
            self.accept.record(at - since);
        }
    }

    /// Enters a delivery that reached an endpoint.
    pub(crate) fn arrive(&mut self, numbers: Option<(u16, usize)>, endpoint: usize, at: Instant) {
        let known = numbers.filter(|&(phase, number)| {
            phase == self.phase && number < self.sent.len() && endpoint < self.endpoints
        });
        let Some((_, number)) = known else {
            self.strays += 1;
            return;
        };
        let times = &mut self.arrivals[number * self.endpoints + endpoint];
        *times = times.saturating_add(1);
        if *times > 1 {
            self.duplicated += 1;
            return;
        }
        self.delivered += 1;
        self.last_arrival = at;
        if let Some(since) = self.sent[number].at {
            self.arrival.record(at - since);
        }
    }

    /// Whether as much has arrived as was accepted.
    pub(crate) fn is_drained(&self) -> bool {
        self.delivered >= self.accepted * self.endpoints as u64
    }

    /// The deliveries of accepted messages that did not arrive.
    pub(crate) fn lost(&self) -> u64 {
        let missing = |(message, arrivals): (&Sent, &[u8])| match message.accepted {
            true => arrivals.iter().filter(|&&times| times == 0).count() as u64,
            false => 0,
        };
        self.sent.iter().zip(self.arrivals.chunks(self.endpoints)).map(missing).sum()
    }

    /// From the beginning of the phase to its last arrival.
    pub(crate) fn span(&self) -> Duration {
        self.last_arrival - self.began
    }
}
