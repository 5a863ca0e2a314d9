//! A histogram of durations that costs a few instructions per record: the load tool shares the
//! machine with what it measures.
//!
//! Log-linear: every power of two of nanoseconds is cut into 64 equal parts, so a quantile is
//! right to 1.6 %, from a nanosecond to centuries, in 30 KiB.

use std::time::Duration;

const BITS: u32 = 6;
const PARTS: usize = 1 << BITS;
const BUCKETS: usize = (64 - BITS as usize + 1) * PARTS;

/// Counts of durations, by size.
#[derive(Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0 }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
    }

    /// The duration, in milliseconds, that a share `q` of the records do not exceed; `None` when
    /// nothing was recorded.
    pub(crate) fn quantile_ms(&self, q: f64) -> Option<f64> {
        let rank = ((self.count as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map(|index| middle(index) / 1e6)
    }
}

fn bucket(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(BITS + 1);
    // The first two rows are exact; from there on a row begins at its own top bit.
    shift as usize * PARTS + (nanos >> shift) as usize
}

/// The middle of a bucket, in nanoseconds.
fn middle(index: usize) -> f64 {
    let shift = (index / PARTS).saturating_sub(1);
    let low = (index - shift * PARTS) as f64;
    let width = 2f64.powi(shift as i32);
    low * width + (width - 1.0) / 2.0
}

/// The middle one of what was measured several times.
pub(crate) fn median(mut of: Vec<f64>) -> Option<f64> {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied()
}
