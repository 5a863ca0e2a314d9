//! Waits for a due time, for those who hand over what waits: a time of the wall clock, which may be set meanwhile.

use crate::{clock, model::Millis};
use std::{future::Future, pin::pin, time::Duration};

/// The longest sleep towards a due time: that is the wall clock's, which may be set meanwhile.
const NAP: Duration = Duration::from_secs(5);

/// Waits for the event, or the time if there is one, but not for longer than a nap.
pub async fn until(due: Option<Millis>, event: impl Future<Output = ()>) {
    let event = pin!(event);
    match due {
        None => event.await,
        Some(due) => {
            let wait = Duration::from_millis(due.saturating_sub(clock::now())).min(NAP);
            let _either = tokio::time::timeout(wait, event).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_a_time_looks_at_the_clock_now_and_then() {
        let day = clock::now() + 24 * 3_600_000;
        tokio::select! {
            () = until(Some(day), pending()) => {}
            () = tokio::time::sleep(NAP * 2) => panic!("it sleeps on"),
        }
        tokio::select! {
            () = until(None, pending()) => panic!("nothing is due"),
            () = tokio::time::sleep(NAP * 2) => {}
        }
    }
}
