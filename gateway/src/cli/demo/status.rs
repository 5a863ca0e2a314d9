//! The statuses that the demo sends, and what must become of each: read off the plugin's README, not off the plugin.

use serde_json::{Value, json};

/// The provider's words, in the order they are sent: most messages arrive, some fail, some are on their way.
const WORDS: [&str; 10] = [
    "DELIVRD", "DELIVRD", "UNDELIV", "DELIVRD", "ENROUTE", "DELIVRD", "EXPIRED", "DELIVRD",
    "ACCEPTD", "DELIVRD",
];

/// What becomes of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The plugin drops it: it is not final.
    Dropped,
    /// It goes to the endpoints for everything.
    Sent,
    /// It goes to the endpoint for failures as well.
    Failure,
}

/// The payload of status number `n`.
pub fn payload(n: u32) -> Value {
    let number = format!("+4670{:07}", n % 10_000_000);
    let cents = n % 7 + 3;
    json!({
        "messageId": id(n), "to": number, "from": "HOOLI", "reference": format!("order-{n}"),
        "status": word(n), "errorCode": if fate(n) == Fate::Failure { "006" } else { "000" },
        "doneDate": "2611240437", "segments": n % 3 + 1, "price": format!("0.0{cents}"),
        "currency": "EUR", "internalRoute": "se-tier1-b", "operator": "24001",
    })
}

/// What must become of it.
pub fn fate(n: u32) -> Fate {
    match word(n) {
        "ENROUTE" | "ACCEPTD" => Fate::Dropped,
        "UNDELIV" | "EXPIRED" => Fate::Failure,
        _ => Fate::Sent,
    }
}

/// The SMS's id in the payload, before and after the plugin.
pub fn id(n: u32) -> String {
    format!("sms-{n}")
}

/// The number of the status with that id.
pub fn number(id: &str) -> Option<u32> {
    id.strip_prefix("sms-")?.parse().ok()
}

/// Whether a payload is what the plugin makes, without what never leaves the provider.
pub fn is_transformed(payload: &Value) -> bool {
    payload["final"] == true && payload.get("internalRoute").is_none()
}

fn word(n: u32) -> &'static str {
    WORDS[n as usize % WORDS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_is_there_and_ids_are_read_back() {
        let count = |wanted| (0..100).filter(|n| fate(*n) == wanted).count();
        assert_eq!([Fate::Dropped, Fate::Sent, Fate::Failure].map(count), [20, 60, 20]);
        assert_eq!(number(&id(7)), Some(7));
        assert_eq!(number("7"), None);
        assert!(!is_transformed(&payload(0)));
    }
}
