//! What a JetStream source is told: which stream, and what its messages mean.

use super::super::template::Template;
use crate::model::{
    id::EnvironmentId,
    name::EventType,
    subject::{Subject, is_filter, is_name, is_reserved, meet},
};
use serde::{Deserialize, Serialize};

/// A stream to take messages from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The stream's name.
    pub stream: String,
    /// The durable consumer's name; made if it is not there. Gateways with the same name share the messages.
    pub durable: String,
    /// Which of the stream's subjects. None: all. More than one needs a server of version 2.10.
    #[serde(default)]
    pub filter_subjects: Vec<String>,
    /// The name of the environment whose messages these are.
    #[serde(default = "EnvironmentId::default_name")]
    pub environment: String,
    /// The application's id or uid.
    pub application: Template,
    /// The event type. None: the message's headers say what it is written in, as for a request.
    pub event_type: Option<Template>,
    /// With commas between.
    pub channels: Option<Template>,
    /// The sender's own identifier.
    pub uid: Option<Template>,
    /// The part of the body that is the payload, as a JSON pointer. None: all of it.
    pub payload: Option<String>,
    /// Where to publish what can never be accepted.
    pub dead_letter: String,
}

impl Options {
    /// Which key is wrong, and what would be right.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !is_name(&self.stream) {
            return Err(("sources.stream", "a stream's name"));
        }
        if !is_name(&self.durable) {
            return Err(("sources.durable", "a name without dots and wildcards"));
        }
        if Subject::new(&self.dead_letter).is_none() || is_reserved(&self.dead_letter) {
            return Err((
                "sources.dead_letter",
                "a subject without wildcards, and not the server's",
            ));
        }
        self.check_filters()?;
        self.check_templates()
    }

    fn check_filters(&self) -> Result<(), (&'static str, &'static str)> {
        let wrong = |right| Err(("sources.filter_subjects", right));
        for (index, filter) in self.filter_subjects.iter().enumerate() {
            if !is_filter(filter) {
                return wrong("subjects, such as sms.*.status or sms.>");
            }
            if self.filter_subjects[..index].iter().any(|other| meet(filter, other)) {
                return wrong("subjects of which none is within another");
            }
            let templates = [Some(&self.application), self.event_type.as_ref()];
            let templates =
                templates.into_iter().chain([self.channels.as_ref(), self.uid.as_ref()]);
            let needed = templates.flatten().map(Template::tokens).max().unwrap_or(0);
            if !filter.ends_with('>') && filter.split('.').count() < needed {
                return wrong("of as many tokens as `{subject.N}` asks for");
            }
        }
        Ok(())
    }

    fn check_templates(&self) -> Result<(), (&'static str, &'static str)> {
        if self.application.constant().is_some_and(|text| text.trim().is_empty()) {
            return Err(("sources.application", "an application, or where to find it"));
        }
        let constant = self.event_type.as_ref().and_then(Template::constant);
        if constant.is_some_and(|text| EventType::new(text).is_err()) {
            return Err(("sources.event_type", "an event type, or where to find it"));
        }
        let more = self.channels.is_some() || self.uid.is_some() || self.payload.is_some();
        if self.event_type.is_none() && more {
            return Err(("sources.event_type", "given, where channels, uid or payload are"));
        }
        if self.payload.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
            return Err(("sources.payload", "a JSON pointer, such as /data"));
        }
        Ok(())
    }
}
