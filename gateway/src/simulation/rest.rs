//! When receivers are to be left alone, worked out once more from what they answered: an open breaker lets nothing out
//! before its time, and then one trial at a time; and who asked for a pause has it. Where it is not known how long the gateway
//! waits, for its times have a random part, the shortest counts.

use crate::{
    deliver::breaker,
    model::{
        attempt::{Failure, Outcome},
        delivery::DeliveryKey,
        id::EndpointId,
    },
};
use std::{collections::BTreeMap, time::Duration};

/// The least share of its time that a breaker is open.
const SHORTEST: f64 = 0.8;
/// What is lost of its time when it is kept in milliseconds and read again.
const ROUNDED: Duration = Duration::from_millis(2);
/// The longest that a receiver may ask for.
const LONGEST: Duration = Duration::from_secs(3600);

/// All receivers.
#[derive(Debug, Default)]
pub struct Rest {
    pub breaker: breaker::Options,
    /// When the gateway was started last. At that very moment it may not have read yet what was kept.
    started: Duration,
    of: BTreeMap<EndpointId, One>,
}

#[derive(Debug, Default)]
struct One {
    /// When requests began that are under way.
    began: BTreeMap<DeliveryKey, Duration>,
    /// How many failed in a row.
    row: u32,
    /// Its breaker, unless it is closed.
    opened: Option<Opened>,
    /// When it asked to be left alone, and until when.
    asked: Option<(Duration, Duration)>,
}

#[derive(Clone, Copy, Debug)]
struct Opened {
    /// How many times in a row.
    times: u32,
    at: Duration,
    until: Duration,
    /// Whether the wall clock was set since: over a restart that changes how long it is open.
    jumped: bool,
}

/// What an answer says.
enum Says {
    Well,
    Bad,
    Busy(Option<Duration>),
}

fn says(outcome: &Outcome) -> Says {
    match outcome {
        Outcome::Failed { class: Failure::Timeout, .. } => Says::Busy(None),
        Outcome::Failed { .. } => Says::Bad,
        Outcome::Answered(answer) => match answer.status {
            429 | 502..=504 => Says::Busy(answer.retry_after.map(Duration::from_millis)),
            500.. => Says::Bad,
            // A 4xx says that somebody is there.
            _ => Says::Well,
        },
    }
}

impl Rest {
    /// A request begins; what is wrong with that, if anything. At the very moment of an answer that asks for rest some may
    /// come that were let through before.
    pub fn starts(&mut self, key: DeliveryKey, now: Duration) -> Option<&'static str> {
        let one = self.of.entry(key.endpoint).or_default();
        let trial = |opened: &Opened| one.began.values().any(|began| *began >= opened.until);
        let within = |at: Duration, until: Duration| now > at && now < until;
        let wrong = match (&one.opened, one.asked) {
            (Some(opened), _) if within(opened.at, opened.until) => {
                Some("is sent while its breaker is open")
            }
            (Some(opened), _) if now >= opened.until && trial(opened) => {
                Some("is a second trial beside another")
            }
            (_, Some((at, until))) if within(at, until) => {
                Some("is sent although its receiver asked for a pause")
            }
            _ => None,
        };
        one.began.insert(key, now);
        wrong
    }

    /// A request has ended.
    pub fn ends(&mut self, key: DeliveryKey, outcome: &Outcome, now: Duration) {
        let one = self.of.entry(key.endpoint).or_default();
        let started = one.began.remove(&key);
        // While it is open, what was sent before says nothing new.
        let counts = one.opened.is_none_or(|open| started.is_some_and(|at| at >= open.until));
        match says(outcome) {
            Says::Well if counts => (one.row, one.opened) = (0, None),
            Says::Well => {}
            Says::Bad => one.failed(&self.breaker, (started, counts), now),
            Says::Busy(asked) => {
                one.failed(&self.breaker, (started, counts), now);
                let asked = asked.filter(|asked| *asked > Duration::ZERO && started.is_some());
                if let Some(asked) = asked {
                    let until = now + asked.min(LONGEST);
                    let longest = one.asked.map_or(until, |(_, before)| before.max(until));
                    one.asked = Some((now, longest));
                }
            }
        }
    }

    /// The endpoint is enabled or disabled: what was known of it is of the past.
    pub fn renewed(&mut self, endpoint: EndpointId) {
        self.of.remove(&endpoint);
    }

    /// Somebody sets the wall clock.
    pub fn jumped(&mut self, now: Duration) {
        for opened in self.of.values_mut().filter_map(|one| one.opened.as_mut()) {
            opened.jumped = true;
            if now == self.started {
                opened.until = Duration::ZERO;
            }
        }
    }

    /// The gateway was killed: of what it knew, open breakers were kept.
    pub fn killed(&mut self, now: Duration) {
        self.started = now;
        for one in self.of.values_mut() {
            (one.row, one.asked) = (0, None);
            one.began.clear();
            if let Some(opened) = &mut one.opened {
                opened.until = match opened.jumped {
                    true => Duration::ZERO,
                    false => opened.until.saturating_sub(ROUNDED),
                };
            }
        }
    }
}

impl One {
    fn failed(
        &mut self,
        options: &breaker::Options,
        (started, counts): (Option<Duration>, bool),
        now: Duration,
    ) {
        // Of what was sent before it was renewed nothing is known.
        if started.is_none() {
            return;
        }
        self.row += 1;
        let opens = match self.opened {
            None => options.failures > 0 && self.row >= options.failures,
            Some(_) => counts,
        };
        if opens {
            let times = self.opened.map_or(0, |opened| opened.times) + 1;
            let doubled = (1..times).fold(options.open_ms, |open, _| open.saturating_mul(2));
            let open = Duration::from_millis(doubled.min(options.open_max_ms)).mul_f64(SHORTEST);
            self.opened = Some(Opened { times, at: now, until: now + open, jumped: false });
        }
    }
}
