//! What the NATS doors and sources are told, and what of it cannot work.

use super::{replies::Replies, source};
use crate::{
    model::subject::{Subject, is_reserved},
    nats::options::Identity,
};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// A door of another environment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorOptions {
    /// Whose messages come here.
    pub environment: String,
    /// The subject before the application's id or uid.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// The queue group.
    #[serde(default = "queue")]
    pub queue: String,
    /// Who the gateway is there. None: as for everything else.
    pub account: Option<Identity>,
}

fn prefix() -> String {
    "octohooks.ingest".into()
}

fn queue() -> String {
    "octohooks".into()
}

/// The doors' options.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The subject before the application's id or uid.
    pub prefix: String,
    /// The queue group; gateways in one group share the messages.
    pub queue: String,
    /// Streams to take messages from.
    pub sources: Vec<source::options::Options>,
    /// Doors of other environments, told apart by their prefix or their account.
    pub doors: Vec<DoorOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Self { prefix: prefix(), queue: queue(), sources: Vec::new(), doors: Vec::new() }
    }
}

impl Options {
    /// Which key is wrong, and what would be right; `own` is who the gateway is at the main door.
    pub fn check(&self, own: &Identity) -> Result<(), (&'static str, &'static str)> {
        let token = |token: &str| {
            !token.is_empty() && !token.contains(|c: char| c.is_whitespace() || "*>".contains(c))
        };
        let mut known: Vec<(Identity, Subject)> = Vec::new();
        let main = (None, &self.prefix, &self.queue);
        let doors =
            self.doors.iter().map(|door| (door.account.as_ref(), &door.prefix, &door.queue));
        for (account, prefix, queue) in std::iter::once(main).chain(doors) {
            let account = account.unwrap_or(own).resolved();
            let right = "a subject without wildcards, such as octohooks.ingest";
            let prefix = Subject::new(prefix).filter(|prefix| !is_reserved(prefix.as_str()));
            let prefix = prefix.ok_or(("prefix", right))?;
            let meets = |(other, known): &(Identity, Subject)| {
                let within = prefix.is_within(known.as_str()) || known.is_within(prefix.as_str());
                *other == account && within
            };
            if known.iter().any(meets) {
                return Err(("doors.prefix", "none of another door's subjects in its account"));
            }
            if !token(queue) {
                return Err(("queue", "a name without white space"));
            }
            known.push((account, prefix));
        }
        let mut names = HashSet::new();
        for source in &self.sources {
            source.check()?;
            let subject = Subject::new(&source.dead_letter);
            if subject.is_none_or(|s| self.prefixes().iter().any(|prefix| s.is_within(prefix))) {
                return Err(("sources.dead_letter", "none of a door's subjects"));
            }
            if !names.insert((&source.stream, &source.durable)) {
                return Err(("sources.durable", "another for each source of a stream"));
            }
        }
        Ok(())
    }

    /// Where doors do not answer to, as far as the configuration says.
    #[must_use]
    pub fn replies(&self) -> Replies {
        let subjects = self.sources.iter().flat_map(|source| {
            source.filter_subjects.iter().chain(std::iter::once(&source.dead_letter)).cloned()
        });
        Replies::new(self.prefixes(), subjects)
    }

    /// Where messages come in, of every environment.
    #[must_use]
    pub fn prefixes(&self) -> Vec<String> {
        let others = self.doors.iter().map(|door| door.prefix.clone());
        std::iter::once(self.prefix.clone()).chain(others).collect()
    }
}
