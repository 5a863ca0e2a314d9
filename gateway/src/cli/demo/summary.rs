//! How the demo ended: for people a table, for programs one line of JSON.

use serde::Serialize;

/// How the demo ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Messages that were to be sent.
    pub messages: u32,
    /// Messages whose senders know that they are on disk.
    pub accepted: u32,
    /// Messages that arrived as the plugin makes them.
    pub transformed: u32,
    /// Messages that the plugin dropped, as the gateway's record says.
    pub dropped: u32,
    /// Deliveries that arrived and were taken, each counted once.
    pub delivered: u32,
    /// Tries that a receiver refused, so that they had to be made again.
    pub retried: u32,
    /// Deliveries of accepted messages that never came, and drops that have no record.
    pub lost: u32,
    /// Deliveries that were taken more than once.
    pub duplicated: u32,
    /// Requests that should not have come.
    pub unexpected: u32,
    /// Requests with a signature that does not verify.
    pub bad_signatures: u32,
    /// Whether the gateway was killed half-way.
    pub crashed: bool,
    /// Milliseconds from the start of the POST to the arrival at the first endpoint.
    pub p50_ms: f64,
    /// The same for the slowest hundredth.
    pub p99_ms: f64,
    /// Deliveries that must arrive.
    #[serde(skip)]
    pub expected: u32,
}

/// The value below which that share of the sorted values lies; zero if there are none.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length"
    )]
    let index = (sorted.len() as f64 * share).ceil() as usize;
    let value = sorted.get(index.saturating_sub(1)).copied().unwrap_or(0.0);
    (value * 100.0).round() / 100.0
}

impl Summary {
    /// Whether the gateway kept its promises.
    pub const fn is_good(&self) -> bool {
        self.accepted == self.messages
            && self.delivered == self.expected
            && self.lost == 0
            && self.unexpected == 0
            && self.bad_signatures == 0
            && (self.crashed || self.duplicated == 0)
    }

    /// Prints it.
    #[allow(clippy::print_stdout, reason = "it is what the command is for")]
    pub fn print(&self, json: bool) {
        match json {
            true => println!("{}", serde_json::to_string(self).unwrap_or_default()),
            false => println!("{}", self.table()),
        }
    }

    fn table(&self) -> String {
        let requests = self.delivered + self.duplicated + self.retried;
        let rows = [
            ("accepted", self.accepted, "on disk before the sender was answered"),
            ("transformed", self.transformed, "by the plugin sms-status"),
            ("dropped", self.dropped, "by the plugin: the status is not final"),
            ("delivered", self.delivered, "to three endpoints"),
            ("retried", self.retried, "refused by /flaky, and tried again"),
            ("lost", self.lost, ""),
            (
                "duplicated",
                self.duplicated,
                match self.crashed {
                    true => "sent, but not yet recorded when the gateway was killed",
                    false => "",
                },
            ),
        ];
        let mut text = String::new();
        for (what, count, note) in rows {
            text.push_str(format!("  {what:<12}{count:>9}   {note}").trim_end());
            text.push('\n');
        }
        for (what, value) in [("p50", self.p50_ms), ("p99", self.p99_ms)] {
            text.push_str(&format!(
                "  {what:<12}{value:>6.2} ms   from POST to the first arrival\n"
            ));
        }
        let end = match self.is_good() {
            true => format!(
                "\nNothing was lost, and both signatures of all {requests} requests verified.\n\
                 Next: `octohooks serve`, and the walk with curl in README.md."
            ),
            false => format!(
                "\nNOT GOOD: {} of {} messages accepted, {} of {} deliveries, {} lost, \
                 {} unexpected, {} duplicated, {} bad signatures.",
                self.accepted,
                self.messages,
                self.delivered,
                self.expected,
                self.lost,
                self.unexpected,
                self.duplicated,
                self.bad_signatures
            ),
        };
        text + &end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), 100.0);
        assert_eq!(percentile(&values, 0.99), 198.0);
        assert_eq!(percentile(&[3.0], 0.99), 3.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
