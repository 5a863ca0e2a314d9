//! Numbered invariants: each is stated once, here, and checked in tests and in production. A breach is a panic in unit
//! tests and where debug assertions are on; elsewhere it is counted and logged, and the gateway goes on.

/// What must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// I1: the sequence numbers of one commit follow each other and those before.
    SequenceFollows = 1,
    /// I2: attempts of a delivery are numbered from 1 without gaps.
    AttemptsWithoutGaps = 2,
    /// I3: a lane never has more requests under way than its limit.
    InFlightWithinLimit = 3,
    /// I4: a delivery goes to an endpoint of its message's own application.
    StaysInApplication = 4,
}

/// Notes a breach unless the condition holds.
pub fn check(invariant: Invariant, holds: bool, what: impl FnOnce() -> String) {
    if !holds {
        breach(invariant, &what());
    }
}

#[cold]
fn breach(invariant: Invariant, what: &str) {
    let name = format!("I{} {invariant:?}", invariant as u8);
    metrics::counter!("octohooks_invariant_breaches_total", "invariant" => name.clone())
        .increment(1);
    tracing::error!(invariant = name, what, "an invariant does not hold");
    #[cfg(any(test, debug_assertions))]
    panic!("{name}: {what}");
}
