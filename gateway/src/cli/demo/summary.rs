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
    /// The doors side by side, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub doors: Vec<Traffic>,
    /// Deliveries that must arrive.
    #[serde(skip)]
    pub expected: u32,
}

/// What went through one door.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// The door.
    pub name: &'static str,
    /// Messages that were sent through it.
    pub sent: u32,
    /// Tries that had to be made again.
    pub again: u32,
    /// Messages whose senders know that they are safe: on disk, or in the stream.
    pub accepted: u32,
    /// Milliseconds from sending to the arrival at the first endpoint.
    pub p50_ms: f64,
    /// The same for the slowest hundredth.
    pub p99_ms: f64,
    /// The door's name for people.
    #[serde(skip)]
    pub title: &'static str,
}

/// The value below which that share of the values lies, which it puts in another order; zero if there are none.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length"
    )]
    let index = ((values.len() as f64 * share).ceil() as usize).saturating_sub(1);
    if index >= values.len() {
        return 0.0;
    }
    let value = *values.select_nth_unstable_by(index, f64::total_cmp).1;
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
        let mut text = self.doors_table();
        for (what, count, note) in self.rows() {
            text.push_str(format!("  {what:<12}{count:>9}   {note}").trim_end());
            text.push('\n');
        }
        let both = [("p50", self.p50_ms), ("p99", self.p99_ms)];
        // With several doors each has its own above.
        for (what, value) in both.iter().filter(|_| self.doors.is_empty()) {
            text.push_str(&format!(
                "  {what:<12}{value:>6.2} ms   from POST to the first arrival\n"
            ));
        }
        text + &self.end()
    }

    /// The doors side by side; empty where there is only one.
    fn doors_table(&self) -> String {
        if self.doors.is_empty() {
            return String::new();
        }
        let mut text =
            "                   sent   again    safe           p50           p99\n".to_owned();
        for Traffic { title, sent, again, accepted, p50_ms, p99_ms, .. } in &self.doors {
            text.push_str(&format!(
                "  {title:<14}{sent:>7} {again:>7} {accepted:>7} {p50_ms:>10.2} ms {p99_ms:>10.2} ms\n"
            ));
        }
        text.push_str(
            "  again: tries that were repeated; p50, p99: from sending to the first arrival\n",
        );
        if self.crashed {
            text.push_str(
                "  After the kill a request without a reply was sent again after 2 s; what the\n  \
                 gateway had in hand of the stream was delivered to it again after 10 s.\n",
            );
        }
        text.push('\n');
        text
    }

    fn rows(&self) -> [(&'static str, u32, &'static str); 7] {
        let safe = match self.doors.is_empty() {
            true => "on disk before the sender was answered",
            false => "on disk, or in the stream, when the sender was told",
        };
        let twice = match self.crashed {
            true => "sent, but not yet recorded when the gateway was killed",
            false => "",
        };
        [
            ("accepted", self.accepted, safe),
            ("transformed", self.transformed, "by the plugin sms-status"),
            ("dropped", self.dropped, "by the plugin: the status is not final"),
            ("delivered", self.delivered, "to three endpoints"),
            ("retried", self.retried, "refused by /flaky, and tried again"),
            ("lost", self.lost, ""),
            ("duplicated", self.duplicated, twice),
        ]
    }

    fn end(&self) -> String {
        let requests = self.delivered + self.duplicated + self.retried;
        match self.is_good() {
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.5), 100.0);
        assert_eq!(percentile(&mut values, 0.99), 198.0);
        assert_eq!(percentile(&mut [3.0], 0.99), 3.0);
        assert_eq!(percentile(&mut [], 0.5), 0.0);
    }
}
