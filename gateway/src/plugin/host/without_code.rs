//! Calls of transforms without code. Most are over before it would be worth while to leave the guests' thread. Those that may
//! not be, for the size of the payload, have threads of their own, which the system shares out: they cannot stop halfway to
//! let others go first. At once there are as many of these as calls that compute for long.

use super::Host;
use crate::{
    clock,
    gate::Turn,
    model::dispatch::Verdict,
    plugin::{
        builtin::{self, Definition},
        call::{Call, CallFailure, Called, Cost, Done},
    },
};
use std::{sync::Arc, time::Instant};

impl Host {
    /// What a definition makes of the call's message. A call that is given up goes on to its end, in its place.
    pub(super) async fn without_code(
        &self,
        turn: Turn<'_>,
        definition: &Arc<Definition>,
        call: Call,
    ) -> Called<Done> {
        let start = clock::instant();
        if definition.is_quick(call.message.payload.len()) {
            return called(start, start, self.made(definition, &call));
        }
        // Never closed.
        let place = Arc::clone(&self.0.codeless).acquire_owned().await.ok();
        let (host, definition, begun) = (self.clone(), Arc::clone(definition), clock::instant());
        let work = move || {
            let made = host.made(&definition, &call);
            drop(place);
            made
        };
        let made = tokio::task::spawn_blocking(work).await;
        let made = made.unwrap_or_else(|error| Err(CallFailure::Other(error.to_string())));
        drop(turn);
        called(start, begun, made)
    }

    fn made(&self, definition: &Definition, call: &Call) -> Result<Verdict, CallFailure> {
        let verdict = builtin::apply(definition, &call.message)?;
        self.check(&verdict, &call.tenant).map(|()| verdict)
    }
}

fn called(start: Instant, begun: Instant, made: Result<Verdict, CallFailure>) -> Called<Done> {
    let cost = Cost { wall: start.elapsed(), cpu: begun.elapsed(), ..Cost::default() };
    Called { result: made.map(Done::Verdict), cost, log: Vec::new(), log_dropped: 0 }
}
