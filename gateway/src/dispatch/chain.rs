//! How plugins follow each other: what one asks for is the next one's message, and what that does not say stays as it was
//! asked for. Pure.
//!
//! A message as it came needs none of this: the first plugin's verdict on it is the chain's so far. Only what a plugin has
//! sent is put together here, part by part, within the limits that hold for all of a message's dispatches.

use crate::{
    model::{
        dispatch::{Dispatch, Target, Verdict},
        message::Message,
    },
    plugin::CallFailure,
};

/// What all dispatches of a message together may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many.
    pub dispatches: usize,
    /// Bytes of their payloads, headers and names.
    pub bytes: usize,
}

/// What a plugin makes of the dispatches it is given, one after the other.
#[derive(Debug)]
pub struct Parts {
    limits: Limits,
    /// What those are that were seen, and those that are still to come.
    count: usize,
    bytes: usize,
    made: Vec<Dispatch>,
    dropped: Option<String>,
}

impl Parts {
    /// Nothing yet, of these.
    pub fn new(given: &[Dispatch], limits: Limits) -> Self {
        let bytes = given.iter().map(Dispatch::size).fold(0, usize::saturating_add);
        Self { limits, count: given.len(), bytes, made: Vec::new(), dropped: None }
    }

    /// What the plugin makes of the next one. Where it fails, nothing is added; there is always room to [`Self::keep`] what
    /// it was given instead.
    pub fn add(
        &mut self,
        given: &Dispatch,
        verdict: Verdict,
        check: impl Fn(&Verdict) -> Result<(), CallFailure>,
    ) -> Result<(), CallFailure> {
        let asked = match verdict {
            Verdict::Pass => {
                self.keep(given.clone());
                return Ok(());
            }
            Verdict::Drop(reason) => {
                self.dropped.get_or_insert(reason);
                Vec::new()
            }
            Verdict::Send(asked) => asked,
        };
        let asked = asked.into_iter().map(|asked| compose(given, asked)).collect();
        let verdict = Verdict::Send(asked);
        check(&verdict)?;
        let Verdict::Send(asked) = verdict else { return Ok(()) };
        let size = asked.iter().map(Dispatch::size).fold(0, usize::saturating_add);
        let count = self.count - 1 + asked.len();
        let bytes = (self.bytes - given.size()).saturating_add(size);
        let Limits { dispatches, bytes: most } = self.limits;
        if count > dispatches {
            let why = format!(
                "the message has {count} dispatches, where at most {dispatches} are allowed"
            );
            return Err(CallFailure::BadOutput(why));
        }
        if bytes > most {
            return Err(CallFailure::OutputTooLarge(most));
        }
        (self.count, self.bytes) = (count, bytes);
        self.made.extend(asked);
        Ok(())
    }

    /// The next one goes on as it was given.
    pub fn keep(&mut self, given: Dispatch) {
        self.made.push(given);
    }

    /// What they are together.
    pub fn end(self) -> Verdict {
        match self.dropped {
            Some(reason) if self.made.is_empty() => Verdict::Drop(reason),
            _ => Verdict::Send(self.made),
        }
    }
}

/// What a plugin asks for that was given this dispatch: where it says nothing, that still holds.
fn compose(given: &Dispatch, asked: Dispatch) -> Dispatch {
    let own = |name: &String| asked.headers.iter().any(|(known, _)| known == name);
    let kept = given.headers.iter().filter(|(name, _)| !own(name)).cloned();
    let headers = kept.chain(asked.headers.iter().cloned()).collect();
    Dispatch {
        target: match asked.target {
            Target::Subscribed => given.target.clone(),
            target => target,
        },
        event_type: asked.event_type.or_else(|| given.event_type.clone()),
        content_type: asked.content_type.or_else(|| given.content_type.clone()),
        payload: asked.payload.or_else(|| given.payload.clone()),
        headers,
        ordering_key: asked.ordering_key.or_else(|| given.ordering_key.clone()),
        delay: if asked.delay == 0 { given.delay } else { asked.delay },
    }
}

/// A dispatch of the message, as the next plugin's message.
pub fn message(original: &Message, given: &Dispatch) -> Message {
    let mut message = original.clone();
    if let Some(payload) = &given.payload {
        message.payload = payload.clone();
    }
    if let Some(event_type) = &given.event_type {
        message.event_type = event_type.clone();
    }
    if let Target::Channels(channels) = &given.target {
        message.channels.clone_from(channels);
    }
    message
}

#[cfg(test)]
mod tests;
