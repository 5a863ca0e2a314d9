//! The durable consumer of a JetStream source: how it is made, and whether one that is there already is the one that the
//! configuration asks for. It belongs to the operator: it is never changed behind their back.

use super::source::{ACK_WAIT, BATCH, options::Options};
use async_nats::{
    Client,
    jetstream::consumer::{self, AckPolicy, pull},
};
use std::collections::BTreeSet;

/// The consumer as it is made. An error is a line for the operator.
pub fn config(options: &Options, client: &Client) -> Result<pull::Config, String> {
    let mut config = pull::Config {
        durable_name: Some(options.durable.clone()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: BATCH as i64 * 4,
        ..pull::Config::default()
    };
    match &options.filter_subjects[..] {
        [] => {}
        [one] => config.filter_subject.clone_from(one),
        several if client.is_server_compatible(2, 10, 0) => {
            config.filter_subjects = several.to_vec();
        }
        several => {
            return Err(format!(
                "more than one of `filter_subjects` ({}) needs a nats-server of version 2.10; this one is {}",
                several.join(", "),
                client.server_info().version
            ));
        }
    }
    Ok(config)
}

/// Whether the consumer that is there takes what the configuration asks for, and can lose nothing of it.
pub fn check(wanted: &[String], found: &consumer::Config) -> Result<(), String> {
    let loses = [
        (found.ack_policy != AckPolicy::Explicit, "acknowledges not each message (`ack_policy`)"),
        (found.max_deliver > 0, "gives messages up (`max_deliver`)"),
        (found.headers_only, "has no bodies (`headers_only`)"),
    ];
    if let Some((_, how)) = loses.into_iter().find(|(loses, _)| *loses) {
        return Err(format!(
            "the consumer is there and {how}, and so would lose messages: change or delete it, or give another `durable`"
        ));
    }
    let one = (!found.filter_subject.is_empty()).then_some(&found.filter_subject);
    let found: BTreeSet<&String> = one.into_iter().chain(&found.filter_subjects).collect();
    let wanted: BTreeSet<&String> = wanted.iter().collect();
    let shown = |subjects: &BTreeSet<&String>| match subjects.is_empty() {
        true => "everything".to_owned(),
        false => subjects.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", "),
    };
    match wanted == found {
        true => Ok(()),
        false => Err(format!(
            "the consumer is there and takes {}, where `filter_subjects` asks for {}: change or delete it, or give another `durable`",
            shown(&found),
            shown(&wanted)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_with_other_filters_is_told() {
        let texts =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let found = |one: &str, several: &[&str]| consumer::Config {
            ack_policy: AckPolicy::Explicit,
            max_deliver: -1,
            filter_subject: one.into(),
            filter_subjects: texts(several),
            ..consumer::Config::default()
        };
        for (wanted, found, same) in [
            (&[][..], found("", &[]), true),
            (&["a.>"], found("a.>", &[]), true),
            (&["a", "b"], found("", &["b", "a"]), true),
            (&[], found("a", &[]), false),
            (&["a"], found("", &[]), false),
            (&["a", "b"], found("a", &[]), false),
        ] {
            assert_eq!(check(&texts(wanted), &found).is_ok(), same, "{wanted:?} {found:?}");
        }
        let said = check(&texts(&["b"]), &found("", &[])).expect_err("differs");
        assert!(said.contains("takes everything") && said.contains("asks for b"), "{said}");
    }

    #[test]
    fn a_consumer_that_loses_messages_is_told() {
        let good = || consumer::Config { ack_policy: AckPolicy::Explicit, ..Default::default() };
        for (found, key) in [
            (consumer::Config { ack_policy: AckPolicy::None, ..good() }, "ack_policy"),
            (consumer::Config { ack_policy: AckPolicy::All, ..good() }, "ack_policy"),
            (consumer::Config { max_deliver: 1, ..good() }, "max_deliver"),
            (consumer::Config { headers_only: true, ..good() }, "headers_only"),
        ] {
            let said = check(&[], &found).expect_err(key);
            assert!(said.contains(key), "{said}");
        }
        assert_eq!(check(&[], &consumer::Config { max_deliver: -1, ..good() }), Ok(()));
    }
}
