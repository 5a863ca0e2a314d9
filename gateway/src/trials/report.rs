//! What many comparisons come to: counts, and how much a call takes. Pure.
//!
//! Of the costs the last thousand are kept, so that the figures are exact, recent, and of a bounded size.

use super::{
    compare::{self, Ran},
    shown::{Comparison, Cost, Costs, Verdicts},
};
use crate::model::id::MessageId;
use serde::Serialize;
use std::collections::VecDeque;
use utoipa::ToSchema;

/// How many calls' costs are kept.
const COSTS: usize = 1000;
/// How many differences are kept.
const RECENT: usize = 100;
/// Bytes of differences that are kept.
const RECENT_BYTES: usize = 256 << 10;

/// What versions came to beside each other.
#[derive(Clone, Debug, Default)]
pub struct Report {
    same: u64,
    different: u64,
    active: Side,
    candidate: Side,
    recent: VecDeque<(usize, Comparison)>,
    recent_bytes: usize,
}

/// What one version came to.
#[derive(Clone, Debug, Default)]
struct Side {
    calls: u64,
    failed: u64,
    fuel: Window,
    wall: Window,
    memory_peak: u64,
}

/// The last of many figures.
#[derive(Clone, Debug, Default)]
struct Window(VecDeque<u64>);

/// Counts of messages, and what the versions' calls took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PluginTotals)]
pub struct Totals {
    /// Messages that were compared; while a canary decides, calls of either version.
    pub messages: u64,
    /// Those of which both versions made the same.
    pub same: u64,
    /// Those of which they did not.
    pub different: u64,
    /// Those on which the version failed that is tried.
    pub failed: u64,
    /// What calls of the active version came to.
    pub active: SideTotals,
    /// What calls of the version came to that is tried.
    pub candidate: SideTotals,
}

/// What one version's calls came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PluginSideTotals)]
pub struct SideTotals {
    /// How often it was called.
    pub calls: u64,
    /// How often it failed.
    pub failed: u64,
    /// What calls executed; null where that was not counted.
    #[schema(required)]
    pub fuel: Option<Quantiles>,
    /// How long calls took, in microseconds.
    #[schema(required)]
    pub wall_micros: Option<Quantiles>,
    /// The most memory that one had, in bytes.
    pub memory_peak: u64,
}

/// Of the last thousand calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Quantiles)]
pub struct Quantiles {
    /// Half of them took no more.
    pub p50: u64,
    /// 99 in a hundred took no more.
    pub p99: u64,
}

impl Report {
    /// Adds a comparison.
    pub fn compared(&mut self, found: &Comparison) {
        let counter = if found.same { &mut self.same } else { &mut self.different };
        *counter += 1;
        if let Some(cost) = found.cost.active {
            self.active.add(cost, found.active_failure.is_some());
        }
        if let Some(cost) = found.cost.candidate {
            self.candidate.add(cost, found.failure.is_some());
        }
        if !found.same {
            self.keep(found.clone());
        }
    }

    /// Adds a call of one version, that decided: the other was not called.
    pub fn decided(&mut self, message: MessageId, by_candidate: bool, ran: &Ran) {
        let failure = compare::failed(&ran.result);
        let side = if by_candidate { &mut self.candidate } else { &mut self.active };
        side.add(ran.cost, failure.is_some());
        if by_candidate && failure.is_some() {
            let cost = Costs { active: None, candidate: Some(ran.cost) };
            let verdict = Verdicts { active: None, candidate: Some(compare::word(&ran.result)) };
            self.keep(Comparison { failure, cost, verdict, ..Comparison::of(message) });
        }
    }

    fn keep(&mut self, found: Comparison) {
        let size = compare::size(&found);
        self.recent_bytes += size;
        self.recent.push_back((size, found));
        while self.recent.len() > RECENT || self.recent_bytes > RECENT_BYTES {
            let Some((size, _)) = self.recent.pop_front() else { return };
            self.recent_bytes -= size;
        }
    }

    /// The message's difference goes; it stays counted.
    pub fn forget(&mut self, message: MessageId) {
        self.recent.retain(|(_, found)| found.message != message);
        self.recent_bytes = self.recent.iter().map(|(size, _)| size).sum();
    }

    /// What it comes to.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let (same, different) = (self.same, self.different);
        let compared = same + different;
        let messages =
            if compared > 0 { compared } else { self.active.calls + self.candidate.calls };
        let (active, candidate) = (self.active.totals(), self.candidate.totals());
        Totals { messages, same, different, failed: candidate.failed, active, candidate }
    }

    /// The last differences, the newest first.
    #[must_use]
    pub fn recent(&self) -> Vec<Comparison> {
        self.recent.iter().rev().map(|(_, found)| found.clone()).collect()
    }
}

impl Side {
    fn add(&mut self, cost: Cost, failed: bool) {
        self.calls += 1;
        self.failed += u64::from(failed);
        self.wall.add(cost.wall_micros);
        cost.fuel.into_iter().for_each(|fuel| self.fuel.add(fuel));
        self.memory_peak = self.memory_peak.max(cost.memory_peak);
    }

    fn totals(&self) -> SideTotals {
        let Self { calls, failed, memory_peak, .. } = *self;
        let (fuel, wall_micros) = (self.fuel.quantiles(), self.wall.quantiles());
        SideTotals { calls, failed, fuel, wall_micros, memory_peak }
    }
}

impl Window {
    fn add(&mut self, figure: u64) {
        if self.0.len() == COSTS {
            self.0.pop_front();
        }
        self.0.push_back(figure);
    }

    fn quantiles(&self) -> Option<Quantiles> {
        let mut sorted: Vec<u64> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        // The smallest that so many in a hundred do not exceed.
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied()
        };
        Some(Quantiles { p50: at(50)?, p99: at(99)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{dispatch::Verdict, sample},
        plugin::CallFailure,
    };

    fn ran(result: Result<Verdict, CallFailure>, figure: u64) -> Ran {
        Ran { result, cost: Cost { fuel: Some(figure), wall_micros: figure, memory_peak: figure } }
    }

    #[test]
    fn quantiles_are_exact_and_of_the_last_thousand() {
        let window = |all: &mut dyn Iterator<Item = u64>| {
            let mut window = Window::default();
            all.for_each(|figure| window.add(figure));
            window.quantiles().map(|q| (q.p50, q.p99))
        };
        assert_eq!(window(&mut [].into_iter()), None);
        assert_eq!(window(&mut [7].into_iter()), Some((7, 7)));
        assert_eq!(window(&mut (1..=100).rev()), Some((50, 99)));
        assert_eq!(window(&mut (1..=3000)), Some((2500, 2990)));
    }

    #[test]
    fn what_is_the_same_is_counted_and_what_differs_is_kept() {
        let message = sample::message(sample::application().id);
        let mut report = Report::default();
        let pass = ran(Ok(Verdict::Pass), 10);
        for candidate in [
            ran(Ok(Verdict::Pass), 20),
            ran(Ok(Verdict::Drop("why".into())), 30),
            ran(Err(CallFailure::CpuLimit(1)), 40),
        ] {
            report.compared(&compare::compare(&message, None, Some(&pass), &candidate));
        }
        let totals = report.totals();
        assert_eq!((totals.messages, totals.same, totals.different, totals.failed), (3, 1, 2, 1));
        assert_eq!(totals.active.fuel, Some(Quantiles { p50: 10, p99: 10 }));
        assert_eq!(totals.candidate.wall_micros, Some(Quantiles { p50: 30, p99: 40 }));
        assert_eq!((totals.candidate.calls, totals.candidate.memory_peak), (3, 40));
        let recent = report.recent();
        assert_eq!(recent.len(), 2);
        assert_eq!(recent[0].failure.as_ref().map(|f| &*f.kind), Some("cpu-limit"), "the newest");
    }

    #[test]
    fn of_what_decided_the_failures_of_the_candidate_are_kept() {
        let id = sample::message(sample::application().id).id;
        let mut report = Report::default();
        for by_candidate in [true, false] {
            report.decided(id, by_candidate, &ran(Ok(Verdict::Pass), 1));
            report.decided(id, by_candidate, &ran(Err(CallFailure::CpuLimit(1)), 1));
        }
        let totals = report.totals();
        assert_eq!((totals.messages, totals.same, totals.different, totals.failed), (4, 0, 0, 1));
        assert_eq!((totals.active.calls, totals.active.failed), (2, 1));
        assert_eq!(report.recent().len(), 1);
        report.forget(sample::message(sample::application().id).id);
        assert_eq!(report.recent().len(), 1);
        report.forget(id);
        assert_eq!((report.recent().len(), report.recent_bytes), (0, 0));
        assert_eq!(report.totals(), totals, "it stays counted");
    }

    #[test]
    fn differences_are_kept_within_a_number_and_within_bytes() {
        let id = sample::message(sample::application().id).id;
        let failed = |text: usize| {
            let reason = "r".repeat(text);
            ran(Err(CallFailure::Other(reason)), 1)
        };
        let mut report = Report::default();
        (0..RECENT + 50).for_each(|_| report.decided(id, true, &failed(1)));
        assert_eq!(report.recent().len(), RECENT);
        let long = Comparison {
            payload_diffs: vec![],
            dropped: crate::trials::shown::Reasons {
                active: Some("d".repeat(RECENT_BYTES / 4)),
                candidate: None,
            },
            ..Comparison::of(id)
        };
        (0..10).for_each(|_| report.compared(&long));
        assert_eq!(report.recent().len(), 3);
        assert!(report.recent_bytes <= RECENT_BYTES);
    }
}
