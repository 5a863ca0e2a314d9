//! Dead letters that go on: what failed at an endpoint for good may be delivered to another endpoint of its application,
//! with headers that say where it comes from and why. What fails there goes nowhere further. Pure.

use super::{
    Millis,
    attempt::{Attempt, Outcome},
    catalog::{Snapshot, Tenant},
    delivery::{Delivery, DeliveryKey},
    draft::Wrong,
    endpoint::Endpoint,
    name::Uid,
};
use std::sync::Arc;

/// The ordinals of such deliveries begin here: far beyond those of dispatches, of which a message has some thousands at most.
pub const FIRST: u32 = 1 << 30;
/// Where it comes from, and why: the endpoint's id, its uid, the delivery's id, what the last attempt came to, and how many
/// there were.
pub const HEADERS: [&str; 5] = [
    "octohooks-dead-letter-endpoint",
    "octohooks-dead-letter-endpoint-uid",
    "octohooks-dead-letter-delivery",
    "octohooks-dead-letter-reason",
    "octohooks-dead-letter-attempts",
];
/// How long a reason may be, in bytes.
const REASON: usize = 256;

/// Whether a delivery of that ordinal is of a dead letter from another endpoint.
#[must_use]
pub const fn is_onward(ordinal: u32) -> bool {
    ordinal >= FIRST
}

/// What becomes of a dead letter beside its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Onward {
    /// Nothing: its endpoint does not ask for it, or it is one that went on already.
    No,
    /// It would go to this endpoint, which is not there any more.
    Gone(String),
    /// It goes on as this delivery. The store gives it its ordinal, from [`FIRST`] on.
    To(Box<Delivery>),
}

/// What becomes of a delivery that is a dead letter since that attempt, by this catalog.
#[must_use]
pub fn onward(
    catalog: &Snapshot,
    delivery: &Delivery,
    attempt: Option<&Attempt>,
    now: Millis,
) -> Onward {
    let key = delivery.key;
    let endpoint = catalog.endpoint(key.endpoint).filter(|_| !is_onward(key.ordinal));
    let Some((endpoint, name)) = endpoint.and_then(|from| {
        let name = from.dead_letter_endpoint.as_deref()?;
        Some((from, name))
    }) else {
        return Onward::No;
    };
    let tenant = catalog.tenant(endpoint.application);
    let target = tenant.and_then(|tenant| tenant.endpoint(name));
    let Some(target) = target.filter(|target| target.id != endpoint.id) else {
        return Onward::Gone(name.to_owned());
    };
    let mut content = delivery.content.as_deref().cloned().unwrap_or_default();
    content.headers.retain(|(name, _)| !HEADERS.contains(&&**name));
    content.headers.extend(headers(endpoint, delivery, attempt));
    Onward::To(Box::new(Delivery {
        key: DeliveryKey { ordinal: FIRST, endpoint: target.id, ..key },
        content: Some(Arc::new(content)),
        attempts: 0,
        spent: 0,
        due: now,
        ..delivery.clone()
    }))
}

fn headers(
    from: &Endpoint,
    delivery: &Delivery,
    attempt: Option<&Attempt>,
) -> impl Iterator<Item = (String, String)> {
    let attempts = attempt.map_or(delivery.attempts, |attempt| attempt.number);
    let values = [
        Some(from.id.to_string()),
        from.uid.as_deref().map(legal),
        Some(delivery.id().to_string()),
        attempt.map(|attempt| legal(&reason(attempt))),
        Some(attempts.to_string()),
    ];
    let pairs = HEADERS.into_iter().zip(values);
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value?)))
}

/// What an attempt came to, in a few words.
#[must_use]
pub fn reason(attempt: &Attempt) -> String {
    match &attempt.outcome {
        Outcome::Answered(answer) => format!("status {}", answer.status),
        Outcome::Failed { class, detail } => format!("{}: {detail}", class.name()),
    }
}

/// The text as the value of a header.
fn legal(text: &str) -> String {
    let visible = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let mut text: String = text.chars().map(visible).collect();
    text.truncate(REASON);
    text
}

/// Whether the endpoint that takes the dead letters of this one can be that: another of its application.
pub fn check(tenant: &Tenant, endpoint: &Endpoint) -> Result<(), Wrong> {
    let Some(name) = endpoint.dead_letter_endpoint.as_deref() else { return Ok(()) };
    let found = tenant.endpoint(name).filter(|found| found.id != endpoint.id);
    match found {
        Some(_) => Ok(()),
        None => Err(wrong()),
    }
}

/// What is said of a name that cannot be that of an endpoint for dead letters.
#[must_use]
pub fn wrong() -> Wrong {
    let right = "must be the id or uid of another endpoint of the application";
    ("/deadLetterEndpoint".to_owned(), right.to_owned())
}

/// The name that is written, if one is: an empty text names none.
pub fn named(text: Option<&str>) -> Result<Option<String>, Wrong> {
    match text.filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(name) => Uid::new(name).map(|name| Some(name.to_string())).map_err(|_| wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        attempt::{Answer, Failure},
        catalog::Change,
        delivery::Content,
        message::Sequence,
        sample,
    };

    fn catalog(name: &dyn Fn(&Tenant) -> Option<String>) -> (Snapshot, Vec<Arc<Endpoint>>) {
        let tenant = sample::tenant(2);
        let mut catalog = Snapshot::default();
        catalog.apply(Change::PutApplication(tenant.application.clone()));
        let endpoints: Vec<_> = tenant.endpoints.values().cloned().collect();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let dead_letter_endpoint = name(&tenant).filter(|_| index == 0);
            let uid = Uid::new(&format!("é{index}")).ok();
            let endpoint = Endpoint { dead_letter_endpoint, uid, ..Endpoint::clone(endpoint) };
            catalog.apply(Change::PutEndpoint(endpoint));
        }
        (catalog, endpoints)
    }

    fn failed(endpoint: &Endpoint, ordinal: u32) -> (Delivery, Attempt) {
        let message = Arc::new(sample::message(endpoint.application));
        let key = DeliveryKey { message: Sequence(1), ordinal, endpoint: endpoint.id };
        let content = Content {
            headers: vec![
                (HEADERS[0].to_owned(), "a plugin says so".to_owned()),
                ("x-own".to_owned(), "yes".to_owned()),
            ],
            ordering_key: Some("k".into()),
            ..Content::default()
        };
        let content = Some(Arc::new(content));
        let attempts = 7;
        let delivery =
            Delivery { key, content, attempts, ..sample::delivery(&message, Sequence(1)) };
        let detail = "no complete answer\nwithin 1 ms".to_owned();
        let outcome = Outcome::Failed { class: Failure::Timeout, detail };
        (delivery, Attempt { number: 8, at: 1, latency: 1, revision: None, outcome })
    }

    #[test]
    fn a_dead_letter_goes_to_the_endpoint_that_is_named_and_says_where_it_comes_from() {
        let (catalog, endpoints) = catalog(&|_| Some("é1".into()));
        let (delivery, attempt) = failed(&endpoints[0], 3);
        let Onward::To(onward) = onward(&catalog, &delivery, Some(&attempt), 9) else {
            panic!("it goes on")
        };
        assert_eq!((onward.key.endpoint, onward.key.ordinal), (endpoints[1].id, FIRST));
        assert_eq!((onward.attempts, onward.spent, onward.due), (0, 0, 9));
        let content = onward.content.expect("is there");
        assert_eq!(content.ordering_key.as_deref(), Some("k"));
        let expected = [
            ("x-own", "yes".to_owned()),
            (HEADERS[0], endpoints[0].id.to_string()),
            (HEADERS[1], "?0".to_owned()),
            (HEADERS[2], delivery.id().to_string()),
            (HEADERS[3], "timeout: no complete answer?within 1 ms".to_owned()),
            (HEADERS[4], "8".to_owned()),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(content.headers, expected);
    }

    #[test]
    fn one_that_went_on_goes_nowhere_further_and_nothing_goes_to_where_nobody_is() {
        let (by_id, endpoints) =
            catalog(&|tenant| tenant.endpoints.keys().nth(1).map(ToString::to_string));
        for (from, ordinal, goes) in
            [(0, 0, true), (0, FIRST, false), (0, FIRST + 7, false), (1, 0, false)]
        {
            let (delivery, attempt) = failed(&endpoints[from], ordinal);
            let found = onward(&by_id, &delivery, Some(&attempt), 1);
            assert_eq!(matches!(found, Onward::To(_)), goes, "{from} {ordinal}: {found:?}");
            assert!(goes || found == Onward::No);
        }
        for name in ["nobody", "é0"] {
            let (catalog, endpoints) = catalog(&|_| Some(name.into()));
            let (delivery, attempt) = failed(&endpoints[0], 0);
            let found = onward(&catalog, &delivery, Some(&attempt), 1);
            assert_eq!(found, Onward::Gone(name.into()));
        }
    }

    #[test]
    fn a_reason_is_a_few_words() {
        let answer = Answer { status: 500, body: b"long".to_vec(), ..Answer::default() };
        let (_, attempt) = failed(&sample::endpoint(), 0);
        let attempt = Attempt { outcome: Outcome::Answered(answer), ..attempt };
        assert_eq!(reason(&attempt), "status 500");
        assert_eq!(legal(&"é".repeat(1000)).len(), REASON);
    }
}
