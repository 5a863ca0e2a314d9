//! What plugins in a row make of a message, whatever each of them says.

use super::*;
use crate::model::{
    name::{Channel, EventType},
    sample,
};
use proptest::prelude::*;

const LIMITS: Limits = Limits { dispatches: 20, bytes: 2_000 };

fn fits(_: &Verdict) -> Result<(), CallFailure> {
    Ok(())
}

fn target() -> impl Strategy<Value = Target> {
    let channel = |name: String| Channel::new(&name).expect("legal");
    prop_oneof![
        Just(Target::Subscribed),
        prop::collection::vec("[a-c]", 1..3)
            .prop_map(move |names| Target::Channels(names.into_iter().map(channel).collect())),
        prop::collection::vec("[d-f]", 1..3).prop_map(Target::Endpoints),
    ]
}

prop_compose! {
    fn dispatch()(
        target in target(),
        event_type in prop::option::of("[a-c]"),
        content_type in prop::option::of("text/[a-c]"),
        payload in prop::option::of("[a-z]{0,100}"),
        headers in prop::collection::vec(("x-[a-c]", "[0-9]"), 0..3),
        ordering_key in prop::option::of("[a-c]"),
        delay in prop_oneof![Just(0), 1_u64..100],
    ) -> Dispatch {
        let event_type = event_type.map(|name| EventType::new(&name).expect("legal"));
        let payload = payload.map(Into::into);
        Dispatch { target, event_type, content_type, payload, headers, ordering_key, delay }
    }
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Pass),
        "[a-z]{1,5}".prop_map(Verdict::Drop),
        prop::collection::vec(dispatch(), 0..6).prop_map(Verdict::Send),
    ]
}

fn size(dispatches: &[Dispatch]) -> usize {
    dispatches.iter().map(Dispatch::size).sum()
}

proptest! {
    #[test]
    fn a_chain_of_passes_is_a_pass(given in prop::collection::vec(dispatch(), 0..20), links in 1_u32..5) {
        let mut now = given.clone();
        for _ in 0..links {
            let mut parts = Parts::new(&now, LIMITS);
            for one in &now {
                parts.add(one, Verdict::Pass, fits).expect("nothing is more than it was");
            }
            let Verdict::Send(next) = parts.end() else { panic!("is sent") };
            now = next;
        }
        prop_assert_eq!(now, given);
    }

    #[test]
    fn what_a_plugin_does_not_say_is_as_it_was_given(given in dispatch(), asked in dispatch()) {
        let silent = Dispatch::PASS;
        prop_assert_eq!(&compose(&given, silent.clone()), &given);
        prop_assert_eq!(&compose(&silent, asked.clone()), &asked);
        let made = compose(&given, asked.clone());
        prop_assert_eq!(&made.payload, asked.payload.as_ref().map_or(&given.payload, |_| &asked.payload));
        let target = if asked.target == Target::Subscribed { &given.target } else { &asked.target };
        prop_assert_eq!(&made.target, target);
        prop_assert_eq!(made.delay, if asked.delay == 0 { given.delay } else { asked.delay });
        for (name, value) in &made.headers {
            let own = asked.headers.iter().any(|(known, _)| known == name);
            let from = if own { &asked.headers } else { &given.headers };
            prop_assert!(from.contains(&(name.clone(), value.clone())));
        }
        for (name, _) in asked.headers.iter().chain(&given.headers) {
            prop_assert!(made.headers.iter().any(|(known, _)| known == name));
        }
    }

    /// Whatever each part becomes, and where that is too much stays: never more than may be, and in order.
    #[test]
    fn all_dispatches_together_stay_below_the_limits(
        given in prop::collection::vec(dispatch(), 1..15), verdicts in prop::collection::vec(verdict(), 15)
    ) {
        prop_assume!(size(&given) <= LIMITS.bytes);
        let mut parts = Parts::new(&given, LIMITS);
        let (mut expected, mut reason) = (Vec::new(), None);
        for (one, verdict) in given.iter().zip(verdicts) {
            let failed = parts.add(one, verdict.clone(), fits).is_err();
            match verdict {
                Verdict::Send(asked) if !failed => {
                    expected.extend(asked.into_iter().map(|asked| compose(one, asked)));
                }
                Verdict::Drop(why) => reason = reason.or(Some(why)),
                _ => {
                    if failed {
                        parts.keep(one.clone());
                    }
                    expected.push(one.clone());
                }
            }
        }
        prop_assert!(expected.len() <= LIMITS.dispatches && size(&expected) <= LIMITS.bytes);
        match reason {
            Some(reason) if expected.is_empty() => prop_assert_eq!(parts.end(), Verdict::Drop(reason)),
            _ => prop_assert_eq!(parts.end(), Verdict::Send(expected)),
        }
    }
}

#[test]
fn what_cannot_be_sent_as_it_is_composed_is_not_added() {
    let given = [Dispatch::PASS, Dispatch::PASS];
    let mut parts = Parts::new(&given, Limits { dispatches: 3, bytes: 10 });
    let two = || Verdict::Send(vec![Dispatch::PASS; 2]);
    let refused = |_: &Verdict| Err(CallFailure::BadOutput("why".into()));
    assert!(parts.add(&given[0], two(), refused).is_err());
    parts.add(&given[0], two(), fits).expect("three in all");
    let error = parts.add(&given[1], two(), fits).expect_err("four in all");
    assert_eq!(error.kind(), "bad-output");
    assert!(error.to_string().contains("4 dispatches, where at most 3"), "{error}");
    let large = Dispatch { payload: Some("01234567890".into()), ..Dispatch::PASS };
    let error = parts.add(&given[1], Verdict::Send(vec![large]), fits).expect_err("too much");
    assert_eq!(error.kind(), "output-too-large");
    parts.keep(given[1].clone());
    assert_eq!(parts.end(), Verdict::Send(vec![Dispatch::PASS; 3]));
}

#[test]
fn the_next_plugin_sees_what_the_one_before_has_sent() {
    let original = sample::message(sample::application().id);
    assert_eq!(message(&original, &Dispatch::PASS), original);
    let channel = Channel::new("north").expect("legal");
    let given = Dispatch {
        target: Target::Channels(vec![channel.clone()]),
        event_type: EventType::new("own").ok(),
        payload: Some("p".into()),
        ..Dispatch::PASS
    };
    let seen = message(&original, &given);
    assert_eq!((&*seen.event_type, &seen.payload[..]), ("own", &b"p"[..]));
    assert_eq!((seen.channels, seen.id), (vec![channel], original.id));
}
