//! Where doors do not answer to. A request names the subject of its answer, and the gateway may publish where the sender
//! of the request may not: an answer could command the server, or be a message in another's name.

use crate::model::subject::{Subject, covers};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Subjects that are not answered to.
#[derive(Debug, Default)]
pub struct Replies {
    /// Where doors listen, without the application.
    prefixes: Vec<String>,
    /// Subjects, perhaps with wildcards: of sources, their streams and their dead letters.
    taken: Mutex<BTreeSet<String>>,
    /// Which kinds were told.
    told: Mutex<BTreeSet<&'static str>>,
}

impl Replies {
    /// No answers to doors with these prefixes, and to none of the subjects.
    #[must_use]
    pub fn new(prefixes: Vec<String>, subjects: impl IntoIterator<Item = String>) -> Self {
        let taken = Mutex::new(subjects.into_iter().collect());
        Self { prefixes, taken, told: Mutex::default() }
    }

    /// No answers to these subjects either.
    pub fn refuse(&self, subjects: &[String]) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.extend(subjects.iter().cloned());
    }

    /// Whether an answer may go there; what may not is counted.
    #[must_use]
    pub fn may_go_to(&self, subject: &str) -> bool {
        let Some(kind) = self.refusal(subject) else { return true };
        metrics::counter!("octohooks_nats_replies_refused_total", "kind" => kind).increment(1);
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(kind) {
            tracing::debug!(subject, kind, "a request is not answered where it asked to be");
        }
        false
    }

    /// What is wrong with that subject, if anything.
    fn refusal(&self, subject: &str) -> Option<&'static str> {
        let Some(literal) = Subject::new(subject) else { return Some("wildcard") };
        if subject.starts_with('$') {
            return Some("server");
        }
        if self.prefixes.iter().any(|prefix| literal.is_within(prefix)) {
            return Some("door");
        }
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.iter().any(|one| covers(one, subject)).then_some("source")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_to_nobody_elses_subject() {
        let replies = Replies::new(vec!["octohooks.ingest".into()], ["dead.sms".into()]);
        assert!(replies.may_go_to("sms.acme.status"));
        replies.refuse(&["sms.*.status".into()]);
        for (subject, refused) in [
            ("_INBOX.abc.1", None),
            ("me.x", None),
            ("octohooks.other", None),
            ("$JS.API.STREAM.PURGE.SMS", Some("server")),
            ("$SYS.x", Some("server")),
            ("octohooks.ingest.acme", Some("door")),
            ("dead.sms", Some("source")),
            ("sms.acme.status", Some("source")),
            ("a.>", Some("wildcard")),
            ("a.*", Some("wildcard")),
            ("a b", Some("wildcard")),
        ] {
            assert_eq!(replies.refusal(subject), refused, "{subject}");
        }
    }
}
